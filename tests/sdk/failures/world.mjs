// A world of providers that fail, for every dialect, with the real gateway before them and no tools. What `failures.json`
// says of a failure is scripted by the conversation, or is the nature of the provider that is asked:
//
// `openai` answers as scripted, `slow-openai` gets a second (five within a stream), `refused-openai` is a closed port,
// `dropped-openai` closes each connection before it answers, and `revoked-openai` is asked with a key that it refuses. Likewise
// for the other styles.
//
// A key that was limited or refused rests, so models `case-0`, `case-1`, .. have a key each: every test takes its own.
//
// As a program it prints one JSON line, {"gateway": URL, "cases": N}, and ends when its standard input does.

import { mkdtemp, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runIfProgram, scripted, startGateway, takeDown } from "../gateway/world.mjs";

const STYLES = ["openai", "anthropic", "gemini", "bedrock", "cohere"];
const CASES = 400;

export async function startFailures() {
  const children = [];
  const folder = await mkdtemp(join(tmpdir(), "bifrost-failures-"));
  const drops = await listening(createServer((socket) => socket.once("data", () => socket.destroy())));
  const refuses = await listening(createServer());
  const stop = (gateway) => takeDown(children, gateway, [drops], folder);
  try {
    const upstreams = await Promise.all(STYLES.map((style) => scripted(children, style)));
    const config = join(folder, "config.json");
    // Nobody listens at a port that was somebody's a moment ago.
    const places = { drops: address(drops), refuses: address(refuses) };
    refuses.close();
    await writeFile(config, JSON.stringify(configuration(upstreams, places)));
    const gateway = await startGateway(children, {}, config);
    return { gateway: gateway.url, cases: CASES, stop: () => stop(gateway.child) };
  } catch (error) {
    await stop();
    throw error;
  }
}

function listening(server) {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

function address(server) {
  return `http://127.0.0.1:${server.address().port}`;
}

function configuration(upstreams, { drops, refuses }) {
  const providers = Object.assign({}, ...STYLES.map((style, at) => ({
    [style]: { keys: keys(style), network_config: { base_url: upstreams[at] } },
    [`slow-${style}`]: custom(style, "sk-slow", upstreams[at], IMPATIENT),
    [`refused-${style}`]: custom(style, "sk-refused", refuses),
    [`dropped-${style}`]: custom(style, "sk-dropped", drops),
    [`revoked-${style}`]: custom(style, "bad-key", upstreams[at]),
  })));
  const virtual_keys = [{ name: "all", value: "vk-all" }, { name: "gone", value: "vk-gone", is_active: false }];
  return { client: { enforce_auth_on_inference: true }, providers, governance: { virtual_keys } };
}

const IMPATIENT = { default_request_timeout_in_seconds: 1, stream_idle_timeout_in_seconds: 5 };

function custom(style, value, base_url, bounds = {}) {
  return {
    keys: [{ value, ...place(style) }],
    network_config: { base_url, ...bounds },
    custom_provider_config: { base_provider_type: style },
  };
}

function keys(style) {
  const own = Array.from({ length: CASES }, (_, at) => `case-${at}`);
  return [
    { name: "house", value: "sk-house", models: ["scripted-small", "missing-model"], ...place(style) },
    ...own.map((name) => ({ name, value: `sk-${name}`, models: [name], ...place(style) })),
  ];
}

function place(style) {
  return style === "bedrock" ? { bedrock_key_config: { region: "eu-west-1" } } : {};
}

await runIfProgram(import.meta.url, startFailures);

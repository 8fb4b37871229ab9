// One world for the SDK suites of both languages: scripted providers, real tool servers from npm and PyPI, and the real
// gateway between them, all on loopback. `config.json` says what the gateway knows of it.
//
// As a program (`node world.mjs`) it prints one JSON line, {"gateway": URL, "files": FOLDER, "endless": URL}, and ends when
// its standard input does; the exit code says whether the gateway stopped in order. Environment: BIFROST_BIN,
// BIFROST_FIXTURES_BIN (without them the debug builds), MCP_SERVER_TIME (without it, from PATH).

import { spawn } from "node:child_process";
import { mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const built = (name) => join(process.env.CARGO_TARGET_DIR ?? here("../../../target"), "debug", name);
const GATEWAY = process.env.BIFROST_BIN ?? built("bifrost");
const FIXTURES = process.env.BIFROST_FIXTURES_BIN ?? built("bifrost-fixtures");
/** How long tool servers may take to start: Python and Node on a busy machine. */
const PATIENCE_MS = 120_000;

/** What the file that the tools read says. */
export const SECRET = "The heron lands at dawn.";

/** Starts everything; `stop` takes it down again and gives the gateway's exit code. */
export async function startWorld() {
  const children = [];
  const folder = await realpath(await mkdtemp(join(tmpdir(), "bifrost-sdk-")));
  await writeFile(join(folder, "note.txt"), SECRET);
  const endless = await startEndless();
  try {
    const [openai, anthropic, gemini, bedrock, cohere, web, events] = await Promise.all([
      ...["openai", "anthropic", "gemini", "bedrock", "cohere"].map((style) => scripted(children, style)),
      announced(children, "node", everything("streamableHttp")),
      announced(children, "node", everything("sse")),
    ]);
    const environment = {
      OPENAI_UPSTREAM: openai,
      ANTHROPIC_UPSTREAM: anthropic,
      GEMINI_UPSTREAM: gemini,
      BEDROCK_UPSTREAM: bedrock,
      COHERE_UPSTREAM: cohere,
      ENDLESS_UPSTREAM: endless.url,
      EVERYTHING_HTTP: `${web}/mcp`,
      EVERYTHING_SSE: `${events}/sse`,
      EVERYTHING_SERVER: program("@modelcontextprotocol/server-everything"),
      FILES_SERVER: program("@modelcontextprotocol/server-filesystem"),
      FILES_FOLDER: folder,
      CLOCK_SERVER: process.env.MCP_SERVER_TIME ?? "mcp-server-time",
    };
    const gateway = await startGateway(children, environment);
    const stop = () => takeDown(children, gateway.child, [endless.server], folder);
    return { gateway: gateway.url, files: folder, endless: endless.url, stop };
  } catch (error) {
    await takeDown(children, undefined, [endless.server], folder);
    throw error;
  }
}

/** The file behind an npm package's command. */
function program(name) {
  const resolved = createRequire(import.meta.url).resolve(`${name}/package.json`);
  return join(dirname(resolved), "dist", "index.js");
}

function everything(transport) {
  return ["--import", new URL("loopback.mjs", import.meta.url).href, program("@modelcontextprotocol/server-everything"), transport];
}

/** A scripted provider of this style. */
export const scripted = (children, style) => announced(children, FIXTURES, ["provider", "--style", style, "--parent"]);

/** Starts a server that says on standard output where it listens. */
async function announced(children, command, args) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] });
  children.push(child);
  const stderr = gather(child.stderr);
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith('{"url"')) {
      child.stdout.resume();
      return JSON.parse(line).url;
    }
  }
  throw new Error(`${command} ${args.join(" ")} ended before it was ready: ${stderr.text}`);
}

export async function startGateway(children, environment, config = here("config.json")) {
  const args = ["--config", config, "--port", "0", "--drain-seconds", "5"];
  const child = spawn(GATEWAY, args, { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, ...environment } });
  children.push(child);
  const failed = new Promise((_, reject) => child.once("error", reject));
  const url = await Promise.race([failed, listening(child)]);
  await allToolsReady(url);
  return { child, url };
}

async function listening(child) {
  let said = "";
  for await (const line of createInterface({ input: child.stderr })) {
    said += `${line}\n`;
    const found = /listening on (http:\/\/[\d.:]+)/.exec(line);
    if (found) {
      child.stderr.resume();
      return found[1];
    }
  }
  throw new Error(`the gateway ended before it was ready:\n${said}`);
}

/** A tool server that answers late, on a busy machine, is tried again by the gateway; so wait for all of them. */
async function allToolsReady(url) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const { components } = await (await fetch(`${url}/health`)).json();
    const missing = Object.entries(components.tool_servers).filter(([, server]) => server.state !== "ready");
    if (missing.length === 0) return;
    if (Date.now() > deadline) throw new Error(`not ready: ${JSON.stringify(Object.fromEntries(missing))}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A provider whose streams never end: `GET /streams` tells how many it began and how many are still being read. */
async function startEndless() {
  const streams = { begun: 0, open: 0 };
  const server = createServer((request, response) => {
    if (request.method === "GET") return response.end(JSON.stringify(streams));
    streams.begun += 1;
    streams.open += 1;
    const delta = { index: 0, delta: { role: "assistant", content: "on and on " }, finish_reason: null };
    const chunk = { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "endless", choices: [delta] };
    response.writeHead(200, { "content-type": "text/event-stream" });
    const timer = setInterval(() => response.write(`data: ${JSON.stringify(chunk)}\n\n`), 20);
    response.once("close", () => {
      clearInterval(timer);
      streams.open -= 1;
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, server };
}

/** The gateway first, so that its orderly stop meets living tool servers. */
export async function takeDown(children, gateway, servers, folder) {
  const code = gateway ? await end(gateway) : 1;
  await Promise.all(children.map(end));
  for (const server of servers) {
    server.closeAllConnections?.();
    server.close();
  }
  await rm(folder, { recursive: true, force: true });
  return code;
}

async function end(child) {
  if (child.exitCode === null && child.signalCode === null) {
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await exited;
  }
  return child.exitCode;
}

/** Collects a stream's text, for the message of an error. */
function gather(stream) {
  const gathered = { text: "" };
  stream.on("data", (data) => {
    gathered.text += data;
  });
  return gathered;
}

/** As a program: says where everything is, and ends in order when standard input does. */
export async function runIfProgram(url, start) {
  if (!process.argv[1] || url !== pathToFileURL(process.argv[1]).href) return;
  const { stop, ...places } = await start();
  process.stdout.write(`${JSON.stringify(places)}\n`);
  process.stdin.resume().once("end", async () => process.exit((await stop()) ?? 1));
}

await runIfProgram(import.meta.url, startWorld);

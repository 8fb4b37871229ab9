// The official Node SDKs, pointed straight at the scripted providers.
// BIFROST_FIXTURES_BIN names the binary; without it the debug build in ./target is used.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const BINARY =
  process.env.BIFROST_FIXTURES_BIN ?? fileURLToPath(new URL("../../../target/debug/bifrost-fixtures", import.meta.url));
const CALLS = '[call: add {"a": 1, "b": 2}][call: add {"a": 30, "b": 4}][then][say: Got {results}]';

const started = [];

/** Starts a fixture and gives its URL; it ends when its standard input is closed. */
async function start(...args) {
  const child = spawn(BINARY, [...args, "--parent"], { stdio: ["pipe", "pipe", "inherit"] });
  started.push(child);
  for await (const line of createInterface({ input: child.stdout })) {
    return JSON.parse(line).url;
  }
  throw new Error("the fixture ended before it was ready");
}

let openai;
let anthropic;

before(async () => {
  const [openaiUrl, anthropicUrl] = await Promise.all(
    ["openai", "anthropic"].map((style) => start("provider", "--style", style)),
  );
  openai = new OpenAI({ baseURL: `${openaiUrl}/v1`, apiKey: "sk-test", maxRetries: 0 });
  anthropic = new Anthropic({ baseURL: anthropicUrl, apiKey: "sk-test", maxRetries: 0 });
});

after(() => started.forEach((child) => child.stdin.end()));

const user = (content) => [{ role: "user", content }];

test("openai: whole and streamed text", async () => {
  const reply = await openai.chat.completions.create({ model: "m", messages: user("[say: Hello]") });
  assert.equal(reply.choices[0].message.content, "Hello");
  let text = "";
  const stream = await openai.chat.completions.create({
    model: "m",
    messages: user("[say: h\u00e9llo \u{1f980}][split: 1]"),
    stream: true,
  });
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  assert.equal(text, "h\u00e9llo \u{1f980}");
});

test("openai: runTools works through interleaved parallel calls", async () => {
  const add = {
    type: "function",
    function: {
      name: "add",
      description: "Adds two numbers",
      parameters: { type: "object", properties: { a: { type: "number" }, b: { type: "number" } } },
      parse: JSON.parse,
      function: ({ a, b }) => String(a + b),
    },
  };
  for (const stream of [false, true]) {
    const runner = openai.chat.completions.runTools({ model: "m", messages: user(CALLS), tools: [add], stream });
    assert.equal(await runner.finalContent(), "Got 3; 34");
  }
});

test("openai: errors have their classes", async () => {
  const ask = (script) => openai.chat.completions.create({ model: "m", messages: user(script) });
  await assert.rejects(ask("[fail: 429]"), OpenAI.RateLimitError);
  await assert.rejects(ask("[fail: 500]"), OpenAI.InternalServerError);
  await assert.rejects(ask("[drip: soon]"), OpenAI.BadRequestError);
  const stream = await openai.chat.completions.create({ model: "m", messages: user("[error-after: 2][say: x]"), stream: true });
  await assert.rejects(async () => {
    for await (const _ of stream);
  }, OpenAI.APIError);
});

test("anthropic: thinking and parallel calls, whole and streamed", async () => {
  const tools = [{ name: "add", input_schema: { type: "object" } }];
  const thinking = { type: "enabled", budget_tokens: 1024 };
  for (const streamed of [false, true]) {
    const messages = user(`[think: two sums]${CALLS}`);
    const request = { model: "m", max_tokens: 2048, messages, tools, thinking };
    const first = streamed
      ? await anthropic.messages.stream(request).finalMessage()
      : await anthropic.messages.create(request);
    assert.deepEqual(first.content.map((block) => block.type), ["thinking", "tool_use", "tool_use"]);
    messages.push({ role: "assistant", content: first.content });
    const results = first.content
      .filter((block) => block.type === "tool_use")
      .map((call) => ({ type: "tool_result", tool_use_id: call.id, content: String(call.input.a + call.input.b) }));
    messages.push({ role: "user", content: results });
    const second = await anthropic.messages.create(request);
    assert.equal(second.content.at(-1).text, "Got 3; 34");
  }
});

test("anthropic: errors have their classes", async () => {
  const ask = (script) => anthropic.messages.create({ model: "m", max_tokens: 100, messages: user(script) });
  await assert.rejects(ask("[fail: 429]"), Anthropic.RateLimitError);
  await assert.rejects(ask("[fail: 529]"), Anthropic.InternalServerError);
  await assert.rejects(ask("[drip: soon]"), Anthropic.BadRequestError);
  const stream = anthropic.messages.stream({ model: "m", max_tokens: 100, messages: user("[error-event]") });
  await assert.rejects(stream.finalMessage(), Anthropic.APIError);
});

// The official Node SDKs against the real gateway, with real tool servers behind it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import OpenAI from "openai";
import { SECRET, startWorld } from "./world.mjs";

const PROVIDERS = ["openai", "anthropic", "gemini", "bedrock", "cohere"];
const user = (content) => [{ role: "user", content }];

let world;
let openai;
let anthropic;

before(async () => {
  world = await startWorld();
  openai = openaiClient("vk-all");
  anthropic = anthropicClient("vk-all");
});

after(async () => assert.equal(await world.stop(), 0, "the gateway did not stop in order"));

const openaiClient = (apiKey, path = "/v1") => new OpenAI({ baseURL: `${world.gateway}${path}`, apiKey, maxRetries: 0 });
const anthropicClient = (apiKey) => new Anthropic({ baseURL: `${world.gateway}/anthropic`, apiKey, maxRetries: 0 });

/** Every way of asking: gives the text that a person would read. */
const WAYS = {
  "openai whole": async (request) => (await openai.chat.completions.create(request)).choices[0].message.content,
  "openai streamed": async (request) => {
    let text = "";
    for await (const chunk of await openai.chat.completions.create({ ...request, stream: true })) {
      text += chunk.choices[0]?.delta?.content ?? "";
    }
    return text;
  },
  "openai stream helper": async (request) => openai.chat.completions.stream(request).finalContent(),
  "anthropic whole": async (request) => textOf(await anthropic.messages.create({ max_tokens: 4096, ...request })),
  "anthropic stream helper": async (request) =>
    textOf(await anthropic.messages.stream({ max_tokens: 4096, ...request }).finalMessage()),
};

function textOf(message) {
  return message.content.filter((block) => block.type === "text").map((block) => block.text).join("");
}

const readNote = () => `[call: files-read_text_file {"path": "${world.files}/note.txt"}]`;

for (const provider of PROVIDERS) {
  const model = `${provider}/scripted-small`;
  for (const [way, ask] of Object.entries(WAYS)) {
    test(`${way}, ${provider}: text`, async () => {
      const text = 'Hello h\u00e9llo \u{1f980} "quoted"\nand more';
      assert.equal(await ask({ model, messages: user(`[split: 1][say: ${text}]`) }), text);
    });

    test(`${way}, ${provider}: a file is read and told`, async () => {
      const script = `[think: I should look.]${readNote()}[then][say: It says: {results}]`;
      assert.equal(await ask({ model, messages: user(script) }), `It says: ${SECRET}`);
    });

    test(`${way}, ${provider}: every transport, in parallel`, async () => {
      const calls = ["pipe", "web", "events"].map((server, at) => `[call: ${server}-get-sum {"a": ${at * 10}, "b": 1}]`);
      const time = '[call: clock-convert_time {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}]';
      const text = await ask({ model, messages: user(`${calls.join("")}${time}[then][say: {results}]`) });
      for (const expected of ["is 1.", "is 11.", "is 21.", "21:00"]) assert.ok(text.includes(expected), text);
    });

    test(`${way}, ${provider}: errors have their classes`, async () => {
      const SDK = way.startsWith("openai") ? OpenAI : Anthropic;
      const failing = (script, name = model) => ask({ model: name, messages: user(script) });
      await assert.rejects(failing("[fail: 400 no]"), SDK.BadRequestError);
      await assert.rejects(failing("[fail: 503 no]"), SDK.InternalServerError);
      await assert.rejects(failing("[fail: 529 no]"), SDK.InternalServerError);
      await assert.rejects(failing("hi", "limited/scripted-small"), SDK.RateLimitError);
      await assert.rejects(failing("hi", "openai/missing-model"), SDK.NotFoundError);
      await assert.rejects(failing("[error-event][say: x]"), SDK.APIError);
    });
  }

  test(`openai, ${provider}: the loop shows text, one end and what was run`, async () => {
    const messages = user(`[say: Let me add.][call: pipe-get-sum {"a": 1, "b": 2}][then][say: Done.]`);
    const chunks = [];
    const request = { model, messages, stream: true, stream_options: { include_usage: true } };
    for await (const chunk of await openai.chat.completions.create(request)) chunks.push(chunk);
    const choices = chunks.flatMap((chunk) => chunk.choices);
    // What Cohere's models say before their calls is a plan, which is reasoning.
    const said = provider === "cohere" ? "Done." : "Let me add.\n\nDone.";
    assert.equal(choices.map((choice) => choice.delta.content ?? "").join(""), said);
    assert.ok(!choices.some((choice) => choice.delta.tool_calls));
    assert.deepEqual(choices.map((choice) => choice.finish_reason).filter(Boolean), ["stop"]);
    assert.ok(chunks.at(-1).usage.total_tokens > 0);
    const executed = chunks.flatMap((chunk) => chunk.extra_fields?.mcp?.executed ?? []);
    assert.deepEqual(executed.map((run) => [run.name, run.result]), [["pipe-get-sum", "The sum of 1 and 2 is 3."]]);
  });

  test(`openai, ${provider}: runTools beside the gateway's tools`, async () => {
    const book = {
      type: "function",
      function: {
        name: "book_table",
        description: "Books a table",
        parameters: { type: "object", properties: { table: { type: "integer" } } },
        parse: JSON.parse,
        function: ({ table }) => `Table ${table} is yours.`,
      },
    };
    const messages = user(`${readNote()}[call: book_table {"table": 4}][then][say: {results}]`);
    for (const stream of [false, true]) {
      const runner = openai.chat.completions.runTools({ model, messages, tools: [book], stream });
      assert.equal(await runner.finalContent(), `${SECRET}; Table 4 is yours.`);
    }
  });

  test(`anthropic, ${provider}: toolRunner beside the gateway's tools`, async () => {
    const book = betaTool({
      name: "book_table",
      description: "Books a table",
      inputSchema: { type: "object", properties: { table: { type: "integer" } } },
      run: ({ table }) => `Table ${table} is yours.`,
    });
    const messages = user(`${readNote()}[call: book_table {"table": 4}][then][say: {results}]`);
    for (const stream of [false, true]) {
      const runner = anthropic.beta.messages.toolRunner({ model, max_tokens: 999, messages, tools: [book], stream });
      assert.equal(textOf(await runner.runUntilDone()), `${SECRET}; Table 4 is yours.`);
    }
  });

  test(`anthropic, ${provider}: signed thinking survives the loop and the mixed turn`, async () => {
    const tools = [{ name: "book_table", input_schema: { type: "object" } }];
    const messages = user(`[think: Both.]${readNote()}[call: book_table {"table": 4}][then][say: {results}]`);
    const request = { model, max_tokens: 4096, thinking: { type: "enabled", budget_tokens: 1024 }, tools, messages };
    const first = await anthropic.messages.stream(request).finalMessage();
    const calls = first.content.filter((block) => block.type === "tool_use");
    assert.deepEqual(calls.map((block) => [block.name, block.input]), [["book_table", { table: 4 }]]);
    const result = { type: "tool_result", tool_use_id: calls[0].id, content: "Yours." };
    messages.push({ role: "assistant", content: first.content }, { role: "user", content: [result] });
    assert.equal(textOf(await anthropic.messages.create(request)), `${SECRET}; Yours.`);
  });

  test(`openai, ${provider}: a tool that needs approval`, async () => {
    const path = `${world.files}/node-${provider}.txt`;
    const messages = user(`[call: files-write_file {"path": "${path}", "content": "ok"}][then][say: {results}]`);
    const { choices } = await openai.chat.completions.create({ model, messages });
    assert.equal(choices[0].finish_reason, "tool_calls");
    const [call] = choices[0].message.tool_calls;
    const done = await openai.post("/mcp/tool/execute", { body: call });
    assert.equal(done.tool_call_id, call.id);
    messages.push(choices[0].message, done);
    const reply = await openai.chat.completions.create({ model, messages });
    assert.equal(reply.choices[0].message.content, `Successfully wrote to ${path}`);
  });

  test(`${provider}: a stream that breaks midway raises`, async () => {
    const messages = user("[chunks: 16][error-after: 5][say: one two three four five six seven eight]");
    const stream = await openai.chat.completions.create({ model, messages, stream: true });
    await assert.rejects(async () => {
      for await (const _ of stream);
    }, OpenAI.APIError);
    await assert.rejects(anthropic.messages.stream({ model, max_tokens: 99, messages }).finalMessage(), Anthropic.APIError);
  });
}

test("every base URL of the OpenAI SDK", async () => {
  for (const path of ["/openai", "/openai/v1"]) {
    const reply = await openaiClient("vk-all", path).chat.completions.create({
      model: "scripted-small",
      messages: user("[say: hi]"),
    });
    assert.equal(reply.choices[0].message.content, "hi");
  }
});

test("virtual keys in the SDK's own place", async () => {
  const request = { model: "openai/scripted-large", max_tokens: 9, messages: user("hi") };
  for (const [SDK, make, ask] of [
    [OpenAI, openaiClient, (client) => client.chat.completions.create(request)],
    [Anthropic, anthropicClient, (client) => client.messages.create(request)],
  ]) {
    await assert.rejects(ask(make("vk-nobody")), SDK.AuthenticationError);
    await assert.rejects(ask(make("vk-gone")), SDK.PermissionDeniedError);
    await assert.rejects(ask(make("vk-narrow")), SDK.PermissionDeniedError);
    await ask(make("vk-plain"));
  }
});

test("models are listed in both dialects", async () => {
  const names = async (page) => {
    const found = [];
    for await (const model of page) found.push(model.id);
    return found;
  };
  assert.ok((await names(openai.models.list())).includes("anthropic/scripted-small"));
  assert.ok((await names(anthropic.models.list())).includes("openai/scripted-small"));
});

test("aborting a stream ends it at the provider", async () => {
  const streams = async () => (await fetch(`${world.endless}/streams`)).json();
  for (const key of ["vk-plain", "vk-all"]) {
    const stream = await openaiClient(key).chat.completions.create({ model: "endless/m", messages: user("hi"), stream: true });
    for await (const _ of stream) break;
    const message = anthropicClient(key).messages.stream({ model: "endless/m", max_tokens: 9, messages: user("hi") });
    for await (const _ of message) break;
    const deadline = Date.now() + 10_000;
    while ((await streams()).open > 0) {
      assert.ok(Date.now() < deadline, "the provider is still being read");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
});

// What providers do wrong, at every moment of an answer, as the official Node SDKs throw it: `failures.json`, as in
// `test_failures.py`.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { ApiError, GoogleGenAI } from "@google/genai";
import OpenAI from "openai";
import { startFailures } from "./world.mjs";

const TABLE = JSON.parse(await readFile(new URL("failures.json", import.meta.url), "utf8"));
const KEY = "vk-all";
const user = (content) => [{ role: "user", content }];

let world;
let cases = 0;

before(async () => {
  world = await startFailures();
});

after(async () => assert.equal(await world.stop(), 0, "the gateway did not stop in order"));

/**
 * The SDKs. `behind`: styles of providers, the SDK's own, which is relayed, and another, which is translated. A way of asking
 * gives the text piece by piece.
 */
const COLUMNS = {
  "openai (Node)": {
    behind: ["openai", "anthropic"],
    connect: (attempts, apiKey = KEY) =>
      new OpenAI({ baseURL: `${world.gateway}/v1`, apiKey, maxRetries: attempts - 1, timeout: 30_000 }),
    whole: {
      chat: async function* (client, model, script) {
        yield (await client.chat.completions.create({ model, messages: user(script) })).choices[0].message.content;
      },
      responses: async function* (client, model, script) {
        yield (await client.responses.create({ model, input: script })).output_text;
      },
    },
    streamed: {
      "chat, streamed": async function* (client, model, script) {
        const stream = await client.chat.completions.create({ model, messages: user(script), stream: true });
        for await (const chunk of stream) yield chunk.choices[0]?.delta?.content ?? "";
      },
      "chat, helper": async function* (client, model, script) {
        const stream = client.chat.completions.stream({ model, messages: user(script) });
        for await (const chunk of stream) yield chunk.choices[0]?.delta?.content ?? "";
      },
      "responses, streamed": async function* (client, model, script) {
        for await (const event of await client.responses.create({ model, input: script, stream: true })) {
          yield event.type === "response.output_text.delta" ? event.delta : "";
        }
      },
    },
    is: (error) => error instanceof OpenAI.APIError,
    header: (error, name) => error.headers.get(name),
  },
  "@anthropic-ai/sdk": {
    behind: ["anthropic", "openai"],
    connect: (attempts, apiKey = KEY) =>
      new Anthropic({ baseURL: `${world.gateway}/anthropic`, apiKey, maxRetries: attempts - 1, timeout: 30_000 }),
    whole: {
      messages: async function* (client, model, script) {
        yield (await client.messages.create({ model, max_tokens: 4096, messages: user(script) })).content[0].text;
      },
    },
    streamed: {
      "messages, streamed": async function* (client, model, script) {
        const stream = await client.messages.create({ model, max_tokens: 4096, messages: user(script), stream: true });
        for await (const event of stream) yield event.type === "content_block_delta" ? event.delta.text : "";
      },
      "messages, helper": async function* (client, model, script) {
        const stream = client.messages.stream({ model, max_tokens: 4096, messages: user(script) });
        for await (const event of stream) yield event.type === "content_block_delta" ? event.delta.text : "";
      },
    },
    is: (error) => error instanceof Anthropic.APIError,
    header: (error, name) => error.headers.get(name),
  },
  "@google/genai": {
    behind: ["gemini", "openai"],
    connect: (attempts, apiKey = KEY) => {
      const retryOptions = attempts > 1 ? { attempts, initialDelay: 0.5 } : undefined;
      return new GoogleGenAI({ apiKey, httpOptions: { baseUrl: `${world.gateway}/genai`, timeout: 30_000, retryOptions } });
    },
    whole: {
      generate: async function* (client, model, script) {
        yield (await client.models.generateContent({ model, contents: script })).text;
      },
    },
    streamed: {
      "generate, streamed": async function* (client, model, script) {
        const stream = await client.models.generateContentStream({ model, contents: script });
        for await (const chunk of stream) yield chunk.text ?? "";
      },
    },
    is: (error) => error instanceof ApiError,
  },
};

/** The text that came, and what was thrown after it. */
async function outcome(way, client, model, script) {
  let text = "";
  try {
    for await (const piece of way(client, model, script)) text += piece;
  } catch (error) {
    return { text, error };
  }
  return { text };
}

/** Every way of asking, with both providers behind, all at once. */
function outcomes(column, failure, ways) {
  const client = column.connect(1);
  const script = failure.script.replace("{text}", TABLE.text);
  const asked = Object.entries(ways).flatMap(([name, way]) => column.behind.map((style) => [name, way, style]));
  return Promise.all(
    asked.map(async ([name, way, style]) => {
      const model = failure.model.replace("{style}", style).replace("{case}", () => nextCase());
      return { asked: `${name}, ${model}`, style, ...(await outcome(way, client, model, script)) };
    }),
  );
}

function nextCase() {
  assert.ok(cases < world.cases, "more tests than cases: world.mjs");
  return `case-${cases++}`;
}

const ofStyle = (value, style) => (typeof value === "object" ? value[style] : value);

function checkError(name, error, { wanted, says, asked }) {
  assert.ok(error && COLUMNS[name].is(error), `${asked}: ${error?.stack}`);
  assert.equal(error.constructor.name, wanted, `${asked}: ${error}`);
  assert.ok(String(error.message).includes(says), `${asked}: ${error}`);
  assert.doesNotMatch(String(error.message), /sk-secret|bad-key|sk-house/, asked);
}

function checkStatuses(name, failure, answers) {
  for (const { asked, style, text, error } of answers) {
    const status = ofStyle(failure.status, style);
    checkError(name, error, { wanted: TABLE.raised[name][status], says: ofStyle(failure.says, style), asked });
    assert.deepEqual([text, error.status], ["", status], asked);
  }
}

const limited = (retryAfter, key) =>
  `[fail: 429${retryAfter === null ? "" : ` retry-after=${retryAfter}`} times=1 key=${key} slow down][say: at last]`;

/** How many requests the gateway has answered with an error so far. */
async function refused() {
  const exposed = await (await fetch(`${world.gateway}/metrics`)).text();
  const counts = exposed.matchAll(/^http_requests_total{.*status="[45]..".*} (.+)$/gm);
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}

const HOPELESS = [
  ["vk-nobody", "{style}/scripted-small", 401],
  ["vk-gone", "{style}/scripted-small", 403],
  [KEY, "revoked-{style}/m", 502],
];

for (const [name, column] of Object.entries(COLUMNS)) {
  for (const failure of TABLE.before_the_headers) {
    test(`${name}: ${failure.failure}, before the headers`, async () => {
      checkStatuses(name, failure, await outcomes(column, failure, { ...column.whole, ...column.streamed }));
    });
  }

  for (const failure of TABLE.before_the_content) {
    test(`${name}: ${failure.failure}, after the headers, is still a status`, async () => {
      checkStatuses(name, failure, await outcomes(column, failure, column.streamed));
    });
  }

  for (const failure of TABLE.in_the_stream) {
    test(`${name}: ${failure.failure}, in the stream, throws after its text`, async () => {
      for (const { asked, style, text, error } of await outcomes(column, failure, column.streamed)) {
        checkError(name, error, { wanted: TABLE.raised[name]["in a stream"], says: ofStyle(failure.says, style), asked });
        assert.ok(text && TABLE.text.startsWith(text) && text !== TABLE.text, `${asked}: ${text}`);
      }
    });
  }

  const heeds = (header) => TABLE.heeds[name].includes(header);
  if (heeds("retry-after")) {
    for (const { retry_after: retryAfter, seconds } of TABLE.waits) {
      test(`${name}: waits as it is told, retry-after ${retryAfter}`, async () => {
        const client = column.connect(2);
        const asked = Object.values(column.whole).flatMap((way) => column.behind.map((style) => [way, style, nextCase()]));
        await Promise.all(
          asked.map(async ([way, style, own]) => {
            const began = performance.now();
            const answer = await outcome(way, client, `${style}/${own}`, limited(retryAfter, `${own}-node`));
            assert.deepEqual(answer, { text: "at last" });
            const took = (performance.now() - began) / 1000;
            assert.ok(seconds <= took && took < seconds + 6, `${style}: ${took}`);
          }),
        );
      });
    }

    test(`${name}: nobody is told to wait for years`, async () => {
      const failure = { model: "{style}/{case}", script: `[fail: 429 retry-after=${TABLE.too_long.retry_after}]` };
      for (const { asked, error } of await outcomes(column, failure, { ...column.whole, ...column.streamed })) {
        assert.equal(column.header(error, "retry-after"), TABLE.too_long.told, asked);
      }
    });
  }

  // `x-should-retry: false`; SDKs that do not know it repeat every 5xx.
  for (const [key, model, status] of HOPELESS.filter(([, , status]) => heeds("x-should-retry") || status < 500)) {
    test(`${name}: what is hopeless is asked once, ${status}`, async () => {
      const [way] = Object.values(column.whole);
      const asked = model.replace("{style}", column.behind[0]);
      const before = await refused();
      const { error } = await outcome(way, column.connect(4, key), asked, "hi");
      checkError(name, error, { wanted: TABLE.raised[name][status], says: "", asked });
      assert.deepEqual([error.status, (await refused()) - before], [status, 1]);
    });
  }

  test(`${name}: who repeats gets its answer`, async () => {
    const own = nextCase();
    const [way] = Object.values(column.whole);
    const answer = await outcome(way, column.connect(5), `${column.behind[0]}/${own}`, limited(null, `${own}-patient`));
    assert.deepEqual(answer, { text: "at last" });
  });
}

// Google's SDK and Vercel's `ai` against the real gateway, with real tool servers behind it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { GoogleGenAI } from "@google/genai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { SECRET, startWorld } from "./world.mjs";

const PROVIDERS = ["openai", "anthropic", "gemini", "bedrock", "cohere"];

let world;

before(async () => {
  world = await startWorld();
});

after(async () => assert.equal(await world.stop(), 0, "the gateway did not stop in order"));

const readNote = () => `[call: files-read_text_file {"path": "${world.files}/note.txt"}]`;

/** Every way in that the `ai` package has. */
const WAYS = {
  "openai, chat": (model) => createOpenAI({ baseURL: `${world.gateway}/v1`, apiKey: "vk-all" }).chat(model),
  "openai-compatible": (model) =>
    createOpenAICompatible({ name: "bifrost", baseURL: `${world.gateway}/v1`, apiKey: "vk-all", includeUsage: true })(model),
  anthropic: (model) => createAnthropic({ baseURL: `${world.gateway}/anthropic/v1`, apiKey: "vk-all" })(model),
};

const book_table = tool({
  description: "Books a table",
  inputSchema: z.object({ table: z.number() }),
  execute: async ({ table }) => `Table ${table} is yours.`,
});

for (const provider of PROVIDERS) {
  for (const [way, of] of Object.entries(WAYS)) {
    test(`ai, ${way}, ${provider}: a tool loop of its own beside the gateway's`, async () => {
      const prompt = `[think: Both.]${readNote()}[call: book_table {"table": 4}][then][call: book_table {"table": 5}][then][say: {results}]`;
      const request = { model: of(`${provider}/scripted-small`), tools: { book_table }, stopWhen: stepCountIs(5), maxRetries: 0, prompt };
      const wanted = ["Table 4 is yours.", "Table 5 is yours.", SECRET];
      const whole = await generateText(request);
      assert.deepEqual(whole.text.split("; ").sort(), wanted);
      const streamed = streamText({ ...request, onError: ({ error }) => assert.fail(error) });
      let text = "";
      for await (const piece of streamed.textStream) text += piece;
      assert.deepEqual(text.split("; ").sort(), wanted);
      assert.ok((await streamed.totalUsage).outputTokens > 0);
    });
  }

  test(`genai, ${provider}: whole, and streamed with tools of both sides`, async () => {
    const client = new GoogleGenAI({ apiKey: "vk-all", httpOptions: { baseUrl: `${world.gateway}/genai` } });
    const model = `${provider}/scripted-small`;
    const told = await client.models.generateContent({ model, contents: `${readNote()}[then][say: It says: {results}]` });
    assert.equal(told.text, `It says: ${SECRET}`);
    const functionDeclarations = [
      { name: "book_table", parametersJsonSchema: { type: "object", properties: { table: { type: "number" } } } },
    ];
    const chat = client.chats.create({ model, config: { tools: [{ functionDeclarations }] } });
    const message = `[think: Both.]${readNote()}[call: book_table {"table": 4}][then][say: {results}]`;
    const calls = [];
    for await (const chunk of await chat.sendMessageStream({ message })) calls.push(...(chunk.functionCalls ?? []));
    assert.deepEqual(calls.map((call) => [call.name, call.args]), [["book_table", { table: 4 }]]);
  });
}

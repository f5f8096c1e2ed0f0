// Anthropic's SDK for JavaScript: streams, tools, models, errors.

import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert";

const client = new Anthropic({ baseURL: process.env.CACTUS_URL, apiKey: "none", maxRetries: 0 });
const told = { model: process.env.CACTUS_MODEL, max_tokens: 100 };
const messages = [{ role: "user", content: "Say hello." }];
const weather = {
  name: "weather",
  description: "The weather at a place.",
  input_schema: {
    type: "object",
    properties: { location: { type: "string" } },
    required: ["location"],
  },
};

const steps = {
  async "a stream"() {
    let all = "";
    const stream = client.messages.stream({ ...told, messages });
    stream.on("text", (piece) => (all += piece));
    const message = await stream.finalMessage();
    assert.equal(all, message.content[0].text);
    assert(message.usage.output_tokens > 0);
  },
  async "a tool that is required, streamed or not"() {
    const asked = { ...told, messages, tools: [weather], tool_choice: { type: "any" } };
    const whole = await client.messages.create(asked);
    const streamed = await client.messages.stream(asked).finalMessage();
    for (const { content } of [whole, streamed]) {
      assert.equal(content.at(-1).name, "weather");
      assert.equal(typeof content.at(-1).input.location, "string");
    }
  },
  async "tokens and models"() {
    const { input_tokens } = await client.messages.countTokens({ model: told.model, messages });
    assert(input_tokens > 0);
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert(ids.includes(told.model));
  },
  async "an error with its id"() {
    await assert.rejects(client.messages.create({ ...told, model: "none", messages }), (error) => {
      assert.equal(error.status, 404);
      assert.equal(error.error.request_id, error.requestID);
      return true;
    });
  },
};

let failed = false;
for (const [name, step] of Object.entries(steps)) {
  try {
    await step();
    console.log(`pass ${name}`);
  } catch (error) {
    failed = true;
    console.log(`fail ${name}: ${String(error).slice(0, 300)}`);
  }
}
process.exit(failed ? 1 : 0);

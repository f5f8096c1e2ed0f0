// The AI SDK: text, streams, objects and tools, over @ai-sdk/openai-compatible.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import assert from "node:assert";
import { z } from "zod";

const provider = createOpenAICompatible({
  name: "cactus",
  baseURL: `${process.env.CACTUS_URL}/v1`,
  apiKey: "none",
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = provider(process.env.CACTUS_MODEL);
const told = { model, temperature: 0, maxOutputTokens: 100 };
const weather = tool({
  description: "The weather at a place.",
  inputSchema: z.object({ location: z.string() }),
  execute: async ({ location }) => `sunny in ${location}`,
});

const steps = {
  async text() {
    const { text, usage } = await generateText({ ...told, prompt: "Say hello." });
    assert(text && usage.outputTokens > 0);
  },
  async "a stream with usage"() {
    const { text } = await generateText({ ...told, prompt: "Say hello." });
    const result = streamText({ ...told, prompt: "Say hello." });
    let all = "";
    for await (const piece of result.textStream) all += piece;
    assert.equal(all, text);
    assert((await result.usage).outputTokens > 0);
  },
  async "an object"() {
    const schema = z.object({ name: z.string(), country: z.string() });
    const { object } = await generateObject({ ...told, schema, prompt: "Name a city." });
    assert(schema.parse(object));
  },
  async "a tool that is required, streamed"() {
    const result = streamText({
      ...told,
      tools: { weather },
      toolChoice: "required",
      stopWhen: stepCountIs(1),
      prompt: "What is the weather in Paris?",
    });
    await result.consumeStream();
    const calls = await result.toolCalls;
    assert.equal(calls[0].toolName, "weather");
    assert.equal((await result.toolResults).length, calls.length);
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
    console.error(error);
  }
}
process.exit(failed ? 1 : 0);

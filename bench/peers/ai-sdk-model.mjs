import { ReadableStream } from "node:stream/web";
import { tokensFor } from "../support/answer.mjs";

const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: 50, text: 50, reasoning: 0 },
};

async function* parts(prompt) {
  yield { type: "stream-start", warnings: [] };
  yield { type: "text-start", id: "0" };
  for await (const delta of tokensFor(prompt)) yield { type: "text-delta", id: "0", delta };
  yield { type: "text-end", id: "0" };
  yield { type: "finish", finishReason: { unified: "stop", raw: "stop" }, usage };
}

/** The fake model as a provider of the AI SDK has it: of version "v4" for AI SDK 7, "v3" for AI SDK 6. */
export const languageModel = (specificationVersion) => ({
  specificationVersion,
  provider: "fake",
  modelId: "fake",
  supportedUrls: {},
  async doGenerate({ prompt }) {
    let text = "";
    for await (const token of tokensFor(prompt)) text += token;
    const finishReason = { unified: "stop", raw: "stop" };
    return { content: [{ type: "text", text }], finishReason, usage, warnings: [] };
  },
  async doStream({ prompt }) {
    return { stream: ReadableStream.from(parts(prompt)) };
  },
});

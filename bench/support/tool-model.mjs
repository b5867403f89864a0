/**
 * A model that calls the tool `look_up` for each message of a user and then answers with a fixed number of tokens:
 * a turn is model, tool, model. Made from the classes of whoever uses it, since peers bring a copy of LangChain of
 * their own.
 */
import { defineInstantModel } from "./instant-model.mjs";

export const TOKENS = 20;

export function defineToolModel(classes) {
  const { AIMessageChunk, ChatGenerationChunk } = classes;
  return class ToolModel extends defineInstantModel(classes) {
    constructor(tokens = TOKENS, msPerToken = 0) {
      super(tokens, msPerToken);
    }

    async *_streamResponseChunks(messages, options, runManager) {
      const last = messages.at(-1);
      if (last.getType() !== "human") {
        yield* super._streamResponseChunks(messages, options, runManager);
        return;
      }
      const call = { index: 0, id: `call-${last.id}`, name: "look_up", args: '{"key":"weather"}' };
      const chunk = new ChatGenerationChunk({
        message: new AIMessageChunk({
          content: "",
          tool_call_chunks: [{ type: "tool_call_chunk", ...call }],
        }),
        text: "",
      });
      yield chunk;
      await runManager?.handleLLMNewToken("", undefined, undefined, undefined, undefined, { chunk });
    }
  };
}

/** What `tool()` of any copy of LangChain takes. */
export const lookUp = [
  ({ key }) => `The ${key} is fine, with a light wind from the west and 21 degrees.`,
  {
    name: "look_up",
    description: "Looks something up.",
    schema: {
      type: "object",
      properties: { key: { type: "string" } },
      required: ["key"],
      additionalProperties: false,
    },
  },
];

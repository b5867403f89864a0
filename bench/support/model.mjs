import { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { AIMessage, AIMessageChunk, HumanMessage } from "@langchain/core/messages";
import { ChatGenerationChunk } from "@langchain/core/outputs";
import { defineInstantModel } from "./instant-model.mjs";
import { defineToolModel } from "./tool-model.mjs";

const classes = { BaseChatModel, AIMessageChunk, ChatGenerationChunk };
export const InstantModel = defineInstantModel(classes);
export const ToolModel = defineToolModel(classes);
export const messages = { HumanMessage, AIMessage };

/** Messages of 200 characters, alternating between user and model. */
export function history(count, length = 200, { HumanMessage, AIMessage } = messages) {
  return Array.from({ length: count }, (_, index) =>
    index % 2 === 0
      ? new HumanMessage({ id: `seed-${index}`, content: "x".repeat(length) })
      : new AIMessage({ id: `seed-${index}`, content: "y".repeat(length) }),
  );
}

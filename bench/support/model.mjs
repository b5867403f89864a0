import { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { AIMessage, AIMessageChunk, HumanMessage } from "@langchain/core/messages";
import { ChatGenerationChunk } from "@langchain/core/outputs";
import { defineInstantModel } from "./instant-model.mjs";

export const InstantModel = defineInstantModel({ BaseChatModel, AIMessageChunk, ChatGenerationChunk });

/** Messages of 200 characters, alternating between user and model. */
export function history(count, length = 200) {
  return Array.from({ length: count }, (_, index) =>
    index % 2 === 0
      ? new HumanMessage({ id: `seed-${index}`, content: "x".repeat(length) })
      : new AIMessage({ id: `seed-${index}`, content: "y".repeat(length) }),
  );
}

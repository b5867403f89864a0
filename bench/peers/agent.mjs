import { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { AIMessageChunk } from "@langchain/core/messages";
import { ChatGenerationChunk } from "@langchain/core/outputs";
import { createAgent } from "langchain";
import { answering } from "../support/answer.mjs";
import { defineInstantModel } from "../support/instant-model.mjs";

const AnsweringModel = answering(defineInstantModel({ BaseChatModel, AIMessageChunk, ChatGenerationChunk }));

export function makeAgent(checkpointer) {
  return createAgent({
    model: new AnsweringModel(),
    tools: [],
    ...(checkpointer === undefined ? {} : { checkpointer }),
  });
}

/** What LangGraph's server loads by name. */
export const { graph } = makeAgent();

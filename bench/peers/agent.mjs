import { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { AIMessageChunk } from "@langchain/core/messages";
import { ChatGenerationChunk } from "@langchain/core/outputs";
import { createAgent } from "langchain";
import { defineInstantModel } from "../support/instant-model.mjs";

const InstantModel = defineInstantModel({ BaseChatModel, AIMessageChunk, ChatGenerationChunk });

export function makeAgent(checkpointer) {
  const model = new InstantModel(50, Number(process.env.MS_PER_TOKEN ?? 0));
  return createAgent({ model, tools: [], ...(checkpointer === undefined ? {} : { checkpointer }) });
}

/** What LangGraph's server loads by name. */
export const { graph } = makeAgent();

/** The official saver for Postgres under an agent of its own copy of LangChain. */
import { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { AIMessage, AIMessageChunk, HumanMessage } from "@langchain/core/messages";
import { ChatGenerationChunk } from "@langchain/core/outputs";
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";
import { createAgent, tool } from "langchain";
import { defineInstantModel } from "../support/instant-model.mjs";
import { defineToolModel, lookUp } from "../support/tool-model.mjs";

const classes = { BaseChatModel, AIMessageChunk, ChatGenerationChunk };
const InstantModel = defineInstantModel(classes);
const ToolModel = defineToolModel(classes);

export const messages = { HumanMessage, AIMessage };

/** With one tool that each turn calls, or with none and one token. */
export async function officialGraph(pool, { tools = [tool(...lookUp)] } = {}) {
  const checkpointer = new PostgresSaver(pool);
  await checkpointer.setup();
  const model = tools.length === 0 ? new InstantModel() : new ToolModel();
  return createAgent({ model, tools, checkpointer }).graph;
}

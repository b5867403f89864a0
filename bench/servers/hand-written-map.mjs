/** The other thing that is often written: an agent for each session in a `Map`, made at its first message. */
import { MemorySaver } from "@langchain/langgraph";
import express from "express";
import { createAgent } from "langchain";
import { AnsweringModel } from "../support/answering-model.mjs";
import { listen } from "../support/serve.mjs";
import { stream } from "./hand-written-route.mjs";

const model = new AnsweringModel();
const agents = new Map();

function agentOf(sessionId) {
  let agent = agents.get(sessionId);
  if (agent === undefined) {
    agent = createAgent({ model, tools: [], checkpointer: new MemorySaver() });
    agents.set(sessionId, agent);
  }
  return agent;
}

const app = express();
app.use(express.json());
app.post("/chat", (request, response) => stream(agentOf(request.body.session_id), request.body, response));
listen(app);

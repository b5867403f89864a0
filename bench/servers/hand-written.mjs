/** What most teams write: one shared agent with a MemorySaver behind an Express route that streams. */
import { MemorySaver } from "@langchain/langgraph";
import express from "express";
import { createAgent } from "langchain";
import { AnsweringModel } from "../support/answering-model.mjs";
import { listen } from "../support/serve.mjs";
import { stream } from "./hand-written-route.mjs";

const agent = createAgent({ model: new AnsweringModel(), tools: [], checkpointer: new MemorySaver() });
const app = express();
app.use(express.json());
app.post("/chat", (request, response) => stream(agent, request.body, response));
listen(app);

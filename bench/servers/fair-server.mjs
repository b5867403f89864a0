/** A chat route over HTTP: this package's, or one written by hand on a shared agent. */
import { MemorySaver } from "@langchain/langgraph";
import { ChatService } from "agent-sessions";
import { toExpress } from "agent-sessions/express";
import { createHttpHandler } from "agent-sessions/http";
import express from "express";
import { createAgent } from "langchain";
import { InstantModel } from "../support/model.mjs";
import { stream } from "./hand-written-route.mjs";

const { kind, tokens, msPerToken, maxConcurrentRunsPerUser } = JSON.parse(process.argv[2]);
process.once("disconnect", () => process.exit());
const model = new InstantModel(tokens, msPerToken);
const app = express();

if (kind === "ours") {
  const chat = await ChatService.create({ model, tools: [], maxAgents: 1_000, maxConcurrentRunsPerUser });
  const authenticate = (request) => ({ userId: request.headers.get("x-user") });
  app.use(toExpress(createHttpHandler(chat, { authenticate, basePath: "" })));
} else {
  const agent = createAgent({ model, tools: [], checkpointer: new MemorySaver() });
  app.use(express.json());
  app.post("/chat", (request, response) => stream(agent, request.body, response));
}
const server = app.listen(0, "127.0.0.1", () => process.send({ ready: true, port: server.address().port }));

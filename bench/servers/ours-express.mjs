/** agent-sessions in Express, as its README mounts it. */
import { ChatService, memoryStore } from "agent-sessions";
import { toExpress } from "agent-sessions/express";
import { createHttpHandler } from "agent-sessions/http";
import express from "express";
import { AnsweringModel } from "../support/answering-model.mjs";
import { listen } from "../support/serve.mjs";

const store = memoryStore({ maxSessions: 100_000 });
const chat = await ChatService.create({ model: new AnsweringModel(), tools: [], maxAgents: 1_000, store });
const handler = createHttpHandler(chat, {
  authenticate: (request) => ({ userId: request.headers.get("x-user") ?? "nobody" }),
});
const app = express();
app.use(toExpress(handler));
listen(app);

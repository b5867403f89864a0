/** agent-sessions' fetch handler over node:http, without Express. */
import { createServer } from "node:http";
import { ChatService, memoryStore } from "agent-sessions";
import { toExpress } from "agent-sessions/express";
import { createHttpHandler } from "agent-sessions/http";
import { InstantModel } from "../support/model.mjs";

const model = new InstantModel(50, Number(process.env.MS_PER_TOKEN ?? 0));
const store = memoryStore({ maxSessions: 100_000 });
const chat = await ChatService.create({ model, tools: [], maxAgents: 1_000, store });
const handler = createHttpHandler(chat, {
  authenticate: (request) => ({ userId: request.headers.get("x-user") ?? "nobody" }),
});
const mounted = toExpress(handler);
const server = createServer((request, response) => {
  mounted(request, response, () => response.writeHead(404).end());
}).listen(0, "127.0.0.1", () => process.send?.({ port: server.address().port }));

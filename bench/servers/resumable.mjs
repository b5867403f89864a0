/** The HTTP handler on a store, with a model that writes at a pace. */
import { createServer } from "node:http";
import { ChatService, memoryStore } from "agent-sessions";
import { toExpress } from "agent-sessions/express";
import { createHttpHandler } from "agent-sessions/http";
import { StampingModel } from "../support/stamping-model.mjs";
import { openStore } from "../support/stores.mjs";

const { url, tokens, msPerToken, maxAgents } = JSON.parse(process.argv[2]);
process.once("disconnect", () => process.exit());
const model = new StampingModel({ tokens, msPerToken });
const store = url === undefined ? memoryStore() : (await openStore(url)).store;
const chat = await ChatService.create({ model, tools: [], store, maxAgents });
const authenticate = (request) => ({ userId: request.headers.get("x-user") });
const handle = toExpress(createHttpHandler(chat, { authenticate, basePath: "" }));
const server = createServer((request, response) => {
  handle(request, response, () => response.writeHead(404).end());
}).listen(0, "127.0.0.1", () => process.send({ ready: true, port: server.address().port }));

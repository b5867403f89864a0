import { createHttpHandler, type HttpHandler } from "../../src/http/index.js";
import { agents, customChat, say } from "./chat.js";
import { authenticate } from "./http-service.js";

/** A handler over an agent that writes for the user interface: progress twice under one id, then a note, then text. */
export function dataHandler(): HttpHandler {
  const { chat } = customChat(
    agents(async function* () {
      yield { type: "data", name: "progress", id: "p", data: { percent: 10 } };
      yield { type: "data", name: "progress", id: "p", data: { percent: 100 } };
      yield { type: "data", name: "note", data: ["你好", null] };
      yield* say("Done.");
    }),
  );
  return createHttpHandler(chat, { authenticate, heartbeatMs: 0 });
}

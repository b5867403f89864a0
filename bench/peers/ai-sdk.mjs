/** AI SDK's ToolLoopAgent behind a hand-written Express route: it keeps no conversations, so a `Map` does. */
import { ToolLoopAgent } from "ai";
import express from "express";
import { listen } from "../support/serve.mjs";
import { languageModel } from "./ai-sdk-model.mjs";

const agent = new ToolLoopAgent({ model: languageModel("v4"), tools: {} });
const histories = new Map();
const app = express();
app.use(express.json());
app.post("/chat", async (request, response) => {
  const { session_id, message } = request.body;
  const messages = [...(histories.get(session_id) ?? []), { role: "user", content: message }];
  const result = await agent.stream({
    messages,
    onEnd: ({ response: answered }) => {
      histories.set(session_id, [...messages, ...answered.messages]);
    },
  });
  result.pipeUIMessageStreamToResponse(response);
});
listen(app);

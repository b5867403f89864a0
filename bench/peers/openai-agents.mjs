/** OpenAI Agents behind a hand-written Express route, with its memory session for each conversation. */
import { Agent, MemorySession, run, Usage } from "@openai/agents";
import express from "express";
import { tokensFor } from "../support/answer.mjs";
import { listen } from "../support/serve.mjs";

const usage = new Usage({ requests: 1, inputTokens: 1, outputTokens: 50, totalTokens: 51 });
const message = (text) => ({
  type: "message",
  role: "assistant",
  status: "completed",
  content: [{ type: "output_text", text }],
});

const model = {
  async getResponse({ input }) {
    let text = "";
    for await (const token of tokensFor([input].flat())) text += token;
    return { output: [message(text)], usage };
  },
  async *getStreamedResponse({ input }) {
    let text = "";
    yield { type: "response_started" };
    for await (const delta of tokensFor([input].flat())) {
      text += delta;
      yield { type: "output_text_delta", delta };
    }
    yield { type: "response_done", response: { id: "response", output: [message(text)], usage } };
  },
};

const agent = new Agent({ name: "Assistant", instructions: "You are a helpful assistant.", model });
const sessions = new Map();
const app = express();
app.use(express.json());
app.post("/chat", async (request, response) => {
  const { session_id, message } = request.body;
  let session = sessions.get(session_id);
  if (session === undefined) {
    session = new MemorySession({ sessionId: session_id });
    sessions.set(session_id, session);
  }
  response.writeHead(200, { "content-type": "text/event-stream" });
  const result = await run(agent, message, { stream: true, session });
  for await (const delta of result.toTextStream()) {
    response.write(`data: ${JSON.stringify({ delta })}\n\n`);
  }
  await result.completed;
  response.end("data: [DONE]\n\n");
});
listen(app);

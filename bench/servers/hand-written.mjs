/** What most teams write: one shared agent with a MemorySaver behind an Express route that streams. */
import { MemorySaver } from "@langchain/langgraph";
import express from "express";
import { createAgent } from "langchain";
import { InstantModel } from "../support/model.mjs";

const model = new InstantModel(50, Number(process.env.MS_PER_TOKEN ?? 0));
const agent = createAgent({ model, tools: [], checkpointer: new MemorySaver() });
const app = express();
app.use(express.json());
app.post("/chat", async (request, response) => {
  const { session_id, message } = request.body;
  response.writeHead(200, { "content-type": "text/event-stream" });
  const stream = await agent.stream(
    { messages: [{ role: "user", content: message }] },
    { configurable: { thread_id: session_id }, streamMode: ["messages", "updates"] },
  );
  for await (const [mode, chunk] of stream) {
    if (mode !== "messages") continue;
    const [token] = chunk;
    if (token.content !== "") response.write(`data: ${JSON.stringify({ delta: token.content })}\n\n`);
  }
  response.end("data: [DONE]\n\n");
});
const server = app.listen(0, "127.0.0.1", () => process.send?.({ port: server.address().port }));

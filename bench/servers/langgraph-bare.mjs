/** The floor on LangGraph: its graph's own stream, in the one mode that has the tokens, over node:http. */
import { createServer } from "node:http";
import { MemorySaver } from "@langchain/langgraph";
import { createAgent } from "langchain";
import { AnsweringModel } from "../support/answering-model.mjs";
import { readJson } from "../support/read-json.mjs";
import { listen } from "../support/serve.mjs";

const { graph } = createAgent({ model: new AnsweringModel(), tools: [], checkpointer: new MemorySaver() });

listen(
  createServer(async (request, response) => {
    const { session_id, message } = await readJson(request);
    response.writeHead(200, { "content-type": "text/event-stream" });
    const chunks = await graph.stream(
      { messages: [{ role: "user", content: message }] },
      { configurable: { thread_id: session_id }, streamMode: "messages" },
    );
    for await (const [token] of chunks) {
      if (token.content !== "") response.write(`data: ${JSON.stringify({ delta: token.content })}\n\n`);
    }
    response.end("data: [DONE]\n\n");
  }),
);

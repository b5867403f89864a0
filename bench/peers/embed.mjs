/** LangGraph's `createEmbedServer`, as its own tests mount it. */
import { serve } from "@hono/node-server";
import { MemorySaver } from "@langchain/langgraph";
import { createEmbedServer } from "@langchain/langgraph-api/experimental/embed";
import { serving } from "../support/serve.mjs";
import { makeAgent } from "./agent.mjs";

const checkpointer = new MemorySaver();
const threads = new Map();
const app = createEmbedServer({
  graph: { agent: makeAgent(checkpointer).graph },
  checkpointer,
  threads: {
    get: async (id) => threads.get(id) ?? { thread_id: id, metadata: {} },
    set: async (id, { metadata }) => {
      const thread = { thread_id: id, metadata: metadata ?? {} };
      threads.set(id, thread);
      return thread;
    },
    delete: async (id) => void threads.delete(id),
    search: async function* () {
      for (const thread of threads.values()) yield { thread, total: threads.size };
    },
  },
});
serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" }, serving);

/** LangGraph's in-memory server, with its default ten workers. */
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { startServer } from "@langchain/langgraph-api/server";

// It takes a port only: one that the system had free a moment ago.
const port = await new Promise((resolve) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address();
    probe.close(() => resolve(port));
  });
});
await startServer({
  port,
  host: "127.0.0.1",
  nWorkers: 10,
  cwd: fileURLToPath(new URL(".", import.meta.url)),
  graphs: { agent: "./agent.mjs:graph" },
});
process.send?.({ port });

/** LangGraph's in-memory server, with its default ten workers. */
import { rmSync } from "node:fs";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { startServer } from "@langchain/langgraph-api/server";
import { serving } from "../support/serve.mjs";

// It takes a port only: one that the system had free a moment ago.
const port = await new Promise((resolve) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address();
    probe.close(() => resolve(port));
  });
});
// It keeps its threads in a file here: what another run left is not to be loaded.
const cwd = fileURLToPath(new URL(".", import.meta.url));
rmSync(`${cwd}.langgraph_api`, { recursive: true, force: true });
await startServer({
  port,
  host: "127.0.0.1",
  nWorkers: 10,
  cwd,
  graphs: { agent: "./agent.mjs:graph" },
});
serving({ port });

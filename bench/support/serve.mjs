/** The server's side of what bench/support/servers.mjs asks over IPC. */
import { heard, setAnswer } from "./answer.mjs";

/** Tells the bench where the server listens, then answers what it asks. */
export function serving({ port }) {
  if (process.send === undefined) {
    process.stdout.write(`http://127.0.0.1:${port}\n`);
    return;
  }
  // The bench is gone: nobody else ends this process.
  process.once("disconnect", () => process.exit());
  process.on("message", async ({ answer, ask }) => {
    if (answer !== undefined) setAnswer(answer);
    if (ask === "cpu") {
      const { user, system } = process.cpuUsage();
      process.send({ cpu: (user + system) / 1000, heard: heard() });
    } else if (ask === "memory") {
      for (let round = 0; round < 3; round += 1) {
        globalThis.gc();
        await new Promise((resolve) => setImmediate(resolve));
      }
      const { heapUsed, external, rss } = process.memoryUsage();
      process.send({ heap: heapUsed + external, rss });
    } else process.send({ done: true });
  });
  process.send({ port });
}

/** Listens on a port that the system chooses. */
export function listen(app) {
  const server = app.listen(0, "127.0.0.1", () => serving(server.address()));
}

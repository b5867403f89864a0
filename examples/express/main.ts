import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createApp } from "./app.js";
import { createAssistant } from "./assistant.js";
import { Models } from "./models.js";

/** How long answers under way may take when the server is told to stop. */
const DRAIN_MS = 10_000;

const port = portFromEnv();
// Only this machine may reach it, as anybody may sign in. Elsewhere: HOST=0.0.0.0, behind a login of your own.
const host = process.env["HOST"] ?? "127.0.0.1";

const models = await Models.open();
const chat = await createAssistant(models);
// Clients are told a code and fixed text; here is the whole of it.
chat.on("error", ({ error }) => {
  console.error(error);
});
const server = await listen(port);
introduce();

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void stop());

function portFromEnv(): number {
  const text = process.env["PORT"] ?? "3000";
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text);
  console.error(`Expected PORT to be a whole number from 0 to 65535, got "${text}"`);
  process.exit(1);
}

/** Listens on a port, or on a free one if it is taken. */
async function listen(wanted: number): Promise<Server> {
  const candidate = createServer(createApp(chat, models.offered));
  try {
    await once(candidate.listen(wanted, host), "listening");
    return candidate;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE" || wanted === 0) throw error;
    console.log(`Port ${String(wanted)} is taken, so a free one is used.`);
    return listen(0);
  }
}

function introduce(): void {
  // A TCP server that listens has one.
  const address = server.address() as AddressInfo;
  const names = models.offered.map(({ provider, model }) => `${provider}/${model}`).join(", ");
  console.log(
    models.areMocks
      ? "Models: a local mock. Set OPENAI_API_KEY, DEEPSEEK_API_KEY or ANTHROPIC_API_KEY for a real one."
      : `Models: ${names} (REAL, by the keys in the environment)`,
  );
  const shown = host === "127.0.0.1" || host === "0.0.0.0" ? "localhost" : host;
  console.log(`Open http://${shown}:${String(address.port)}  (Ctrl+C stops it)`);
}

async function stop(): Promise<never> {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
  console.log("Stopping: answers under way may end first. Again to stop at once.");
  const closed = once(server, "close");
  server.close();
  await chat.close({ drainMs: DRAIN_MS });
  // The last pieces of the last answers are still on their way.
  await Promise.race([closed, sleep(1_000)]);
  server.closeAllConnections();
  await models.close();
  process.exit(0);
}

// One process of the cluster. It knows the engine and the model; of the other processes it knows nothing.
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { ChatService, type Store } from "agent-sessions";
import { toExpress } from "agent-sessions/express";
import { createHttpHandler } from "agent-sessions/http";
import { postgresStore } from "agent-sessions/postgres";
import { redisStore } from "agent-sessions/redis";
import { Redis } from "ioredis";
import { tool } from "langchain";
import pg from "pg";
import { z } from "zod";

/** How long a process may be silent before others take its runs over. Short, so that the demo is. */
const LEASE_MS = 3_000;
/** How long runs may go on when the process is told to stop; what is not at a step's end by then starts it again. */
const DRAIN_MS = 5_000;

const findShip = tool(({ number }) => `Ship ${number} is at anchor, with a crew of ${number}.`, {
  name: "find_ship",
  description: "Where a ship is.",
  schema: z.object({ number: z.string() }),
});

interface Opened {
  readonly store: Store;
  readonly close: () => Promise<void>;
}

/** The engine that the address names. The host opens its client, and closes it after the store, which uses it. */
function openStore(address: string): Opened {
  if (address.startsWith("redis:")) {
    const client = new Redis(address);
    // Without a listener, ioredis prints each failed connection.
    client.on("error", () => undefined);
    const store = redisStore(client);
    return {
      store,
      close: async () => {
        await store.close();
        await client.quit();
      },
    };
  }
  const pool = new pg.Pool({ connectionString: address, max: 10 });
  const store = postgresStore(pool);
  return {
    store,
    close: async () => {
      await store.close();
      await pool.end();
    },
  };
}

const { store, close } = openStore(process.env["ENGINE_URL"] ?? "");
const chat = await ChatService.create({
  store,
  provider: "openai",
  model: "gpt-4.1-mini",
  tools: [findShip],
  leaseMs: LEASE_MS,
});
chat.on("error", ({ error }) => {
  console.error(`${process.env["APP_NAME"] ?? "app"}: ${error.code} ${error.message}`);
});

const handler = createHttpHandler(chat, {
  // Stands for your own login.
  authenticate: (request) => {
    const userId = /(?:^|;\s*)demo-user=([\w-]{1,40})/.exec(request.headers.get("cookie") ?? "")?.[1];
    return userId === undefined ? null : { userId };
  },
});
const listener = toExpress(handler);
const server = createServer((request, response) => {
  response.setHeader("x-served-by", process.env["APP_NAME"] ?? "");
  void listener(request, response);
});
await once(server.listen(0, "127.0.0.1"), "listening");
// A TCP server that listens has an address, and a child with a channel can send.
process.send?.({ port: (server.address() as AddressInfo).port });

// The order for a rolling deploy: take nothing more, hand runs over at the end of their step, then let readers go.
process.once("SIGTERM", () => void stop());

async function stop(): Promise<never> {
  await chat.close({ drainMs: DRAIN_MS });
  server.close();
  server.closeAllConnections();
  await close();
  process.exit(0);
}

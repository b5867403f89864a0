/* How a worker, and a test that looks into the engine itself, get their store. The client is the host's. */
import { Redis } from "ioredis";
import pg from "pg";
import { memoryStore, type Store } from "../../../src/index.js";
import { postgresStore } from "../../../src/store/postgres/index.js";
import { redisEventLog, redisStore } from "../../../src/store/redis/index.js";
import type { WorkerOptions } from "./protocol.js";

export interface OpenedEngine {
  readonly store: Store;
  close(): Promise<void>;
}

export function openEngine(
  options: Pick<WorkerOptions, "engine" | "eventsUrl" | "url" | "space" | "poolSize" | "storeOptions">,
): OpenedEngine {
  const { engine, url, space, storeOptions } = options;
  if (engine === "memory") {
    const store = memoryStore();
    return { store, close: () => store.close() };
  }
  if (engine === "redis") {
    const client = connectRedis(url);
    const store = redisStore(client, { prefix: space, ...storeOptions });
    return {
      store,
      close: async () => {
        await store.close();
        client.disconnect();
      },
    };
  }
  const pool = new pg.Pool({
    connectionString: url,
    max: options.poolSize ?? 10,
    connectionTimeoutMillis: 2_000,
  });
  pool.on("error", () => undefined);
  const store = postgresStore(pool, { schema: space, ...storeOptions });
  const close = async (): Promise<void> => {
    await store.close();
    await pool.end();
  };
  const { eventsUrl } = options;
  if (eventsUrl === undefined) return { store, close };
  const client = connectRedis(eventsUrl);
  const events = redisEventLog(client, { prefix: space });
  return {
    store: { ...store, events },
    close: async () => {
      await events.close();
      client.disconnect();
      await close();
    },
  };
}

function connectRedis(url: string): Redis {
  const client = new Redis(url, { maxRetriesPerRequest: 1, connectTimeout: 2_000 });
  // Each failed connection would be printed; the store reports what it makes of them.
  client.on("error", () => undefined);
  return client;
}

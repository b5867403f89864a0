import { PGlite } from "@electric-sql/pglite";
import { deltaChannelHistoryTests, validate } from "@langchain/langgraph-checkpoint-validation";
import { Redis } from "ioredis";
import { Pool } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { postgresStore, unfencedPostgresCheckpointer } from "../../src/store/postgres/index.js";
import { unfencedRedisCheckpointer } from "../../src/store/redis/index.js";
import {
  describeWithPostgres,
  describeWithRedis,
  startPostgres,
  startRedis,
  type PostgresServer,
  type RedisServer,
} from "../support/engines/index.js";

// The suite expects the runner's functions as globals.
Object.assign(globalThis, { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it });

/** Engines start slowly on a machine that has much else to do. */
const START_MS = 120_000;

/** A saver per test, each in a schema or under a prefix of its own. */
let places = 0;
const place = (): string => `validation_${String(++places)}`;

describe("unfencedPostgresCheckpointer over PGlite", () => {
  let database: PGlite | undefined;
  const initializer = {
    checkpointerName: "unfencedPostgresCheckpointer(all, PGlite)",
    beforeAllTimeout: START_MS,
    beforeAll: async () => {
      database = await PGlite.create();
    },
    afterAll: async () => {
      await database?.close();
    },
    createCheckpointer: async () => {
      if (database === undefined) throw new Error("the database is opened before all tests");
      const schema = place();
      const store = postgresStore(database, { schema });
      await store.init();
      await store.close();
      return unfencedPostgresCheckpointer(database, { schema, history: "all" });
    },
  };
  validate(initializer);
  deltaChannelHistoryTests(initializer);
});

describeWithPostgres("unfencedPostgresCheckpointer", () => {
  let server: PostgresServer | undefined;
  let pool: Pool | undefined;
  const initializer = {
    checkpointerName: "unfencedPostgresCheckpointer(all)",
    beforeAllTimeout: START_MS,
    beforeAll: async () => {
      server = await startPostgres();
      pool = new Pool({ connectionString: server.url });
      pool.on("error", () => undefined);
    },
    afterAll: async () => {
      await pool?.end();
      await server?.stop();
    },
    createCheckpointer: async () => {
      if (pool === undefined) throw new Error("the pool is made before all tests");
      const schema = place();
      const store = postgresStore(pool, { schema, listen: false });
      await store.init();
      await store.close();
      return unfencedPostgresCheckpointer(pool, { schema, history: "all" });
    },
  };
  validate(initializer);
  deltaChannelHistoryTests(initializer);
});

describeWithRedis("unfencedRedisCheckpointer", () => {
  let server: RedisServer | undefined;
  let client: Redis | undefined;
  const initializer = {
    checkpointerName: "unfencedRedisCheckpointer(all)",
    beforeAllTimeout: START_MS,
    beforeAll: async () => {
      server = await startRedis();
      client = new Redis(server.url);
      client.on("error", () => undefined);
    },
    afterAll: async () => {
      client?.disconnect();
      await server?.stop();
    },
    createCheckpointer: () => {
      if (client === undefined) throw new Error("the client is made before all tests");
      return unfencedRedisCheckpointer(client, { prefix: place(), history: "all" });
    },
  };
  validate(initializer);
  deltaChannelHistoryTests(initializer);
});

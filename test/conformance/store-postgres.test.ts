import { Pool } from "pg";
import { afterAll, beforeAll, it } from "vitest";
import { postgresStore, type PostgresStoreOptions } from "../../src/store/postgres/index.js";
import type { Store } from "../../src/store/store.js";
import { storeConformance } from "../../src/testing/index.js";
import { emptySchema } from "../support/emptied-schema.js";
import { describeWithPostgres, startPostgres, type PostgresServer } from "../support/engines/index.js";

let server: PostgresServer;
/** One for each of two processes. */
let pools: Pool[] = [];

/** What comes another way without listening. Hints of runs do not come then: who waits looks by itself. */
const TOLD = /watcher|listener|told|hears|reaches|announce/;

const variants: Readonly<Record<string, PostgresStoreOptions>> = {
  "postgresStore, listening": {},
  "postgresStore, polling": { listen: false, pollMs: 50 },
};

for (const [name, options] of Object.entries(variants)) {
  const opened = new Map<Store, PostgresStoreOptions>();
  const schema = "conformance";

  function open(pool: Pool | undefined, given: PostgresStoreOptions): Store {
    if (pool === undefined) throw new Error("the pools are made before all tests");
    const store = postgresStore(pool, given);
    opened.set(store, given);
    return store;
  }

  const cases = storeConformance({
    createStore: (limits) => open(pools[0], { ...options, ...limits, schema }),
    openAnother: (store) => open(pools[1], opened.get(store) ?? {}),
    parts: ["runs", "sessions", "checkpointer", "events", "processes"],
    dispose: async (stores) => {
      for (const store of stores) await store.close?.();
      await pools[0]?.query(emptySchema(schema));
    },
  });

  describeWithPostgres(name, () => {
    beforeAll(async () => {
      server = await startPostgres();
      pools = [1, 2].map(() => new Pool({ connectionString: server.url }));
      for (const pool of pools) pool.on("error", () => undefined);
    });

    afterAll(async () => {
      await Promise.all(pools.map((pool) => pool.end()));
      await server.stop();
    });

    for (const { name: rule, skip, run } of cases) {
      if (options.listen === false && !TOLD.test(rule)) continue;
      it.skipIf(skip !== undefined)(rule, run);
    }
  });
}

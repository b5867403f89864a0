import { PGlite } from "@electric-sql/pglite";
import { afterAll, beforeAll, describe, it } from "vitest";
import { postgresStore, type PostgresStoreOptions } from "../../src/store/postgres/index.js";
import type { Store } from "../../src/store/store.js";
import { storeConformance } from "../../src/testing/index.js";
import { emptySchema } from "../support/emptied-schema.js";

let database: PGlite | undefined;
const schema = "conformance";
const opened = new Map<Store, PostgresStoreOptions>();

function open(options: PostgresStoreOptions): Store {
  if (database === undefined) throw new Error("the database is opened before all tests");
  const store = postgresStore(database, options);
  opened.set(store, options);
  return store;
}

const cases = storeConformance({
  createStore: (limits) => open({ ...limits, schema, pollMs: 50 }),
  // Another store of the same process: no other process can open its directory.
  openAnother: (store) => open(opened.get(store) ?? {}),
  parts: ["runs", "sessions", "checkpointer", "events", "processes"],
  dispose: async (stores) => {
    for (const store of stores) await store.close?.();
    await database?.exec(emptySchema(schema));
  },
});

/** Two stores over one PGlite tell each other nothing: there is no other process, and readers look by themselves. */
const TOLD = /is hinted/;

describe("postgresStore over PGlite", () => {
  beforeAll(async () => {
    database = await PGlite.create();
  });

  afterAll(async () => {
    await database?.close();
  });

  for (const { name, skip, run } of cases) if (!TOLD.test(name)) it.skipIf(skip !== undefined)(name, run);
});

import { afterAll, afterEach, beforeAll, it } from "vitest";
import type { RedisStoreOptions } from "../../src/store/redis/index.js";
import type { Store } from "../../src/index.js";
import { storeConformance } from "../../src/testing/index.js";
import { describeWithRedis, startRedis, type RedisServer } from "../support/engines/index.js";
import { freshPrefix, RedisStores } from "../support/redis-stores.js";

let server: RedisServer;
const stores = new RedisStores(() => server.url);
const opened = new WeakMap<Store, RedisStoreOptions>();

function open(options: RedisStoreOptions): Store {
  const store = stores.store(options);
  opened.set(store, options);
  return store;
}

const cases = storeConformance({
  createStore: (limits) => open({ ...limits, prefix: freshPrefix() }),
  openAnother: (store) => open(opened.get(store) ?? {}),
  parts: ["runs", "sessions", "checkpointer", "events", "processes"],
});

describeWithRedis("redisStore", () => {
  beforeAll(async () => {
    server = await startRedis();
  });
  afterEach(() => stores.close());
  afterAll(() => server.stop());

  for (const { name, skip, run } of cases) it.skipIf(skip !== undefined)(name, run);
});

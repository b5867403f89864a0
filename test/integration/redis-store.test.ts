import { Cluster, type RedisOptions } from "ioredis";
import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import { redisStore, type RedisClient, type RedisStoreOptions } from "../../src/store/redis/index.js";
import { describeWithRedis, startRedis, type RedisServer } from "../support/engines/index.js";
import { claimRequest, completion, submission } from "../support/ledger-requests.js";
import { deltas, freshPrefix, RedisStores, startRun } from "../support/redis-stores.js";

let server: RedisServer;
const stores = new RedisStores(() => server.url);
const others: RedisServer[] = [];

/** A server for one test. */
async function another(options: Parameters<typeof startRedis>[0]): Promise<RedisServer> {
  const started = await startRedis(options);
  others.push(started);
  return started;
}

function unavailable(...parts: readonly string[]): unknown {
  const message = expect.stringMatching(new RegExp(parts.join(".*"), "s")) as unknown;
  return expect.objectContaining({ code: "STORE_UNAVAILABLE", retryable: true, message }) as unknown;
}

/** All that can be read of an error. */
function textOf(error: unknown): string {
  const { message, cause, stack } = error as Error;
  return [message, stack, JSON.stringify(error), cause === undefined ? "" : textOf(cause)].join("\n");
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => {
      throw new Error("It did not fail.");
    },
    (error: unknown) => error as Error,
  );
}

const quick = { commandTimeoutMs: 1_000, retryMs: 1_000 };

describeWithRedis("a Redis store", () => {
  beforeAll(async () => {
    server = await startRedis();
  });
  afterEach(async () => {
    await stores.close();
    await Promise.all(others.splice(0).map((other) => other.stop()));
  });
  afterAll(() => server.stop());

  it("has all parts on one engine, and refuses what is no client and options that nothing reads", () => {
    const store = stores.store();
    expect(store.checkpointer.engine).toBe(store.runs.engine);
    const client = stores.client({ lazyConnect: true });
    expect(() => redisStore({} as RedisClient)).toThrow(TypeError);
    expect(() => redisStore(stores.client({ keyPrefix: "app:" }))).toThrow(/keyPrefix/);
    const wrong: [RedisStoreOptions, typeof TypeError | typeof RangeError][] = [
      [{ poll: 1 } as RedisStoreOptions, TypeError],
      [{ prefix: "a{b}" }, TypeError],
      [{ prefix: "" }, TypeError],
      [{ runRetentionMs: 0 }, RangeError],
      [{ sessionTtlMs: 1.5 }, RangeError],
      [{ commandTimeoutMs: Infinity }, RangeError],
      [{ retryMs: "5" as never }, TypeError],
      [{ history: "none" as never }, TypeError],
    ];
    for (const [options, error] of wrong) expect(() => redisStore(client, options)).toThrow(error);
  });

  it("is prepared by any number of processes at once, and by later versions whose data it can work with", async () => {
    const prefix = freshPrefix();
    await Promise.all(Array.from({ length: 10 }, () => stores.store({ prefix }).init()));
    const client = stores.client();
    expect(await client.hgetall(`{${prefix}}:format`)).toEqual({ version: "1", readable: "1" });
    await client.hset(`{${prefix}}:format`, { version: 7, readable: 1 });
    await stores.store({ prefix }).init();
    expect(await client.hget(`{${prefix}}:format`, "version")).toBe("7");
    await client.hset(`{${prefix}}:format`, { version: 7, readable: 2 });
    await expect(stores.store({ prefix }).init()).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("format 7") as unknown,
    });
  });

  it("refuses data that do not say of which format they are, and leaves them as they are", async () => {
    const client = stores.client();
    const damages: Record<string, (key: string) => Promise<unknown>> = {
      "no number": (key) => client.hset(key, { version: "1.x" }),
      "cut off": (key) => client.hset(key, { readable: "" }),
      "no version": (key) => client.hdel(key, "version"),
      "half of it": (key) => client.hdel(key, "readable"),
      "no hash": async (key) => {
        await client.del(key);
        await client.set(key, "1");
      },
    };
    for (const [what, damage] of Object.entries(damages)) {
      const prefix = freshPrefix();
      const key = `{${prefix}}:format`;
      await stores.store({ prefix }).init();
      await damage(key);
      const before = await client.dumpBuffer(key);
      await expect(stores.store({ prefix }).init(), what).rejects.toMatchObject({
        code: "UNSUPPORTED",
        message: expect.stringContaining(key) as unknown,
      });
      expect(await client.dumpBuffer(key)).toEqual(before);
    }
  });

  it("refuses a server that throws keys away when memory runs out, unless told to accept it", async () => {
    const other = await another({ settings: { "maxmemory-policy": "allkeys-lru" } });
    const client = stores.client({}, other.url);
    await expect(stores.store({}, client).init()).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("allkeys-lru") as unknown,
    });
    await stores.store({ allowEviction: true }, client).init();
  });

  it("says that the login was refused, without the password", async () => {
    const other = await another({ password: "right-secret" });
    for (const [password, code] of [
      ["wrong-secret", "WRONGPASS"],
      [undefined, "NOAUTH"],
    ] as const) {
      const client = stores.client({ password }, `redis://127.0.0.1:${String(other.port)}`);
      const error = await failure(stores.store(quick, client).init());
      expect(error).toEqual(unavailable(code, "(password|login)"));
      expect(textOf(error)).not.toContain("secret");
    }
  });

  it("says that it is connected to a replica", async () => {
    const replica = await another({ settings: { replicaof: `127.0.0.1 ${String(server.port)}` } });
    await stores.client().config("SET", "repl-diskless-sync-delay", "0");
    const client = stores.client({}, replica.url);
    await vi.waitFor(
      async () => {
        expect(await client.info("replication")).toContain("master_link_status:up");
      },
      { timeout: 30_000 },
    );
    const error = await failure(stores.store({ ...quick, prefix: freshPrefix() }, client).init());
    expect(error).toEqual(unavailable("READONLY", "primary"));
  });

  it("ends in bounded time while the server is down, whatever the client waits for, and works when it is back", async () => {
    const other = await another({ persistence: "always" });
    const prefix = freshPrefix();
    const clients = [
      stores.client({ maxRetriesPerRequest: null }, other.url),
      stores.client({ enableOfflineQueue: false }, other.url),
      stores.client({ lazyConnect: true }, other.url),
    ];
    const all = clients.map((client) => stores.store({ prefix, ...quick }, client));
    const [first] = all;
    if (first === undefined) throw new Error("There is one.");
    await Promise.all(all.map((store) => store.init()));
    const lease = await startRun(first.runs);
    await first.events.append(lease, "r", deltas(1, 2));
    await other.kill();
    for (const store of all) {
      const started = performance.now();
      await expect(store.runs.get(lease.threadId, "r")).rejects.toEqual(unavailable("can't be reached"));
      await expect(store.runs.claim(claimRequest())).rejects.toEqual(unavailable("can't be reached"));
      // It gives up after `quick` times; without them it would wait for ever.
      expect(performance.now() - started).toBeLessThan(15_000);
    }
    await other.restart();
    for (const store of all) {
      await vi.waitFor(
        async () => {
          expect(await store.runs.get(lease.threadId, "r")).toMatchObject({ status: "running" });
        },
        { timeout: 30_000 },
      );
    }
    await first.events.append(lease, "r", deltas(3, 3));
    expect(await first.runs.finish(lease, "r", completion({ lastSeq: 3 }))).toMatchObject({ lastSeq: 3 });
  });

  it("does a step once that is sent again because its connection was lost", async () => {
    const other = await another({ persistence: "always" });
    const client = stores.client({}, other.url);
    const store = stores.store({ retryMs: 10_000 }, client);
    const lease = await startRun(store.runs);
    const steps = (async () => {
      for (let n = 1; n <= 200; n++) await store.events.append(lease, "r", deltas(n, n));
    })();
    await store.events.read(lease.threadId, "r", { after: 0, limit: 1 });
    await other.kill();
    await other.restart();
    await steps;
    const { events, last } = await store.events.read(lease.threadId, "r", { after: 0, limit: 1_000 });
    expect(events.map(({ seq }) => seq)).toEqual(deltas(1, 200).map(({ seq }) => seq));
    expect(last).toBe(200);
  });

  it("leaves no claims behind for a server that hangs", async () => {
    const other = await another({});
    const client = stores.client({}, other.url);
    const prefix = freshPrefix();
    const store = stores.store({ prefix, commandTimeoutMs: 100, retryMs: 0 }, client);
    const patient = stores.store({ prefix }, stores.client({}, other.url));
    for (const sessionId of ["a", "b", "c", "d"]) await patient.runs.submit(submission({ sessionId }));
    await other.pause();
    for (let n = 0; n < 4; n++) {
      await expect(store.runs.claim(claimRequest())).rejects.toEqual(unavailable("no reply within 100 ms"));
    }
    await other.resume();
    await vi.waitFor(async () => {
      expect(await store.sessions.count()).toBe(4);
    });
    // The first was sent before anybody knew.
    const claim = () => patient.runs.claim(claimRequest());
    expect([await claim(), await claim(), await claim()]).not.toContain(undefined);
  });

  it("refuses a stale owner after Redis came back empty", async () => {
    const other = await another({});
    const client = stores.client({}, other.url);
    const store = stores.store({}, client);
    const lease = await startRun(store.runs);
    await store.events.append(lease, "r", deltas(1, 1));
    await other.restartEmpty();
    const lost = expect.objectContaining({ code: "LEASE_LOST" }) as unknown;
    await expect(store.events.append(lease, "r", deltas(2, 2))).rejects.toEqual(lost);
    await expect(store.runs.finish(lease, "r", completion())).rejects.toEqual(lost);
    expect(await store.runs.renew([lease], 1_000)).toEqual([{ lease, held: false }]);
    expect(await store.runs.get(lease.threadId, "r")).toBeUndefined();
  });

  it("says that memory has run out, and loses nothing of what was there", async () => {
    const other = await another({ settings: { maxmemory: "4mb", "maxmemory-policy": "noeviction" } });
    const client = stores.client({}, other.url);
    const store = stores.store(quick, client);
    await store.init();
    const lease = await startRun(store.runs);
    let last = 0;
    const error = await failure(
      (async () => {
        for (;;) {
          await store.events.append(lease, "r", deltas(last + 1, last + 1, "x".repeat(100_000)));
          last += 1;
        }
      })(),
    );
    expect(error).toEqual(unavailable("OOM", "maxmemory"));
    expect(textOf(error)).not.toContain("xxxx");
    expect(await store.events.read(lease.threadId, "r", { after: last - 1, limit: 5 })).toMatchObject({
      last,
    });
    expect(await store.runs.get(lease.threadId, "r")).toMatchObject({ status: "running" });
  });

  it("notes its format again with the first session after Redis was emptied", async () => {
    const prefix = freshPrefix();
    const store = stores.store({ prefix });
    await store.init();
    const client = stores.client();
    const format = () => client.hgetall(`{${prefix}}:format`);
    const noted = await format();
    expect(noted).toMatchObject({ version: expect.any(String) as unknown });
    await client.del(await client.keys(`{${prefix}}:*`));
    await startRun(store.runs, { sessionId: "s" });
    expect(await format()).toEqual(noted);
  });

  it("drops conversations past sessionTtlMs when it sweeps, whole, and tells of them", async () => {
    const prefix = freshPrefix();
    const store = stores.store({ prefix, sessionTtlMs: 1 });
    const lease = await startRun(store.runs, { sessionId: "idle" });
    await store.events.append(lease, "r", deltas(1, 1));
    await store.runs.finish(lease, "r", completion({ lastSeq: 1 }));
    const busy = await startRun(store.runs, { sessionId: "busy" });
    const dropped: unknown[] = [];
    store.onDrop(({ sessionId }, reason) => dropped.push([sessionId, reason]));
    await vi.waitFor(async () => {
      await store.sweep();
      expect(dropped).toEqual([["idle", "ttl"]]);
    });
    expect(await store.sessions.get(lease.threadId)).toBeUndefined();
    expect(await store.sessions.get(busy.threadId)).toBeDefined();
    const keys = await stores.client().keys(`{${prefix}}:*`);
    expect(keys.filter((key) => key.includes(lease.threadId))).toEqual([]);
  });

  it("works over a client whatever its options for replies, queues and time are", async () => {
    const prefix = freshPrefix();
    const writer = stores.store({ prefix });
    const variants: RedisOptions[] = [
      { replyMapping: "resp3" },
      { protocol: 2, stringNumbers: true },
      { enableAutoPipelining: true, commandTimeout: 500 },
      { autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0, lazyConnect: true },
    ];
    for (const options of variants) {
      const store = stores.store({ prefix }, stores.client(options));
      await store.init();
      const lease = await startRun(writer.runs);
      const heard: unknown[] = [];
      const stops = [store.processes.watch((message) => heard.push(message))];
      const watched = vi.fn();
      stops.push(store.events.watch(lease.threadId, "r", watched));
      await writer.processes.send({ n: 1 });
      await writer.events.append(lease, "r", deltas(1, 3));
      await vi.waitFor(
        () => {
          expect(heard).toEqual([{ n: 1 }]);
          expect(watched).toHaveBeenCalled();
        },
        { timeout: 30_000 },
      );
      const page = await store.events.read(lease.threadId, "r", { after: 1, limit: 9 });
      expect(page).toEqual({ events: deltas(2, 3), last: 3, trimmed: false });
      expect(await store.runs.get(lease.threadId, "r")).toMatchObject({ status: "running", attempt: 1 });
      expect(await store.runs.renew([lease], 60_000)).toEqual([{ lease, held: true }]);
      await store.processes.beat("p", { n: 1 }, 60_000);
      expect(await store.processes.list()).toMatchObject([{ processId: "p", info: { n: 1 } }]);
      expect(await store.sessions.list({ limit: 1 })).toMatchObject({
        sessions: [{ threadId: lease.threadId }],
      });
      for (const stop of stops) stop();
    }
  });

  it("works on a cluster", async () => {
    const node = await another({
      settings: { "cluster-enabled": "yes", "cluster-announce-ip": "127.0.0.1" },
    });
    const admin = stores.client({}, node.url);
    await admin.cluster("ADDSLOTSRANGE", 0, 16383);
    await vi.waitFor(
      async () => {
        expect(await admin.cluster("INFO")).toContain("cluster_state:ok");
      },
      { timeout: 30_000 },
    );
    const clients = [1, 2].map(() => new Cluster([{ host: "127.0.0.1", port: node.port }]));
    const prefix = freshPrefix();
    const [a, b] = clients.map((client) => stores.store({ prefix }, client));
    if (a === undefined || b === undefined) throw new Error("There are two.");
    await a.init();
    const heard: unknown[] = [];
    const stops = [b.processes.watch((message) => heard.push(message))];
    const lease = await startRun(a.runs);
    const listener = vi.fn();
    stops.push(b.events.watch(lease.threadId, "r", listener));
    await a.processes.send({ n: 1 });
    await a.events.append(lease, "r", deltas(1, 3));
    await vi.waitFor(() => {
      expect(heard).toEqual([{ n: 1 }]);
      expect(listener).toHaveBeenCalled();
    });
    expect(await b.events.read(lease.threadId, "r", { after: 0, limit: 9 })).toMatchObject({ last: 3 });
    expect(await a.runs.finish(lease, "r", completion({ lastSeq: 3 }))).toMatchObject({
      status: "completed",
    });
    for (const stop of stops) stop();
    await Promise.all([a.close(), b.close()]);
    for (const client of clients) client.disconnect();
  });
});

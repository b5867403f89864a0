import { Pool, type PoolConfig } from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { isAgentError } from "../../src/errors.js";
import {
  postgresStore,
  postgresStoreDefaults,
  type PostgresStore,
  type PostgresStoreOptions,
} from "../../src/store/postgres/index.js";
import type { Claim } from "../../src/store/store.js";
import { describeWithPostgres, startPostgres, type PostgresServer } from "../support/engines/index.js";
import { completion, submission } from "../support/ledger-requests.js";
import { deltas } from "../support/postgres-parts.js";

const unavailable = (message: RegExp) =>
  expect.objectContaining({
    code: "STORE_UNAVAILABLE",
    message: expect.stringMatching(message) as unknown,
  }) as unknown;

async function started(store: PostgresStore, sessionId = "a"): Promise<Claim> {
  await store.runs.submit(submission({ sessionId, runId: "r" }));
  const claim = await store.runs.claim({ processId: "p", leaseMs: 10_000, maxAttempts: 3 });
  if (claim === undefined) throw new Error("Nothing to claim");
  return claim;
}

describe("postgresStore's options", () => {
  const pool = new Pool();
  afterAll(() => pool.end());

  it.each([
    ["a string", "postgres://u:secret@h/d"],
    ["nothing", undefined],
    [
      "a connection instead of a pool",
      { query: vi.fn(), connect: vi.fn(), on: vi.fn(), end: vi.fn(), release: vi.fn() },
    ],
  ])("refuse %s as client, without showing it", (_, client) => {
    const make = () => postgresStore(client as never);
    expect(make).toThrow(TypeError);
    expect(make).not.toThrow(/secret/);
  });

  it.each<[PostgresStoreOptions, RegExp]>([
    [{ shcema: "x" } as PostgresStoreOptions, /Unknown option `shcema`/],
    [{ schema: "" }, /`schema`/],
    [{ schema: "x".repeat(64) }, /`schema`/],
    [{ pollMs: 0 }, /`pollMs`/],
    [{ retryMs: -1 }, /`retryMs`/],
    [{ statementTimeoutMs: 1.5 }, /`statementTimeoutMs`/],
    [{ maxEventsPerRun: 0 }, /`maxEventsPerRun`/],
    [{ sessionTtlMs: 0 }, /`sessionTtlMs`/],
    [{ history: "some" as never }, /`history`/],
    [{ listen: 1 as never }, /`listen`/],
  ])("refuse %o", (options, message) => {
    expect(() => postgresStore(pool, options)).toThrow(message);
  });

  it("refuse to listen where there is no connection to spare", () => {
    expect(() => postgresStore(new Pool({ max: 1 }), { listen: true })).toThrow(/`listen`/);
    expect(() => postgresStore(new Pool({ max: 1 }), { listen: false })).not.toThrow();
  });

  it("have defaults that nobody can change", () => {
    expect(Object.isFrozen(postgresStoreDefaults)).toBe(true);
  });
});

describeWithPostgres("postgresStore on a server", () => {
  let server: PostgresServer;
  let url: string;
  const opened: { store: PostgresStore; pool: Pool }[] = [];
  const open = (config: PoolConfig = {}, options: PostgresStoreOptions = {}): PostgresStore => {
    const pool = new Pool({ connectionString: url, ...config });
    const store = postgresStore(pool, options);
    opened.push({ store, pool });
    return store;
  };

  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.stop());
  afterEach(async () => {
    for (const { store, pool } of opened.splice(0)) {
      await store.close();
      await pool.end();
    }
  });
  const fresh = async (): Promise<void> => {
    url = await server.createDatabase();
  };

  it("has all parts of one engine, and one engine per store", async () => {
    await fresh();
    const store = open();
    await store.init();
    const claim = await started(store);
    await store.events.append(claim.lease, "r", deltas(1, 2));
    expect(store.runs.engine).toBeDefined();
    expect(store.checkpointer.engine).toBe(store.runs.engine);
    expect(open().runs.engine).not.toBe(store.runs.engine);
  });

  it("works with a pool of one, many steps at once", async () => {
    await fresh();
    const store = open({ max: 1 });
    await store.init();
    const stop = store.runs.watch(() => undefined);
    await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        await store.runs.submit(submission({ sessionId: `s${String(i)}`, runId: "r" }));
        await store.processes.send({ i });
        await store.sweep();
      }),
    );
    stop();
  });

  it("can be initialised by many processes at once", async () => {
    await fresh();
    await Promise.all(Array.from({ length: 8 }, () => open({ max: 2 }).init()));
  });

  it("leaves no connection, timer or listener of its own behind", async () => {
    await fresh();
    const pool = new Pool({ connectionString: url });
    const store = postgresStore(pool, { pollMs: 10 });
    await store.init();
    const stops = [store.runs.watch(() => undefined), store.processes.watch(() => undefined)];
    const count = async () =>
      (await server.query("SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")).length;
    await vi.waitFor(async () => {
      expect(await count()).toBe(1);
    });
    await store.close();
    await store.close();
    await vi.waitFor(async () => {
      expect(await count()).toBe(0);
    });
    // Nothing of the pool is checked out, so that it ends.
    expect(pool.totalCount).toBe(pool.idleCount);
    await expect(pool.query("SELECT 1")).resolves.toBeDefined();
    await expect(store.runs.current("s.a")).rejects.toMatchObject({ code: "CLOSED" });
    for (const stop of stops) stop();
    await pool.end();
  });

  it("does not take the process down when an idle connection is lost", async () => {
    await fresh();
    const store = open({}, { listen: false });
    await store.init();
    await server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'test_%'");
    expect(await store.runs.current("s.a")).toBeUndefined();
  });

  describe("says what to do, and no secret, when", () => {
    const refused = async (config: PoolConfig, message: RegExp): Promise<void> => {
      const store = open(config, { retryMs: 100 });
      const error: unknown = await store.init().catch((caught: unknown) => caught);
      expect(error).toEqual(unavailable(message));
      expect(isAgentError(error) && error.message).not.toMatch(/secret|postgres:\/\//);
    };

    it("the password is wrong", async () => {
      await fresh();
      await server.query("CREATE ROLE guest LOGIN PASSWORD 'right'").catch(() => undefined);
      const login = url.replace("postgres@", "guest:secret@");
      await refused({ connectionString: login }, /refused the login/);
      await refused({ connectionString: url.replace("postgres@", "guest@") }, /refused the login/);
    });

    it("there is no such database", async () => {
      await refused({ connectionString: server.url.replace(/postgres$/, "none") }, /does not exist/);
    });

    it("nobody listens on the port", async () => {
      await refused({ connectionString: "postgres://postgres:secret@127.0.0.1:1/x" }, /can't be reached/);
    });

    it("the user may not create the schema", async () => {
      await fresh();
      await server.query("CREATE ROLE weak LOGIN PASSWORD 'secret'").catch(() => undefined);
      await refused({ connectionString: url.replace("postgres@", "weak:secret@") }, /privilege/);
    });

    it("the database is read-only", async () => {
      await fresh();
      await refused({ options: "-c default_transaction_read_only=on" }, /read-only/);
    });

    it("init() was not called", async () => {
      await fresh();
      await expect(open().runs.current("s.a")).rejects.toEqual(unavailable(/init\(\)/));
    });
  });

  it("gives up on a server that does not answer, and goes on when it does", async () => {
    await fresh();
    const store = open({}, { statementTimeoutMs: 200, retryMs: 300 });
    await store.init();
    await server.pause();
    try {
      await expect(store.runs.current("s.a")).rejects.toEqual(unavailable(/statementTimeoutMs/));
    } finally {
      await server.resume();
    }
    await vi.waitFor(async () => {
      expect(await store.runs.current("s.a")).toBeUndefined();
    });
  });

  it("carries a run of one process on to the next, and its events to both", async () => {
    await fresh();
    const [a, b] = [open(), open({}, { listen: false, pollMs: 20 })];
    await a.init();
    const { lease } = await started(a);
    const seen = vi.fn();
    const stop = b.events.watch(lease.threadId, "r", seen);
    await a.events.append(lease, "r", deltas(1, 3));
    await vi.waitFor(() => {
      expect(seen).toHaveBeenCalled();
    });
    await a.runs.release(lease, "r");
    const next = await b.runs.claim({ processId: "q", leaseMs: 10_000, maxAttempts: 3 });
    await expect(a.events.append(lease, "r", deltas(4, 4))).rejects.toMatchObject({ code: "LEASE_LOST" });
    await b.events.append(next!.lease, "r", deltas(4, 5));
    const page = await a.events.read(lease.threadId, "r", { after: 0, limit: 10 });
    expect(page.events).toEqual(deltas(1, 5));
    stop();
  });

  it("forgets the events of runs that it forgets", async () => {
    await fresh();
    const store = open({}, { runRetentionMs: 1 });
    await store.init();
    const { lease } = await started(store);
    await store.events.append(lease, "r", deltas(1, 3));
    await store.runs.finish(lease, "r", completion({ lastSeq: 3 }));
    await vi.waitFor(async () => {
      await store.sweep();
      expect(await store.events.read(lease.threadId, "r", { after: 0, limit: 9 })).toMatchObject({ last: 0 });
    });
  });

  it("drops idle conversations past sessionTtlMs whole, and tells of them", async () => {
    await fresh();
    const store = open({}, { sessionTtlMs: 1 });
    await store.init();
    const { lease } = await started(store);
    await store.runs.finish(lease, "r", completion({ lastSeq: 0 }));
    const dropped = vi.fn();
    store.onDrop(() => {
      throw new Error("not the store's matter");
    });
    store.onDrop(dropped);
    await vi.waitFor(async () => {
      await store.sweep();
      expect(await store.sessions.count()).toBe(0);
    });
    expect(dropped).toHaveBeenCalledTimes(1);
    expect(dropped).toHaveBeenCalledWith(expect.objectContaining({ sessionId: "a" }), "ttl");
  });
});

import { EventEmitter } from "node:events";
import { describe, expect, it, vi } from "vitest";
import { Database } from "../../src/store/postgres/client.js";
import { judge } from "../../src/store/postgres/failures.js";
import { Hints } from "../../src/store/postgres/hints.js";
import { ManualClock } from "../../src/testing/manual-clock.js";

/** A pool whose statements are answered by `answer`, and whose notifications are delivered unless `isDeaf`. */
class FakePool {
  readonly statements: string[] = [];
  readonly payloads: string[] = [];
  readonly connections = new Set<EventEmitter>();
  isDeaf = false;
  answer: (sql: string) => Promise<{ rows: object[] }> = () => Promise.resolve({ rows: [] });

  query = vi.fn();
  end = vi.fn();
  on = vi.fn();

  connect() {
    const connection = new EventEmitter();
    this.connections.add(connection);
    return Promise.resolve(
      Object.assign(connection, {
        query: (sql: string, params: unknown[] = []) => {
          this.statements.push(sql);
          if (sql.includes("pg_notify")) {
            this.payloads.push(String(params[1]));
            if (!this.isDeaf) this.notify(String(params[1]));
          }
          return this.answer(sql);
        },
        release: () => {
          this.connections.delete(connection);
        },
      }),
    );
  }

  notify(payload: string): void {
    for (const connection of this.connections) connection.emit("notification", { payload });
  }

  count(text: string): number {
    return this.statements.filter((sql) => sql.includes(text)).length;
  }
}

function open(pool = new FakePool()) {
  const clock = new ManualClock();
  const database = new Database(pool, { clock, schema: "s", retryMs: 0, statementTimeoutMs: 1_000 });
  return { pool, clock, database, hints: new Hints(database, { listen: true, pollMs: 100 }) };
}

describe("hints", () => {
  it("poll every pollMs, and twenty times less often while a connection hears", async () => {
    const { pool, clock, hints } = open();
    pool.isDeaf = true;
    const onPoll = vi.fn();
    const stop = hints.watch("t", { onHint: () => undefined, onPoll });
    await clock.advance(1_000);
    expect(onPoll).toHaveBeenCalledTimes(10);
    expect(hints.hearing).toBe(false);
    pool.isDeaf = false;
    await clock.advance(10_000);
    expect(hints.hearing).toBe(true);
    onPoll.mockClear();
    await clock.advance(20_000);
    expect(onPoll).toHaveBeenCalledTimes(10);
    stop();
    await hints.close();
    expect(clock.pending).toBe(0);
  });

  it("find out a connection that takes LISTEN and hears nothing, and poll again", async () => {
    const { pool, clock, hints } = open();
    const onPoll = vi.fn();
    const stop = hints.watch("t", { onHint: () => undefined, onPoll });
    await clock.advance(1_000);
    expect(hints.hearing).toBe(true);
    pool.isDeaf = true;
    await clock.advance(4_000);
    expect(hints.hearing).toBe(false);
    onPoll.mockClear();
    await clock.advance(1_000);
    expect(onPoll).toHaveBeenCalledTimes(10);
    // Another connection each time, after a pause that grows.
    await clock.advance(600_000);
    expect(pool.count("LISTEN")).toBeLessThan(25);
    expect(pool.connections.size).toBeLessThanOrEqual(1);
    stop();
    await hints.close();
    expect(pool.connections.size).toBe(0);
  });

  it("let go of a connection that never answers LISTEN, try another, and close in time", async () => {
    const { pool, clock, hints } = open();
    pool.answer = (sql) =>
      sql.startsWith("LISTEN") ? new Promise<never>(() => undefined) : Promise.resolve({ rows: [] });
    const stop = hints.watch("t", { onHint: () => undefined, onPoll: () => undefined });
    await clock.advance(5_000);
    expect(pool.count("LISTEN")).toBeGreaterThan(1);
    stop();
    const closing = hints.close();
    await clock.advance(1_000);
    await closing;
    expect(pool.connections.size).toBe(0);
    expect(clock.pending).toBe(0);
  });

  it("tell of what others announce, and not of what is their own or no hint", async () => {
    const { pool, clock, hints } = open();
    const told: unknown[] = [];
    const stop = hints.watch("t", { onHint: (about) => told.push(about), onPoll: () => undefined });
    await clock.advance(0);
    hints.announce("t", "own");
    for (const payload of ["", "{", "[]", "[1]", '["x","t"]', '["x",["t",1]]', '["x",[]]'])
      pool.notify(payload);
    pool.notify('["x",["t","a","b"],["u","c"],["t"]]');
    await clock.advance(50);
    expect(told).toEqual([["a", "b"], []]);
    stop();
    await hints.close();
  });

  it("go out together, in payloads that PostgreSQL takes", async () => {
    const { pool, clock, hints } = open();
    const id = "\u6c49".repeat(200);
    for (let i = 0; i < 100; i++) hints.announce("t", `${id}.${id}`, `${id}${String(i)}`);
    for (let i = 0; i < 100; i++) hints.announce("t", "same");
    await clock.advance(2_000);
    const entries = pool.payloads.flatMap((payload) => (JSON.parse(payload) as unknown[]).slice(1));
    expect(entries).toHaveLength(101);
    for (const payload of pool.payloads) expect(Buffer.byteLength(payload)).toBeLessThan(7_999);
    await hints.close();
  });

  it("ask nothing while nobody watches", async () => {
    const { pool, clock, hints } = open();
    hints.watch("t", { onHint: () => undefined, onPoll: () => undefined })();
    await clock.advance(1_000);
    const before = pool.statements.length;
    await clock.advance(60_000);
    expect(pool.statements).toHaveLength(before);
    expect(clock.pending).toBe(0);
    await hints.close();
  });

  it("do not poll a watcher again that has not come to its end", async () => {
    const { clock, pool, hints } = open();
    pool.isDeaf = true;
    const onPoll = vi.fn(() => new Promise<void>(() => undefined));
    const stop = hints.watch("t", { onHint: () => undefined, onPoll });
    await clock.advance(1_000);
    expect(onPoll).toHaveBeenCalledTimes(1);
    stop();
    await hints.close();
  });
});

describe("the client", () => {
  it("gives connections back whole after a refusal, and closes those that fail", async () => {
    const { pool, database } = open();
    const released: unknown[] = [];
    const connect = pool.connect.bind(pool);
    pool.connect = async () =>
      Object.assign(await connect(), { release: (error: unknown) => released.push(error) });
    pool.answer = () => Promise.reject(Object.assign(new Error("lost"), { code: "AS001" }));
    await expect(database.query("x", [], { retry: true })).rejects.toMatchObject({
      code: "LEASE_LOST",
      message: "lost",
    });
    pool.answer = () => Promise.reject(Object.assign(new Error("gone"), { code: "57P01" }));
    await expect(database.query("x", [], { retry: true })).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
    });
    expect(released).toEqual([false, true]);
  });

  it("closes the connection of a statement that takes too long", async () => {
    const { pool, clock, database } = open();
    pool.answer = () => new Promise(() => undefined);
    const done = expect(database.query("x", [], { retry: false })).rejects.toThrow(/statementTimeoutMs/);
    await clock.advance(1_000);
    await done;
    expect(pool.connections.size).toBe(0);
    expect(clock.pending).toBe(0);
  });

  it.each([
    ["25006", true],
    ["57P01", true],
    ["53100", false],
    ["AS003", false],
  ])("a connection that fails with %s is closed: %s", async (code, isClosed) => {
    const { pool, database } = open();
    const release = vi.fn();
    const connect = pool.connect.bind(pool);
    pool.connect = async () => Object.assign(await connect(), { release });
    pool.answer = () => Promise.reject(Object.assign(new Error("x"), { code }));
    await expect(database.query("SELECT 1", [], { retry: false })).rejects.toThrow();
    expect(release).toHaveBeenCalledExactlyOnceWith(isClosed);
  });

  it.each([
    ["28P01", /login/],
    ["3D000", /does not exist/],
    ["25006", /primary/],
    ["42501", /privilege/],
    ["53100", /disk/],
    ["53200", /memory/],
    ["42P01", /init\(\)/],
    ["XX000", /XX000/],
  ])("says of %s what an operator can do, and does not try again", (code, message) => {
    const failure = judge(Object.assign(new Error("secret"), { code }), true);
    expect(failure.transient).toBe(false);
    expect(failure.error.code).toBe("STORE_UNAVAILABLE");
    expect(failure.error.message).toMatch(message);
    expect(failure.error.message).not.toContain("secret");
  });

  it.each([
    ["40P01", true],
    ["53300", true],
    ["57P03", true],
    ["57P01", false],
    ["08006", false],
    ["ECONNRESET", false],
  ])("tries again after %s; surely nothing done: %s", (code, untouched) => {
    expect(judge(Object.assign(new Error("x"), { code }), true)).toMatchObject({
      transient: true,
      untouched,
    });
    expect(judge(Object.assign(new Error("x"), { code }), false)).toMatchObject({
      transient: true,
      untouched: true,
    });
  });
});

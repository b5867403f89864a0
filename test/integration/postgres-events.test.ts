import { connect, createServer, type AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { PGlite } from "@electric-sql/pglite";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { migrations } from "../../src/store/postgres/schema/index.js";
import type { Lease } from "../../src/store/store.js";
import { describeWithPostgres, startPostgres, type PostgresServer } from "../support/engines/index.js";
import { PostgresParts, deltas, type PartsOptions } from "../support/postgres-parts.js";

const lost = expect.objectContaining({ code: "LEASE_LOST" }) as unknown;
let nextThread = 0;

async function migrate(parts: PostgresParts): Promise<void> {
  await parts.database.transaction(
    async (run) => {
      await run("CREATE SCHEMA agent_sessions");
      await run("SET LOCAL search_path TO agent_sessions");
      for (const { sql } of migrations) for (const part of sql) await run(part);
    },
    { retry: false },
  );
}

/** A message of PostgreSQL's protocol. */
function message(type: string, body: Buffer): Buffer {
  const head = Buffer.from(`${type}....`);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

async function seqs(parts: PostgresParts, { threadId }: Lease, runId: string, after = 0): Promise<number[]> {
  const page = await parts.events.read(threadId, runId, { after, limit: 1_000 });
  return page.events.map((event) => event.seq);
}

/** What holds on a server and embedded. */
function eventLogFacts(open: (options?: PartsOptions) => PostgresParts): void {
  const thread = (): string => `s.${String(++nextThread)}`;

  it("pages through a run without gap or duplicate while it grows", async () => {
    const parts = open();
    const lease = await parts.grant(thread(), "r");
    const seen: number[] = [];
    for (let n = 1; n <= 30; n++) {
      await parts.events.append(lease, "r", deltas(3 * n - 2, 3 * n));
      const page = await parts.events.read(lease.threadId, "r", { after: seen.length, limit: 2 });
      seen.push(...page.events.map((event) => event.seq));
      expect(page).toMatchObject({ last: 3 * n, trimmed: false });
    }
    seen.push(...(await seqs(parts, lease, "r", seen.length)));
    expect(seen).toEqual(Array.from({ length: 90 }, (_, i) => i + 1));
    expect(await seqs(parts, lease, "r", 90)).toEqual([]);
    expect(await seqs(parts, lease, "r", 500)).toEqual([]);
  });

  it("gives events back as they were, whatever is in them", async () => {
    const parts = open();
    const lease = await parts.grant(thread(), "r\u00e9 ' \" \\ {},");
    const delta = '\0 \u2028 \ud800 é 你好 \'"\\ %s ${1} {"a":1}';
    await parts.events.append(lease, "r\u00e9 ' \" \\ {},", deltas(1, 2, delta));
    const page = await parts.events.read(lease.threadId, "r\u00e9 ' \" \\ {},", { after: 0, limit: 9 });
    expect(page.events).toEqual(deltas(1, 2, delta));
  });

  it("adds all of a batch or, when its numbers do not follow, nothing", async () => {
    const parts = open();
    const lease = await parts.grant(thread(), "r");
    await expect(parts.events.append(lease, "r", deltas(2, 3))).rejects.toEqual(lost);
    await parts.events.append(lease, "r", deltas(1, 2));
    for (const batch of [deltas(2, 3), deltas(4, 5), [...deltas(3, 3), ...deltas(5, 5)], deltas(1, 2, "y")]) {
      await expect(parts.events.append(lease, "r", batch)).rejects.toEqual(lost);
    }
    expect(await seqs(parts, lease, "r")).toEqual([1, 2]);
  });

  it("takes the same batch again for the one that it has", async () => {
    const parts = open();
    const lease = await parts.grant(thread(), "r");
    await parts.events.append(lease, "r", deltas(1, 2));
    await parts.events.append(lease, "r", deltas(1, 2));
    await parts.events.append(lease, "r", deltas(3, 3));
    expect(await seqs(parts, lease, "r")).toEqual([1, 2, 3]);
  });

  it("refuses a lease that another one has followed, and one of another run or thread", async () => {
    const parts = open();
    const stale = await parts.grant(thread(), "r");
    await parts.events.append(stale, "r", deltas(1, 1));
    const fresh = await parts.grant(stale.threadId, "r", 2);
    await expect(parts.events.append(stale, "r", deltas(2, 2))).rejects.toEqual(lost);
    await expect(parts.events.append({ ...fresh, owner: "q" }, "r", deltas(2, 2))).rejects.toEqual(lost);
    await expect(parts.events.append(fresh, "other", deltas(1, 1))).rejects.toEqual(lost);
    await expect(parts.events.append({ ...fresh, threadId: "s.none" }, "r", deltas(2, 2))).rejects.toEqual(
      lost,
    );
    await parts.events.append(fresh, "r", deltas(2, 2));
    expect(await seqs(parts, stale, "r")).toEqual([1, 2]);
  });

  it("refuses one stale writer among many who append at once, in few statements", async () => {
    const parts = open();
    const leases = await Promise.all(Array.from({ length: 50 }, () => parts.grant(thread(), "r")));
    const stale = leases[20] as Lease;
    await parts.grant(stale.threadId, "r", 2);
    const done = await Promise.allSettled(
      leases.map((lease) => parts.events.append(lease, "r", deltas(1, 3))),
    );
    for (const [i, one] of done.entries()) {
      if (leases[i] === stale) expect(one).toMatchObject({ status: "rejected", reason: lost });
      else expect(one.status).toBe("fulfilled");
    }
    expect(parts.calls("append_events")).toBeLessThan(10);
    const pages = await Promise.all(leases.map((lease) => seqs(parts, lease, "r", 1)));
    expect(pages.map((page) => page.length)).toEqual(leases.map((lease) => (lease === stale ? 0 : 2)));
    expect(parts.calls("read_events")).toBeLessThan(10);
  });

  it("keeps the newest maxEventsPerRun of a run and says that older ones are gone", async () => {
    const parts = open({ maxEventsPerRun: 10 });
    const lease = await parts.grant(thread(), "r");
    for (let n = 1; n <= 95; n++) await parts.events.append(lease, "r", deltas(n, n));
    expect(await seqs(parts, lease, "r", 85)).toEqual([86, 87, 88, 89, 90, 91, 92, 93, 94, 95]);
    const at = (after: number) => parts.events.read(lease.threadId, "r", { after, limit: 1 });
    expect(await at(0)).toMatchObject({ trimmed: true, last: 95, events: [{ seq: 86 }] });
    expect((await at(84)).trimmed).toBe(true);
    expect((await at(85)).trimmed).toBe(false);
  });

  it("forgets the events of a thread and of no other", async () => {
    const parts = open();
    const a = await parts.grant(thread(), "r");
    const b = await parts.grant(thread(), "r");
    for (const lease of [a, b]) await parts.events.append(lease, "r", deltas(1, 2));
    await parts.events.delete(a.threadId);
    const none = { events: [], last: 0, trimmed: false };
    expect(await parts.events.read(a.threadId, "r", { after: 0, limit: 9 })).toEqual(none);
    expect(await seqs(parts, b, "r")).toEqual([1, 2]);
  });

  it("answers readers of the process that writes from memory, after the batch is durable", async () => {
    const parts = open({ pollMs: 60_000 });
    const lease = await parts.grant(thread(), "r");
    const woken = vi.fn();
    const stop = parts.events.watch(lease.threadId, "r", woken);
    // Polls when that begins: a batch that it finds before the writer has its answer is read from the engine.
    if (parts.pool !== undefined)
      await vi.waitFor(() => {
        expect(parts.hints.hearing).toBe(true);
      });
    await sleep(20);
    let after = 0;
    for (let n = 0; n < 20; n++) {
      const appending = parts.events.append(lease, "r", deltas(after + 1, after + 5));
      const before = woken.mock.calls.length;
      await appending;
      expect(woken.mock.calls.length).toBeGreaterThan(before);
      expect(await seqs(parts, lease, "r", after)).toHaveLength(5);
      after += 5;
      expect(await seqs(parts, lease, "r", after)).toEqual([]);
    }
    expect(parts.calls("read_events")).toBe(0);
    // That there still is nothing more is not sure: another process may have taken the run over.
    expect(await seqs(parts, lease, "r", after)).toEqual([]);
    expect(parts.calls("read_events")).toBe(1);
    stop();
    expect(parts.events.followed).toBe(0);
    expect(await seqs(parts, lease, "r", 95)).toHaveLength(5);
  });
}

function registryFacts(open: (options?: PartsOptions) => PostgresParts): void {
  it("lists processes until they leave or their time is up", async () => {
    const parts = open();
    const { processes: registry } = parts;
    await registry.beat("a", { runs: 1, text: "\0é" }, 60_000);
    await registry.beat("b", {}, 60_000);
    await registry.beat("c", {}, 1);
    await registry.beat("a", { runs: 2 }, 60_000);
    await vi.waitFor(async () => {
      expect((await registry.list()).map((one) => one.processId)).toEqual(["a", "b"]);
    });
    const [a] = await registry.list();
    expect(a?.info).toEqual({ runs: 2 });
    expect(a?.seenAt).toBeGreaterThan(a?.startedAt ?? Infinity);
    await registry.leave("a");
    await registry.leave("a");
    expect((await registry.list()).map((one) => one.processId)).toEqual(["b"]);
    await registry.leave("b");
  });

  it("delivers each message once, in order, to those who watch when it is sent", async () => {
    const parts = open();
    const { processes: registry } = parts;
    await registry.send({ n: 0 });
    const got: unknown[] = [];
    const stop = registry.watch((message) => got.push(message["n"]));
    for (let n = 1; n <= 5; n++) await registry.send({ n });
    expect(got).toEqual([1, 2, 3, 4, 5]);
    stop();
    await registry.send({ n: 6 });
    expect(got).toHaveLength(5);
  });

  it("keeps a thousand messages at most", async () => {
    const parts = open();
    for (let n = 0; n < 1_050; n += 50) {
      await Promise.all(Array.from({ length: 50 }, (_, i) => parts.processes.send({ n: n + i })));
    }
    const rows = await parts.database.query(
      `SELECT count(*)::int AS n FROM ${parts.database.schema}.messages`,
      [],
      { retry: true },
    );
    expect(rows[0]).toEqual({ n: 1_000 });
  }, 240_000);
}

function recordsFacts(open: (options?: PartsOptions) => PostgresParts): void {
  const change = (threadId: string, base: string | undefined, token: string, extra: object = {}) => ({
    threadId,
    base,
    token,
    lease: undefined,
    puts: [],
    deletes: [],
    ...extra,
  });

  it("applies a change to the version it is based on, whole, and to no other", async () => {
    const { records } = open();
    const threadId = `s.${String(++nextThread)}`;
    expect(await records.load(threadId)).toBeUndefined();
    expect(await records.commit(change(threadId, "v0", "v1"))).toBe(false);
    expect(
      await records.commit(
        change(threadId, undefined, "v1", {
          puts: [
            ["a", "1"],
            ["b", "é'\\\""],
          ],
        }),
      ),
    ).toBe(true);
    expect(await records.commit(change(threadId, undefined, "v2", { puts: [["a", "2"]] }))).toBe(false);
    expect(
      await records.commit(
        change(threadId, "v1", "v2", {
          puts: [
            ["c", ""],
            ["a", "2"],
          ],
          deletes: ["b", "x"],
        }),
      ),
    ).toBe(true);
    expect(await records.load(threadId)).toEqual({
      version: "v2",
      records: new Map([
        ["a", "2"],
        ["c", ""],
      ]),
    });
    expect(await records.load(threadId, "v2")).toBe("unchanged");
    expect(await records.load(threadId, "v1")).toMatchObject({ version: "v2" });
    // Sent again, for the answer was lost.
    expect(await records.commit(change(threadId, "v1", "v2", { puts: [["c", "x"]] }))).toBe(true);
    expect(await records.load(threadId)).toMatchObject({
      records: new Map([
        ["a", "2"],
        ["c", ""],
      ]),
    });
    expect(await records.threads({ after: undefined, limit: 1_000 })).toContain(threadId);
    await records.delete(threadId);
    expect(await records.load(threadId)).toBeUndefined();
    expect(await records.commit(change(threadId, "v2", "v3"))).toBe(false);
    expect(await records.threads({ after: undefined, limit: 1_000 })).not.toContain(threadId);
  });

  it("lets one of racing changes through", async () => {
    const { records } = open();
    const threadId = `s.${String(++nextThread)}`;
    for (const base of [undefined, "won"]) {
      const tokens = base === undefined ? ["won", "won", "won"] : ["a", "b", "c"];
      const applied = await Promise.all(
        tokens.map((token, i) =>
          records.commit(change(threadId, base, token, { puts: [["k", `${token}${String(i)}`]] })),
        ),
      );
      const stored = await records.load(threadId);
      if (base === undefined) expect(applied).toEqual([true, true, true]);
      else expect(applied.filter(Boolean)).toHaveLength(1);
      expect(stored).not.toBe("unchanged");
    }
  });

  it("refuses a stale lease, one of another thread, and changes nothing", async () => {
    const parts = open();
    const stale = await parts.grant(`s.${String(++nextThread)}`, "r");
    const { threadId } = stale;
    expect(
      await parts.records.commit(change(threadId, undefined, "v1", { lease: stale, puts: [["a", "1"]] })),
    ).toBe(true);
    const fresh = await parts.grant(threadId, "r", 2);
    for (const lease of [stale, { ...fresh, threadId: "s.none" }]) {
      await expect(
        parts.records.commit(change(threadId, "v1", "v2", { lease, puts: [["a", "2"]] })),
      ).rejects.toEqual(lost);
    }
    expect(await parts.records.load(threadId, "v1")).toBe("unchanged");
  });
}

describeWithPostgres("the Postgres store's parts, on a server", () => {
  let server: PostgresServer;
  let url: string;
  const opened: PostgresParts[] = [];
  const open = (options: PartsOptions = {}, at = url): PostgresParts => {
    const parts = new PostgresParts(at, options);
    opened.push(parts);
    return parts;
  };

  beforeAll(async () => {
    server = await startPostgres();
    url = await server.createDatabase();
    await migrate(open());
  });
  afterEach(async () => {
    for (const parts of opened.splice(0)) await parts.close();
  });
  afterAll(() => server.stop());

  describe("event log", () => {
    eventLogFacts(open);

    it("lets exactly one of two racing writers have each number", async () => {
      const parts = open();
      const lease = await parts.grant("s.race", "r");
      const writer = async (delta: string): Promise<number> => {
        let written = 0;
        for (let i = 0; i < 30; i++) {
          const { last } = await parts.events.read(lease.threadId, "r", { after: 1e9, limit: 1 });
          await parts.events.append(lease, "r", deltas(last + 1, last + 1, delta)).then(
            () => written++,
            (error: unknown) => {
              expect(error).toEqual(lost);
            },
          );
        }
        return written;
      };
      const written = await Promise.all([writer("a"), writer("b")]);
      expect(await seqs(parts, lease, "r")).toEqual(
        Array.from({ length: written[0] + written[1] }, (_, i) => i + 1),
      );
    });

    for (const [how, options] of [
      ["by hints", {}],
      ["by polling, where nothing listens", { listen: false, pollMs: 20 }],
      ["with a pool of one", { max: 1, listen: false, pollMs: 20 }],
    ] as const) {
      it(`lets another process follow a run ${how}`, async () => {
        const [writer, reader] = [open(options), open(options)];
        const lease = await writer.grant(`s.${String(++nextThread)}`, "r");
        const seen: number[] = [];
        let reading = Promise.resolve();
        const stop = reader.events.watch(lease.threadId, "r", () => {
          reading = reading.then(async () => {
            seen.push(...(await seqs(reader, lease, "r", seen.length)));
          });
        });
        if (!("listen" in options))
          await vi.waitFor(() => {
            expect(reader.hints.hearing).toBe(true);
          });
        for (let n = 0; n < 10; n++) {
          await writer.events.append(lease, "r", deltas(3 * n + 1, 3 * n + 3));
          await sleep(5);
        }
        await vi.waitFor(() => {
          expect(seen).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
        });
        stop();
      });
    }

    it("asks for all followed runs in one statement when it polls, and not at all without readers", async () => {
      const [writer, reader] = [open(), open({ listen: false, pollMs: 20 })];
      const lease = await writer.grant("s.many.0", "r");
      const woken = vi.fn();
      const stops = Array.from({ length: 200 }, (_, i) =>
        reader.events.watch(`s.many.${String(i)}`, "r", woken),
      );
      await writer.events.append(lease, "r", deltas(1, 1));
      await vi.waitFor(() => {
        expect(woken).toHaveBeenCalled();
      });
      const polls = reader.calls("events_after");
      expect(reader.statements).toHaveLength(polls);
      for (const stop of stops) stop();
      await sleep(60);
      const after = reader.statements.length;
      await sleep(60);
      expect(reader.statements).toHaveLength(after);
    });

    it("goes on reading by polls when the listening connection is lost, and listens again", async () => {
      // It listens again after `pollMs`, so that the time in between can be seen.
      const [writer, reader] = [open(), open({ pollMs: 300 })];
      const lease = await writer.grant("s.listen", "r");
      const woken = vi.fn();
      const stop = reader.events.watch(lease.threadId, "r", woken);
      await vi.waitFor(() => {
        expect(reader.hints.hearing).toBe(true);
      });
      await server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
      await vi.waitFor(() => {
        expect(reader.hints.hearing).toBe(false);
      });
      await writer.events.append(lease, "r", deltas(1, 1));
      await vi.waitFor(() => {
        expect(woken).toHaveBeenCalled();
      });
      await vi.waitFor(() => {
        expect(reader.hints.hearing).toBe(true);
      });
      stop();
    });

    it("appends each batch once while its connections are being cut", async () => {
      const parts = open();
      const lease = await parts.grant("s.cut", "r");
      let cutting = true;
      const cutter = (async () => {
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- changed below
        while (cutting) {
          await server.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%append_events%'",
          );
          await sleep(5);
        }
      })();
      for (let n = 1; n <= 150; n++) await parts.events.append(lease, "r", deltas(n, n));
      cutting = false;
      await cutter;
      expect(await seqs(parts, lease, "r")).toEqual(Array.from({ length: 150 }, (_, i) => i + 1));
    });

    it("waits for a server that restarts", async () => {
      const parts = open({ retryMs: 15_000 });
      const lease = await parts.grant("s.restart", "r");
      await parts.events.append(lease, "r", deltas(1, 1));
      const restarting = server.restart();
      const appending = (async () => {
        for (let n = 2; n <= 50; n++) {
          await parts.events.append(lease, "r", deltas(n, n));
          await sleep(5);
        }
      })();
      await Promise.all([restarting, appending]);
      expect(await seqs(parts, lease, "r")).toHaveLength(50);
    });

    // An `error` event of a connection that nobody listens to would end the process, and fails this run.
    it("outlives a server that says in one breath that it is ready and that it shuts down", async () => {
      const real = new URL(url);
      let connections = 0;
      const proxy = createServer((client) => {
        client.on("error", () => undefined);
        if (++connections > 3) {
          client.pipe(connect(Number(real.port), real.hostname)).pipe(client);
          return;
        }
        const fields = "SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0";
        client.once("data", () => {
          client.end(
            Buffer.concat([
              message("R", Buffer.from([0, 0, 0, 0])),
              message("Z", Buffer.from("I")),
              message("E", Buffer.from(fields)),
            ]),
          );
        });
      });
      await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
      try {
        const at = new URL(url);
        at.port = String((proxy.address() as AddressInfo).port);
        const parts = open({ retryMs: 15_000 }, at.href);
        const rows = await parts.database.query("SELECT 1 AS n", [], { retry: true });
        expect(rows).toEqual([{ n: 1 }]);
        expect(connections).toBe(4);
      } finally {
        proxy.close();
      }
    });
  });

  describe("process registry", () => {
    registryFacts(open);

    it("delivers messages to the other processes", async () => {
      const [a, b, c] = [open(), open(), open({ listen: false, pollMs: 20 })];
      const got = { b: [] as unknown[], c: [] as unknown[] };
      // Some that were sent a moment before may come too.
      const to = "all";
      const stops = [
        b.processes.watch((message) => message["to"] === to && got.b.push(message["n"])),
        c.processes.watch((message) => message["to"] === to && got.c.push(message["n"])),
      ];
      await Promise.all(Array.from({ length: 20 }, (_, n) => a.processes.send({ to, n })));
      const all = Array.from({ length: 20 }, (_, n) => n);
      await vi.waitFor(() => {
        expect(got.b.toSorted((x, y) => Number(x) - Number(y))).toEqual(all);
      });
      await vi.waitFor(() => {
        expect(got.c).toEqual(got.b);
      });
      for (const stop of stops) stop();
    });
  });

  describe("conversation records", () => {
    recordsFacts(open);
  });
});

describe("the Postgres store's parts, embedded", () => {
  let pglite: PGlite;
  const opened: PostgresParts[] = [];
  const open = (options: PartsOptions = {}): PostgresParts => {
    const parts = new PostgresParts(pglite, options);
    opened.push(parts);
    return parts;
  };
  afterEach(async () => {
    for (const parts of opened.splice(0)) await parts.close();
  });
  beforeAll(async () => {
    pglite = await PGlite.create();
    await migrate(open());
  });
  afterAll(() => pglite.close());
  describe("event log", () => {
    eventLogFacts(open);
  });
  describe("process registry", () => {
    registryFacts(open);
  });
  describe("conversation records", () => {
    recordsFacts(open);
  });
});

import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import type { EventLog, Lease } from "../../src/index.js";
import { claimRequest, interrupted } from "../support/ledger-requests.js";
import { describeWithRedis, startRedis, type RedisServer } from "../support/engines/index.js";
import { deltas, freshPrefix, RedisStores, startRun } from "../support/redis-stores.js";

const lost = expect.objectContaining({ code: "LEASE_LOST" }) as unknown;

let server: RedisServer;
const stores = new RedisStores(() => server.url);

async function seqs(log: EventLog, { threadId }: Lease, after = 0, runId = "r"): Promise<number[]> {
  const page = await log.read(threadId, runId, { after, limit: 1_000 });
  return page.events.map((event) => event.seq);
}

/** What a run's readers see: pages until there is nothing more, each time they are told to look. */
function follow(log: EventLog, { threadId }: Lease, runId = "r") {
  const seen: number[] = [];
  let looking = Promise.resolve();
  const look = async () => {
    for (;;) {
      const page = await log.read(threadId, runId, { after: seen.length, limit: 7 });
      expect(page.trimmed).toBe(false);
      if (page.events.length === 0) return;
      seen.push(...page.events.map((event) => event.seq));
    }
  };
  const hinted = () => {
    // What fails here is missing in what was seen.
    looking = looking.then(look).catch(() => undefined);
  };
  const stop = log.watch(threadId, runId, hinted);
  hinted();
  return { seen, stop };
}

function upTo(last: number): number[] {
  return Array.from({ length: last }, (_, i) => i + 1);
}

describeWithRedis("the event log of a Redis store", () => {
  beforeAll(async () => {
    server = await startRedis();
  });
  afterEach(() => stores.close());
  afterAll(() => server.stop());

  it("pages through a run without gap or duplicate while it grows", async () => {
    const [writer, reader] = stores.pair();
    const lease = await startRun(writer.runs);
    const seen: number[] = [];
    for (let n = 1; n <= 30; n++) {
      await writer.events.append(lease, "r", deltas(3 * n - 2, 3 * n));
      const page = await reader.events.read(lease.threadId, "r", { after: seen.length, limit: 2 });
      seen.push(...page.events.map((event) => event.seq));
      expect(page).toMatchObject({ last: 3 * n, trimmed: false });
    }
    seen.push(...(await seqs(reader.events, lease, seen.length)));
    expect(seen).toEqual(upTo(90));
    expect(await seqs(reader.events, lease, 90)).toEqual([]);
    expect(await seqs(reader.events, lease, 500)).toEqual([]);
  });

  it("gives events back as they were, whatever is in them and in the run's id", async () => {
    const [writer, reader] = stores.pair();
    const runId = "r:é ' \" \\ {}";
    const lease = await startRun(writer.runs, { runId });
    const events = deltas(1, 2, '\0 \u2028 \ud800 é 你好 😀 \'"\\ %s ${1} {"a":1}');
    await writer.events.append(lease, runId, events);
    const page = await reader.events.read(lease.threadId, runId, { after: 0, limit: 9 });
    expect(page.events).toEqual(events);
  });

  it("adds all of a batch or, when its numbers do not follow, nothing", async () => {
    const store = stores.store();
    const lease = await startRun(store.runs);
    await expect(store.events.append(lease, "r", deltas(2, 3))).rejects.toEqual(lost);
    await store.events.append(lease, "r", deltas(1, 2));
    const wrong = [deltas(2, 3), deltas(4, 5), [...deltas(3, 3), ...deltas(5, 5)], deltas(1, 2, "y")];
    for (const batch of wrong) await expect(store.events.append(lease, "r", batch)).rejects.toEqual(lost);
    expect(await seqs(store.events, lease)).toEqual([1, 2]);
  });

  it("takes the same batch again for the one that it has", async () => {
    const store = stores.store();
    const lease = await startRun(store.runs);
    await store.events.append(lease, "r", deltas(1, 2));
    await store.events.append(lease, "r", deltas(1, 2));
    await store.events.append(lease, "r", deltas(3, 3));
    expect(await seqs(store.events, lease)).toEqual([1, 2, 3]);
  });

  it("refuses a stale owner, another run's lease, another owner, and all once the session is being deleted", async () => {
    const [a, b] = stores.pair();
    const stale = await startRun(a.runs, { leaseMs: 1 });
    await a.events.append(stale, "r", deltas(1, 1));
    const taken = await vi.waitUntil(() => b.runs.claim(claimRequest({ leaseMs: 60_000 })));
    const { lease } = taken;
    expect(lease.threadId).toBe(stale.threadId);
    await expect(a.events.append(stale, "r", deltas(2, 2))).rejects.toEqual(lost);
    await expect(a.events.append(stale, "r", [])).rejects.toEqual(lost);
    await expect(b.events.append(lease, "other", deltas(1, 1))).rejects.toEqual(lost);
    await expect(b.events.append({ ...lease, owner: "me" }, "r", deltas(2, 2))).rejects.toEqual(lost);
    await expect(b.events.append({ ...lease, threadId: "s.x" }, "r", deltas(2, 2))).rejects.toEqual(lost);
    await b.events.append(lease, "r", deltas(2, 2));
    await a.runs.tombstone(lease.threadId);
    await expect(b.events.append(lease, "r", deltas(3, 3))).rejects.toEqual(lost);
    expect(await seqs(a.events, lease)).toEqual([1, 2]);
  });

  it("lets exactly one of many racing batches with the same numbers in", async () => {
    const [a, b] = stores.pair();
    const lease = await startRun(a.runs);
    const tries = upTo(20).map((n) =>
      Promise.resolve((n % 2 === 0 ? a : b).events.append(lease, "r", deltas(1, 2, `by ${String(n)}`))),
    );
    const ends = await Promise.allSettled(tries);
    expect(ends.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(await seqs(a.events, lease)).toEqual([1, 2]);
  });

  it("keeps the newest events of a run and says that older ones are gone", async () => {
    const [writer, reader] = stores.pair({ maxEventsPerRun: 10 });
    const lease = await startRun(writer.runs);
    for (let n = 1; n <= 8; n++) await writer.events.append(lease, "r", deltas(5 * n - 4, 5 * n));
    const page = await reader.events.read(lease.threadId, "r", { after: 0, limit: 3 });
    expect(page).toMatchObject({ last: 40, trimmed: true });
    expect(page.events.map(({ seq }) => seq)).toEqual([31, 32, 33]);
    const rest = await reader.events.read(lease.threadId, "r", { after: 30, limit: 100 });
    expect(rest).toMatchObject({ last: 40, trimmed: false });
    expect(rest.events).toHaveLength(10);
  });

  it("forgets the events of one thread, and no others", async () => {
    const [a, b] = stores.pair();
    const first = await startRun(a.runs);
    const second = await startRun(a.runs);
    for (const lease of [first, second]) await a.events.append(lease, "r", deltas(1, 2));
    await a.events.delete(first.threadId);
    expect(await seqs(a.events, first)).toEqual([]);
    expect(await seqs(b.events, first)).toEqual([]);
    expect(await seqs(b.events, second)).toEqual([1, 2]);
  });

  it("lets no stream expire under its run, which may wait for days", async () => {
    const prefix = freshPrefix();
    const store = stores.store({ prefix, runRetentionMs: 1 });
    const lease = await startRun(store.runs);
    const key = `{${prefix}}:events:${lease.threadId}:r`;
    await store.events.append(lease, "r", deltas(1, 1));
    expect(await stores.client().pttl(key)).toBe(-1);
    await store.runs.finish(lease, "r", { ...interrupted("i"), lastSeq: 2, events: deltas(2, 2) });
    expect(await stores.client().pttl(key)).toBe(-1);
    await store.runs.cancel(lease.threadId);
    await vi.waitFor(async () => {
      await store.sweep();
      expect(await stores.client().exists(key)).toBe(0);
    });
  });

  it("asks Redis nothing for the readers of the process that writes", async () => {
    const store = stores.store();
    const lease = await startRun(store.runs);
    const reader = follow(store.events, lease);
    await store.events.append(lease, "r", deltas(1, 3));
    await vi.waitFor(() => {
      expect(reader.seen).toEqual(upTo(3));
    });
    const monitor = stores.client();
    await monitor.config("RESETSTAT");
    for (let n = 2; n <= 10; n++) await store.events.append(lease, "r", deltas(3 * n - 2, 3 * n));
    await vi.waitFor(() => {
      expect(reader.seen).toEqual(upTo(30));
    });
    const stats = await monitor.info("commandstats");
    expect(stats).toContain("cmdstat_evalsha:calls=9,");
    reader.stop();
  });

  it("follows runs of another process, many at once, over one connection", async () => {
    const [writer, reader] = stores.pair();
    const leases = [];
    for (let i = 0; i < 20; i++) leases.push(await startRun(writer.runs));
    const clients = async () => (await stores.client().client("LIST")) as string;
    const readers = leases.map((lease) => follow(reader.events, lease));
    await Promise.all(
      leases.map(async (lease) => {
        for (let n = 1; n <= 20; n++) await writer.events.append(lease, "r", deltas(5 * n - 4, 5 * n));
      }),
    );
    await vi.waitFor(() => {
      for (const { seen } of readers) expect(seen).toEqual(upTo(100));
    });
    expect((await clients()).match(/cmd=xread/g)).toHaveLength(1);
    for (const { stop } of readers) stop();
  });

  it("tells watchers of another process although nobody has read yet", async () => {
    const [writer, reader] = stores.pair();
    const lease = await startRun(writer.runs);
    const listener = vi.fn();
    const stop = reader.events.watch(lease.threadId, "r", listener);
    await writer.events.append(lease, "r", deltas(1, 1));
    await vi.waitFor(() => {
      expect(listener).toHaveBeenCalled();
    });
    stop();
    const calls = listener.mock.calls.length;
    await writer.events.append(lease, "r", deltas(2, 2));
    const other = follow(reader.events, lease);
    await vi.waitFor(() => {
      expect(other.seen).toEqual([1, 2]);
    });
    expect(listener).toHaveBeenCalledTimes(calls);
    other.stop();
  });

  it("goes on with a run that another process has taken over", async () => {
    const [a, b] = stores.pair();
    const stale = await startRun(a.runs, { leaseMs: 1 });
    const readers = [follow(a.events, stale), follow(b.events, stale)];
    await a.events.append(stale, "r", deltas(1, 3));
    const taken = await vi.waitUntil(() => b.runs.claim(claimRequest({ leaseMs: 60_000 })));
    const { lease } = taken;
    for (let n = 2; n <= 5; n++) await b.events.append(lease, "r", deltas(3 * n - 2, 3 * n));
    await vi.waitFor(
      () => {
        for (const { seen } of readers) expect(seen).toEqual(upTo(15));
      },
      { timeout: 30_000 },
    );
    for (const { stop } of readers) stop();
  });

  it("misses nothing when connections are killed in the middle", async () => {
    const prefix = freshPrefix();
    const [writer, reader] = [stores.store({ prefix }), stores.store({ prefix })];
    const lease = await startRun(writer.runs);
    const followed = follow(reader.events, lease);
    const killer = stores.client();
    for (let n = 1; n <= 60; n++) {
      await writer.events.append(lease, "r", deltas(5 * n - 4, 5 * n));
      if (n % 10 === 0) await killer.call("client", "kill", "skipme", "yes", "type", "normal");
    }
    await vi.waitFor(
      () => {
        expect(followed.seen).toEqual(upTo(300));
      },
      { timeout: 30_000 },
    );
    followed.stop();
  });

  it("leaves no connection when it is closed, and lets the client open", async () => {
    const client = stores.client();
    const prefix = freshPrefix();
    const store = stores.store({ prefix }, client);
    const other = stores.store({ prefix });
    const lease = await startRun(other.runs);
    const { stop } = follow(store.events, lease);
    const unwatch = store.runs.watch(() => undefined);
    const admin = stores.client();
    const connections = async () => ((await admin.client("LIST")) as string).trim().split("\n").length;
    await vi.waitFor(async () => {
      expect(await connections()).toBe(4);
    });
    await store.close();
    await vi.waitFor(async () => {
      expect(await connections()).toBe(3);
    });
    await expect(store.runs.get(lease.threadId, "r")).rejects.toMatchObject({ code: "CLOSED" });
    expect(await client.ping()).toBe("PONG");
    stop();
    unwatch();
  });
});

describeWithRedis("a Redis event log beside another ledger", () => {
  beforeAll(async () => {
    server = await startRedis();
  });
  afterEach(() => stores.close());
  afterAll(() => server.stop());

  const lease = (epoch: number): Lease => ({ threadId: "s.x", epoch, owner: `p:${String(epoch)}` });

  it("takes no event of an older epoch once a newer one has written", async () => {
    const log = stores.log();
    await log.append(lease(1), "r", deltas(1, 2));
    await log.append(lease(2), "r", deltas(3, 3));
    await expect(log.append(lease(1), "r", deltas(4, 4))).rejects.toEqual(lost);
    await expect(log.append(lease(2), "r", deltas(5, 5))).rejects.toEqual(lost);
    await log.append(lease(2), "r", deltas(3, 3));
    await log.append(lease(2), "r", deltas(4, 4));
    expect(await seqs(log, lease(2))).toEqual([1, 2, 3, 4]);
  });

  it("lets a run go on whose events are gone, and tells readers that they are", async () => {
    const prefix = freshPrefix();
    const [log, reader] = [stores.log({ prefix }), stores.log({ prefix })];
    await log.append(lease(1), "r", deltas(1, 2));
    await stores.client().flushall();
    expect(await reader.read("s.x", "r", { after: 0, limit: 9 })).toMatchObject({ last: 0, trimmed: false });
    await log.append(lease(1), "r", deltas(3, 4));
    expect(await reader.read("s.x", "r", { after: 0, limit: 9 })).toMatchObject({ last: 4, trimmed: true });
    expect(await reader.read("s.x", "r", { after: 2, limit: 9 })).toMatchObject({ last: 4, trimmed: false });
  });

  it("forgets all runs of a thread, and lets what nobody deletes go by itself", async () => {
    const prefix = freshPrefix();
    const log = stores.log({ prefix, eventTtlMs: 60_000 });
    for (const runId of ["r1", "r2"]) await log.append(lease(1), runId, deltas(1, 2));
    const client = stores.client();
    for (const key of await client.keys(`{${prefix}}:*`)) {
      expect(await client.pttl(key)).toBeGreaterThan(0);
      expect(await client.pttl(key)).toBeLessThanOrEqual(60_000);
    }
    await log.delete("s.x");
    expect(await client.keys(`{${prefix}}:*`)).toEqual([]);
    expect(await seqs(log, lease(1), 0, "r1")).toEqual([]);
  });
});

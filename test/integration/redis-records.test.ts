import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { systemClock } from "../../src/internal/clock.js";
import { RedisEngine } from "../../src/store/redis/client.js";
import { RedisConversationRecords } from "../../src/store/redis/conversation-records.js";
import type { RecordsCommit } from "../../src/store/conversation/records.js";
import { completion } from "../support/ledger-requests.js";
import { describeWithRedis, startRedis, type RedisServer } from "../support/engines/index.js";
import { freshPrefix, RedisStores, startRun } from "../support/redis-stores.js";

const lost = expect.objectContaining({ code: "LEASE_LOST" }) as unknown;

let server: RedisServer;
const stores = new RedisStores(() => server.url);

function records(prefix = freshPrefix()): RedisConversationRecords {
  const limits = { commandTimeoutMs: 5_000, retryMs: 5_000 };
  const client = stores.client();
  return new RedisConversationRecords(
    new RedisEngine({ client, tag: `{${prefix}}`, clock: systemClock, ...limits }),
  );
}

function change(
  threadId: string,
  changes: Partial<RecordsCommit> & { readonly token: string },
): RecordsCommit {
  return { threadId, base: undefined, lease: undefined, puts: [], deletes: [], ...changes };
}

describeWithRedis("conversation records in Redis", () => {
  beforeAll(async () => {
    server = await startRedis();
  });
  afterEach(() => stores.close());
  afterAll(() => server.stop());

  it("are read as they were written, whatever is in keys and texts", async () => {
    const some = records();
    const puts = [
      ["v", "a record of the name of the version"],
      ["", "no key"],
      [":", "你好 😀 \u2028 '\"\\ \u0001"],
      ["k".repeat(200), "x".repeat(1_000_000)],
      ["empty", ""],
    ] as const;
    expect(await some.load("s.x")).toBeUndefined();
    expect(await some.commit(change("s.x", { token: "t1", puts }))).toBe(true);
    expect(await some.load("s.x")).toEqual({ version: "t1", records: new Map(puts) });
    expect(await some.load("s.x", "t0")).toEqual({ version: "t1", records: new Map(puts) });
    expect(await some.load("s.x", "t1")).toBe("unchanged");
    expect(await some.load("s.y", "t1")).toBeUndefined();
  });

  it("change in one step, and only from the version that the change is based on", async () => {
    const some = records();
    await some.commit(
      change("s.x", {
        token: "t1",
        puts: [
          ["a", "1"],
          ["b", "1"],
        ],
      }),
    );
    const wrong = [undefined, "t0"];
    for (const base of wrong) {
      const refused = change("s.x", { base, token: "t2", puts: [["a", "2"]], deletes: ["b"] });
      expect(await some.commit(refused)).toBe(false);
    }
    expect(await some.commit(change("s.z", { base: "t1", token: "t2", puts: [["a", "2"]] }))).toBe(false);
    const next = change("s.x", {
      base: "t1",
      token: "t2",
      puts: [
        ["a", "2"],
        ["c", "2"],
      ],
      deletes: ["b"],
    });
    expect(await some.commit(next)).toBe(true);
    expect(await some.load("s.x")).toEqual({
      version: "t2",
      records: new Map([
        ["a", "2"],
        ["c", "2"],
      ]),
    });
    expect(await some.load("s.z")).toBeUndefined();
  });

  it("recognise a commit that comes again", async () => {
    const some = records();
    const first = change("s.x", { token: "t1", puts: [["a", "1"]] });
    expect(await some.commit(first)).toBe(true);
    expect(await some.commit(first)).toBe(true);
    await some.commit(change("s.x", { base: "t1", token: "t2", deletes: ["a"] }));
    expect(await some.commit(first)).toBe(false);
    expect(await some.load("s.x")).toEqual({ version: "t2", records: new Map() });
  });

  it("take exactly one of many racing changes", async () => {
    const prefix = freshPrefix();
    const [a, b] = [records(prefix), records(prefix)];
    for (const base of [undefined, "t-3"]) {
      const threadId = base === undefined ? "s.x" : "s.y";
      if (base !== undefined) await a.commit(change(threadId, { token: base }));
      const tries = Array.from({ length: 20 }, (_, i) =>
        (i % 2 === 0 ? a : b).commit(
          change(threadId, { base, token: `t-${String(i)}x`, puts: [["winner", String(i)]] }),
        ),
      );
      const ends = await Promise.all(tries);
      expect(ends.filter(Boolean)).toHaveLength(1);
      const winner = String(ends.indexOf(true));
      const after = { version: `t-${winner}x`, records: new Map([["winner", winner]]) };
      expect(await b.load(threadId)).toEqual(after);
    }
  });

  it("refuse a lease that is stale, of another owner or thread, or of a session that is being deleted", async () => {
    const prefix = freshPrefix();
    const { runs } = stores.store({ prefix });
    const some = records(prefix);
    const lease = await startRun(runs);
    const { threadId } = lease;
    await some.commit(change(threadId, { token: "t1", lease, puts: [["a", "1"]] }));
    const others = [
      { ...lease, epoch: lease.epoch - 1 },
      { ...lease, epoch: lease.epoch + 1 },
      { ...lease, owner: "me" },
    ];
    for (const other of others) {
      const stale = change(threadId, { base: "t1", token: "t2", lease: other });
      await expect(some.commit(stale)).rejects.toEqual(lost);
    }
    await expect(some.commit(change("s.y", { token: "t1", lease }))).rejects.toEqual(lost);
    await runs.tombstone(threadId);
    const late = change(threadId, { base: "t1", token: "t2", lease });
    await expect(some.commit(late)).rejects.toEqual(lost);
    await runs.finish(lease, "r", completion({ outcome: "cancelled" }));
    await expect(some.commit(late)).rejects.toEqual(lost);
    expect(await some.load(threadId)).toMatchObject({ version: "t1" });
  });

  it("are gone when deleted, also for changes that are based on them", async () => {
    const some = records();
    await some.commit(change("s.x", { token: "t1", puts: [["a", "1"]] }));
    await some.delete("s.x");
    await some.delete("s.unknown");
    expect(await some.load("s.x")).toBeUndefined();
    expect(await some.load("s.x", "t1")).toBeUndefined();
    expect(await some.commit(change("s.x", { base: "t1", token: "t2" }))).toBe(false);
    expect(await some.threads({ after: undefined, limit: 10 })).toEqual([]);
  });

  it("list their threads in order, page by page", async () => {
    const some = records();
    const ids = ["s.b", "s.a", "u.é.1", "s.c", "u.1.z"];
    for (const id of ids) await some.commit(change(id, { token: `t-${id}` }));
    expect(await some.threads({ after: undefined, limit: 10 })).toEqual([...ids].sort());
    expect(await some.threads({ after: undefined, limit: 2 })).toEqual(["s.a", "s.b"]);
    expect(await some.threads({ after: "s.b", limit: 2 })).toEqual(["s.c", "u.1.z"]);
    expect(await some.threads({ after: "s.bb", limit: 1 })).toEqual(["s.c"]);
    expect(await some.threads({ after: "u.é.1", limit: 2 })).toEqual([]);
  });
});

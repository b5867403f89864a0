import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { AgentError } from "../../src/errors.js";
import { identify } from "../../src/session.js";
import { CreationOrder } from "../../src/store/memory/creation-order.js";
import { MemorySessionStore } from "../../src/store/memory/session-directory.js";
import type { SessionPage } from "../../src/store/store.js";
import { ManualClock } from "../../src/testing/manual-clock.js";

let clock: ManualClock;
let store: MemorySessionStore;

beforeEach(() => {
  clock = new ManualClock(1000);
  store = new MemorySessionStore({ clock });
});

function save(sessionId: string, userId?: string, config = {}) {
  const session = identify({ sessionId, userId });
  return store.save({ ...session, config }, { threadId: session.threadId, epoch: 1, owner: "p1:1" });
}

async function listAll(limit: number, userId?: string, between?: (page: number) => Promise<void>) {
  const ids: string[] = [];
  let after: string | undefined;
  for (let number = 1; ; number++) {
    const page: SessionPage = await store.list({ limit, after, userId });
    ids.push(...page.sessions.map((session) => session.sessionId));
    if (page.next === undefined) return ids;
    after = page.next;
    await between?.(number);
  }
}

describe("creation order", () => {
  it("keeps no chunk whose items have all gone", () => {
    const order = new CreationOrder<{ created: number }>();
    const items = Array.from({ length: 1000 }, (_, i) => ({ created: i + 1 }));
    for (const item of items) order.push(item);
    for (const item of items.slice(0, 999)) order.remove(item);
    expect(order.isEmpty).toBe(false);
    expect(order.page(Infinity, 10)).toEqual([{ created: 1000 }]);
    order.remove({ created: 1000 });
    expect(order.isEmpty).toBe(false);
    order.remove(items[999]!);
    expect(order.isEmpty).toBe(true);
  });
});

describe("the in-memory session directory", () => {
  it("keeps the time of creation and renews config and lastUsedAt", async () => {
    await save("s", "u", { model: "m1" });
    await clock.advance(500);
    const config = { model: "m2", nested: { a: 1 } };
    await save("s", "u", config);
    config.nested.a = 2;
    expect(await store.get(identify({ sessionId: "s", userId: "u" }).threadId)).toEqual({
      ...identify({ sessionId: "s", userId: "u" }),
      createdAt: 1000,
      lastUsedAt: 1500,
      config: { model: "m2", nested: { a: 1 } },
    });
    expect(await store.count()).toBe(1);
  });

  it("creates one row however many saves race", async () => {
    await Promise.all(Array.from({ length: 20 }, () => save("s")));
    expect(await store.count()).toBe(1);
    expect(await listAll(10)).toEqual(["s"]);
  });

  it("refuses a lease of another thread, and asks the fence before it writes", async () => {
    const session = { ...identify({ sessionId: "s" }), config: {} };
    const elsewhere = { threadId: "s.t", epoch: 1, owner: "p1:1" };
    await expect(store.save(session, elsewhere)).rejects.toMatchObject({ code: "LEASE_LOST" });
    const fenced = new MemorySessionStore({
      clock,
      fence: () => {
        throw new AgentError("LEASE_LOST", "lost");
      },
    });
    const lease = { ...elsewhere, threadId: session.threadId };
    await expect(fenced.save(session, lease)).rejects.toMatchObject({ code: "LEASE_LOST" });
    expect(await fenced.count()).toBe(0);
  });

  it("lists newest first, of all and of one user, and tells users apart from sessions without one", async () => {
    for (const [session, user] of [["1", "a"], ["2"], ["3", "b"], ["4", "a"], ["5", "b"]] as const) {
      await save(session, user);
    }
    expect(await listAll(2)).toEqual(["5", "4", "3", "2", "1"]);
    expect(await listAll(1, "a")).toEqual(["4", "1"]);
    expect(await listAll(5, "b")).toEqual(["5", "3"]);
    expect(await listAll(5, "c")).toEqual([]);
  });

  it("gives no cursor on the last page, full or not", async () => {
    for (const id of ["1", "2", "3", "4"]) await save(id);
    const first = await store.list({ limit: 2 });
    const second = await store.list({ limit: 2, after: first.next });
    expect(second.sessions.map((session) => session.sessionId)).toEqual(["2", "1"]);
    expect(second).not.toHaveProperty("next");
  });

  it("pages on although the row of the cursor has gone and others came and went", async () => {
    for (const id of ["1", "2", "3", "4", "5", "6"]) await save(id);
    const ids = await listAll(2, undefined, async (page) => {
      if (page !== 1) return;
      await store.delete(identify({ sessionId: "5" }).threadId);
      await store.delete(identify({ sessionId: "4" }).threadId);
      await save("7");
    });
    expect(ids).toEqual(["6", "5", "3", "2", "1"]);
  });

  it("gives a row that was deleted and comes back a new place", async () => {
    for (const id of ["1", "2"]) await save(id, "u");
    await store.delete(identify({ sessionId: "1", userId: "u" }).threadId);
    await save("1", "u");
    expect(await listAll(5, "u")).toEqual(["1", "2"]);
  });

  it("refuses cursors of another make and limits under 1", async () => {
    await expect(store.list({ limit: 1, after: "x" })).rejects.toMatchObject({ code: "INVALID_INPUT" });
    await expect(store.list({ limit: 0 })).rejects.toThrow(RangeError);
  });

  it("lists what a plain array would, whatever is saved and deleted", async () => {
    const step = fc.record({
      save: fc.boolean(),
      session: fc.integer({ min: 0, max: 700 }),
      user: fc.constantFrom("a", "b", undefined),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 300, maxLength: 900 }), async (steps) => {
        store = new MemorySessionStore({ clock });
        let model: { key: string; sessionId: string; user: string | undefined }[] = [];
        for (const { save: saves, session, user } of steps) {
          const sessionId = String(session);
          const key = identify({ sessionId, userId: user }).threadId;
          if (saves || session % 3 > 0) {
            await save(sessionId, user);
            if (!model.some((row) => row.key === key)) model.unshift({ key, sessionId, user });
          } else {
            const victim = model[session % Math.max(1, model.length)];
            if (victim !== undefined) await store.delete(victim.key);
            model = model.filter((row) => row !== victim);
          }
        }
        expect(await listAll(7)).toEqual(model.map((row) => row.sessionId));
        const own = model.filter((row) => row.user === "a").map((row) => row.sessionId);
        expect(await listAll(7, "a")).toEqual(own);
        expect(await store.count()).toBe(model.length);
      }),
      { numRuns: 15 },
    );
  });
});

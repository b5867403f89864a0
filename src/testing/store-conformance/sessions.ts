import type { JsonObject } from "../../json.js";
import { identify } from "../../session.js";
import type { SessionRecord } from "../../store/store.js";
import { rulesOf, times, type Bench } from "./bench.js";
import { expectEqual, expectLike, expectRefused, expectSameItems, expectThat } from "./expectations.js";
import { difficultJson, threadOf } from "./requests.js";

const PAGE = 7;
/** As many rows as are made at once when there are to be many. */
const BATCH = 50;

interface Who {
  readonly userId?: string | undefined;
  readonly config?: JsonObject;
}

/** Makes a session's row, as a run of it does. */
async function open(bench: Bench, sessionId: string, { userId, config = {} }: Who = {}): Promise<void> {
  const identity = identify({ sessionId, userId });
  if (!bench.has("runs")) {
    await bench.sessions.save({ ...identity, config }, await bench.lease(sessionId, userId));
    return;
  }
  await bench.submit(sessionId, bench.newRunId(), { userId, configPatch: config });
  const claimed = await bench.claim();
  await bench.sessions.save({ ...identity, config }, claimed.lease);
  await bench.finish(claimed);
  // Rows of one millisecond are in no order that everybody must agree on.
  await bench.pass(2);
}

/** Makes many rows, in any order. */
async function openMany(bench: Bench, sessionIds: readonly string[], userId?: string): Promise<void> {
  for (let from = 0; from < sessionIds.length; from += BATCH) {
    const batch = sessionIds.slice(from, from + BATCH);
    if (!bench.has("runs")) await times(batch.length, (i) => open(bench, batch[i] ?? "", { userId }));
    else {
      await times(batch.length, (i) => bench.submit(batch[i] ?? "", "first", { userId }));
      if (bench.sessions.keptByLedger === true) continue;
      await times(batch.length, async () => {
        const claimed = await bench.claim();
        const { sessionId } = claimed.run;
        await bench.sessions.save({ ...identify({ sessionId, userId }), config: {} }, claimed.lease);
        await bench.finish(claimed);
      });
    }
  }
}

/** All pages, each of at most `limit`. */
async function pages(bench: Bench, limit: number, userId?: string): Promise<SessionRecord[][]> {
  const all: SessionRecord[][] = [];
  let after: string | undefined;
  do {
    const page = await bench.sessions.list({ userId, limit, after });
    expectThat(
      page.sessions.length <= limit,
      `at most ${String(limit)} rows on a page`,
      page.sessions.length,
    );
    all.push([...page.sessions]);
    after = page.next;
  } while (after !== undefined);
  return all;
}

function idsOf(rows: readonly SessionRecord[]): string[] {
  return rows.map((row) => row.sessionId);
}

function numbered(count: number, prefix = "s"): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${String(i)}`);
}

/** The directory of sessions. */
export const sessionRules = [
  ...rulesOf(["sessions"], {
    "sessions: a saved session has a row": async (bench) => {
      await open(bench, "s", { userId: "u", config: { model: "m" } });
      const row = await bench.sessions.get(threadOf("s", "u"));
      const wanted = { threadId: threadOf("s", "u"), sessionId: "s", userId: "u", config: { model: "m" } };
      expectLike(row, wanted, "the row");
      const times = [row?.createdAt, row?.lastUsedAt];
      expectThat(
        times.every((time) => Number(time) > 1e12),
        "times in milliseconds since the epoch",
        times,
      );
    },

    "sessions: an unknown session has no row": async (bench) => {
      expectEqual(await bench.sessions.get(threadOf("s")), undefined, "the row of an unknown session");
      expectEqual(
        await bench.sessions.list({ limit: PAGE }),
        { sessions: [] },
        "the list of an empty directory",
      );
      expectEqual(await bench.sessions.count(), 0, "the count of an empty directory");
      await bench.sessions.delete(threadOf("s"));
    },

    "sessions: save renews config and last use, and keeps the time of creation": async (bench) => {
      const identity = identify({ sessionId: "s" });
      const lease = await bench.lease("s");
      await bench.sessions.save({ ...identity, config: { model: "m1", old: true } }, lease);
      const first = await bench.sessions.get(identity.threadId);
      await bench.pass(30);
      await bench.sessions.save({ ...identity, config: { model: "m2" } }, lease);
      const second = await bench.sessions.get(identity.threadId);
      expectEqual(second?.config, { model: "m2" }, "the config");
      expectEqual(second?.createdAt, first?.createdAt, "`createdAt`");
      expectThat(Number(second?.lastUsedAt) > Number(first?.lastUsedAt), "a later `lastUsedAt`", [
        first,
        second,
      ]);
      expectEqual(await bench.sessions.count(), 1, "the number of rows");
    },

    "sessions: what is done to a config after save changes no row": async (bench) => {
      const config = { deep: { a: 1 } };
      const lease = await bench.lease("s");
      await bench.sessions.save({ ...identify({ sessionId: "s" }), config }, lease);
      config.deep.a = 2;
      expectEqual((await bench.sessions.get(threadOf("s")))?.config, { deep: { a: 1 } }, "the config");
    },

    "sessions: save refuses the lease of another thread": async (bench) => {
      const lease = await bench.lease("t");
      const save = () => bench.sessions.save({ ...identify({ sessionId: "s" }), config: {} }, lease);
      await expectRefused(save, "LEASE_LOST", "saving s with the lease of t");
      expectEqual(await bench.sessions.get(threadOf("s")), undefined, "the row of s");
    },

    "sessions: racing saves make one row": async (bench) => {
      const other = await bench.other();
      const identity = identify({ sessionId: "s" });
      const lease = await bench.lease("s");
      await times(16, (i) =>
        (i % 2 === 0 ? bench : other).sessions.save({ ...identity, config: { i } }, lease),
      );
      expectEqual(idsOf((await bench.sessions.list({ limit: PAGE })).sessions), ["s"], "the list");
      expectEqual(await bench.sessions.count(), 1, "the number of rows");
    },

    "sessions: text of every kind comes back unchanged": async (bench) => {
      const config = difficultJson();
      const [sessionId, userId] = ["a.b/你好 👋%", "ö'\"`{}*"];
      await open(bench, sessionId, { userId, config });
      expectLike(
        await bench.sessions.get(threadOf(sessionId, userId)),
        { sessionId, userId, config },
        "the row",
      );
      const { sessions } = await bench.sessions.list({ userId, limit: PAGE });
      expectEqual(idsOf(sessions), [sessionId], "the user's list");
    },

    "sessions: list is newest first, by creation": async (bench) => {
      for (const id of ["b", "a", "c"]) await open(bench, id);
      await open(bench, "b");
      expectEqual(idsOf((await bench.sessions.list({ limit: PAGE })).sessions), ["c", "a", "b"], "the list");
    },

    "sessions: a user's list has that user's sessions alone": async (bench) => {
      await open(bench, "s", { userId: "u" });
      await open(bench, "s", { userId: "v" });
      await open(bench, "s");
      await open(bench, "t", { userId: "u" });
      expectEqual(
        idsOf((await bench.sessions.list({ userId: "u", limit: PAGE })).sessions),
        ["t", "s"],
        "u's list",
      );
      const own = (await bench.sessions.list({ userId: "v", limit: PAGE })).sessions;
      expectEqual(
        own.map((row) => row.threadId),
        [threadOf("s", "v")],
        "v's list",
      );
      expectEqual(
        (await bench.sessions.list({ userId: "w", limit: PAGE })).sessions,
        [],
        "a stranger's list",
      );
      expectEqual((await bench.sessions.list({ limit: PAGE })).sessions.length, 4, "the number of all rows");
    },

    "sessions: pages join up to the whole list": async (bench) => {
      const ids = numbered(2 * PAGE + 3);
      for (const id of ids) await open(bench, id);
      const all = await pages(bench, PAGE);
      expectEqual(
        all.map((page) => page.length),
        [PAGE, PAGE, 3],
        "the lengths of the pages",
      );
      expectEqual(idsOf(all.flat()), [...ids].reverse(), "the sessions of all pages");
      expectEqual(idsOf((await pages(bench, 1)).flat()), [...ids].reverse(), "the sessions of pages of one");
    },

    "sessions: the last page has no cursor, full or not": async (bench) => {
      for (const id of ["a", "b"]) await open(bench, id, { userId: "u" });
      for (const userId of ["u", undefined]) {
        const cursor = async (limit: number) => (await bench.sessions.list({ userId, limit })).next;
        expectEqual(await cursor(2), undefined, "the cursor of a full last page");
        expectEqual(await cursor(3), undefined, "the cursor of a last page that is not full");
        expectThat(typeof (await cursor(1)) === "string", "a cursor on a page before the last", undefined);
      }
    },

    "sessions: pages go on although the cursor's row has gone": async (bench) => {
      for (const id of ["a", "b", "c", "d"]) await open(bench, id);
      const first = await bench.sessions.list({ limit: 2 });
      expectEqual(idsOf(first.sessions), ["d", "c"], "the first page");
      for (const id of ["c", "b"]) await bench.sessions.delete(threadOf(id));
      await open(bench, "e");
      const second = await bench.sessions.list({ limit: 2, after: first.next });
      expectEqual(second, { sessions: second.sessions }, "the last page");
      expectEqual(idsOf(second.sessions), ["a"], "the second page");
    },

    "sessions: pages that are read while rows come and go show each that stays once": async (bench) => {
      const other = await bench.other();
      const [stay, go] = [numbered(40, "stay"), numbered(20, "go")];
      await openMany(bench, [...stay, ...go]);
      const seen: string[] = [];
      let isReading = true;
      const change = async () => {
        for (let i = 0; isReading && i < go.length; i++) {
          await other.sessions.delete(threadOf(go[i] ?? ""));
          if (bench.sessions.keptByLedger === true) await other.submit(`new${String(i)}`, "first");
        }
      };
      const changed = change();
      for (const page of await pages(bench, PAGE)) seen.push(...idsOf(page));
      isReading = false;
      await changed;
      expectEqual(new Set(seen).size, seen.length, "the number of different rows on all pages");
      const stayed = seen.filter((id) => id.startsWith("stay"));
      expectSameItems(stayed, stay, "the rows that were there all the time");
    },

    "sessions: a cursor that no page gave is refused": async (bench) => {
      await open(bench, "a");
      for (const after of ["not a cursor", "", "你好", "'; --"]) {
        const list = () => bench.sessions.list({ limit: PAGE, after });
        await expectRefused(list, "INVALID_INPUT", `the cursor ${JSON.stringify(after)}`);
      }
    },

    "sessions: a deleted row is gone from everywhere, and its neighbours stay": async (bench) => {
      for (const id of ["a", "b", "c"]) await open(bench, id, { userId: "u" });
      await bench.sessions.delete(threadOf("b", "u"));
      await bench.sessions.delete(threadOf("b", "u"));
      expectEqual(await bench.sessions.get(threadOf("b", "u")), undefined, "the row");
      for (const userId of ["u", undefined]) {
        const { sessions } = await bench.sessions.list({ userId, limit: PAGE });
        expectEqual(idsOf(sessions), ["c", "a"], "the list");
      }
      await bench.eventually(
        async () => (await bench.sessions.count()) === 2,
        "a count of 2",
        () => "another",
      );
    },

    "sessions: count is the number of rows": async (bench) => {
      const other = await bench.other();
      await openMany(bench, numbered(30));
      let count = 0;
      const counted = async (wanted: number) => {
        await bench.eventually(
          async () => (count = await other.sessions.count()) === wanted,
          `a count of ${String(wanted)}`,
          () => count,
        );
      };
      await counted(30);
      await bench.sessions.delete(threadOf("s3"));
      await counted(29);
    },

    "sessions: hundreds of rows come in pages": async (bench) => {
      const ids = numbered(600);
      await openMany(bench, ids, "u");
      for (const userId of ["u", undefined]) {
        const all = await pages(bench, 200, userId);
        expectEqual(all.length, 3, "the number of pages");
        expectSameItems(idsOf(all.flat()), ids, "the sessions of all pages");
      }
    },
  }),

  ...rulesOf(["sessions", "runs"], {
    "sessions: a stale owner cannot save": async (bench) => {
      const identity = identify({ sessionId: "s" });
      const stale = await bench.begin("s", "a", { leaseMs: bench.leaseMs });
      await bench.sessions.save({ ...identity, config: { by: "first" } }, stale.lease);
      await bench.expire();
      const fresh = await bench.claim({ processId: "process-2" });
      const save = () => bench.sessions.save({ ...identity, config: { by: "stale" } }, stale.lease);
      await expectRefused(save, "LEASE_LOST", "the stale owner's save");
      await bench.sessions.save({ ...identity, config: { by: "fresh" } }, fresh.lease);
      expectEqual((await bench.sessions.get(identity.threadId))?.config, { by: "fresh" }, "the config");
    },

    "sessions: a session that is being deleted is not saved": async (bench) => {
      const identity = identify({ sessionId: "s" });
      const { lease } = await bench.begin("s", "a");
      await bench.runs.tombstone(identity.threadId);
      await bench.sessions.delete(identity.threadId);
      const save = () => bench.sessions.save({ ...identity, config: {} }, lease);
      await expectRefused(save, "LEASE_LOST", "a save after the tombstone");
      expectEqual(await bench.sessions.get(identity.threadId), undefined, "the row");
    },

    "sessions: rows that the ledger keeps are there from acceptance on": async (bench) => {
      if (bench.sessions.keptByLedger !== true) return;
      await bench.submit("s", "a", { userId: "u", defaults: { provider: "p" }, configPatch: { model: "m" } });
      const row = await bench.sessions.get(threadOf("s", "u"));
      expectLike(row, { sessionId: "s", userId: "u", config: { provider: "p", model: "m" } }, "the row");
      await bench.pass(30);
      const claimed = await bench.claim();
      const used = await bench.sessions.get(threadOf("s", "u"));
      expectThat(Number(used?.lastUsedAt) > Number(row?.lastUsedAt), "a later `lastUsedAt`", [row, used]);
      await bench.pass(30);
      await bench.finish(claimed);
      const ended = await bench.sessions.get(threadOf("s", "u"));
      expectThat(Number(ended?.lastUsedAt) > Number(used?.lastUsedAt), "a later `lastUsedAt`", [used, ended]);
      expectEqual(ended?.createdAt, row?.createdAt, "`createdAt`");
    },

    "sessions: a session that comes again after its deletion is a new one": async (bench) => {
      await open(bench, "s", { config: { model: "m" } });
      await open(bench, "t");
      const before = await bench.sessions.get(threadOf("s"));
      await bench.runs.tombstone(threadOf("s"));
      await bench.sessions.delete(threadOf("s"));
      await bench.runs.purge(threadOf("s"));
      await bench.pass(5);
      await open(bench, "s");
      const after = await bench.sessions.get(threadOf("s"));
      expectEqual(after?.config, {}, "the config");
      expectThat(Number(after?.createdAt) > Number(before?.createdAt), "a later `createdAt`", [
        before,
        after,
      ]);
      expectEqual(idsOf((await bench.sessions.list({ limit: PAGE })).sessions), ["s", "t"], "the list");
    },
  }),
];

import { rulesOf } from "./bench.js";
import { expectEqual, expectLike, expectRefused, expectThat } from "./expectations.js";
import { answers, completion, interrupted, threadOf } from "./requests.js";

const thread = threadOf("s");

/** Deleting: a tombstone, then a purge. */
export const deletionRules = rulesOf(["runs"], {
  "ledger: a session with a tombstone takes no runs": async (bench) => {
    await bench.park("s", "a", "i1");
    await bench.runs.tombstone(thread);
    const refused = "SESSION_NOT_FOUND";
    await expectRefused(() => bench.submit("s", "b"), refused, "a new run");
    await expectRefused(() => bench.submit("s", "a"), refused, "a known run");
    await expectRefused(
      () => bench.submit("s", "b", { onBusy: "interrupt" }),
      refused,
      "an interrupting run",
    );
    await expectRefused(() => bench.runs.submit(answers("s", "b", ["i1"])), refused, "answers");
  },

  "ledger: a tombstone cancels what waits and marks what runs": async (bench) => {
    await bench.begin("s", "a");
    await bench.submit("s", "b");
    await bench.runs.tombstone(thread);
    const running = { status: "running", cancelRequested: "deleted" };
    expectLike(await bench.get("s", "a"), running, "the running run");
    const queued = { status: "cancelled", cancelRequested: "deleted" };
    expectLike(await bench.get("s", "b"), queued, "the queued run");
    expectEqual(await bench.tryClaim(), undefined, "what is claimable");
  },

  "ledger: a tombstone closes what is parked": async (bench) => {
    await bench.park("s", "a", "i1");
    await bench.runs.tombstone(thread);
    expectEqual((await bench.session("s"))?.parked, undefined, "the parked run");
    const closed = { status: "interrupted", cancelRequested: "deleted" };
    expectLike(await bench.get("s", "a"), closed, "the run that was parked");
  },

  "ledger: a deletion is told from a session that is not known": async (bench) => {
    const { runs } = bench;
    if (runs.purged === undefined) return;
    await bench.submit("s", "a");
    expectEqual(await runs.purged(thread), false, "purged, of a session that is there");
    await runs.tombstone(thread);
    await runs.purge(thread);
    expectEqual(await runs.purged(thread), true, "purged, after the purge");
    expectEqual(await runs.purged(threadOf("t")), false, "purged, of a session that never was");
  },

  "ledger: a tombstone refuses the running owner's writes": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    await bench.runs.tombstone(thread);
    await expectRefused(
      () => bench.runs.writeState(lease, 1),
      "LEASE_LOST",
      "writeState after the tombstone",
    );
  },

  "ledger: a tombstone lets the running owner renew and finish, as cancelled": async (bench) => {
    const claimed = await bench.begin("s", "a");
    await bench.runs.tombstone(thread);
    const { lease } = claimed;
    const told = { lease, held: true, cancelRequested: "deleted" };
    expectEqual(await bench.runs.renew([lease], 3_600_000), [told], "what renewing told");
    const run = await bench.finish(claimed, interrupted("i1"));
    expectLike(run, { status: "cancelled", cancelRequested: "deleted" }, "what finish gave");
    const session = await bench.session("s");
    expectThat(session?.parked === undefined && session?.running === undefined, "nothing parked", session);
  },

  "ledger: a tombstone hides the state slot": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    await bench.runs.writeState(lease, { secret: 1 });
    await bench.runs.tombstone(thread);
    expectEqual(await bench.runs.readState(thread), undefined, "the state");
  },

  "ledger: a tombstone on an unknown session is none, and a second one is harmless": async (bench) => {
    expectEqual(await bench.runs.tombstone(thread), false, "a tombstone on an unknown session");
    expectEqual(await bench.runs.tombstones(10), [], "the tombstones");
    const claimed = await bench.begin("s", "a");
    expectEqual(await bench.runs.tombstone(thread), true, "the first tombstone");
    expectEqual(await bench.runs.tombstone(thread), true, "the second tombstone");
    expectEqual(await bench.runs.tombstones(10), [thread], "the tombstones");
    expectLike(await bench.finish(claimed), { status: "cancelled" }, "what finish gave after both");
  },

  "ledger: tombstones lists deletions that have begun, at most as many as asked for": async (bench) => {
    const ids = ["1", "2", "3"];
    for (const id of [...ids, "other"]) await bench.submit(id, "a");
    for (const id of ids) await bench.runs.tombstone(threadOf(id));
    expectEqual(
      [...(await bench.runs.tombstones(10))].sort(),
      ids.map((id) => threadOf(id)),
      "the tombstones",
    );
    expectEqual((await bench.runs.tombstones(2)).length, 2, "the number of tombstones under a limit of 2");
    await bench.runs.purge(threadOf("2"));
    const left = [threadOf("1"), threadOf("3")];
    expectEqual([...(await bench.runs.tombstones(10))].sort(), left, "the tombstones after a purge");
  },

  "ledger: purge does nothing without a tombstone": async (bench) => {
    await bench.begin("s", "a");
    await bench.runs.purge(thread);
    await bench.runs.purge(threadOf("nobody"));
    expectEqual(await bench.statusOf("s", "a"), "running", "the run");
  },

  "ledger: purge forgets runs, config, slot and tombstone": async (bench) => {
    await bench.submit("s", "a", { configPatch: { model: "m" } });
    const claimed = await bench.claim();
    await bench.runs.writeState(claimed.lease, 1);
    await bench.submit("s", "b", { onBusy: "rollback" });
    await bench.runs.tombstone(thread);
    await bench.runs.purge(thread);
    expectEqual(await bench.get("s", "a"), undefined, "the run");
    expectEqual(await bench.session("s"), undefined, "the session");
    expectEqual(await bench.runs.current(thread), undefined, "the current run");
    expectEqual(await bench.runs.tombstones(10), [], "the tombstones");
    const again = await bench.runs.submit({ ...claimed.run, onBusy: "enqueue", ...fresh });
    expectLike(again, { created: true, run: { config: {}, attempt: 0 } }, "the run of the new session");
    expectEqual(await bench.runs.readState(thread), undefined, "the new session's state");
    expectEqual((await bench.claim()).undo, [], "what the new session's run is to undo");
  },

  "ledger: the owner of a purged session has lost its lease": async (bench) => {
    const claimed = await bench.begin("s", "a");
    const { lease } = claimed;
    await bench.runs.tombstone(thread);
    await bench.runs.purge(thread);
    await expectRefused(() => bench.finish(claimed), "LEASE_LOST", "finish after the purge");
    expectEqual(await bench.runs.renew([lease], 1_000), [{ lease, held: false }], "what renewing told");
    await bench.begin("s", "a");
    await expectRefused(() => bench.finish(claimed), "LEASE_LOST", "finish of the new session's run");
    await expectRefused(() => bench.runs.writeState(lease, 1), "LEASE_LOST", "writeState to the new session");
    expectEqual(await bench.statusOf("s", "a"), "running", "the new session's run");
  },

  "ledger: epochs grow over a purge": async (bench) => {
    let epoch = 0;
    for (let i = 0; i < 3; i++) {
      const { lease } = await bench.begin("s", "a");
      expectThat(lease.epoch > epoch, `an epoch over ${String(epoch)}`, lease);
      ({ epoch } = lease);
      await bench.runs.tombstone(thread);
      await bench.runs.purge(thread);
    }
  },

  "ledger: purge gives back its run's place of the user's limit": async (bench) => {
    const limit = { maxConcurrentRunsPerUser: 1 };
    await bench.submit("1", "a", { userId: "u" });
    await bench.submit("2", "b", { userId: "u" });
    expectEqual(await bench.claimAll(limit), ["a"], "the claims before");
    await bench.runs.tombstone(threadOf("1", "u"));
    await bench.runs.purge(threadOf("1", "u"));
    expectEqual(await bench.claimAll(limit), ["b"], "the claims after");
  },

  "ledger: the run of a deleted session is not taken over": async (bench) => {
    await bench.begin("s", "a", { leaseMs: bench.leaseMs });
    await bench.runs.tombstone(thread);
    await bench.expire();
    expectEqual(await bench.tryClaim({ processId: "process-2" }), undefined, "another's claim");
    expectLike(await bench.get("s", "a"), { status: "cancelled", cancelRequested: "deleted" }, "the run");
  },

  "ledger: deleting one session leaves the others": async (bench) => {
    const other = await bench.begin("s2", "b");
    await bench.submit("s", "a");
    await bench.submit("s", "a", { userId: "u" });
    await bench.runs.tombstone(thread);
    await bench.runs.purge(thread);
    expectEqual((await bench.get("s", "a", "u"))?.status, "queued", "the run of a user's session of that id");
    await bench.runs.writeState(other.lease, 1);
    expectLike(await bench.finish(other, completion()), { status: "completed" }, "the other session's run");
  },
});

const fresh = { defaults: {}, configPatch: {}, queueLimit: 1, totalQueueLimit: 100 } as const;

import { systemClock } from "../../internal/clock.js";
import { rulesOf, type Bench } from "./bench.js";
import { expectEqual, expectLike, expectRefused, expectThat } from "./expectations.js";
import { claimRequest, completion, submission, threadOf } from "./requests.js";
import type { Claim } from "../../store/store.js";

/** A run of session `s` whose first owner has gone silent and that another process has taken over. */
async function takenOver(bench: Bench): Promise<{ readonly stale: Claim; readonly fresh: Claim }> {
  const stale = await bench.begin("s", "a", { leaseMs: bench.leaseMs });
  await bench.expire();
  const fresh = await (await bench.other()).claim({ processId: "process-2" });
  return { stale, fresh };
}

/** Who may write, and until when. */
export const leaseRules = rulesOf(["runs"], {
  "ledger: a live lease keeps others out": async (bench) => {
    await bench.begin("s", "a");
    await bench.expire();
    const other = await bench.other();
    expectEqual(await other.tryClaim({ processId: "process-2" }), undefined, "another process's claim");
  },

  "ledger: the run of an expired lease goes to another owner as its next attempt": async (bench) => {
    const { stale, fresh } = await takenOver(bench);
    expectLike(fresh.run, { runId: "a", status: "running", attempt: 2 }, "the run");
    expectEqual(fresh.run.startedAt, stale.run.startedAt, "`startedAt`, that of the first attempt");
    expectThat(fresh.lease.epoch > stale.lease.epoch, "a higher epoch", [stale.lease, fresh.lease]);
    expectThat(fresh.lease.owner !== stale.lease.owner, "another owner", [stale.lease, fresh.lease]);
    expectLike(await bench.finish(fresh), { status: "completed" }, "what the new owner's finish gave");
  },

  "ledger: a run that was claimed by its own process again has a fresh lease too": async (bench) => {
    const stale = await bench.begin("s", "a", { leaseMs: bench.leaseMs });
    await bench.expire();
    const fresh = await bench.claim();
    expectThat(fresh.lease.owner !== stale.lease.owner, "another owner", [stale.lease, fresh.lease]);
    await expectRefused(() => bench.finish(stale), "LEASE_LOST", "finish with the older lease");
  },

  "ledger: a stale owner cannot finish": async (bench) => {
    const { stale, fresh } = await takenOver(bench);
    await expectRefused(() => bench.finish(stale), "LEASE_LOST", "the stale owner's finish");
    expectLike(await bench.get("s", "a"), { status: "running", attempt: 2 }, "the run");
    await bench.finish(fresh, completion({ lastSeq: 5 }));
    await expectRefused(() => bench.finish(stale), "LEASE_LOST", "the stale owner's finish after the end");
    expectLike(await bench.get("s", "a"), { status: "completed", lastSeq: 5 }, "the finished run");
  },

  "ledger: a stale owner cannot release": async (bench) => {
    const { stale } = await takenOver(bench);
    await expectRefused(
      () => bench.runs.release(stale.lease, "a"),
      "LEASE_LOST",
      "the stale owner's release",
    );
    expectEqual(await bench.statusOf("s", "a"), "running", "the run");
  },

  "ledger: a stale owner cannot write state": async (bench) => {
    const { stale, fresh } = await takenOver(bench);
    await bench.runs.writeState(fresh.lease, "fresh");
    const write = () => bench.runs.writeState(stale.lease, "stale");
    await expectRefused(write, "LEASE_LOST", "the stale owner's write");
    expectEqual(await bench.runs.readState(threadOf("s")), "fresh", "the state");
  },

  "ledger: a forged lease is refused": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    const forged = [
      { ...lease, owner: "somebody" },
      { ...lease, epoch: lease.epoch + 1 },
      { ...lease, epoch: lease.epoch - 1 },
      { ...lease, owner: "" },
    ];
    for (const other of forged) {
      const finish = () => bench.runs.finish(other, "a", completion());
      await expectRefused(finish, "LEASE_LOST", `finish with ${JSON.stringify(other)}`);
      const write = () => bench.runs.writeState(other, 1);
      await expectRefused(write, "LEASE_LOST", `writeState with ${JSON.stringify(other)}`);
      const release = () => bench.runs.release(other, "a");
      await expectRefused(release, "LEASE_LOST", `release with ${JSON.stringify(other)}`);
    }
    expectEqual(await bench.statusOf("s", "a"), "running", "the run");
  },

  "ledger: a lease is good for its own thread alone": async (bench) => {
    await bench.submit("s", "a");
    await bench.submit("t", "a");
    const { lease } = await bench.claim();
    await bench.claim();
    const elsewhere = { ...lease, threadId: threadOf("t") };
    const finish = () => bench.runs.finish(elsewhere, "a", completion());
    await expectRefused(finish, "LEASE_LOST", "finish on another thread");
    const release = () => bench.runs.release(elsewhere, "a");
    await expectRefused(release, "LEASE_LOST", "release on another thread");
    await expectRefused(
      () => bench.runs.writeState(elsewhere, 1),
      "LEASE_LOST",
      "writeState on another thread",
    );
    expectEqual(await bench.statusOf("t", "a"), "running", "the other thread's run");
  },

  "ledger: renew prolongs a lease that holds": async (bench) => {
    let leaseMs = bench.leaseMs * 4;
    // One that had expired before it was renewed proves nothing: again then, with a longer one.
    for (let isSlow = true; isSlow; leaseMs *= 3) {
      const claimedAt = systemClock.monotonic();
      const claimed = await bench.begin("s", `a${String(leaseMs)}`, { leaseMs });
      const { lease } = claimed;
      const renewed = await bench.runs.renew([lease], 3_600_000);
      isSlow = systemClock.monotonic() - claimedAt >= leaseMs;
      if (isSlow) await bench.finish(claimed);
      else {
        expectEqual(renewed, [{ lease, held: true }], "what renewing told");
        await bench.pass(leaseMs + bench.leaseMs);
      }
    }
    const other = await bench.other();
    expectEqual(await other.tryClaim({ processId: "process-2" }), undefined, "another process's claim");
  },

  "ledger: renew never revives an expired lease": async (bench) => {
    const { lease } = await bench.begin("s", "a", { leaseMs: bench.leaseMs });
    await bench.expire();
    expectEqual(await bench.runs.renew([lease], 3_600_000), [{ lease, held: false }], "what renewing told");
    const other = await bench.other();
    expectLike(await other.claim({ processId: "process-2" }), { run: { attempt: 2 } }, "another's claim");
  },

  "ledger: renew tells of each lease by itself, in their order": async (bench) => {
    const { stale, fresh } = await takenOver(bench);
    const second = await bench.begin("t", "b");
    await bench.runs.cancel(threadOf("t"));
    const unknown = { threadId: threadOf("nobody"), epoch: 1, owner: "process-1:1" };
    const leases = [stale.lease, second.lease, unknown, fresh.lease];
    const wanted = [
      { lease: stale.lease, held: false },
      { lease: second.lease, held: true, cancelRequested: "cancel" },
      { lease: unknown, held: false },
      { lease: fresh.lease, held: true },
    ];
    expectEqual(await bench.runs.renew(leases, 3_600_000), wanted, "what renewing told");
    expectEqual(await bench.runs.renew([], 3_600_000), [], "what renewing nothing told");
  },

  "ledger: renew tells why the run is to stop": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    const told = async () => (await bench.runs.renew([lease], 3_600_000))[0]?.cancelRequested;
    expectEqual(await told(), undefined, "the reason before anything");
    await bench.runs.cancel(threadOf("s"));
    expectEqual(await told(), "cancel", "the reason after cancel");
    await bench.submit("s", "b", { onBusy: "rollback" });
    expectEqual(await told(), "rollback", "the reason after a rollback");
    await bench.runs.tombstone(threadOf("s"));
    expectEqual(await told(), "deleted", "the reason after the deletion");
  },

  "ledger: an expired lease that nobody took over still finishes": async (bench) => {
    const claimed = await bench.begin("s", "a", { leaseMs: bench.leaseMs });
    await bench.expire();
    expectLike(await bench.finish(claimed), { status: "completed" }, "what finish gave");
  },

  "ledger: an expired lease that nobody took over still releases and writes": async (bench) => {
    const { lease } = await bench.begin("s", "a", { leaseMs: bench.leaseMs });
    await bench.expire();
    await bench.runs.writeState(lease, "late");
    expectEqual(await bench.runs.readState(threadOf("s")), "late", "the state");
    await bench.runs.release(lease, "a");
    expectEqual(await bench.statusOf("s", "a"), "queued", "the released run");
  },

  "ledger: a run whose owners all went silent is given up, and the next goes on": async (bench) => {
    await bench.submit("s", "a");
    await bench.submit("s", "b");
    const request = { leaseMs: bench.leaseMs, maxAttempts: 2 };
    for (let attempt = 1; attempt <= 2; attempt++) {
      expectLike((await bench.claim(request)).run, { runId: "a", attempt }, "the claimed run");
      await bench.expire();
    }
    expectEqual((await bench.claim(request)).run.runId, "b", "the run that is claimed then");
    const wanted = { status: "failed", attempt: 2, error: { code: "RUN_ABANDONED" } };
    expectLike(await bench.get("s", "a"), wanted, "the run that was given up");
  },

  "ledger: a run that is given up although told to stop is cancelled": async (bench) => {
    await bench.begin("s", "a", { leaseMs: bench.leaseMs });
    await bench.runs.cancel(threadOf("s"));
    await bench.expire();
    expectEqual(await bench.tryClaim({ maxAttempts: 1 }), undefined, "the claim");
    const wanted = { status: "cancelled", cancelRequested: "cancel", error: undefined };
    expectLike(await bench.get("s", "a"), wanted, "the run");
  },

  "ledger: a stop mark survives the owner": async (bench) => {
    await bench.begin("s", "a", { leaseMs: bench.leaseMs });
    await bench.runs.cancel(threadOf("s"));
    await bench.expire();
    const { lease, run } = await bench.claim({ processId: "process-2" });
    expectLike(run, { runId: "a", attempt: 2, cancelRequested: "cancel" }, "the run that was taken over");
    const told = await bench.runs.renew([lease], 3_600_000);
    expectLike(told[0] ?? {}, { held: true, cancelRequested: "cancel" }, "what renewing told");
  },

  "ledger: a run with affinity ends with its process": async (bench) => {
    await bench.runs.submit(submission("s", "a", { affinity: "process-1" }));
    await bench.submit("s", "b");
    await bench.claim({ processId: "process-1", leaseMs: bench.leaseMs });
    await bench.expire();
    const other = await bench.other();
    expectEqual((await other.claim({ processId: "process-2" })).run.runId, "b", "another's claim");
    expectLike(await bench.get("s", "a"), { status: "failed", error: { code: "RUN_ABANDONED" } }, "the run");
  },

  "ledger: a takeover undoes what its run was to undo, and not its own turn": async (bench) => {
    const first = await bench.begin("s", "a");
    await bench.submit("s", "b", { onBusy: "rollback" });
    await bench.finish(first, completion({ outcome: "cancelled" }));
    await bench.claim({ leaseMs: bench.leaseMs });
    await bench.submit("s", "c", { onBusy: "rollback" });
    await bench.expire();
    const taken = await bench.claim({ processId: "process-2" });
    expectLike(taken, { run: { runId: "b" }, undo: ["a"] }, "the takeover");
    await bench.finish(taken, completion({ outcome: "cancelled", undone: true }));
    expectLike(await bench.claim(), { run: { runId: "c" }, undo: ["b"] }, "the claim after it");
  },

  "ledger: a takeover takes no second place of its user's limit": async (bench) => {
    const limit = { maxConcurrentRunsPerUser: 1 };
    await bench.submit("1", "a", { userId: "u" });
    await bench.submit("2", "b", { userId: "u" });
    await bench.claim({ ...limit, leaseMs: bench.leaseMs });
    await bench.expire();
    const taken = await bench.runs.claim(claimRequest({ ...limit, processId: "process-2" }));
    expectEqual(taken?.run.runId, "a", "the run that is taken over although its user is at the limit");
    expectEqual(await bench.tryClaim(limit), undefined, "a claim beside it");
    if (taken !== undefined) await bench.finish(taken);
    expectEqual(await bench.claimAll(limit), ["b"], "the claims after it");
  },
});

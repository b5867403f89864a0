import { rulesOf } from "./bench.js";
import { expectEqual, expectLike, expectThat } from "./expectations.js";
import { threadOf } from "./requests.js";

/** Whose turn it is. */
export const claimRules = rulesOf(["runs"], {
  "ledger: claim hands out a run as running, with a lease on its thread": async (bench) => {
    await bench.submit("s", "a");
    const { lease, run, undo } = await bench.claim();
    expectLike(run, { runId: "a", status: "running", attempt: 1 }, "the run");
    expectThat(Number(run.startedAt) >= run.createdAt, "`startedAt` not before `createdAt`", run);
    expectEqual(lease.threadId, threadOf("s"), "the lease's thread");
    expectThat(Number.isSafeInteger(lease.epoch) && lease.epoch > 0, "an epoch from 1 up", lease);
    expectThat(typeof lease.owner === "string" && lease.owner !== "", "an owner", lease);
    expectEqual(undo, [], "what is to be undone");
    expectEqual(await bench.get("s", "a"), run, "the run that `get` gives");
    expectLike(await bench.session("s"), { running: { runId: "a" }, queued: 0 }, "the session");
  },

  "ledger: a ledger in which nothing waits hands out nothing": async (bench) => {
    expectEqual(await bench.tryClaim(), undefined, "a claim of an empty ledger");
    await bench.finish(await bench.begin("s", "a"));
    expectEqual(await bench.tryClaim(), undefined, "a claim after the only run has ended");
  },

  "ledger: one run of a session at a time, in the order of acceptance": async (bench) => {
    for (const runId of ["b", "a", "c"]) await bench.submit("s", runId);
    const order: string[] = [];
    for (let i = 0; i < 3; i++) {
      const claimed = await bench.claim();
      expectEqual(await bench.tryClaim(), undefined, "a claim while the session is held");
      order.push(claimed.run.runId);
      await bench.finish(claimed);
    }
    expectEqual(order, ["b", "a", "c"], "the order of the claims");
  },

  "ledger: a claim is called the last only when nothing else can be claimed": async (bench) => {
    for (const session of ["s", "t", "u"]) await bench.submit(session, "a");
    await bench.submit("s", "b");
    for (let left = 2; left >= 0; left--) {
      const { last } = await bench.claim();
      if (left > 0) expectThat(last !== true, `\`last\` not set while ${String(left)} sessions wait`, last);
    }
    expectEqual(await bench.tryClaim(), undefined, "a claim after the last");
  },

  "ledger: a held session does not hold up the others": async (bench) => {
    await bench.submit("s", "a");
    await bench.submit("s", "b");
    await bench.submit("t", "c");
    expectEqual(await bench.claimAll(), ["a", "c"], "the claims");
  },

  "ledger: each acquisition has a higher epoch and an owner of its own": async (bench) => {
    const owners = new Set<string>();
    let epoch = 0;
    for (const runId of ["a", "b", "c"]) {
      const claimed = await bench.begin("s", runId);
      expectThat(claimed.lease.epoch > epoch, `an epoch over ${String(epoch)}`, claimed.lease);
      ({ epoch } = claimed.lease);
      owners.add(claimed.lease.owner);
      await bench.finish(claimed);
    }
    expectEqual(owners.size, 3, "the number of owners");
  },

  "ledger: turns go round among users, and a session without user is one of its own": async (bench) => {
    for (const n of ["1", "2", "3"]) await bench.submit(n, `a${n}`, { userId: "a" });
    await bench.submit("1", "b1", { userId: "b" });
    await bench.submit("x", "x");
    await bench.submit("2", "b2", { userId: "b" });
    await bench.submit("y", "y");
    const order = await bench.claimAll();
    expectEqual(order, ["a1", "b1", "x", "y", "a2", "b2", "a3"], "the order of the claims");
  },

  "ledger: of one user's sessions the one whose next run was accepted first": async (bench) => {
    await bench.submit("1", "a1", { userId: "u" });
    await bench.submit("1", "a2", { userId: "u" });
    const first = await bench.claim();
    await bench.submit("2", "b1", { userId: "u" });
    await bench.finish(first);
    expectEqual(await bench.claimAll(), ["a2", "b1"], "the order of the claims");
  },

  "ledger: no user has more runs running than the limit, and the others pass": async (bench) => {
    const limit = { maxConcurrentRunsPerUser: 1 };
    await bench.submit("1", "a1", { userId: "a" });
    await bench.submit("2", "a2", { userId: "a" });
    await bench.submit("1", "b1", { userId: "b" });
    const first = await bench.claim(limit);
    expectEqual(await bench.claimAll(limit), ["b1"], "what is claimed beside the user's one run");
    await bench.finish(first);
    expectEqual(await bench.claimAll(limit), ["a2"], "what is claimed after it");
  },

  "ledger: sessions without user have the limit each for itself": async (bench) => {
    const limit = { maxConcurrentRunsPerUser: 1 };
    for (const id of ["s", "t", "u"]) await bench.submit(id, id);
    expectEqual(await bench.claimAll(limit), ["s", "t", "u"], "the claims");
  },

  "ledger: the limit per user is that of the caller": async (bench) => {
    for (const n of ["1", "2", "3"]) await bench.submit(n, `a${n}`, { userId: "a" });
    expectEqual(await bench.claimAll({ maxConcurrentRunsPerUser: 1 }), ["a1"], "claims under a limit of 1");
    expectEqual(await bench.claimAll({ maxConcurrentRunsPerUser: 2 }), ["a2"], "claims under a limit of 2");
    expectEqual(await bench.claimAll(), ["a3"], "claims without limit");
  },

  "ledger: a run that ends otherwise gives back its user's place too": async (bench) => {
    const limit = { maxConcurrentRunsPerUser: 1 };
    await bench.submit("1", "a1", { userId: "a" });
    await bench.submit("2", "a2", { userId: "a" });
    const first = await bench.claim(limit);
    await bench.runs.release(first.lease, "a1");
    const second = await bench.claim(limit);
    expectEqual(await bench.tryClaim(limit), undefined, "a claim beside the user's one run");
    await bench.runs.cancel(second.run.threadId);
    await bench.runs.release(second.lease, second.run.runId);
    expectLike(await bench.claim(limit), { run: { userId: "a" } }, "the claim after the release");
  },

  "ledger: a run with affinity goes to its process alone and holds up no other session": async (bench) => {
    await bench.submit("1", "a1", { affinity: "process-2" });
    await bench.submit("1", "a2");
    await bench.submit("2", "b1");
    expectEqual(await bench.claimAll({ processId: "process-1" }), ["b1"], "the claims of another process");
    const own = await bench.claim({ processId: "process-2" });
    expectEqual(own.run.runId, "a1", "the claim of the process");
    await bench.finish(own);
    expectEqual(await bench.claimAll({ processId: "process-1" }), ["a2"], "the claims after it");
  },

  "ledger: a user has one turn per round, with affinity or without": async (bench) => {
    await bench.submit("1", "a1", { userId: "a" });
    await bench.submit("2", "a2", { userId: "a", affinity: "process-1" });
    await bench.submit("1", "b1", { userId: "b" });
    expectEqual(await bench.claimAll({ processId: "process-1" }), ["a1", "b1", "a2"], "the claims");
  },

  "ledger: a run that was claimed maxAttempts times is given up, and the next goes on": async (bench) => {
    await bench.submit("s", "a");
    await bench.submit("s", "b");
    for (let attempt = 1; attempt <= 2; attempt++) {
      const { run } = await bench.claim({ maxAttempts: 2, leaseMs: bench.leaseMs });
      expectLike(run, { runId: "a", attempt }, "the run");
      await bench.expire();
    }
    expectEqual((await bench.claim({ maxAttempts: 2 })).run.runId, "b", "the run that is claimed then");
    const wanted = { status: "failed", attempt: 2, error: { code: "RUN_ABANDONED", retryable: true } };
    const abandoned = await bench.get("s", "a");
    expectLike(abandoned, wanted, "the run that was given up");
    expectThat(typeof abandoned?.finishedAt === "number", "`finishedAt` of the run", abandoned);
  },

  "ledger: a claim that ended with a release is none of a run's attempts": async (bench) => {
    await bench.submit("s", "a");
    for (let attempt = 1; attempt <= 3; attempt++) {
      const { lease, run } = await bench.claim({ maxAttempts: 1 });
      expectLike(run, { runId: "a", attempt }, "the run that was handed over");
      await bench.runs.release(lease, "a");
    }
    await bench.claim({ maxAttempts: 1, leaseMs: bench.leaseMs });
    await bench.expire();
    expectEqual(await bench.tryClaim({ maxAttempts: 1 }), undefined, "a claim after its one attempt");
    expectLike(await bench.get("s", "a"), { status: "failed", attempt: 4 }, "the run that was given up");
  },
});

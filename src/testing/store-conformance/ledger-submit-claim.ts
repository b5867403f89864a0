import { rulesOf, type Bench } from "./bench.js";
import { expectEqual, expectLike, expectThat } from "./expectations.js";
import { claimRequest, submission, threadOf } from "./requests.js";
import type { ClaimRequest, Submission, Submitted } from "../../store/store.js";

/** Submits a run and asks for it. Whether a ledger then hands it out is its own matter; when it must not, is not. */
function submitAndClaim(
  bench: Bench,
  sessionId: string,
  runId: string,
  changes: Partial<Submission> = {},
  claim: Partial<ClaimRequest> = {},
): Promise<Submitted> {
  return bench.runs.submit(submission(sessionId, runId, { ...changes, claim: claimRequest(claim) }));
}

/** Runs that are handed out in the step that accepts them. */
export const submitClaimRules = rulesOf(["runs"], {
  "ledger: a run that its submit hands out is held as after a claim": async (bench) => {
    const { run, created, claim } = await submitAndClaim(bench, "s", "a");
    expectThat(created, "the submit to have created the run", run);
    const { lease, run: held, undo } = claim ?? (await bench.claim());
    expectLike(held, { runId: "a", status: "running", attempt: 1 }, "the run");
    expectEqual(await bench.get("s", "a"), held, "the run that `get` gives");
    expectEqual(lease.threadId, threadOf("s"), "the lease's thread");
    expectEqual(undo, [], "what is to be undone");
    expectEqual(await bench.tryClaim(), undefined, "a claim of what is held");
    expectEqual(await bench.runs.renew([lease], 60_000), [{ lease, held: true }], "a renewal of the lease");
    await bench.submit("s", "b");
    await bench.finish({ lease, run: held, undo });
    expectEqual(await bench.claimAll(), ["b"], "the claims after it");
  },

  "ledger: a run that its submit hands out and whose lease expires goes on as its second attempt": async (
    bench,
  ) => {
    const { claim } = await submitAndClaim(bench, "s", "a", {}, { leaseMs: bench.leaseMs });
    const first = claim ?? (await bench.claim({ leaseMs: bench.leaseMs }));
    await bench.expire();
    const second = await bench.claim();
    expectLike(second.run, { runId: "a", attempt: 2 }, "the run");
    expectThat(second.lease.epoch > first.lease.epoch, "an epoch that has grown", second.lease);
  },

  "ledger: a submit hands out no run that has to wait in its session": async (bench) => {
    const first = await bench.begin("s", "a");
    const behind = await submitAndClaim(bench, "s", "b");
    expectEqual(behind.claim, undefined, "what a submit hands out while the session is held");
    expectLike(behind.run, { status: "queued" }, "the run");
    await bench.finish(first);
    const last = await submitAndClaim(bench, "s", "c");
    expectEqual(last.claim, undefined, "what a submit hands out while another run is next");
    const same = await submitAndClaim(bench, "s", "b");
    expectEqual(same.claim, undefined, "what a submit hands out of a run that was there");
    expectEqual((await bench.claim()).run.runId, "b", "the run that is next");
  },

  "ledger: a submit hands out no run before one that waits": async (bench) => {
    await bench.submit("s", "a", { userId: "u" });
    const { claim } = await submitAndClaim(bench, "t", "b", { userId: "v" });
    expectEqual(claim, undefined, "what a submit hands out while another user waits");
    expectEqual(await bench.claimAll(), ["a", "b"], "the claims");
  },

  "ledger: a submit hands out no run over its user's limit": async (bench) => {
    const limit = { maxConcurrentRunsPerUser: 1 };
    await bench.submit("1", "a1", { userId: "u" });
    const first = await bench.claim(limit);
    const { claim } = await submitAndClaim(bench, "2", "a2", { userId: "u" }, limit);
    expectEqual(claim, undefined, "what a submit hands out beside the user's one run");
    await bench.finish(first);
    expectEqual((await bench.claim(limit)).run.runId, "a2", "the run that is next");
  },

  "ledger: a submit hands out no run that another process alone may claim": async (bench) => {
    const { claim } = await submitAndClaim(
      bench,
      "s",
      "a",
      { affinity: "process-2" },
      { processId: "process-1" },
    );
    expectEqual(claim, undefined, "what another process gets");
    expectEqual((await bench.claim({ processId: "process-2" })).run.runId, "a", "what the process gets");
  },

  "ledger: of submits that race into one session and ask for their runs one gets its own": async (bench) => {
    const others = await bench.other();
    const submitted = await Promise.all(
      Array.from({ length: 8 }, (_, at) =>
        submitAndClaim(at % 2 === 0 ? bench : others, "s", `r${String(at)}`),
      ),
    );
    const claims = submitted.flatMap(({ claim }) => (claim === undefined ? [] : [claim]));
    expectThat(claims.length <= 1, "at most one run to be handed out", claims);
    const first = claims[0] ?? (await bench.claim());
    expectEqual(await bench.tryClaim(), undefined, "a claim while the session is held");
    await bench.finish(first);
    expectLike(await bench.session("s"), { queued: 7 }, "the session");
  },
});

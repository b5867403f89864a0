import { rulesOf } from "./bench.js";
import { expectEqual, expectLike, expectRefused, expectThat } from "./expectations.js";
import { completion, difficultTexts, interrupted, summary, threadOf } from "./requests.js";

/** How runs end, are put back or told to stop, and what can be read of them. */
export const endRules = rulesOf(["runs"], {
  "ledger: finish stores outcome, summary, error and last event": async (bench) => {
    const claimed = await bench.begin("s", "a");
    const how = completion({
      outcome: "failed",
      summary: {
        text: "partial",
        usage: { inputTokens: 3, outputTokens: 4, totalTokens: 7, cachedInputTokens: 1 },
        interrupts: [],
      },
      error: { code: "MODEL_UNAVAILABLE", message: "no answer", retryable: true },
      lastSeq: 42,
    });
    const run = await bench.finish(claimed, how);
    const { outcome, summary: left, error, lastSeq } = how;
    expectLike(run, { runId: "a", status: outcome, summary: left, error, lastSeq }, "the finished run");
    expectThat(Number(run.finishedAt) >= Number(run.startedAt), "`finishedAt` not before `startedAt`", run);
    expectEqual(await bench.get("s", "a"), run, "the run that `get` gives");
  },

  "ledger: texts of a summary and an error come back unchanged": async (bench) => {
    for (const [name, text] of Object.entries(difficultTexts)) {
      const claimed = await bench.begin(name, "a");
      const interrupts = [{ id: "i", kind: "input", value: { [name]: text } }] as const;
      const left = { ...summary(), text, interrupts };
      const error = { code: "AGENT_FAILED", message: text, retryable: false } as const;
      await bench.finish(claimed, completion({ outcome: "interrupted", summary: left, error }));
      expectLike((await bench.get(name, "a")) ?? {}, { summary: left, error }, `the run with ${name} in it`);
    }
  },

  "ledger: finish again gives back what was stored first": async (bench) => {
    const claimed = await bench.begin("s", "a");
    const first = await bench.finish(claimed, completion({ lastSeq: 7 }));
    const again = await bench.finish(claimed, completion({ outcome: "failed", lastSeq: 9 }));
    expectEqual(again, first, "what the second finish gave");
    expectEqual(await bench.get("s", "a"), first, "the run");
    await bench.begin("s", "b");
    expectEqual(await bench.finish(claimed), first, "what a finish gave while the next run is at work");
    expectEqual(await bench.statusOf("s", "b"), "running", "the next run");
  },

  "ledger: finish frees the session": async (bench) => {
    const claimed = await bench.begin("s", "a");
    await bench.submit("s", "b");
    await bench.finish(claimed);
    expectLike(await bench.session("s"), { running: undefined, queued: 1 }, "the session");
    expectEqual((await bench.claim()).run.runId, "b", "the next run");
  },

  "ledger: finish ends the run of its lease alone": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    await bench.submit("s", "b");
    for (const runId of ["b", "unknown"]) {
      const finish = () => bench.runs.finish(lease, runId, completion());
      await expectRefused(finish, "LEASE_LOST", `finish of run ${runId} with the lease of run a`);
      const release = () => bench.runs.release(lease, runId);
      await expectRefused(release, "LEASE_LOST", `release of run ${runId} with the lease of run a`);
    }
    expectEqual(await bench.statusOf("s", "a"), "running", "the run of the lease");
    expectEqual(await bench.statusOf("s", "b"), "queued", "the queued run");
  },

  "ledger: a run that ended although told to stop has the outcome that finish says": async (bench) => {
    const claimed = await bench.begin("s", "a");
    await bench.runs.cancel(threadOf("s"));
    const run = await bench.finish(claimed, completion());
    expectLike(run, { status: "completed", cancelRequested: "cancel" }, "the run");
  },

  "ledger: release puts a run back to the head of its queue": async (bench) => {
    await bench.submit("s", "a");
    await bench.submit("s", "b");
    const { lease } = await bench.claim();
    await bench.runs.release(lease, "a");
    expectLike(await bench.get("s", "a"), { status: "queued", attempt: 1 }, "the released run");
    expectLike(await bench.session("s"), { running: undefined, queued: 2 }, "the session");
    const second = await (await bench.other()).claim({ processId: "process-2" });
    expectLike(second.run, { runId: "a", attempt: 2 }, "the run that is claimed next");
  },

  "ledger: a released lease is lost": async (bench) => {
    const claimed = await bench.begin("s", "a");
    await bench.runs.release(claimed.lease, "a");
    const { lease } = claimed;
    await expectRefused(() => bench.finish(claimed), "LEASE_LOST", "finish after the release");
    await expectRefused(() => bench.runs.writeState(lease, 1), "LEASE_LOST", "writeState after the release");
    expectEqual(await bench.runs.renew([lease], 1_000), [{ lease, held: false }], "what renewing told");
  },

  "ledger: release ends a run that was told to stop": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    await bench.runs.cancel(threadOf("s"));
    await bench.runs.release(lease, "a");
    const run = await bench.get("s", "a");
    expectLike(run, { status: "cancelled", cancelRequested: "cancel" }, "the released run");
    expectThat(typeof run?.finishedAt === "number", "`finishedAt`", run);
    expectEqual(await bench.tryClaim(), undefined, "what is claimable");
  },

  "ledger: cancel ends a queued run": async (bench) => {
    await bench.submit("s", "a");
    const run = await bench.runs.cancel(threadOf("s"), "a");
    expectLike(run, { status: "cancelled", cancelRequested: "cancel", attempt: 0 }, "the run");
    expectThat(typeof run?.finishedAt === "number", "`finishedAt`", run);
    expectEqual(run?.lastSeq ?? 0, 0, "`lastSeq` of a run without events");
    expectEqual(await bench.get("s", "a"), run, "the run that `get` gives");
    expectEqual(await bench.tryClaim(), undefined, "what is claimable");
  },

  "ledger: cancel marks a running run, whose owner goes on to end it": async (bench) => {
    const claimed = await bench.begin("s", "a");
    const other = await bench.other();
    const run = await other.runs.cancel(threadOf("s"), "a");
    expectLike(run, { status: "running", cancelRequested: "cancel" }, "the run");
    const ended = await bench.finish(claimed, completion({ outcome: "cancelled" }));
    expectLike(ended, { status: "cancelled" }, "what finish gave");
  },

  "ledger: cancel leaves a finished run as it is": async (bench) => {
    const finished = await bench.finish(await bench.begin("s", "a"));
    expectEqual(await bench.runs.cancel(threadOf("s"), "a"), finished, "what cancel gave");
    expectEqual(await bench.get("s", "a"), finished, "the run");
  },

  "ledger: cancel of what nobody knows gives nothing": async (bench) => {
    expectEqual(await bench.runs.cancel(threadOf("s")), undefined, "cancel of an unknown session");
    expectEqual(await bench.runs.cancel(threadOf("s"), "a"), undefined, "cancel of a run of it");
    await bench.finish(await bench.begin("s", "a"));
    expectEqual(await bench.runs.cancel(threadOf("s"), "b"), undefined, "cancel of an unknown run");
    expectEqual(await bench.runs.cancel(threadOf("s")), undefined, "cancel of a session at rest");
  },

  "ledger: cancel without run id takes the running run, else the parked, else the oldest queued": async (
    bench,
  ) => {
    const threadId = threadOf("s");
    for (const runId of ["a", "b", "c", "d"]) await bench.submit("s", runId);
    expectLike(await bench.runs.cancel(threadId), { runId: "a", status: "cancelled" }, "the first cancel");
    const running = await bench.claim();
    const marked = { runId: "b", status: "running", cancelRequested: "cancel" };
    expectLike(await bench.runs.cancel(threadId), marked, "cancel while b runs");
    await bench.finish(running, completion({ outcome: "cancelled" }));
    await bench.finish(await bench.claim(), interrupted("i1"));
    const closed = { runId: "c", status: "interrupted", cancelRequested: "cancel" };
    expectLike(await bench.runs.cancel(threadId), closed, "cancel while c is parked");
    expectEqual(await bench.statusOf("s", "d"), "queued", "the run that nobody cancelled");
  },

  "ledger: cancel takes a run out of the middle of the queue": async (bench) => {
    for (const runId of ["a", "b", "c"]) await bench.submit("s", runId);
    await bench.runs.cancel(threadOf("s"), "b");
    await bench.finish(await bench.claim());
    expectEqual((await bench.claim()).run.runId, "c", "the run after a");
  },

  "ledger: a stronger reason to stop replaces a weaker one and never the other way": async (bench) => {
    await bench.begin("s", "a");
    const reason = async () => (await bench.get("s", "a"))?.cancelRequested;
    await bench.submit("s", "b", { onBusy: "interrupt" });
    await bench.runs.cancel(threadOf("s"), "a");
    expectEqual(await reason(), "interrupt", "the reason after interrupt, then cancel");
    await bench.submit("s", "c", { onBusy: "rollback" });
    await bench.submit("s", "d", { onBusy: "interrupt" });
    expectEqual(await reason(), "rollback", "the reason after rollback, then interrupt");
  },

  "ledger: current is the running run, else the parked, the oldest queued, the last retained": async (
    bench,
  ) => {
    const current = () => bench.runs.current(threadOf("s"));
    expectEqual(await current(), undefined, "the current run of an unknown session");
    for (const runId of ["a", "b", "c"]) await bench.submit("s", runId);
    expectLike(await current(), { runId: "a", status: "queued" }, "the current run while all wait");
    const running = await bench.claim();
    expectLike(await current(), { runId: "a", status: "running" }, "the current run while a runs");
    await bench.finish(running);
    expectLike(await current(), { runId: "b", status: "queued" }, "the current run after a");
    await bench.finish(await bench.claim(), interrupted("i1"));
    expectLike(await current(), { runId: "b", status: "interrupted" }, "the current run while b is parked");
    await bench.runs.cancel(threadOf("s"));
    await bench.finish(await bench.claim());
    expectLike(await current(), { runId: "c", status: "completed" }, "the current run at rest");
  },

  "ledger: get knows nothing of unknown runs": async (bench) => {
    expectEqual(await bench.get("s", "a"), undefined, "a run of an unknown session");
    await bench.submit("s", "a");
    expectEqual(await bench.get("s", "b"), undefined, "an unknown run");
  },

  "ledger: sessions tells of those that it knows, each with its runs": async (bench) => {
    await bench.submit("s", "a", { configPatch: { model: "m" } });
    await bench.claim({ processId: "process-7" });
    await bench.submit("s", "b");
    await bench.finish(await bench.begin("t", "c"), interrupted("i1"));
    const known = await bench.runs.sessions([threadOf("t"), threadOf("nobody"), threadOf("s")]);
    expectEqual([...known.keys()].sort(), [threadOf("s"), threadOf("t")], "the known threads");
    const s = known.get(threadOf("s"));
    const running = await bench.get("s", "a");
    expectLike(s, { config: { model: "m" }, running, parked: undefined, queued: 1 }, "the busy session");
    const parked = await bench.get("t", "c");
    expectLike(
      known.get(threadOf("t")),
      { config: {}, parked, running: undefined, queued: 0 },
      "the parked one",
    );
    if (bench.runs.shared) expectEqual(s?.owner, "process-7", "the process that holds the busy session");
    expectEqual((await bench.runs.sessions([])).size, 0, "the number of sessions of an empty list");
  },

  "ledger: every process sees the same": async (bench) => {
    const other = await bench.other();
    await bench.submit("s", "a", { configPatch: { model: "m" } });
    expectEqual(await other.get("s", "a"), await bench.get("s", "a"), "the run that another process gets");
    const claimed = await other.claim({ processId: "process-2" });
    expectEqual(await bench.statusOf("s", "a"), "running", "the run that the other process claimed");
    const finished = await other.finish(claimed, interrupted("i1"));
    expectEqual(await bench.get("s", "a"), finished, "the run that the other process finished");
    expectEqual(await other.session("s"), await bench.session("s"), "the session that another process sees");
  },
});

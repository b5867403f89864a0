import { systemClock } from "../../internal/clock.js";
import { rulesOf } from "./bench.js";
import { expectEqual, expectLike } from "./expectations.js";
import { completion, eventsFrom, threadOf } from "./requests.js";

const RETENTION_MS = 60;
/** Longer: it must not pass between two steps. */
const IDLE_MS = 1_000;

/** How long finished runs stay known. */
export const retentionRules = [
  ...rulesOf(["runs"], {
    "ledger: sweep forgets finished runs past retention": {
      limits: { runRetentionMs: RETENTION_MS },
      check: async (bench) => {
        await bench.finish(await bench.begin("s", "a"));
        await bench.submit("t", "b");
        await bench.runs.cancel(threadOf("t"));
        await bench.pass(2 * RETENTION_MS);
        // How many it forgot depends on what other steps had forgotten before.
        await bench.runs.sweep({});
        expectEqual(await bench.get("s", "a"), undefined, "the finished run");
        expectEqual(await bench.get("t", "b"), undefined, "the cancelled run");
        const again = await bench.submit("s", "a", { fingerprint: "another" });
        expectLike(again, { status: "queued", attempt: 0 }, "a new run under the forgotten id");
      },
    },

    "ledger: retention takes nothing that is queued, running or parked": {
      limits: { runRetentionMs: RETENTION_MS, maxRetainedRuns: 1 },
      check: async (bench) => {
        await bench.park("parked", "a", "i1");
        const running = await bench.begin("running", "b");
        await bench.submit("queued", "c");
        await bench.pass(2 * RETENTION_MS);
        await bench.runs.sweep({});
        await bench.store.sweep?.();
        expectEqual(await bench.statusOf("parked", "a"), "interrupted", "the parked run");
        expectEqual(await bench.statusOf("running", "b"), "running", "the running run");
        expectEqual(await bench.statusOf("queued", "c"), "queued", "the queued run");
        expectLike(await bench.finish(running), { status: "completed" }, "what finish gave");
      },
    },

    "ledger: a session is not dropped for the time that its question has waited": {
      limits: { sessionTtlMs: IDLE_MS },
      check: async (bench) => {
        await bench.park("s", "a", "i1");
        await bench.pass(2 * IDLE_MS);
        const closedAt = systemClock.monotonic();
        await bench.runs.cancel(threadOf("s"));
        await bench.store.sweep?.();
        // Where these steps took so long it may go.
        if (systemClock.monotonic() - closedAt >= IDLE_MS) return;
        expectEqual(await bench.statusOf("s", "a"), "interrupted", "the run whose question was closed");
      },
    },

    "ledger: a session keeps at most maxRetainedRuns finished runs, the newest": {
      limits: { maxRetainedRuns: 2 },
      check: async (bench) => {
        for (const runId of ["a", "b", "c", "d", "e"]) await bench.finish(await bench.begin("s", runId));
        await bench.finish(await bench.begin("s", "f"));
        await bench.submit("s", "g");
        await bench.runs.sweep({});
        for (const runId of ["a", "b", "c"])
          expectEqual(await bench.get("s", runId), undefined, `run ${runId}`);
        expectEqual(await bench.statusOf("s", "f"), "completed", "the run that ended last");
      },
    },

    "ledger: sweep ends a run that only a process might claim that is gone, in a shared ledger": async (
      bench,
    ) => {
      if (!bench.runs.shared) return;
      const listed = { processes: ["process-1"], ageMs: 0 };
      await bench.submit("s", "a", { affinity: "process-9" });
      await bench.submit("s", "b");
      await bench.submit("t", "c", { affinity: "process-1" });
      await bench.runs.sweep({ orphans: { ...listed, ageMs: 3_600_000 } });
      expectEqual(await bench.statusOf("s", "a"), "queued", "the run while it is young");
      await bench.runs.sweep({ orphans: listed });
      const wanted = { status: "failed", error: { code: "RUN_ABANDONED", retryable: true } };
      expectLike(await bench.get("s", "a"), wanted, "the run of the process that is gone");
      expectEqual(await bench.claimAll(), ["b", "c"], "what is claimed after it");
    },

    "ledger: sweep without orphans leaves every run to its process": async (bench) => {
      await bench.submit("s", "a", { affinity: "process-9" });
      await bench.runs.sweep({});
      expectEqual(await bench.claimAll({ processId: "process-9" }), ["a"], "the claims of the process");
    },

    "ledger: all runs that one step ended can be read after it": {
      limits: { maxRetainedRuns: 2 },
      check: async (bench) => {
        const runIds = ["a", "b", "c", "d", "e"];
        for (const runId of runIds) await bench.submit("s", runId);
        await bench.submit("s", "f", { onBusy: "interrupt" });
        for (const runId of runIds) {
          expectEqual(await bench.statusOf("s", runId), "cancelled", `run ${runId}`);
        }
      },
    },
  }),

  ...rulesOf(["runs", "events"], {
    "ledger: a run that nobody finishes knows its last event": async (bench) => {
      const { lease } = await bench.begin("s", "a", { leaseMs: bench.leaseMs });
      await bench.events.append(lease, "a", eventsFrom(1, 3));
      await bench.expire();
      await bench.tryClaim({ maxAttempts: 1 });
      expectLike(await bench.get("s", "a"), { status: "failed", lastSeq: 3 }, "the run that was given up");
      const second = await bench.begin("t", "b");
      await bench.events.append(second.lease, "b", eventsFrom(1, 2));
      await bench.runs.release(second.lease, "b");
      await bench.runs.cancel(threadOf("t"), "b");
      expectLike(
        await bench.get("t", "b"),
        { status: "cancelled", lastSeq: 2 },
        "the run cancelled after a release",
      );
    },

    "events: events go with their run": {
      limits: { runRetentionMs: RETENTION_MS },
      check: async (bench) => {
        const claimed = await bench.begin("s", "a");
        await bench.events.append(claimed.lease, "a", eventsFrom(1, 3));
        await bench.finish(claimed, completion({ lastSeq: 3 }));
        await bench.pass(2 * RETENTION_MS);
        await bench.runs.sweep({});
        await bench.store.sweep?.();
        const page = await bench.events.read(threadOf("s"), "a", { after: 0, limit: 10 });
        expectEqual(page.events, [], "the events of a run that was forgotten");
      },
    },
  }),
];

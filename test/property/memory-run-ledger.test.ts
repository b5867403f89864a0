import fc from "fast-check";
import { expect, it } from "vitest";
import { systemClock } from "../../src/internal/clock.js";
import { MemoryRunLedger } from "../../src/store/memory/run-ledger.js";
import { LedgerPair, operation } from "../support/ledger-pair.js";
import { claimRequest, completion, submission } from "../support/ledger-requests.js";

it("does what the model does, operation by operation, and gets to the end of every run", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(operation, { minLength: 1, maxLength: 120, size: "max" }),
      async (operations) => {
        let now = 0;
        const ledger = new MemoryRunLedger({
          // The ledger reads the time and sets no timer.
          clock: { ...systemClock, now: () => now, monotonic: () => now },
          maxRetainedRuns: 10_000,
          runRetentionMs: 1e12,
        });
        const pair = new LedgerPair({
          ledger,
          unit: 1,
          advance: (ms) => {
            now += ms;
          },
          size: () => ledger.size,
        });
        for (const op of operations) {
          await pair.do(op);
          await pair.compare();
        }
        await pair.drain();
        await pair.purgeAll();
        expect(ledger.bytes).toBe(0);
      },
    ),
    { numRuns: 150, interruptAfterTimeLimit: 30_000 },
  );
}, 180_000);

it("runs every accepted run once, one per session at a time and in order, in any interleaving of workers", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.nat({ max: 2 }), { minLength: 5, maxLength: 20 }),
      async (s, plan) => {
        const ledger = new MemoryRunLedger();
        const accepted = new Map<string, string[]>();
        const started = new Map<string, string[]>();
        const active = new Set<string>();
        const ended: string[] = [];
        const worker = async (processId: string): Promise<void> => {
          while (ended.length < plan.length) {
            const claimed = await s.schedule(ledger.claim(claimRequest({ processId })), "claim");
            if (claimed === undefined) {
              await s.schedule(Promise.resolve(), "idle");
              continue;
            }
            const { threadId, runId } = claimed.run;
            expect(active.has(threadId)).toBe(false);
            active.add(threadId);
            started.set(threadId, [...(started.get(threadId) ?? []), runId]);
            await s.schedule(Promise.resolve(), "work");
            active.delete(threadId);
            await s.schedule(ledger.finish(claimed.lease, runId, completion()), "finish");
            ended.push(runId);
          }
        };
        const submits = plan.map(async (n) => {
          await s.schedule(Promise.resolve(), "arrive");
          const { run } = await ledger.submit(submission({ sessionId: String(n) }));
          accepted.set(run.threadId, [...(accepted.get(run.threadId) ?? []), run.runId]);
        });
        const work = Promise.all([worker("p1"), worker("p2"), worker("p3"), ...submits]);
        await s.waitFor(work);
        expect(new Set(ended).size).toBe(plan.length);
        expect(started).toEqual(accepted);
      },
    ),
    { numRuns: 60, interruptAfterTimeLimit: 30_000 },
  );
}, 180_000);

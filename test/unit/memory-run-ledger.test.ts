import { describe, expect, it } from "vitest";
import { MemoryRunLedger } from "../../src/store/memory/run-ledger.js";
import { ManualClock } from "../../src/testing/manual-clock.js";
import { claimRequest, submission, threadOf } from "../support/ledger-requests.js";
import { describeLedger } from "../support/ledger-suite.js";

describeLedger((limits) => {
  const clock = new ManualClock();
  const ledger = new MemoryRunLedger({ clock, ...limits });
  return { ledger, advance: (ms) => clock.advance(ms), size: () => ledger.size };
}, 1);

describe("for the rest of a store in memory", () => {
  const thread = threadOf("s");

  it("fences by the lease and the run, and refuses all writes of a deleted session", async () => {
    const ledger = new MemoryRunLedger();
    const { run } = await ledger.submit(submission({ sessionId: "s" }));
    const lost = expect.objectContaining({ code: "LEASE_LOST" }) as Error;
    const claimed = await ledger.claim(claimRequest());
    const lease = claimed!.lease;
    ledger.fence(lease, run.runId);
    expect(() => {
      ledger.fence(lease, "another");
    }).toThrow(lost);
    await ledger.tombstone(thread);
    expect(() => {
      ledger.fence(lease);
    }).toThrow(lost);
  });

  it("counts no bytes for a session that has been purged", async () => {
    const ledger = new MemoryRunLedger();
    await ledger.submit(submission({ sessionId: "s", configPatch: { model: "m1" } }));
    const claimed = await ledger.claim(claimRequest());
    await ledger.writeState(claimed!.lease, { secret: 1 });
    expect(ledger.bytes).toBeGreaterThan(0);
    await ledger.tombstone(thread);
    await ledger.purge(thread);
    expect([ledger.size, ledger.bytes]).toEqual([0, 0]);
  });

  it("counts epochs by session, one by one", async () => {
    const ledger = new MemoryRunLedger();
    const epochs: number[] = [];
    for (const sessionId of ["s", "t"]) {
      await ledger.submit(submission({ sessionId }));
      const claimed = await ledger.claim(claimRequest());
      epochs.push(claimed!.lease.epoch);
    }
    expect(epochs).toEqual([1, 1]);
  });
});

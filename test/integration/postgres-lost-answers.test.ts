import { PGlite } from "@electric-sql/pglite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LedgerHint } from "../../src/store/store.js";
import { claimRequest, submission, threadOf } from "../support/ledger-requests.js";
import { PostgresLedgerParts } from "../support/postgres-ledger.js";

describe("A step whose answer is lost", () => {
  let embedded: PGlite;
  let parts: PostgresLedgerParts;
  /** The next statement that has this in it is done, and its answer is lost. */
  let losing: string | undefined;

  beforeAll(async () => {
    embedded = await PGlite.create();
    const client = {
      exec: (sql: string) => embedded.exec(sql),
      transaction: embedded.transaction.bind(embedded),
      query: async (sql: string, params?: unknown[]) => {
        const result = await embedded.query<object>(sql, params);
        if (losing === undefined || !sql.includes(losing)) return result;
        losing = undefined;
        throw Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
      },
    };
    parts = new PostgresLedgerParts(client, { schema: "s" });
    await parts.init();
  });

  afterAll(async () => {
    await parts.close();
    await embedded.close();
  });

  it("submits a run once, and tells this process that it can be claimed", async () => {
    const hints: LedgerHint[] = [];
    const stop = parts.runs.watch((hint) => hints.push(hint));
    losing = "submit_run";
    const { created } = await parts.runs.submit(submission({ sessionId: "submitted" }));
    stop();
    expect(losing).toBeUndefined();
    expect(created).toBe(true);
    expect(hints).toContainEqual({ type: "queue" });
  });

  it("submits a run that goes with it to this process, once", async () => {
    await parts.clear();
    losing = "submit_run";
    const { created, run, claim } = await parts.runs.submit(
      submission({ sessionId: "held", claim: claimRequest({ leaseMs: 60_000 }) }),
    );
    expect(losing).toBeUndefined();
    expect(created).toBe(true);
    expect(claim?.run).toEqual(run);
    expect(run).toMatchObject({ status: "running", attempt: 1 });
    expect(await parts.runs.renew([claim!.lease], 60_000)).toEqual([{ lease: claim!.lease, held: true }]);
    await parts.clear();
  });

  it("claims a run, which the next claim of this process gets as if it had come at once", async () => {
    await parts.clear();
    await parts.runs.submit(submission({ sessionId: "claimed", runId: "r" }));
    for (const request of [claimRequest({ maxAttempts: 1 }), claimRequest({ maxAttempts: 2 })]) {
      losing = "claim_run";
      await expect(parts.runs.claim(request)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
      expect((await parts.runs.get(threadOf("claimed"), "r"))?.status).toBe("running");
      const { lease, run, undo } = (await parts.runs.claim(request))!;
      expect(run).toMatchObject({ runId: "r", attempt: request.maxAttempts });
      expect(undo).toEqual([]);
      expect(await parts.runs.renew([lease], 60_000)).toEqual([{ lease, held: true }]);
      // It has begun now: what comes next is another attempt, and not before the lease has expired.
      expect(await parts.runs.claim(claimRequest({ maxAttempts: 9 }))).toBeUndefined();
      await parts.advance(60_000);
    }
    expect(await parts.runs.claim(claimRequest({ maxAttempts: 2 }))).toBeUndefined();
    expect((await parts.runs.get(threadOf("claimed"), "r"))?.status).toBe("failed");
  });

  it("claims no run of a session that was deleted meanwhile", async () => {
    await parts.clear();
    const threadId = threadOf("gone");
    await parts.runs.submit(submission({ sessionId: "gone", runId: "r" }));
    losing = "claim_run";
    await expect(parts.runs.claim(claimRequest())).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    await parts.runs.tombstone(threadId);
    expect(await parts.runs.claim(claimRequest())).toBeUndefined();
    await parts.runs.purge(threadId);
    expect(await parts.runs.purged(threadId)).toBe(true);
  });

  it("cancels no second run in place of the one that came next", async () => {
    for (const runId of ["first", "second"])
      await parts.runs.submit(submission({ sessionId: "cancelled", runId }));
    losing = "cancel_run";
    const thread = threadOf("cancelled");
    await expect(parts.runs.cancel(thread)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect((await parts.runs.get(thread, "first"))?.status).toBe("cancelled");
    expect((await parts.runs.get(thread, "second"))?.status).toBe("queued");
  });

  it("cancels a run that is named, and says so", async () => {
    await parts.runs.submit(submission({ sessionId: "named", runId: "r" }));
    losing = "cancel_run";
    expect((await parts.runs.cancel(threadOf("named"), "r"))?.status).toBe("cancelled");
    expect(losing).toBeUndefined();
  });
});

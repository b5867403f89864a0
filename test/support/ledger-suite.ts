import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Claim, Lease, LedgerHint, RunCompletion, RunLedger } from "../../src/store/store.js";
import {
  answers,
  claimRequest,
  completion,
  interrupted,
  submission,
  summary,
  threadOf,
} from "./ledger-requests.js";

/* What every ledger does, test by test. */

/** Leases and ttls. Engines' clocks go on, so that nothing here may be short. */
const LONG_MS = 60_000;

/** Limits of a ledger; those that are left out are the defaults. */
export interface LedgerLimits {
  readonly runRetentionMs?: number;
  readonly maxRetainedRuns?: number;
  readonly maxStateBytes?: number;
}

/** A ledger of its own for one test, and what its contract has no method for. */
export interface OpenedLedger {
  readonly ledger: RunLedger;
  /** Makes it as if `ms` had passed. */
  advance(ms: number): void | Promise<void>;
  /** How many sessions it knows. */
  size(): number | Promise<number>;
}

/**
 * @param slackMs How long the steps of one test may take: with a clock that stands still, 1 is the least that tells
 * before from after.
 */
export function describeLedger(open: (limits: LedgerLimits) => OpenedLedger, slackMs: number): void {
  let opened: OpenedLedger;
  let ledger: RunLedger;

  const reopen = (limits: LedgerLimits): void => {
    opened = open(limits);
    ledger = opened.ledger;
  };

  beforeEach(() => {
    reopen({});
  });

  const thread = threadOf("s");

  const listening: (() => void)[] = [];

  // One that is left claims the runs of the next test.
  afterEach(() => {
    for (const stop of listening.splice(0)) stop();
  });

  function listen(listener: (hint: LedgerHint) => void): () => void {
    const stop = ledger.watch(listener);
    listening.push(stop);
    return stop;
  }

  async function submit(runId: string, changes: Partial<Parameters<typeof submission>[0]> = {}) {
    return (await ledger.submit(submission({ sessionId: "s", runId, ...changes }))).run;
  }

  async function claim(changes: Parameters<typeof claimRequest>[0] = {}): Promise<Claim> {
    const claimed = await ledger.claim(claimRequest(changes));
    if (claimed === undefined) throw new Error("there was nothing to claim");
    return claimed;
  }

  function finish({ lease, run }: Claim, how: RunCompletion = completion()) {
    return ledger.finish(lease, run.runId, how);
  }

  async function park(runId: string, ...ids: readonly string[]): Promise<Claim> {
    await submit(runId);
    const claimed = await claim();
    await finish(claimed, interrupted(...ids));
    return claimed;
  }

  async function statusOf(runId: string, threadId = thread) {
    return (await ledger.get(threadId, runId))?.status;
  }

  async function claimAll(changes: Parameters<typeof claimRequest>[0] = {}): Promise<string[]> {
    const runs: string[] = [];
    for (let next = await ledger.claim(claimRequest(changes)); next !== undefined;) {
      runs.push(next.run.runId);
      next = await ledger.claim(claimRequest(changes));
    }
    return runs;
  }

  describe("submit", () => {
    it("creates a run once per run id, however many race, and tells the others to follow", async () => {
      const given = submission({ sessionId: "s", runId: "a" });
      const results = await Promise.all(Array.from({ length: 20 }, () => ledger.submit(given)));
      expect(results.filter((result) => result.created)).toHaveLength(1);
      expect(new Set(results.map((result) => result.run.runId))).toEqual(new Set(["a"]));
      expect(await claimAll()).toEqual(["a"]);
    });

    it("refuses a known run id with another input, also of a finished run that is retained", async () => {
      await submit("a");
      await finish(await claim());
      await expect(submit("a", { fingerprint: "other" })).rejects.toMatchObject({ code: "RUN_ID_CONFLICT" });
      const again = await ledger.submit(submission({ sessionId: "s", runId: "a" }));
      expect(again).toMatchObject({ created: false, run: { status: "completed" } });
    });

    it("gives two sessions a run of the same id each", async () => {
      await submit("a");
      const other = await ledger.submit(submission({ sessionId: "t", runId: "a", fingerprint: "other" }));
      expect(other.created).toBe(true);
    });

    it("accepts exactly one of many racing runs under `reject`", async () => {
      const racing = Array.from({ length: 50 }, () =>
        ledger.submit(submission({ sessionId: "s", onBusy: "reject" })),
      );
      const results = await Promise.allSettled(racing);
      const refused = results.filter((result) => result.status === "rejected");
      expect(refused).toHaveLength(49);
      for (const { reason } of refused) expect(reason).toMatchObject({ code: "SESSION_BUSY" });
    });

    it("lets `queueLimit` runs wait behind the one that is running or next", async () => {
      await submit("a", { queueLimit: 2 });
      await submit("b", { queueLimit: 2 });
      await submit("c", { queueLimit: 2 });
      await expect(submit("d", { queueLimit: 2 })).rejects.toMatchObject({ code: "QUEUE_FULL" });
      await claim();
      await expect(submit("d", { queueLimit: 2 })).rejects.toMatchObject({ code: "QUEUE_FULL" });
      expect(await statusOf("d")).toBeUndefined();
    });

    it("lets `totalQueueLimit` runs wait in all sessions", async () => {
      await submit("a", { totalQueueLimit: 2 });
      await submit("b", { sessionId: "t", totalQueueLimit: 2 });
      await expect(submit("c", { sessionId: "u", totalQueueLimit: 2 })).rejects.toMatchObject({
        code: "QUEUE_FULL",
      });
      expect(await opened.size()).toBe(2);
      await claim();
      expect(await submit("c", { sessionId: "u", totalQueueLimit: 2 })).toMatchObject({ status: "queued" });
    });

    it("lays the config over the service's, makes it stick, and snapshots it into the run", async () => {
      const patch = { model: "m1", nested: { a: 1 } };
      await submit("a", { defaults: { provider: "p", model: "m0" }, configPatch: patch });
      patch.nested.a = 2;
      const second = await submit("b", { defaults: { provider: "q", model: "m0" }, configPatch: {} });
      expect(second.config).toEqual({ provider: "q", model: "m1", nested: { a: 1 } });
      expect((await ledger.get(thread, "a"))?.config).toEqual({
        provider: "p",
        model: "m1",
        nested: { a: 1 },
      });
      expect((await ledger.sessions([thread])).get(thread)?.config).toEqual({
        model: "m1",
        nested: { a: 1 },
      });
    });

    it("keeps no config of a refused run", async () => {
      await submit("a");
      const refused = submit("b", { onBusy: "reject", configPatch: { model: "m1" } });
      await expect(refused).rejects.toMatchObject({ code: "SESSION_BUSY" });
      expect((await ledger.sessions([thread])).get(thread)?.config).toEqual({});
    });

    it("leaves a config key that is undefined as it was", async () => {
      await submit("a", { configPatch: { model: "m1" } });
      const second = await submit("b", { configPatch: { model: undefined } });
      expect(second.config).toEqual({ model: "m1" });
    });

    it.each(["interrupt", "rollback"] as const)(
      "%s cancels what waits and marks what runs",
      async (onBusy) => {
        await submit("a");
        const running = await claim();
        await submit("b");
        await submit("c");
        await submit("d", { onBusy, queueLimit: 0 });
        expect(await ledger.get(thread, "a")).toMatchObject({ status: "running", cancelRequested: onBusy });
        expect(await ledger.get(thread, "b")).toMatchObject({ status: "cancelled", lastSeq: 0 });
        expect(await statusOf("c")).toBe("cancelled");
        expect(await ledger.claim(claimRequest())).toBeUndefined();
        await finish(running, completion({ outcome: "cancelled" }));
        expect(await claim()).toMatchObject({
          run: { runId: "d" },
          undo: onBusy === "rollback" ? ["a"] : [],
        });
      },
    );

    it("hands the turns to undo to each next run until one says that it is done", async () => {
      await submit("a");
      const first = await claim();
      await submit("b", { onBusy: "rollback" });
      await finish(first, completion({ outcome: "cancelled" }));
      const second = await claim();
      expect(second.undo).toEqual(["a"]);
      await submit("c", { onBusy: "rollback" });
      await finish(second, completion({ outcome: "failed" }));
      const third = await claim();
      expect(third.undo).toEqual(["a", "b"]);
      await submit("d", { onBusy: "rollback" });
      await finish(third, completion({ undone: true }));
      const fourth = await claim();
      expect(fourth.undo).toEqual(["c"]);
      await finish(fourth, completion({ undone: true }));
      await submit("e");
      expect((await claim()).undo).toEqual([]);
    });

    it("undoes a begun turn that waits again after a release", async () => {
      await submit("a");
      const { lease } = await claim();
      await ledger.release(lease, "a");
      await submit("b", { onBusy: "rollback" });
      expect(await claim()).toMatchObject({ run: { runId: "b" }, undo: ["a"] });
    });

    it("undoes nothing for a run that never began", async () => {
      await submit("a");
      await submit("b", { onBusy: "rollback" });
      expect(await claim()).toMatchObject({ run: { runId: "b" }, undo: [] });
    });
  });

  describe("interrupts", () => {
    it("park the session: no run comes out and no new one in, but those accepted before stay", async () => {
      await submit("a");
      const running = await claim();
      await submit("b");
      await finish(running, interrupted("i1"));
      expect(await ledger.claim(claimRequest())).toBeUndefined();
      await expect(submit("c")).rejects.toMatchObject({ code: "INTERRUPT_PENDING" });
      await expect(submit("c", { onBusy: "reject" })).rejects.toMatchObject({ code: "INTERRUPT_PENDING" });
      const session = (await ledger.sessions([thread])).get(thread);
      expect(session).toMatchObject({ parked: { runId: "a", status: "interrupted" }, queued: 1 });
      expect(session).not.toHaveProperty("running");
    });

    it("let answers go ahead of what waits, with the config and the turn of the run that asked", async () => {
      await submit("a", { configPatch: { model: "m1" } });
      const running = await claim();
      await submit("b", { configPatch: { model: "m2" } });
      await finish(running, interrupted("i1", "i2"));
      const given = answers("s", "i2");
      const { run } = await ledger.submit({ ...given, configPatch: { model: "m3" }, queueLimit: 0 });
      expect(run).toMatchObject({ turnId: "a", config: { model: "m1" } });
      expect((await ledger.sessions([thread])).get(thread)?.config).toEqual({ model: "m2" });
      const claimed = await claim();
      expect(claimed.run.runId).toBe(given.runId);
      await finish(claimed, interrupted("i1"));
      expect((await ledger.sessions([thread])).get(thread)?.parked).toMatchObject({
        runId: given.runId,
        turnId: "a",
      });
      await ledger.submit(answers("s", "i1"));
      await finish(await claim());
      expect((await claim()).run.runId).toBe("b");
    });

    it("take one set of answers: of many that race, one is accepted and the others are stale", async () => {
      await park("a", "i1");
      const results = await Promise.allSettled(
        Array.from({ length: 10 }, () => ledger.submit(answers("s", "i1"))),
      );
      const refused = results.filter((result) => result.status === "rejected");
      expect(refused).toHaveLength(9);
      for (const { reason } of refused) expect(reason).toMatchObject({ code: "INTERRUPT_STALE" });
    });

    it("refuse answers that name nothing, something else, or a session that does not wait", async () => {
      await park("a", "i1");
      await expect(ledger.submit(answers("s", "i1", "i2"))).rejects.toMatchObject({
        code: "INTERRUPT_STALE",
      });
      await expect(ledger.submit(answers("s"))).rejects.toMatchObject({ code: "INTERRUPT_STALE" });
      await expect(ledger.submit(answers("t", "i1"))).rejects.toMatchObject({ code: "INTERRUPT_STALE" });
      expect(await opened.size()).toBe(1);
      expect((await ledger.sessions([thread])).get(thread)?.parked?.runId).toBe("a");
    });

    it("follow answers given twice under one run id instead of refusing them", async () => {
      await park("a", "i1");
      const given = answers("s", "i1");
      await ledger.submit(given);
      expect(await ledger.submit(given)).toMatchObject({ created: false });
    });

    it.each(["interrupt", "rollback"] as const)(
      "are closed by %s; the run keeps its one final status",
      async (onBusy) => {
        await park("a", "i1");
        await submit("b", { onBusy });
        expect(await ledger.get(thread, "a")).toMatchObject({
          status: "interrupted",
          cancelRequested: onBusy,
        });
        expect((await ledger.sessions([thread])).get(thread)?.parked).toBeUndefined();
        await expect(ledger.submit(answers("s", "i1"))).rejects.toMatchObject({ code: "INTERRUPT_STALE" });
        expect(await claim()).toMatchObject({
          run: { runId: "b" },
          undo: onBusy === "rollback" ? ["a"] : [],
        });
      },
    );

    it("belong to a begun turn also while their answers wait", async () => {
      await park("a", "i1");
      await ledger.submit(answers("s", "i1"));
      await submit("b", { onBusy: "rollback" });
      expect(await claim()).toMatchObject({ run: { runId: "b" }, undo: ["a"] });
    });

    it("park again after answers that failed", async () => {
      await park("a", "i1");
      const given = answers("s", "i1");
      await ledger.submit(given);
      await finish(await claim(), completion({ outcome: "failed", summary: summary("i1") }));
      expect((await ledger.sessions([thread])).get(thread)?.parked).toMatchObject({
        runId: given.runId,
        status: "failed",
      });
    });

    it("do not park the session of a run that was told to stop", async () => {
      await submit("a");
      const running = await claim();
      await submit("b", { onBusy: "interrupt" });
      expect(await finish(running, interrupted("i1"))).toMatchObject({ status: "cancelled" });
      expect((await claim()).run.runId).toBe("b");
    });

    it("end a run that was told to stop as cancelled: nobody is to answer", async () => {
      await submit("a");
      const running = await claim();
      await ledger.cancel(thread);
      expect(await finish(running, interrupted("i1"))).toMatchObject({
        status: "cancelled",
        cancelRequested: "cancel",
      });
      expect(await ledger.current(thread)).toMatchObject({ runId: "a", status: "cancelled" });
      expect((await ledger.sessions([thread])).get(thread)?.parked).toBeUndefined();
      await submit("b");
      const next = await claim();
      await ledger.cancel(thread);
      // One that had done its work all the same has done it.
      expect(await finish(next, completion())).toMatchObject({ runId: "b", status: "completed" });
    });

    it("are closed by cancel, and what waited goes on", async () => {
      await submit("a");
      const running = await claim();
      await submit("b");
      await finish(running, interrupted("i1"));
      expect(await ledger.cancel(thread)).toMatchObject({ runId: "a", status: "interrupted" });
      expect((await claim()).run.runId).toBe("b");
    });

    it("are closed by sweep when they have waited for interruptTtlMs, and not before", async () => {
      await park("a", "i1");
      await opened.advance(LONG_MS);
      expect(await ledger.sweep({ interruptTtlMs: LONG_MS + slackMs })).toBe(0);
      expect(await ledger.sweep({})).toBe(0);
      expect(await ledger.sweep({ interruptTtlMs: LONG_MS })).toBe(1);
      expect((await ledger.sessions([thread])).get(thread)?.parked).toBeUndefined();
    });

    it("keep their run beyond retention", async () => {
      await park("a", "i1");
      await opened.advance(10_000_000);
      await ledger.sweep({});
      expect(await statusOf("a")).toBe("interrupted");
    });
  });

  describe("claim", () => {
    it("gives each run to exactly one of many racing callers", async () => {
      for (let i = 0; i < 10; i++) await submit(`r${String(i)}`, { sessionId: `s${String(i)}` });
      const claims = await Promise.all(Array.from({ length: 30 }, () => ledger.claim(claimRequest())));
      const given = claims.flatMap((claimed) => (claimed === undefined ? [] : [claimed.run.runId]));
      expect(given).toHaveLength(10);
      expect(new Set(given).size).toBe(10);
    });

    it("gives one run per session at a time, in the order of acceptance", async () => {
      for (const id of ["a", "b", "c"]) await submit(id);
      const order: string[] = [];
      for (let i = 0; i < 3; i++) {
        const claimed = await claim();
        expect(await ledger.claim(claimRequest())).toBeUndefined();
        order.push(claimed.run.runId);
        await finish(claimed);
      }
      expect(order).toEqual(["a", "b", "c"]);
    });

    it("raises the epoch with each lease and never uses an owner twice", async () => {
      const leases: Lease[] = [];
      for (const id of ["a", "b", "c"]) {
        await submit(id);
        const claimed = await claim();
        leases.push(claimed.lease);
        await finish(claimed);
      }
      const epochs = leases.map((lease) => lease.epoch);
      expect(epochs).toEqual([...new Set(epochs)].sort((a, b) => a - b));
      expect(new Set(leases.map((lease) => lease.owner)).size).toBe(3);
    });

    it("goes round among users; a session without user is a user of its own", async () => {
      for (const n of ["1", "2", "3"]) await submit(`a${n}`, { sessionId: n, userId: "a" });
      await submit("b1", { sessionId: "1", userId: "b" });
      await submit("x", { sessionId: "x" });
      await submit("b2", { sessionId: "2", userId: "b" });
      expect(await claimAll()).toEqual(["a1", "b1", "x", "a2", "b2", "a3"]);
    });

    it("takes, of one user's sessions, the one whose next run was accepted first", async () => {
      await submit("a1", { sessionId: "1", userId: "u" });
      await submit("a2", { sessionId: "1", userId: "u" });
      const first = await claim();
      await submit("b1", { sessionId: "2", userId: "u" });
      await finish(first);
      expect(await claimAll()).toEqual(["a2", "b1"]);
    });

    it("keeps each user under its limit and lets the others pass", async () => {
      const limit = { maxConcurrentRunsPerUser: 1 };
      await submit("a1", { sessionId: "1", userId: "a" });
      await submit("a2", { sessionId: "2", userId: "a" });
      await submit("b1", { sessionId: "1", userId: "b" });
      const first = await claim(limit);
      expect(await claimAll(limit)).toEqual(["b1"]);
      await finish(first);
      expect(await claimAll(limit)).toEqual(["a2"]);
    });

    it("decides by the limit of the caller, whatever that of the last one was", async () => {
      for (const n of ["1", "2", "3"]) await submit(`a${n}`, { sessionId: n, userId: "a" });
      expect(await claimAll({ maxConcurrentRunsPerUser: 1 })).toEqual(["a1"]);
      expect(await claimAll({ maxConcurrentRunsPerUser: 2 })).toEqual(["a2"]);
      expect(await claimAll()).toEqual(["a3"]);
    });

    it("leaves a run with affinity to its process and gives the others their work", async () => {
      await submit("a1", { sessionId: "1", affinity: "p2" });
      await submit("a2", { sessionId: "1" });
      await submit("b1", { sessionId: "2" });
      expect(await claimAll({ processId: "p1" })).toEqual(["b1"]);
      const own = await claim({ processId: "p2" });
      expect(own.run.runId).toBe("a1");
      await finish(own);
      expect(await claimAll({ processId: "p1" })).toEqual(["a2"]);
    });

    it("gives a user one turn per round, also when its runs wait in two lanes", async () => {
      await submit("a1", { sessionId: "1", userId: "a" });
      await submit("a2", { sessionId: "2", userId: "a", affinity: "p1" });
      await submit("b1", { sessionId: "1", userId: "b" });
      expect(await claimAll()).toEqual(["a1", "b1", "a2"]);
    });
  });

  describe("leases that expire", () => {
    it("lose the run to one other process, which goes on with the next attempt", async () => {
      await submit("a");
      const first = await claim({ leaseMs: LONG_MS });
      await opened.advance(LONG_MS - slackMs);
      expect(await ledger.claim(claimRequest({ processId: "p2", leaseMs: LONG_MS }))).toBeUndefined();
      await opened.advance(slackMs);
      const claims = await Promise.all(
        ["p2", "p3"].map((processId) => ledger.claim(claimRequest({ processId, leaseMs: LONG_MS }))),
      );
      const [second, ...rest] = claims.filter((claimed) => claimed !== undefined);
      expect(rest).toEqual([]);
      expect(second?.run).toMatchObject({ runId: "a", attempt: 2 });
      expect(second?.lease.epoch).toBeGreaterThan(first.lease.epoch);
      await expect(finish(first)).rejects.toMatchObject({ code: "LEASE_LOST" });
      await expect(ledger.release(first.lease, "a")).rejects.toMatchObject({ code: "LEASE_LOST" });
      await expect(ledger.writeState(first.lease, 1)).rejects.toMatchObject({ code: "LEASE_LOST" });
    });

    it("are prolonged by renew while they hold, and never revived", async () => {
      await submit("a");
      const { lease } = await claim({ leaseMs: LONG_MS });
      await opened.advance(LONG_MS - slackMs);
      expect(await ledger.renew([lease], LONG_MS)).toEqual([{ lease, held: true }]);
      await opened.advance(LONG_MS - slackMs);
      expect(await ledger.claim(claimRequest({ processId: "p2" }))).toBeUndefined();
      await opened.advance(slackMs);
      expect(await ledger.renew([lease], LONG_MS)).toEqual([{ lease, held: false }]);
      expect(await ledger.claim(claimRequest({ processId: "p2" }))).toMatchObject({ run: { attempt: 2 } });
      expect(await ledger.renew([lease], LONG_MS)).toEqual([{ lease, held: false }]);
    });

    it("end a run as RUN_ABANDONED after maxAttempts, and the session goes on", async () => {
      await submit("a");
      await submit("b");
      await claim({ leaseMs: LONG_MS, maxAttempts: 2 });
      await opened.advance(LONG_MS);
      await claim({ leaseMs: LONG_MS, maxAttempts: 2 });
      await opened.advance(LONG_MS);
      expect((await claim({ leaseMs: LONG_MS, maxAttempts: 2 })).run.runId).toBe("b");
      const abandoned = await ledger.get(thread, "a");
      expect(abandoned).toMatchObject({ status: "failed", error: { code: "RUN_ABANDONED" } });
    });

    it("end answers as RUN_ABANDONED too: what they answered waits no more, and the session goes on", async () => {
      await park("asked", "x");
      const { runId } = (await ledger.submit(answers("s", "x"))).run;
      await claim({ leaseMs: LONG_MS, maxAttempts: 1 });
      await opened.advance(LONG_MS);
      expect(await ledger.claim(claimRequest({ maxAttempts: 1 }))).toBeUndefined();
      const abandoned = await ledger.get(thread, runId);
      expect(abandoned).toMatchObject({ status: "failed", error: { code: "RUN_ABANDONED" } });
      await expect(ledger.submit(answers("s", "x"))).rejects.toMatchObject({ code: "INTERRUPT_STALE" });
      await submit("next");
      expect((await claim()).run.runId).toBe("next");
    });

    it("give the turns to undo again, without that of the run itself", async () => {
      await submit("a");
      const first = await claim();
      await submit("b", { onBusy: "rollback" });
      await finish(first, completion({ outcome: "cancelled" }));
      await claim({ leaseMs: LONG_MS });
      await submit("c", { onBusy: "rollback" });
      await opened.advance(LONG_MS);
      expect(await claim()).toMatchObject({ run: { runId: "b", cancelRequested: "rollback" }, undo: ["a"] });
    });

    it("give a run that was given no turns to undo none the second time either", async () => {
      await submit("a");
      await claim({ leaseMs: LONG_MS });
      await submit("b", { onBusy: "rollback" });
      await opened.advance(LONG_MS);
      expect(await claim()).toMatchObject({ run: { runId: "a", attempt: 2 }, undo: [] });
    });

    it("end a run that only the silent process could go on with", async () => {
      await submit("a", { affinity: "p1" });
      await claim({ processId: "p1", leaseMs: LONG_MS });
      await opened.advance(LONG_MS);
      expect(await ledger.claim(claimRequest({ processId: "p2" }))).toBeUndefined();
      expect(await statusOf("a")).toBe("failed");
    });
  });

  describe("finish", () => {
    it("is the same when said twice, and refused to every other lease", async () => {
      await submit("a");
      const claimed = await claim();
      const results = await Promise.all([
        finish(claimed, completion({ lastSeq: 7 })),
        finish(claimed, completion({ outcome: "failed", lastSeq: 9 })),
      ]);
      expect(results.map(({ status, lastSeq }) => [status, lastSeq])).toEqual([
        ["completed", 7],
        ["completed", 7],
      ]);
      const stranger = { ...claimed.lease, owner: "somebody" };
      await expect(ledger.finish(stranger, "a", completion())).rejects.toMatchObject({ code: "LEASE_LOST" });
    });

    it("is refused to a lease of another thread", async () => {
      await submit("a");
      await submit("a", { sessionId: "t", fingerprint: "t" });
      const { lease } = await claim();
      const elsewhere = { ...lease, threadId: threadOf("t") };
      await expect(ledger.finish(elsewhere, "a", completion())).rejects.toMatchObject({ code: "LEASE_LOST" });
    });

    it("forgets finished runs past retention, oldest first, on the side of other steps", async () => {
      reopen({ runRetentionMs: LONG_MS });
      await submit("a");
      await finish(await claim());
      await opened.advance(LONG_MS / 2);
      await submit("b");
      await finish(await claim());
      await opened.advance(LONG_MS / 2);
      await submit("c", { sessionId: "t" });
      expect([await statusOf("a"), await statusOf("b")]).toEqual([undefined, "completed"]);
      await opened.advance(LONG_MS / 2);
      expect(await ledger.sweep({})).toBe(1);
      expect(await statusOf("b")).toBeUndefined();
    });

    it("keeps at most maxRetainedRuns of a session, and all that one step ended until the next", async () => {
      reopen({ maxRetainedRuns: 2 });
      for (let i = 0; i < 10; i++) await submit(`r${String(i)}`);
      await submit("last", { onBusy: "interrupt" });
      expect(await statusOf("r0")).toBe("cancelled");
      await finish(await claim());
      const kept = await Promise.all(Array.from({ length: 10 }, (_, i) => statusOf(`r${String(i)}`)));
      expect(kept.filter((status) => status !== undefined)).toHaveLength(2);
      expect(await statusOf("last")).toBe("completed");
    });
  });

  describe("release", () => {
    it("puts the run back to the head of the queue, for another process and a fresh lease", async () => {
      await submit("a");
      await submit("b");
      const first = await claim();
      await ledger.release(first.lease, "a");
      expect(await ledger.get(thread, "a")).toMatchObject({ status: "queued", attempt: 1 });
      const second = await claim({ processId: "p2" });
      expect(second.run).toMatchObject({ runId: "a", attempt: 2 });
      expect(second.lease.epoch).toBeGreaterThan(first.lease.epoch);
      await expect(finish(first)).rejects.toMatchObject({ code: "LEASE_LOST" });
    });

    it("counts no attempt: a run is handed on as often as it takes, and given up after its own attempts", async () => {
      await submit("a");
      for (let handover = 1; handover <= 5; handover++) {
        const { lease, run } = await claim({ maxAttempts: 2 });
        expect(run).toMatchObject({ runId: "a", attempt: handover });
        await ledger.release(lease, "a");
      }
      for (let death = 6; death <= 7; death++) {
        expect((await claim({ maxAttempts: 2, leaseMs: LONG_MS })).run.attempt).toBe(death);
        await opened.advance(LONG_MS);
      }
      expect(await ledger.claim(claimRequest({ maxAttempts: 2 }))).toBeUndefined();
      expect(await ledger.get(thread, "a")).toMatchObject({
        status: "failed",
        attempt: 7,
        error: { code: "RUN_ABANDONED", message: expect.stringContaining("2 attempts") as string },
      });
    });

    it("ends a run that was told to stop", async () => {
      await submit("a");
      const { lease } = await claim();
      await ledger.cancel(thread);
      await ledger.release(lease, "a");
      expect(await statusOf("a")).toBe("cancelled");
      expect(await ledger.claim(claimRequest())).toBeUndefined();
    });
  });

  describe("cancel", () => {
    it("takes the running run, else the oldest that waits", async () => {
      await submit("a");
      await submit("b");
      expect(await ledger.cancel(thread)).toMatchObject({ runId: "a", status: "cancelled" });
      const running = await claim();
      await submit("c");
      expect(await ledger.cancel(thread)).toMatchObject({
        runId: "b",
        status: "running",
        cancelRequested: "cancel",
      });
      expect(await ledger.renew([running.lease], Infinity)).toMatchObject([
        { held: true, cancelRequested: "cancel" },
      ]);
      expect(await statusOf("c")).toBe("queued");
    });

    it("leaves a finished run as it is and knows nothing of unknown ones", async () => {
      await submit("a");
      await finish(await claim());
      expect(await ledger.cancel(thread, "a")).toMatchObject({ status: "completed" });
      expect(await ledger.get(thread, "a")).not.toHaveProperty("cancelRequested");
      expect(await ledger.cancel(thread, "b")).toBeUndefined();
      expect(await ledger.cancel(threadOf("t"))).toBeUndefined();
    });

    it("takes a run out of the middle of the queue", async () => {
      for (const id of ["a", "b", "c"]) await submit(id);
      await ledger.cancel(thread, "b");
      await finish(await claim());
      expect((await claim()).run.runId).toBe("c");
    });
  });

  describe("ended", () => {
    it("tells which runs of a list neither wait nor run, or are not known", async () => {
      // Only those who share a ledger wait for runs that others end.
      if (ledger.ended === undefined) return;
      for (const id of ["a", "b", "c"]) await submit(id);
      await finish(await claim());
      const waiting = ["c", "a", "unknown", "b"].map((runId) => ({ threadId: thread, runId }));
      await claim();
      expect(await ledger.ended([])).toEqual([]);
      expect([...(await ledger.ended(waiting))].sort()).toEqual([1, 2]);
      const many = Array.from({ length: 700 }, () => waiting[0]!);
      expect(await ledger.ended([...many, waiting[1]!])).toEqual([700]);
    });
  });

  describe("current", () => {
    it("is the running run, else the parked, else the oldest that waits, else the last finished", async () => {
      expect(await ledger.current(thread)).toBeUndefined();
      await submit("a");
      await submit("b");
      await submit("c");
      const running = await claim();
      expect(await ledger.current(thread)).toMatchObject({ runId: "a" });
      await finish(running);
      expect(await ledger.current(thread)).toMatchObject({ runId: "b", status: "queued" });
      await finish(await claim(), interrupted("i"));
      expect(await ledger.current(thread)).toMatchObject({ runId: "b", status: "interrupted" });
      await ledger.cancel(thread);
      await finish(await claim());
      expect(await ledger.current(thread)).toMatchObject({ runId: "c" });
    });
  });

  describe("deleting", () => {
    it("cancels what waits, refuses what comes, and refuses the running run's writes", async () => {
      await submit("a");
      const running = await claim();
      await submit("b");
      expect(await ledger.tombstone(thread)).toBe(true);
      expect(await ledger.tombstone(thread)).toBe(true);
      expect(await ledger.get(thread, "b")).toMatchObject({
        status: "cancelled",
        cancelRequested: "deleted",
      });
      await expect(submit("c")).rejects.toMatchObject({ code: "SESSION_NOT_FOUND" });
      await expect(submit("a")).rejects.toMatchObject({ code: "SESSION_NOT_FOUND" });
      await expect(ledger.writeState(running.lease, 1)).rejects.toMatchObject({ code: "LEASE_LOST" });
      expect(await ledger.renew([running.lease], Infinity)).toMatchObject([{ cancelRequested: "deleted" }]);
      expect(await finish(running, interrupted("i"))).toMatchObject({ status: "cancelled" });
      expect((await ledger.sessions([thread])).get(thread)?.parked).toBeUndefined();
    });

    it("closes what is parked", async () => {
      await park("a", "i1");
      await ledger.tombstone(thread);
      expect((await ledger.sessions([thread])).get(thread)?.parked).toBeUndefined();
      await expect(ledger.submit(answers("s", "i1"))).rejects.toMatchObject({ code: "SESSION_NOT_FOUND" });
    });

    it("is remembered until it is purged, and then nothing is left but a higher epoch", async () => {
      await submit("a", { configPatch: { model: "m1" } });
      const running = await claim();
      await ledger.writeState(running.lease, { secret: 1 });
      await ledger.purge(thread);
      expect(await statusOf("a")).toBe("running");
      await ledger.tombstone(thread);
      expect(await ledger.tombstones(10)).toEqual([thread]);
      expect(await ledger.readState(thread)).toBeUndefined();
      await ledger.purge(thread);
      expect(await ledger.tombstones(10)).toEqual([]);
      expect(await opened.size()).toBe(0);
      await expect(finish(running)).rejects.toMatchObject({ code: "LEASE_LOST" });
      const again = await submit("a");
      expect(again.config).toEqual({});
      expect((await claim()).lease.epoch).toBeGreaterThan(running.lease.epoch);
      expect(await ledger.readState(thread)).toBeUndefined();
    });

    it("gives back the place that a purged run took of its user's limit", async () => {
      const limit = { maxConcurrentRunsPerUser: 1 };
      await submit("a", { sessionId: "1", userId: "u" });
      await submit("b", { sessionId: "2", userId: "u" });
      expect(await claimAll(limit)).toEqual(["a"]);
      await ledger.tombstone(threadOf("1", "u"));
      await ledger.purge(threadOf("1", "u"));
      expect(await claimAll(limit)).toEqual(["b"]);
    });

    it("says false of an unknown session", async () => {
      expect(await ledger.tombstone(thread)).toBe(false);
      expect(await ledger.tombstones(10)).toEqual([]);
    });

    it("ends the run of a process that died while its session was deleted", async () => {
      await submit("a");
      await claim({ leaseMs: LONG_MS });
      await ledger.tombstone(thread);
      await opened.advance(LONG_MS);
      expect(await ledger.claim(claimRequest())).toBeUndefined();
      expect(await statusOf("a")).toBe("cancelled");
    });
  });

  describe("the state slot", () => {
    it("gives back what was written, not the object itself", async () => {
      await submit("a");
      const { lease } = await claim();
      const value = { list: [1, "two", null] };
      await ledger.writeState(lease, value);
      value.list.push(4);
      expect(await ledger.readState(thread)).toEqual({ list: [1, "two", null] });
    });

    it("refuses what is not JSON, what is too big, and writes outside a run", async () => {
      reopen({ maxStateBytes: 8 });
      await submit("a");
      const claimed = await claim();
      await ledger.writeState(claimed.lease, "123456");
      const refused = { code: "INVALID_INPUT" };
      await expect(ledger.writeState(claimed.lease, "1234567")).rejects.toMatchObject(refused);
      await expect(ledger.writeState(claimed.lease, "ééé€")).rejects.toMatchObject(refused);
      await expect(ledger.writeState(claimed.lease, NaN)).rejects.toMatchObject(refused);
      // Not a JSON value for the compiler either.
      await expect(ledger.writeState(claimed.lease, new Date(0) as never)).rejects.toMatchObject(refused);
      expect(await ledger.readState(thread)).toBe("123456");
      await finish(claimed);
      await expect(ledger.writeState(claimed.lease, 1)).rejects.toMatchObject({ code: "LEASE_LOST" });
    });
  });

  describe("a sweep for orphans", () => {
    const sweep = (processes: readonly string[], ageMs = 0) =>
      ledger.sweep({ orphans: { processes, ageMs } });

    it("fails what is next and waits for a process that is gone, and the session goes on", async () => {
      await submit("a", { affinity: "gone-1" });
      await submit("b", { affinity: "gone-2" });
      await submit("c", { affinity: "p1" });
      const ended = await sweep(["p1", "p2"]);
      if (!ledger.shared) {
        // Its one process is there.
        expect([ended, await statusOf("a")]).toEqual([0, "queued"]);
        return;
      }
      expect(ended).toBe(2);
      expect(await ledger.get(thread, "a")).toMatchObject({
        status: "failed",
        attempt: 0,
        lastSeq: 0,
        error: { code: "RUN_ABANDONED", message: expect.stringContaining("process") as string },
      });
      expect(await statusOf("b")).toBe("failed");
      expect((await ledger.sessions([thread])).get(thread)?.queued).toBe(1);
      expect(await claimAll()).toEqual(["c"]);
      expect(await sweep([])).toBe(0);
    });

    it("leaves those that are young, and those that any process may claim", async () => {
      await submit("a", { affinity: "gone" });
      await submit("b", { sessionId: "t" });
      expect(await sweep(["p1"], LONG_MS)).toBe(0);
      expect(await claimAll({ processId: "gone" })).toEqual(["a", "b"]);
    });

    it("leaves what is running to its lease", async () => {
      await submit("a", { affinity: "gone" });
      await claim({ processId: "gone" });
      expect(await sweep(["p1"])).toBe(0);
      expect(await statusOf("a")).toBe("running");
    });

    it("finds a user's orphan while the user is at its limit", async () => {
      if (!ledger.shared) return;
      const limit = { maxConcurrentRunsPerUser: 1 };
      await submit("a", { sessionId: "1", userId: "u" });
      await submit("b", { sessionId: "2", userId: "u", affinity: "gone" });
      await submit("c", { sessionId: "2", userId: "u" });
      const first = await claim(limit);
      expect(await ledger.claim(claimRequest(limit))).toBeUndefined();
      expect(await sweep(["p1"])).toBe(1);
      await finish(first);
      expect(await claimAll(limit)).toEqual(["c"]);
    });

    it("hints that a run may be claimable", async () => {
      if (!ledger.shared) return;
      await submit("a", { affinity: "gone" });
      await submit("b");
      const hints: LedgerHint[] = [];
      listen((hint) => hints.push(hint));
      await sweep([]);
      expect(hints).toEqual([{ type: "run", threadId: thread, runId: "a" }, { type: "queue" }]);
    });
  });

  describe("hints", () => {
    it("come after each change, to every listener but those that were taken off, whoever throws", async () => {
      const hints: LedgerHint[] = [];
      listen(() => {
        throw new Error("listener");
      });
      const stop = listen((hint) => hints.push(hint));
      await submit("a");
      expect(hints).toEqual([{ type: "run", threadId: thread, runId: "a" }, { type: "queue" }]);
      hints.length = 0;
      const claimed = await claim();
      expect(hints).toEqual([{ type: "run", threadId: thread, runId: "a" }]);
      hints.length = 0;
      await ledger.cancel(thread);
      expect(hints).toEqual([{ type: "run", threadId: thread, runId: "a" }]);
      stop();
      await finish(claimed);
      expect(hints).toHaveLength(1);
    });

    it("find the ledger after the step, so that a listener can claim at once", async () => {
      const claims: Promise<Claim | undefined>[] = [];
      listen((hint) => {
        if (hint.type === "queue") claims.push(ledger.claim(claimRequest()));
      });
      await submit("a");
      expect(await claims[0]).toMatchObject({ run: { runId: "a" } });
    });

    it("say that work may have come when a user falls under its limit", async () => {
      await submit("a", { sessionId: "1", userId: "u" });
      await submit("b", { sessionId: "2", userId: "u" });
      const claimed = await claim({ maxConcurrentRunsPerUser: 1 });
      const hints: LedgerHint[] = [];
      listen((hint) => hints.push(hint));
      await finish(claimed);
      expect(hints).toContainEqual({ type: "queue" });
    });
  });
}

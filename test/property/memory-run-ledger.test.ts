import fc from "fast-check";
import { expect, it } from "vitest";
import { isAgentError } from "../../src/errors.js";
import { systemClock } from "../../src/internal/clock.js";
import { identify } from "../../src/session.js";
import { MemoryRunLedger } from "../../src/store/memory/run-ledger.js";
import type { RunOutcome } from "../../src/run-event.js";
import type { Claim } from "../../src/store/store.js";
import { LedgerModel, type ModelClaim } from "../support/ledger-model.js";
import { claimRequest, completion, submission, summary } from "../support/ledger-requests.js";

const REFS = [
  { sessionId: "1", userId: "a" },
  { sessionId: "2", userId: "a" },
  { sessionId: "3", userId: "a" },
  { sessionId: "1", userId: "b" },
  { sessionId: "2", userId: "b" },
  { sessionId: "1", userId: undefined },
  { sessionId: "2", userId: undefined },
].map((ref) => identify(ref));

const session = fc.nat({ max: REFS.length - 1 });
const interrupts = fc.subarray(["i1", "i2", "i3"]);
const process = fc.constantFrom("p1", "p2");
const outcome = fc.constantFrom<RunOutcome>("completed", "interrupted", "cancelled", "failed");

const operation = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant("submit" as const),
      session,
      /** A small one comes again, and then with this input or another. */
      runId: fc.option(fc.nat({ max: 5 }), { nil: undefined, freq: 4 }),
      fingerprint: fc.constantFrom("f", "f", "g"),
      onBusy: fc.constantFrom(
        "enqueue" as const,
        "enqueue" as const,
        "reject" as const,
        "interrupt" as const,
        "rollback" as const,
      ),
      affinity: fc.option(process, { nil: undefined, freq: 6 }),
      queueLimit: fc.constantFrom(0, 1, 3, 20),
      totalQueueLimit: fc.constantFrom(4, 100, 100),
    }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("answer" as const), session, ids: interrupts }) },
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant("claim" as const),
      process,
      limit: fc.constantFrom(undefined, undefined, 1, 1, 1, 2),
      leaseMs: fc.constantFrom(Infinity, 50, 200),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constant("finish" as const),
      claim: fc.nat({ max: 3 }),
      outcome,
      interrupts: fc.oneof(fc.constant([]), interrupts),
      undone: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("release" as const), claim: fc.nat({ max: 3 }) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("renew" as const), claim: fc.nat({ max: 3 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("cancel" as const),
      session,
      runId: fc.option(fc.nat({ max: 5 }), { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("tombstone" as const), session }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("purge" as const), session }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("wait" as const), ms: fc.nat({ max: 100 }) }) },
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

/** The ledger and the model side by side: each operation is done on both and must come to the same. */
class Pair {
  readonly model = new LedgerModel();
  readonly ledger = new MemoryRunLedger({
    // The ledger reads the time and sets no timer.
    clock: { ...systemClock, now: () => this.model.now, monotonic: () => this.model.now },
    maxRetainedRuns: 10_000,
    runRetentionMs: 1e12,
  });
  readonly claims: { real: Claim; model: ModelClaim }[] = [];
  #fresh = 0;
  #leases = 0;

  async do(op: Operation): Promise<void> {
    switch (op.type) {
      case "submit": {
        const runId = op.runId === undefined ? `fresh-${String(++this.#fresh)}` : `r${String(op.runId)}`;
        await this.#submit(op.session, { ...op, runId, answers: undefined });
        return;
      }
      case "answer": {
        const runId = `answers-${String(++this.#fresh)}`;
        const free = { fingerprint: "f", onBusy: "enqueue", affinity: undefined } as const;
        await this.#submit(op.session, {
          ...free,
          runId,
          answers: op.ids,
          queueLimit: 0,
          totalQueueLimit: 0,
        });
        return;
      }
      case "claim": {
        await this.claim(op.process, op.limit, op.leaseMs);
        return;
      }
      case "finish": {
        const claim = this.claims.at(-1 - op.claim);
        if (claim === undefined) return;
        const { lease, run } = claim.real;
        const ended = { outcome: op.outcome, summary: summary(...op.interrupts), undone: op.undone };
        const real = await code(
          this.ledger.finish(lease, run.runId, completion(ended)).then((r) => r.status),
        );
        expect(real).toBe(this.model.finish(claim.model, op.outcome, op.interrupts, op.undone));
        return;
      }
      case "release": {
        const claim = this.claims.at(-1 - op.claim);
        if (claim === undefined) return;
        const real = await code(this.ledger.release(claim.real.lease, claim.real.run.runId));
        expect(real === "LEASE_LOST").toBe(this.model.release(claim.model) === "LEASE_LOST");
        return;
      }
      case "renew": {
        const claim = this.claims.at(-1 - op.claim);
        if (claim === undefined) return;
        const leaseMs = this.#unlike(75);
        const [renewal] = await this.ledger.renew([claim.real.lease], leaseMs);
        expect(renewal?.held).toBe(this.model.renew(claim.model, leaseMs));
        return;
      }
      case "cancel": {
        const { threadId } = REFS[op.session]!;
        const runId = op.runId === undefined ? undefined : `r${String(op.runId)}`;
        const real = await this.ledger.cancel(threadId, runId);
        expect(real?.runId).toBe(this.model.cancel(threadId, runId)?.runId);
        return;
      }
      case "tombstone": {
        const { threadId } = REFS[op.session]!;
        expect(await this.ledger.tombstone(threadId)).toBe(this.model.tombstone(threadId));
        return;
      }
      case "purge": {
        const { threadId } = REFS[op.session]!;
        await this.ledger.purge(threadId);
        this.model.purge(threadId);
        return;
      }
      case "wait":
        this.model.now += op.ms;
    }
  }

  async claim(processId: string, limit: number | undefined, about: number): Promise<boolean> {
    this.model.now += 1;
    const leaseMs = this.#unlike(about);
    const request = { processId, leaseMs, maxAttempts: 3, maxConcurrentRunsPerUser: limit };
    const real = await this.ledger.claim(claimRequest(request));
    const model = this.model.claim(processId, limit ?? Infinity, leaseMs, 3);
    const told = real && { ...pick(real), key: real.run.threadId };
    expect(told).toEqual(model && { ...pick({ run: model, undo: model.undo }), key: model.key });
    if (real !== undefined && model !== undefined) this.claims.push({ real, model });
    return real !== undefined;
  }

  async finish(claim: { real: Claim; model: ModelClaim }): Promise<void> {
    const { lease, run } = claim.real;
    const real = await code(this.ledger.finish(lease, run.runId, completion()).then((r) => r.status));
    expect(real).toBe(this.model.finish(claim.model, "completed", [], false));
  }

  /** Compares all that can be asked of the ledger. */
  async compare(): Promise<void> {
    const tombstones = new Set(await this.ledger.tombstones(100));
    for (const { threadId } of REFS) {
      const real = await this.ledger.session(threadId);
      const model = this.model.sessions.get(threadId);
      expect(tombstones.has(threadId)).toBe(model?.tombstone ?? false);
      expect(real && [real.running?.runId, real.parked?.runId, real.queued]).toEqual(
        model && [model.running?.runId, model.parked?.runId, model.queue.length],
      );
      for (const run of model?.runs.values() ?? []) {
        const record = await this.ledger.get(threadId, run.runId);
        const { status, attempt, turnId, cancelRequested } = record!;
        expect([status, attempt, turnId, cancelRequested]).toEqual([
          run.status,
          run.attempt,
          run.turnId,
          run.reason,
        ]);
      }
    }
    expect(this.ledger.size).toBe(this.model.sessions.size);
  }

  /** No two leases may expire at once: which of two goes first is nobody's promise. */
  #unlike(ms: number): number {
    return ms + ++this.#leases / 1024 / 1024;
  }

  async #submit(at: number, op: Omit<Parameters<LedgerModel["submit"]>[0], "key" | "user">): Promise<void> {
    const ref = REFS[at]!;
    const { answers, ...rest } = op;
    const given = submission({
      ...ref,
      runId: rest.runId,
      fingerprint: rest.fingerprint,
      onBusy: rest.onBusy,
      queueLimit: rest.queueLimit,
      totalQueueLimit: rest.totalQueueLimit,
      ...(rest.affinity === undefined ? {} : { affinity: rest.affinity }),
      ...(answers && {
        input: { kind: "answers", answers: Object.fromEntries(answers.map((id) => [id, 1])) },
      }),
    });
    const real = await code(this.ledger.submit(given).then(({ created }) => ({ created })));
    const user = ref.userId ?? `none:${ref.threadId}`;
    expect(real).toEqual(this.model.submit({ ...op, key: ref.threadId, user }));
  }
}

function pick({ run, undo }: { run: { runId: string; attempt: number }; undo: readonly string[] }) {
  return { runId: run.runId, attempt: run.attempt, undo };
}

/** What a promise came to, an error as its code. */
async function code<T>(promise: Promise<T>): Promise<T | string> {
  try {
    return await promise;
  } catch (error) {
    if (isAgentError(error)) return error.code;
    throw error;
  }
}

it("does what the model does, operation by operation, and gets to the end of every run", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(operation, { minLength: 1, maxLength: 120, size: "max" }),
      async (operations) => {
        const pair = new Pair();
        for (const op of operations) {
          await pair.do(op);
          await pair.compare();
        }
        // Whatever happened: once every holder has finished, nothing is left undone but behind open questions.
        for (const claim of pair.claims) await pair.finish(claim);
        for (let idle = 0, round = 0; idle < 2; round++) {
          const claimed = await pair.claim(round % 2 === 0 ? "p1" : "p2", undefined, 10);
          if (claimed) await pair.finish(pair.claims.at(-1)!);
          idle = claimed ? 0 : idle + 1;
        }
        await pair.compare();
        for (const model of pair.model.sessions.values()) {
          if (model.parked === undefined) expect(model.queue).toEqual([]);
        }
        for (const { threadId } of REFS) {
          await pair.ledger.tombstone(threadId);
          await pair.ledger.purge(threadId);
        }
        expect([pair.ledger.size, pair.ledger.bytes]).toEqual([0, 0]);
      },
    ),
    { numRuns: 150, interruptAfterTimeLimit: 30_000 },
  );
}, 60_000);

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
}, 60_000);

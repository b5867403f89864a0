import fc from "fast-check";
import { expect } from "vitest";
import { isAgentError } from "../../src/errors.js";
import type { RunOutcome } from "../../src/run-event.js";
import { identify } from "../../src/session.js";
import type { Claim, RunLedger } from "../../src/store/store.js";
import { LedgerModel, type ModelClaim } from "./ledger-model.js";
import { claimRequest, completion, submission, summary } from "./ledger-requests.js";

/*
 * Any ledger beside the plain model of one: the same operations are done on both, and must come to the same.
 */

export const REFS = [
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

/** One step on one of a few sessions, so that steps meet. */
export const operation = fc.oneof(
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
export type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

/** A ledger that keeps all finished runs, and what its contract has no method for. */
export interface PairedLedger {
  readonly ledger: RunLedger;
  /** Makes it as if this many of its milliseconds had passed. */
  advance(ms: number): void | Promise<void>;
  /** How many of its milliseconds are one of the model's; engines, whose time goes on, take a large one. */
  readonly unit: number;
  /** How many sessions it knows. */
  size(): number | Promise<number>;
}

/** The ledger and the model side by side: each operation is done on both and must come to the same. */
export class LedgerPair {
  readonly model = new LedgerModel();
  readonly ledger: RunLedger;
  readonly #paired: PairedLedger;
  readonly #released = new Set<ModelClaim>();
  readonly claims: { real: Claim; model: ModelClaim }[] = [];
  #fresh = 0;
  #leases = 0;

  constructor(paired: PairedLedger) {
    this.#paired = paired;
    this.ledger = paired.ledger;
  }

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
        const lost = this.model.release(claim.model) === "LEASE_LOST";
        // Engines, which may be told twice because an answer got lost, do not mind.
        if (!this.#released.has(claim.model)) expect(real === "LEASE_LOST").toBe(lost);
        if (!lost) this.#released.add(claim.model);
        return;
      }
      case "renew": {
        const claim = this.claims.at(-1 - op.claim);
        if (claim === undefined) return;
        const leaseMs = this.#unlike(75);
        const [renewal] = await this.ledger.renew([claim.real.lease], leaseMs * this.#paired.unit);
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
        await this.#wait(op.ms);
    }
  }

  async claim(processId: string, limit: number | undefined, about: number): Promise<boolean> {
    await this.#wait(1);
    const leaseMs = this.#unlike(about);
    const request = { processId, maxAttempts: 3, maxConcurrentRunsPerUser: limit };
    const real = await this.ledger.claim(claimRequest({ ...request, leaseMs: leaseMs * this.#paired.unit }));
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
    const asked = REFS.flatMap(({ threadId }) =>
      [...(this.model.sessions.get(threadId)?.runs.values() ?? [])].map((run) => ({ threadId, run })),
    );
    const [deleted, sessions, size, ...records] = await Promise.all([
      this.ledger.tombstones(100),
      this.ledger.sessions(REFS.map(({ threadId }) => threadId)),
      this.#paired.size(),
      ...asked.map(({ threadId, run }) => this.ledger.get(threadId, run.runId)),
    ]);
    const tombstones = new Set(deleted);
    for (const { threadId } of REFS) {
      const real = sessions.get(threadId);
      const model = this.model.sessions.get(threadId);
      expect(tombstones.has(threadId)).toBe(model?.tombstone ?? false);
      expect(real && [real.running?.runId, real.parked?.runId, real.queued]).toEqual(
        model && [model.running?.runId, model.parked?.runId, model.queue.length],
      );
    }
    expect(records.map((run) => [run?.status, run?.attempt, run?.turnId, run?.cancelRequested])).toEqual(
      asked.map(({ run }) => [run.status, run.attempt, run.turnId, run.reason]),
    );
    expect(size).toBe(this.model.sessions.size);
  }

  /** Whatever happened: once every holder has finished, nothing is left undone but behind open questions. */
  async drain(): Promise<void> {
    for (const claim of this.claims) await this.finish(claim);
    for (let idle = 0, round = 0; idle < 2; round++) {
      const claimed = await this.claim(round % 2 === 0 ? "p1" : "p2", undefined, 10);
      if (claimed) await this.finish(this.claims.at(-1)!);
      idle = claimed ? 0 : idle + 1;
    }
    await this.compare();
    for (const model of this.model.sessions.values()) {
      if (model.parked === undefined) expect(model.queue).toEqual([]);
    }
  }

  async purgeAll(): Promise<void> {
    for (const { threadId } of REFS) {
      await this.ledger.tombstone(threadId);
      await this.ledger.purge(threadId);
    }
    expect(await this.#paired.size()).toBe(0);
  }

  async #wait(ms: number): Promise<void> {
    this.model.now += ms;
    await this.#paired.advance(ms * this.#paired.unit);
  }

  /** No two leases may expire at once: which of two goes first is nobody's promise. */
  #unlike(ms: number): number {
    return ms + ++this.#leases / 4096;
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

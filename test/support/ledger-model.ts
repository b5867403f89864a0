import type { BusyPolicy, CancelReason } from "../../src/store/store.js";

/*
 * What a ledger does, written down as plainly as can be: arrays, scans and no care for cost. Errors are codes.
 */

export interface ModelRun {
  readonly runId: string;
  readonly fingerprint: string;
  readonly turnId: string;
  readonly isAnswers: boolean;
  readonly order: number;
  readonly affinity: string | undefined;
  status: string;
  attempt: number;
  releases: number;
  reason: CancelReason | undefined;
  interrupts: readonly string[];
  undoCount: number;
  finishedBy: number | undefined;
}

export interface ModelSession {
  readonly key: string;
  readonly user: string;
  readonly runs: Map<string, ModelRun>;
  queue: ModelRun[];
  running: ModelRun | undefined;
  parked: ModelRun | undefined;
  undo: string[];
  tombstone: boolean;
  /** Number of the claim that holds it, and until when. */
  lease: number | undefined;
  expiresAt: number;
}

export interface ModelClaim {
  readonly number: number;
  readonly key: string;
  readonly runId: string;
  readonly attempt: number;
  readonly undo: readonly string[];
}

interface ModelSubmission {
  readonly key: string;
  readonly user: string;
  readonly runId: string;
  readonly fingerprint: string;
  readonly onBusy: BusyPolicy;
  readonly affinity: string | undefined;
  readonly answers: readonly string[] | undefined;
  readonly queueLimit: number;
  readonly totalQueueLimit: number;
}

const RANK: readonly (CancelReason | undefined)[] = [undefined, "cancel", "interrupt", "rollback", "deleted"];

export class LedgerModel {
  readonly sessions = new Map<string, ModelSession>();
  now = 0;
  #orders = 0;
  #turns = 0;
  #claims = 0;
  #waiting = new Map<string, number>();

  submit(given: ModelSubmission): { created: boolean } | string {
    const known = this.sessions.get(given.key);
    if (known?.tombstone === true) return "SESSION_NOT_FOUND";
    const same = known?.runs.get(given.runId);
    if (same !== undefined)
      return same.fingerprint === given.fingerprint ? { created: false } : "RUN_ID_CONFLICT";
    const parked = known?.parked;
    const takesOver = given.onBusy === "interrupt" || given.onBusy === "rollback";
    if (given.answers !== undefined) {
      const fits = given.answers.length > 0 && given.answers.every((id) => parked?.interrupts.includes(id));
      if (parked === undefined || !fits) return "INTERRUPT_STALE";
    } else {
      const queued = known?.queue.length ?? 0;
      const running = known?.running === undefined ? 0 : 1;
      const total = [...this.sessions.values()].reduce((sum, session) => sum + session.queue.length, 0);
      if (!takesOver && parked !== undefined) return "INTERRUPT_PENDING";
      if (given.onBusy === "reject" && queued + running > 0) return "SESSION_BUSY";
      if (!takesOver && queued + running > given.queueLimit) return "QUEUE_FULL";
      if (total - (takesOver ? queued : 0) >= given.totalQueueLimit) return "QUEUE_FULL";
    }
    const session = known ?? this.#open(given);
    const run: ModelRun = {
      runId: given.runId,
      fingerprint: given.fingerprint,
      turnId: given.answers === undefined ? given.runId : (parked?.turnId ?? given.runId),
      isAnswers: given.answers !== undefined,
      order: ++this.#orders,
      affinity: given.affinity,
      status: "queued",
      attempt: 0,
      releases: 0,
      reason: undefined,
      interrupts: [],
      undoCount: 0,
      finishedBy: undefined,
    };
    session.runs.set(run.runId, run);
    if (given.answers !== undefined) {
      session.parked = undefined;
      session.queue.unshift(run);
    } else {
      if (given.onBusy === "interrupt" || given.onBusy === "rollback") this.#clear(session, given.onBusy);
      session.queue.push(run);
    }
    this.#settle();
    return { created: true };
  }

  claim(processId: string, limit: number, leaseMs: number, maxAttempts: number): ModelClaim | undefined {
    for (;;) {
      const expired = [...this.sessions.values()]
        .filter((session) => session.running !== undefined && session.expiresAt <= this.now)
        .sort((a, b) => a.expiresAt - b.expiresAt)[0];
      const run = expired?.running;
      if (expired === undefined || run === undefined) break;
      const mine = run.affinity === undefined || run.affinity === processId;
      if (!expired.tombstone && mine && run.attempt - run.releases < maxAttempts)
        return this.#grant(expired, run, leaseMs);
      expired.running = undefined;
      expired.lease = undefined;
      run.status = run.reason === undefined ? "failed" : "cancelled";
      this.#settle();
    }
    for (;;) {
      const mine = [...this.sessions.values()].filter((session) => {
        const next = runnable(session);
        if (next === undefined || this.#runningOf(session.user) >= limit) return false;
        return next.affinity === undefined || next.affinity === processId;
      });
      const turn = Math.min(...mine.map((session) => this.#waiting.get(session.user) ?? Infinity));
      const session = mine
        .filter((candidate) => this.#waiting.get(candidate.user) === turn)
        .sort((a, b) => (runnable(a)?.order ?? 0) - (runnable(b)?.order ?? 0))[0];
      const run = session?.queue[0];
      if (session === undefined || run === undefined) return undefined;
      session.queue.shift();
      if (run.attempt - run.releases < maxAttempts) {
        session.running = run;
        run.undoCount = session.undo.length;
        this.#waiting.set(session.user, ++this.#turns);
        this.#settle();
        return this.#grant(session, run, leaseMs);
      }
      run.status = "failed";
      this.#settle();
    }
  }

  finish(claim: ModelClaim, status: string, interrupts: readonly string[], undone: boolean): string {
    const session = this.sessions.get(claim.key);
    const run = session?.runs.get(claim.runId);
    if (run?.finishedBy === claim.number) return run.status;
    if (session === undefined || run === undefined || session.lease !== claim.number) return "LEASE_LOST";
    run.finishedBy = claim.number;
    const stopped = run.reason !== undefined && status === "interrupted";
    run.status = run.reason === "deleted" || stopped ? "cancelled" : status;
    if (undone) session.undo.splice(0, run.undoCount);
    session.running = undefined;
    session.lease = undefined;
    if (interrupts.length > 0 && run.reason === undefined) {
      session.parked = run;
      run.interrupts = interrupts;
    }
    this.#settle();
    return run.status;
  }

  release(claim: ModelClaim): string {
    const session = this.sessions.get(claim.key);
    const run = session?.running;
    if (session === undefined || run === undefined || session.lease !== claim.number) return "LEASE_LOST";
    session.running = undefined;
    session.lease = undefined;
    run.releases++;
    run.status = run.reason === undefined ? "queued" : "cancelled";
    if (run.reason === undefined) session.queue.unshift(run);
    this.#settle();
    return run.status;
  }

  renew(claim: ModelClaim, leaseMs: number): boolean {
    const session = this.sessions.get(claim.key);
    if (session?.lease !== claim.number || session.expiresAt <= this.now) return false;
    session.expiresAt = this.now + leaseMs;
    return true;
  }

  cancel(key: string, runId: string | undefined): ModelRun | undefined {
    const session = this.sessions.get(key);
    if (session === undefined) return undefined;
    const chosen = session.running ?? session.parked ?? session.queue[0];
    const run = runId === undefined ? chosen : session.runs.get(runId);
    if (run === undefined) return undefined;
    if (session.queue.includes(run)) {
      session.queue = session.queue.filter((other) => other !== run);
      run.status = "cancelled";
      mark(run, "cancel");
    } else if (run === session.running) mark(run, "cancel");
    else if (run === session.parked) {
      mark(run, "cancel");
      session.parked = undefined;
    }
    this.#settle();
    return run;
  }

  tombstone(key: string): boolean {
    const session = this.sessions.get(key);
    if (session === undefined) return false;
    if (!session.tombstone) this.#clear(session, "deleted");
    session.tombstone = true;
    this.#settle();
    return true;
  }

  purge(key: string): void {
    if (this.sessions.get(key)?.tombstone === true) this.sessions.delete(key);
    this.#settle();
  }

  #open({ key, user }: ModelSubmission): ModelSession {
    const session: ModelSession = {
      key,
      user,
      runs: new Map(),
      queue: [],
      running: undefined,
      parked: undefined,
      undo: [],
      tombstone: false,
      lease: undefined,
      expiresAt: Infinity,
    };
    this.sessions.set(key, session);
    return session;
  }

  #grant(session: ModelSession, run: ModelRun, leaseMs: number): ModelClaim {
    run.status = "running";
    run.attempt++;
    session.lease = ++this.#claims;
    session.expiresAt = this.now + leaseMs;
    const undo = session.undo.slice(0, run.undoCount);
    return { number: session.lease, key: session.key, runId: run.runId, attempt: run.attempt, undo };
  }

  #clear(session: ModelSession, reason: CancelReason): void {
    const waiting = session.queue.find((run) => run.attempt > 0 || run.isAnswers);
    const begun = session.running ?? session.parked ?? waiting;
    if (reason === "rollback" && begun !== undefined && !session.undo.includes(begun.turnId)) {
      session.undo.push(begun.turnId);
    }
    for (const run of session.queue) {
      run.status = "cancelled";
      mark(run, reason);
    }
    session.queue = [];
    if (session.running !== undefined) mark(session.running, reason);
    if (session.parked !== undefined) mark(session.parked, reason);
    session.parked = undefined;
  }

  #runningOf(user: string): number {
    return [...this.sessions.values()].filter(
      (session) => session.user === user && session.running !== undefined,
    ).length;
  }

  /** Users that begin to wait come behind all who wait; those who no longer do lose their place. */
  #settle(): void {
    const waiting = new Map<string, number>();
    for (const session of this.sessions.values()) {
      if (runnable(session) === undefined || waiting.has(session.user)) continue;
      waiting.set(session.user, this.#waiting.get(session.user) ?? ++this.#turns);
    }
    this.#waiting = waiting;
  }
}

function runnable(session: ModelSession): ModelRun | undefined {
  const blocked = session.running !== undefined || session.parked !== undefined || session.tombstone;
  return blocked ? undefined : session.queue[0];
}

function mark(run: ModelRun, reason: CancelReason): void {
  if (RANK.indexOf(reason) > RANK.indexOf(run.reason)) run.reason = reason;
}

import type { ErrorInfo } from "../../errors.js";
import type { Clock } from "../../internal/clock.js";
import { IndexedHeap } from "../../internal/indexed-heap.js";
import { LinkedList } from "../../internal/linked-list.js";
import type { SessionIdentity } from "../../session.js";
import { HintBoard } from "../engine/hint-board.js";
import type { CancelReason, Claim, Lease, RunRecord } from "../store.js";
import { LedgerRun, LedgerSessionEntry } from "./ledger-session.js";
import type { RunRetention } from "./run-retention.js";
import { stronger } from "./submission-rules.js";
import { UserRotation } from "./user-rotation.js";

/** Undoing the oldest turn undoes all later ones, so the newest may be left out. */
const MAX_UNDO = 100;
/** What a session and a run take beside what was put into them. */
const SESSION_BYTES = 640;
const RUN_BYTES = 768;

export interface LedgerStateOptions {
  readonly clock: Clock;
  readonly retention: RunRetention;
  readonly lastSeq: ((threadId: string, runId: string) => number) | undefined;
  readonly onFree: ((threadId: string) => void) | undefined;
}

/**
 * The sessions and runs of a ledger and the moves between their states. Each move keeps queue, lease, lists and
 * sums in step with each other; {@link LedgerState.settle} then brings the session's place among the others up
 * to date. Which moves a step makes is the ledger's part.
 */
export class LedgerState {
  readonly hints = new HintBoard();
  readonly rotation = new UserRotation();
  readonly sessions = new Map<string, LedgerSessionEntry>();
  /** Running sessions whose lease can expire. */
  readonly leases = new IndexedHeap<LedgerSessionEntry>(
    (a, b) => (a.lease?.expiresAt ?? Infinity) < (b.lease?.expiresAt ?? Infinity),
  );
  /** Runs whose interrupts wait, oldest first. */
  readonly parked = new LinkedList<LedgerRun>();
  /** Sessions that could be dropped, least recently used first. */
  readonly idle = new LinkedList<LedgerSessionEntry>();
  readonly tombstones = new Set<LedgerSessionEntry>();
  /** Runs that wait in all sessions. */
  queued = 0;
  /** About what all sessions take. */
  bytes = 0;
  readonly #options: LedgerStateOptions;
  #accepted = 0;
  #acquired = 0;
  /** The highest epoch of forgotten sessions: one that comes again starts above it. */
  #epochFloor = 0;

  constructor(options: LedgerStateOptions) {
    this.#options = options;
  }

  open(identity: SessionIdentity): LedgerSessionEntry {
    const session = new LedgerSessionEntry(identity, this.#epochFloor);
    this.sessions.set(session.threadId, session);
    this.resize(session, SESSION_BYTES);
    return session;
  }

  /** Forgets all of a session that has neither running nor waiting runs. */
  forget(session: LedgerSessionEntry): void {
    this.#options.retention.clear(session);
    this.idle.remove(session);
    this.tombstones.delete(session);
    this.sessions.delete(session.threadId);
    this.bytes -= session.bytes;
    this.#epochFloor = Math.max(this.#epochFloor, session.epoch);
  }

  resize(session: LedgerSessionEntry, bytes: number): void {
    session.bytes += bytes;
    this.bytes += bytes;
  }

  resizeRun(run: LedgerRun, bytes: number): void {
    run.bytes += bytes;
    this.resize(run.session, bytes);
  }

  /** The session of a lease while that lease is its newest, however old. */
  holder(lease: Lease): LedgerSessionEntry | undefined {
    const session = this.sessions.get(lease.threadId);
    const held = session?.lease;
    return held?.owner === lease.owner && held.epoch === lease.epoch ? session : undefined;
  }

  accept(session: LedgerSessionEntry, record: RunRecord, bytes: number): LedgerRun {
    const run = new LedgerRun(session, record, ++this.#accepted);
    (session.runs ??= new Map()).set(record.runId, run);
    this.resizeRun(run, RUN_BYTES + bytes);
    return run;
  }

  enqueue(run: LedgerRun, ahead: boolean): void {
    const { session } = run;
    session.queue ??= new LinkedList();
    if (ahead) session.queue.unshift(run);
    else session.queue.push(run);
    this.queued++;
    this.#changed(run);
  }

  /** Hands a running or queued run out under a fresh lease. */
  grant(run: LedgerRun, processId: string, leaseMs: number): Claim {
    const { session } = run;
    const takeover = session.running === run;
    if (takeover) this.leases.remove(session);
    else {
      this.#dequeue(run);
      run.undoCount = session.undo?.length ?? 0;
      session.running = run;
      this.rotation.started(session);
    }
    const epoch = ++session.epoch;
    // Finished runs keep it: joined it is one string, where a template would keep its parts.
    const owner = [processId, ++this.#acquired].join(":");
    session.lease = { owner, epoch, expiresAt: 0 };
    this.settle(session);
    this.prolong(session, leaseMs);
    const { startedAt = this.#options.clock.now(), attempt } = run.record;
    this.note(run, { status: "running", attempt: attempt + 1, startedAt });
    return {
      lease: { threadId: session.threadId, epoch, owner },
      run: run.record,
      undo: session.undo?.slice(0, run.undoCount) ?? [],
    };
  }

  /** Sets when the session's lease expires. */
  prolong(session: LedgerSessionEntry, leaseMs: number): void {
    if (session.lease === undefined) return;
    session.lease.expiresAt = this.#options.clock.monotonic() + leaseMs;
    if (this.leases.has(session)) this.leases.update(session);
    else if (session.lease.expiresAt !== Infinity) this.leases.add(session);
  }

  /** Takes the running run and its lease off the session. */
  free(session: LedgerSessionEntry): void {
    this.leases.remove(session);
    session.running = undefined;
    session.lease = undefined;
    this.rotation.stopped(session);
    this.#options.onFree?.(session.threadId);
    // Its user may have been at the limit: another session's turn may have come.
    this.hints.queueChanged();
  }

  park(run: LedgerRun): void {
    run.session.parked = run;
    run.since = this.#options.clock.monotonic();
    this.parked.push(run);
  }

  /** Ends the parking; the run stays known as any finished one. */
  unpark(session: LedgerSessionEntry): void {
    const run = session.parked;
    if (run === undefined) return;
    session.parked = undefined;
    this.parked.remove(run);
    this.#options.retention.retain(run);
  }

  /** Ends the parking without answers. */
  closeParked(session: LedgerSessionEntry, reason: CancelReason): void {
    const run = session.parked;
    if (run === undefined) return;
    this.mark(run, reason);
    this.unpark(session);
  }

  mark(run: LedgerRun, reason: CancelReason): void {
    const cancelRequested = stronger(run.record.cancelRequested, reason);
    if (cancelRequested !== run.record.cancelRequested) this.note(run, { cancelRequested });
  }

  cancelQueued(run: LedgerRun, reason: CancelReason): void {
    this.mark(run, reason);
    this.endQueued(run, "cancelled");
  }

  /** Ends a queued run that nobody will finish. */
  endQueued(run: LedgerRun, status: "cancelled" | "failed", error?: ErrorInfo): void {
    this.#dequeue(run);
    this.#end(run, status, error);
  }

  /** Ends a running run that nobody will finish, and frees its session. */
  endRunning(run: LedgerRun, status: "cancelled" | "failed", error?: ErrorInfo): void {
    this.free(run.session);
    this.#end(run, status, error);
  }

  /** Cancels what is queued, closes what is parked, marks what runs; for `rollback` notes the turn that had begun. */
  clear(session: LedgerSessionEntry, reason: CancelReason): void {
    const first = session.queue?.first;
    const begun = first !== undefined && (first.record.attempt > 0 || first.record.input.kind === "answers");
    const turn = session.running ?? session.parked ?? (begun ? first : undefined);
    if (reason === "rollback" && turn !== undefined) {
      const undo = (session.undo ??= []);
      const { turnId } = turn.record;
      if (undo.length < MAX_UNDO && !undo.includes(turnId)) undo.push(turnId);
    }
    for (let run = session.queue?.first; run !== undefined; run = session.queue?.first) {
      this.cancelQueued(run, reason);
    }
    this.closeParked(session, reason);
    if (session.running !== undefined) this.mark(session.running, reason);
  }

  /** Replaces the run's record and tells of it. */
  note(run: LedgerRun, change: Partial<RunRecord>): void {
    run.record = { ...run.record, ...change };
    this.#changed(run);
  }

  /** Puts the session where it belongs: among the runnable, the idle, or neither. */
  settle(session: LedgerSessionEntry): void {
    this.rotation.place(session);
    if (session.runnable !== undefined) this.hints.queueChanged();
    if (!session.isIdle) this.idle.remove(session);
    else if (session.list === undefined) {
      session.idleSince = this.#options.clock.monotonic();
      this.idle.push(session);
    }
  }

  #dequeue(run: LedgerRun): void {
    const { session } = run;
    if (session.queue?.remove(run) !== true) return;
    this.queued--;
    if (session.queue.size === 0) session.queue = undefined;
  }

  #end(run: LedgerRun, status: "cancelled" | "failed", error: ErrorInfo | undefined): void {
    const { threadId, runId, attempt } = run.record;
    // Only a run that had begun can have events.
    const lastSeq = attempt === 0 ? 0 : this.#options.lastSeq?.(threadId, runId);
    this.note(run, {
      status,
      finishedAt: this.#options.clock.now(),
      ...(lastSeq === undefined ? {} : { lastSeq }),
      ...(error === undefined ? {} : { error }),
    });
    this.#options.retention.retain(run);
  }

  #changed(run: LedgerRun): void {
    this.hints.runChanged(run.session.threadId, run.record.runId);
  }
}

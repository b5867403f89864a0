import { systemClock, type Clock } from "../../internal/clock.js";
import { copyJson, estimateBytes, mergeJson } from "../../internal/json-value.js";
import type { JsonObject, JsonValue } from "../../json.js";
import type { SessionIdentity } from "../../session.js";
import { encodeState } from "../engine/state-slot.js";
import type {
  Claim,
  ClaimRequest,
  Lease,
  LedgerHint,
  LedgerSession,
  Renewal,
  RunCompletion,
  RunLedger,
  RunRecord,
  Submission,
  Submitted,
  SweepOptions,
} from "../store.js";
import type { MemoryRunLedgerOptions } from "./ledger-options.js";
import type { LedgerSessionEntry } from "./ledger-session.js";
import { LedgerState } from "./ledger-state.js";
import { RunClaims } from "./run-claims.js";
import { RunRetention } from "./run-retention.js";
import { acceptedRun, checkAnswers, checkKnown, checkRoom, leaseLost } from "./submission-rules.js";

/*
 * The life of a run:
 *
 *   queued ──claim──▶ running ──finish──▶ completed | interrupted | cancelled | failed
 *     │  ◀──release──    │ lease expired: claimed again, or failed as RUN_ABANDONED
 *     └──cancel, interrupt, rollback, delete──▶ cancelled
 *
 * and of a session: free, running (someone holds its lease), or parked (its last run left interrupts that wait).
 * A parked session gives out nothing; accepted answers end the parking and go to the head of the queue. A parked
 * run that is closed without answers keeps `interrupted` as its one final status: only the parking ends, and
 * `cancelRequested` says why. A run that was told to stop never parks its session, whatever it leaves, and ends as
 * cancelled instead of as interrupted: those who told it do not wait for answers. Nor does cancelling or giving up
 * answers bring their interrupts back: their turn is over, and whether they had their effect nobody knows.
 *
 * What counts as an attempt is a claim that did not end with a release: a handover by a process that closes is no
 * sign that anything is wrong with the run.
 *
 * A turn has begun once its run was claimed. At most one begun turn of a session is unfinished at a time: that of
 * the running run, of the parked one, or of the head of the queue (released, or answers). It is what a rollback
 * adds to the turns to undo.
 *
 * Deleting raises the epoch, so that the running run's writes are refused, but leaves it its lease: it can renew
 * it, so as to learn of the deletion, and finish.
 *
 * A lease that has expired is lost to `renew` at once; for `finish`, `release` and writes it counts until another
 * claim raises the epoch, since until then nobody else can have written.
 */

/** Finished runs that a submit or a finish forgets on the side: more than come in between, so that there is no backlog. */
const FORGET_PER_STEP = 8;
/** Runs forgotten by `sweep` before others get the event loop. */
const FORGET_PER_TURN = 1024;

/**
 * The ledger of one process: all steps are synchronous, so they never overlap. Costs do not grow with the number
 * of sessions, and with that of queued runs only as O(log n).
 *
 * A session's queue limit counts the runs behind the one that is running or next. Answers count against no
 * limit: there is at most one set of them per session, and without them a full queue would stay full.
 */
export class MemoryRunLedger implements RunLedger {
  readonly shared = false;

  /** Itself: savers whose writes its leases fence name it. */
  readonly engine: object = this;

  readonly #clock: Clock;
  readonly #maxStateBytes: number;
  readonly #onAccept: ((run: RunRecord) => void) | undefined;
  readonly #onStep: (() => void) | undefined;
  readonly #retention: RunRetention;
  readonly #state: LedgerState;
  readonly #claims: RunClaims;

  constructor(options: MemoryRunLedgerOptions = {}) {
    const { clock = systemClock, onForget, onFree, onRetain, lastSeq } = options;
    this.#clock = clock;
    this.#maxStateBytes = options.maxStateBytes ?? 1_048_576;
    this.#onAccept = options.onAccept;
    this.#onStep = options.onStep;
    this.#retention = new RunRetention({
      clock,
      retentionMs: options.runRetentionMs ?? 600_000,
      maxRetained: options.maxRetainedRuns ?? 20,
      onRetain,
      onForget: (run) => {
        this.#state.resize(run.session, -run.bytes);
        onForget?.(run.session.threadId, run.record.runId);
      },
    });
    this.#state = new LedgerState({ clock, retention: this.#retention, lastSeq, onFree });
    this.#claims = new RunClaims({ clock, retention: this.#retention, state: this.#state });
  }

  submit(submission: Submission): Promise<Submitted> {
    return this.#step(() => {
      this.#retention.expire(FORGET_PER_STEP);
      const { input, onBusy } = submission;
      const known = this.#state.sessions.get(submission.threadId);
      const same = checkKnown(known, submission);
      if (same !== undefined) return { run: same, created: false };
      let answered: RunRecord | undefined;
      if (input.kind === "answers") answered = checkAnswers(known, submission, input.answers);
      else checkRoom(known, submission, this.#state.queued);
      const sticky = mergeSticky(known?.config, answered === undefined ? submission.configPatch : {});
      const record = acceptedRun(known, submission, answered, sticky, this.#clock.now());
      const bytes = estimateBytes(record.input) + estimateBytes(record.config);

      // Nothing is refused from here on.
      const session = known ?? this.#state.open(submission);
      this.#retention.trim(session);
      if (sticky !== session.config) {
        // Twice: the directory keeps it too.
        this.#state.resize(session, 2 * (estimateBytes(sticky) - estimateBytes(session.config)));
        session.config = sticky;
      }
      if (answered !== undefined) this.#state.unpark(session);
      else if (onBusy === "interrupt" || onBusy === "rollback") this.#state.clear(session, onBusy);
      this.#state.enqueue(this.#state.accept(session, record, bytes), answered !== undefined);
      this.#state.settle(session);
      this.#onAccept?.(record);
      return { run: record, created: true };
    });
  }

  claim(request: ClaimRequest): Promise<Claim | undefined> {
    return this.#step(() => this.#claims.next(request));
  }

  renew(leases: readonly Lease[], leaseMs: number): Promise<readonly Renewal[]> {
    return this.#step(() =>
      leases.map((lease): Renewal => {
        const session = this.#state.holder(lease);
        if (session?.lease === undefined || session.lease.expiresAt <= this.#clock.monotonic()) {
          return { lease, held: false };
        }
        this.#state.prolong(session, leaseMs);
        const cancelRequested = session.running?.record.cancelRequested;
        return cancelRequested === undefined ? { lease, held: true } : { lease, held: true, cancelRequested };
      }),
    );
  }

  finish(lease: Lease, runId: string, completion: RunCompletion): Promise<RunRecord> {
    return this.#step(() => {
      this.#retention.expire(FORGET_PER_STEP);
      const run = this.#state.sessions.get(lease.threadId)?.runs?.get(runId);
      if (run !== undefined && run.finishedBy === lease.owner) return run.record;
      const session = this.#state.holder(lease);
      if (session === undefined || run === undefined || session.running !== run) throw leaseLost(lease);
      const { summary, error, lastSeq } = completion;
      const mark = run.record.cancelRequested;
      const stopped = mark === "deleted" || (mark !== undefined && completion.outcome === "interrupted");
      const status = stopped ? "cancelled" : completion.outcome;
      const stored = copyJson(summary);
      this.#retention.trim(session);
      this.#state.resizeRun(run, estimateBytes(stored));
      run.finishedBy = lease.owner;
      const change = { status, finishedAt: this.#clock.now(), lastSeq, summary: stored };
      this.#state.note(run, error === undefined ? change : { ...change, error: { ...error } });
      if (completion.undone && session.undo !== undefined) {
        session.undo.splice(0, run.undoCount);
        if (session.undo.length === 0) session.undo = undefined;
      }
      this.#state.free(session);
      if (stored.interrupts.length > 0 && mark === undefined) this.#state.park(run);
      else this.#retention.retain(run);
      this.#state.settle(session);
      return run.record;
    });
  }

  release(lease: Lease, runId: string): Promise<void> {
    return this.#step(() => {
      const session = this.#state.holder(lease);
      const run = session?.running;
      if (session === undefined || run?.record.runId !== runId) throw leaseLost(lease);
      if (run.record.cancelRequested === undefined) {
        run.releases++;
        this.#state.free(session);
        this.#state.note(run, { status: "queued" });
        this.#state.enqueue(run, true);
      } else this.#state.endRunning(run, "cancelled");
      this.#state.settle(session);
    });
  }

  cancel(threadId: string, runId?: string): Promise<RunRecord | undefined> {
    return this.#step(() => {
      const session = this.#state.sessions.get(threadId);
      if (session === undefined) return undefined;
      const run =
        runId === undefined
          ? (session.running ?? session.parked ?? session.queue?.first)
          : session.runs?.get(runId);
      if (run === undefined) return undefined;
      if (run === session.running) this.#state.mark(run, "cancel");
      else if (run === session.parked) this.#state.closeParked(session, "cancel");
      else if (run.record.status === "queued") {
        this.#retention.trim(session);
        this.#state.cancelQueued(run, "cancel");
      }
      this.#state.settle(session);
      return run.record;
    });
  }

  get(threadId: string, runId: string): Promise<RunRecord | undefined> {
    return Promise.resolve(this.#state.sessions.get(threadId)?.runs?.get(runId)?.record);
  }

  current(threadId: string): Promise<RunRecord | undefined> {
    const session = this.#state.sessions.get(threadId);
    const run = session?.running ?? session?.parked ?? session?.queue?.first ?? session?.newestRetained;
    return Promise.resolve(run?.record);
  }

  sessions(threadIds: readonly string[]): Promise<ReadonlyMap<string, LedgerSession>> {
    const found = new Map<string, LedgerSession>();
    for (const threadId of threadIds) {
      const session = this.#state.sessions.get(threadId);
      if (session === undefined) continue;
      found.set(threadId, {
        config: session.config ?? {},
        ...(session.parked === undefined ? {} : { parked: session.parked.record }),
        ...(session.running === undefined ? {} : { running: session.running.record }),
        queued: session.queue?.size ?? 0,
      });
    }
    return Promise.resolve(found);
  }

  tombstone(threadId: string): Promise<boolean> {
    return this.#step(() => {
      const session = this.#state.sessions.get(threadId);
      if (session === undefined) return false;
      if (session.tombstone) return true;
      this.#retention.trim(session);
      session.tombstone = true;
      session.epoch++;
      this.#state.tombstones.add(session);
      this.#state.clear(session, "deleted");
      this.#state.settle(session);
      return true;
    });
  }

  purge(threadId: string): Promise<void> {
    return this.#step(() => {
      const session = this.#state.sessions.get(threadId);
      if (session?.tombstone !== true) return;
      if (session.running !== undefined) this.#state.endRunning(session.running, "cancelled");
      this.#state.settle(session);
      this.#state.forget(session);
    });
  }

  tombstones(limit: number): Promise<readonly string[]> {
    const threads: string[] = [];
    for (const session of this.#state.tombstones) {
      if (threads.length >= limit) break;
      threads.push(session.threadId);
    }
    return Promise.resolve(threads);
  }

  /** Runs of one process have no other one that they could wait for in vain: orphans are none of its business. */
  async sweep(options: SweepOptions): Promise<number> {
    const { parked } = this.#state;
    const closed = await this.#step(() => {
      const before = this.#clock.monotonic() - (options.interruptTtlMs ?? Infinity);
      let count = 0;
      for (let run = parked.first; run !== undefined && run.since <= before; run = parked.first) {
        this.#state.closeParked(run.session, "cancel");
        this.#state.settle(run.session);
        count++;
      }
      return count;
    });
    return closed + (await this.#forgetExpired());
  }

  readState(threadId: string): Promise<JsonValue | undefined> {
    const session = this.#state.sessions.get(threadId);
    if (session?.state === undefined || session.tombstone) return Promise.resolve(undefined);
    // Only what `encodeState` made of a JSON value is stored.
    return Promise.resolve(JSON.parse(session.state) as JsonValue);
  }

  writeState(lease: Lease, value: JsonValue): Promise<void> {
    return this.#step(() => {
      const session = this.#fenced(lease);
      const state = encodeState(value, this.#maxStateBytes, session.sessionId);
      this.#state.resize(session, 2 * (state.length - (session.state?.length ?? 0)));
      session.state = state;
    });
  }

  watch(listener: (hint: LedgerHint) => void): () => void {
    return this.#state.hints.watch(listener);
  }

  // What the rest of an in-memory store needs of the ledger.

  /** @throws {AgentError} `LEASE_LOST` unless the lease may write now, and on behalf of `runId` if that is given. */
  fence(lease: Lease, runId?: string): void {
    const session = this.#fenced(lease);
    if (runId !== undefined && session.running?.record.runId !== runId) throw leaseLost(lease);
  }

  /** The number of the last event of a run that has ended; of a session that is being deleted there are none to miss. */
  endOf(threadId: string, runId: string): number | undefined {
    const session = this.#state.sessions.get(threadId);
    return session?.tombstone === true ? undefined : session?.runs?.get(runId)?.record.lastSeq;
  }

  /** How many sessions the ledger knows. */
  get size(): number {
    return this.#state.sessions.size;
  }

  /** About what all sessions take, conversations included. */
  get bytes(): number {
    return this.#state.bytes;
  }

  /** Takes note of the size of a session's conversation; ignored when the ledger does not know the session. */
  setConversationBytes(threadId: string, bytes: number): void {
    const session = this.#state.sessions.get(threadId);
    if (session === undefined) return;
    this.#state.resize(session, bytes - session.conversationBytes);
    session.conversationBytes = bytes;
  }

  /** The least recently used session in which nothing runs, waits or is parked, with the monotonic time of its last use. */
  get oldestIdle(): { readonly identity: SessionIdentity; readonly since: number } | undefined {
    const session = this.#state.idle.first;
    return session === undefined ? undefined : { identity: session.identity, since: session.idleSince };
  }

  /** Forgets an idle session. False, and nothing is done, when the ledger knows none of this id that is idle. */
  drop(threadId: string): boolean {
    const session = this.#state.sessions.get(threadId);
    if (session?.isIdle !== true) return false;
    this.#state.forget(session);
    return true;
  }

  async #forgetExpired(): Promise<number> {
    let forgotten = 0;
    for (;;) {
      const count = await this.#step(() => this.#retention.expire(FORGET_PER_TURN));
      forgotten += count;
      if (count < FORGET_PER_TURN) return forgotten;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #fenced(lease: Lease): LedgerSessionEntry {
    const session = this.#state.holder(lease);
    if (session?.epoch !== lease.epoch) throw leaseLost(lease);
    return session;
  }

  /** Runs one atomic step, then what goes with every step; what `action` throws rejects. */
  #step<T>(action: () => T): Promise<T> {
    return new Promise((resolve) => {
      try {
        resolve(action());
      } finally {
        this.#onStep?.();
        this.#state.hints.flush();
      }
    });
  }
}

/** What sticks to a session after a run with this patch was accepted; absent while nothing does. */
function mergeSticky(config: JsonObject | undefined, patch: JsonObject): JsonObject | undefined {
  const copy = copyJson(patch);
  return Object.keys(copy).length === 0 ? config : mergeJson(config, copy);
}

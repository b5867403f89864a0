import type { Answers, UserMessage } from "../agent.js";
import type { ErrorInfo } from "../errors.js";
import type { JsonObject, JsonValue } from "../json.js";
import type { Interrupt, RunEvent, RunOutcome, Usage } from "../run-event.js";
import type { SessionIdentity } from "../session.js";

/* The contract of the run ledger: what was asked of each session, who may work on it, and how it ended. */

/** A process's right to write one session. The epoch only grows; the owner is unique per acquisition. */
export interface Lease {
  readonly threadId: string;
  readonly epoch: number;
  readonly owner: string;
}

/** What was asked of a session. `message` ids are fixed at acceptance, so that a second attempt adds nothing. */
export type RunInput =
  /** Give this message; if the history has one of its id, in that one's place, as `edit` does. */
  | { readonly kind: "message"; readonly message: UserMessage }
  | { readonly kind: "answers"; readonly answers: Answers }
  /** Undo the turn of `messageId` (the last one without it) and give its user message again. */
  | { readonly kind: "regenerate"; readonly messageId?: string }
  /** Undo the turn of `messageId` and give this message instead. */
  | { readonly kind: "edit"; readonly messageId: string; readonly message: UserMessage }
  /** Exclusive use by a function of the process named in {@link RunRecord.affinity}. */
  | { readonly kind: "direct" };

/** What a new run does when its session is not free. */
export type BusyPolicy = "enqueue" | "reject" | "interrupt" | "rollback";

/** `queued` → `running` → one {@link RunOutcome}; `queued` → `cancelled` without ever running. */
export type RunStatus = "queued" | "running" | RunOutcome;

/** Why a run was told to stop. */
export type CancelReason = "cancel" | "interrupt" | "rollback" | "deleted";

/** What stays of a finished run beside its events. */
export interface RunSummary {
  /** What the last model call of the run that wrote text wrote; empty if that is no longer known. */
  readonly text: string;
  readonly usage: Usage;
  /** The interrupts that now wait for an answer, unless the run was told to stop. */
  readonly interrupts: readonly Interrupt[];
}

export interface RunRecord extends SessionIdentity {
  readonly runId: string;
  /** The run that began this turn; `runId` itself unless the input is answers. */
  readonly turnId: string;
  readonly input: RunInput;
  /** Tells the same request from another one under the same run id. */
  readonly fingerprint: string;
  /** The session's config at acceptance, service defaults included. */
  readonly config: JsonObject;
  /** Only the process of this name may claim the run. */
  readonly affinity?: string;
  readonly status: RunStatus;
  /** How often it was claimed, whatever became of it: in its first attempt a run starts, in later ones it is resumed. */
  readonly attempt: number;
  readonly cancelRequested?: CancelReason;
  readonly createdAt: number;
  readonly startedAt?: number;
  readonly finishedAt?: number;
  /** With the final statuses: the last event before `run-finished`, 0 if there was none. */
  readonly lastSeq?: number;
  readonly summary?: RunSummary;
  readonly error?: ErrorInfo;
}

export interface Submission extends SessionIdentity {
  readonly runId: string;
  readonly input: RunInput;
  readonly fingerprint: string;
  readonly onBusy: BusyPolicy;
  /** The service's config; what sticks to the session goes over it, then `configPatch`. */
  readonly defaults: JsonObject;
  /** Sticks to the session if the run is accepted. Ignored for answers. */
  readonly configPatch: JsonObject;
  /** The most runs that may wait in this session, and in the whole ledger. */
  readonly queueLimit: number;
  readonly totalQueueLimit: number;
  readonly affinity?: string;
  /** Asks a shared ledger for the run itself, if it can begin at once: see {@link Submitted.claim}. */
  readonly claim?: ClaimRequest | undefined;
}

export interface Submitted {
  readonly run: RunRecord;
  /** False when the run id was known with the same fingerprint: the caller follows that run. */
  readonly created: boolean;
  /**
   * The run, handed out in the same step to who asked for it with {@link Submission.claim}, as by {@link RunLedger.claim}.
   * A ledger may do so only where the run is next in its session and neither its user's limit nor anybody's turn stands
   * in its way: while others wait that nobody has claimed, it waits with them.
   */
  readonly claim?: Claim | undefined;
}

export interface ClaimRequest {
  /** The claiming process; the ledger makes a unique lease owner from it. */
  readonly processId: string;
  readonly leaseMs: number;
  /** The most runs of one user that may be running at once; unlimited if absent. */
  readonly maxConcurrentRunsPerUser?: number | undefined;
  /**
   * A run claimed this often already is failed as `RUN_ABANDONED` instead. Claims that ended with a release do not
   * count: a process that closes hands its runs on, and nothing was wrong with them.
   */
  readonly maxAttempts: number;
}

export interface Claim {
  readonly lease: Lease;
  readonly run: RunRecord;
  /** Turns that rollbacks have cancelled and that are to be undone before this run's input, oldest first. */
  readonly undo: readonly string[];
  /** Set when there was nothing else to claim at that moment, so that asking again at once is in vain. */
  readonly last?: boolean | undefined;
}

/** What renewing told: the lease holds, or is lost; and whether its run was told to stop. */
export interface Renewal {
  readonly lease: Lease;
  readonly held: boolean;
  readonly cancelRequested?: CancelReason;
}

export interface RunCompletion {
  readonly outcome: RunOutcome;
  readonly summary: RunSummary;
  readonly error?: ErrorInfo | undefined;
  /** The last event that was appended, those of `events` included, 0 if none. */
  readonly lastSeq: number;
  /**
   * Events that are appended in the same step: with the run's end, or not at all. Given only where the log is of this
   * ledger's engine and has {@link EventLog.stored}. Those of a session that is being deleted are dropped, and the run
   * then ends with the `lastSeq` that the log has.
   */
  readonly events?: readonly RunEvent[] | undefined;
  /** Whether the turns named in {@link Claim.undo} have been undone. */
  readonly undone: boolean;
}

/** What a ledger knows of a session beside its runs. */
export interface LedgerSession {
  readonly config: JsonObject;
  /** The interrupted run that waits for answers. */
  readonly parked?: RunRecord;
  readonly running?: RunRecord;
  /** The process that holds the lease, in a shared ledger. */
  readonly owner?: string;
  readonly queued: number;
}

/** What a sweep lets go beside finished runs past retention. */
export interface SweepOptions {
  /** Parked runs whose interrupts have waited this long, in milliseconds, are closed. Without it none. */
  readonly interruptTtlMs?: number | undefined;
  /**
   * For a shared ledger; others ignore it. Of the runs that are next in their session, those which only a process can
   * claim that is not among these, and which were accepted at least `ageMs` ago, fail as `RUN_ABANDONED`: else they
   * would hold up their sessions for ever. The age is for processes that were not known yet when the list was made.
   */
  readonly orphans?: { readonly processes: readonly string[]; readonly ageMs: number } | undefined;
}

/**
 * Says that something changed; only a hint, may come late, twice or (in engines) not at all.
 * `queue`: a run may be claimable. `run`: the status or the stop mark of one run changed.
 */
export type LedgerHint =
  { readonly type: "queue" } | { readonly type: "run"; readonly threadId: string; readonly runId: string };

/**
 * Runs, their queue, policy and lease, one ledger for all sessions.
 *
 * Order: runs of one session start in the order of acceptance, answers before all; among users that wait,
 * turns go round (a session without user counts as a user of its own). A session with a parked run gives out
 * no run but answers.
 */
export interface RunLedger {
  /** Whether other processes use it too: leases then expire and must be renewed. */
  readonly shared: boolean;
  /** Names the engine: equal (by identity) to the `engine` of the saver whose writes its leases fence. */
  readonly engine?: object | undefined;
  /**
   * Whether {@link RunLedger.purge} also takes away, in its one step, what the other parts of its engine keep of the
   * thread: conversation, events, row of the directory. Else, and in other engines, they are emptied before it.
   */
  readonly purgesAll?: boolean | undefined;

  /**
   * Accepts a run or refuses it whole, leaving nothing. Racing submissions are applied one after another:
   * with `reject` on a free session exactly one is accepted; with one run id exactly one creates it.
   * `interrupt` and `rollback` cancel the queued runs, mark the running one to stop, and close a parked one as
   * cancelled; `rollback` adds the running or parked turn to what the next claim must undo.
   *
   * @throws {AgentError} `SESSION_BUSY`, `QUEUE_FULL`, `RUN_ID_CONFLICT`, `INTERRUPT_PENDING`,
   * `INTERRUPT_STALE` (answers that name an interrupt that does not wait), `SESSION_NOT_FOUND` (being deleted).
   */
  submit(submission: Submission): Promise<Submitted>;

  /**
   * Hands out the next run with a fresh lease: a queued run of a session that nobody holds, or the running
   * one of a session whose lease has expired. Exactly one of several racing callers gets a given run.
   *
   * A claim whose answer was lost may have been done. Nobody has begun that run: a ledger should give it to its next
   * claim, with the attempt that it had, and not leave it until its lease expires, as a further one.
   */
  claim(request: ClaimRequest): Promise<Claim | undefined>;

  /**
   * Prolongs the leases that are still held; a lost one is reported, never revived. In the order of the leases, with
   * `undefined` for one that could not be looked at now: it lasts as before, and must not keep the others waiting.
   */
  renew(leases: readonly Lease[], leaseMs: number): Promise<readonly (Renewal | undefined)[]>;

  /**
   * Ends a run and frees its session; the first finish of a run wins, and gives back what was stored.
   * Interrupts in the summary park the session. A run marked `deleted` ends as cancelled whatever is said; one that was
   * told to stop for another reason ends so instead of as interrupted, and parks nothing.
   *
   * @throws {AgentError} `LEASE_LOST` when the lease is stale.
   */
  finish(lease: Lease, runId: string, completion: RunCompletion): Promise<RunRecord>;

  /**
   * Puts a claimed run back to the head of its session's queue, for another process. The claim does not count as one
   * of the run's {@link ClaimRequest.maxAttempts}, so who releases must not claim again at once. @throws `LEASE_LOST`
   */
  release(lease: Lease, runId: string): Promise<void>;

  /**
   * Ends a queued or parked run as cancelled, marks a running one to stop, leaves a finished one as it is.
   * Without a run id: the running run, else the parked one, else the oldest queued one. Gives the run after the
   * step, `undefined` when there is none.
   */
  cancel(threadId: string, runId?: string): Promise<RunRecord | undefined>;

  get(threadId: string, runId: string): Promise<RunRecord | undefined>;
  /**
   * For a shared ledger: the places in the list of those that neither wait nor run, or are not known; one look for all.
   * Without it those who wait for runs of other processes without a hint are served a few at a time.
   */
  ended?(runs: readonly Pick<RunRecord, "threadId" | "runId">[]): Promise<readonly number[]>;
  /** The running run, else the parked one, else the oldest queued one, else the last that is retained. */
  current(threadId: string): Promise<RunRecord | undefined>;
  /** Those of the sessions that the ledger knows, by thread id; one look for all of them. */
  sessions(threadIds: readonly string[]): Promise<ReadonlyMap<string, LedgerSession>>;

  /**
   * The first step of deleting: from here on submits are refused, queued and parked runs are cancelled, the
   * running one is marked `deleted`, and the epoch has grown, so that its further writes are refused.
   * False when the ledger does not know the session. Again is harmless.
   */
  tombstone(threadId: string): Promise<boolean>;
  /**
   * The last step: forgets the session's runs, slot and tombstone, and what {@link RunLedger.purgesAll} says. Does
   * nothing without a tombstone, so that who comes late to a deletion takes nothing of what began after it.
   */
  purge(threadId: string): Promise<void>;
  /**
   * Whether the thread was purged in the last minutes: tells a deletion from an engine that has lost its data. A ledger
   * that can't lose any may leave it out.
   */
  purged?(threadId: string): Promise<boolean>;
  /** Threads whose deletion has begun and not ended, for `cleanup()`. */
  tombstones(limit: number): Promise<readonly string[]>;

  /** Forgets finished runs that are past retention, and ends what the options say; how many in all. */
  sweep(options: SweepOptions): Promise<number>;

  /** The slot behind `context.state`. @throws {AgentError} `LEASE_LOST` */
  readState(threadId: string): Promise<JsonValue | undefined>;
  writeState(lease: Lease, value: JsonValue): Promise<void>;

  /** Calls `listener` on changes until the returned function is called. */
  watch(listener: (hint: LedgerHint) => void): () => void;
  /**
   * Hints to the other processes that runs wait which this one has no room for. A shared ledger tells nobody else of
   * each queued run: that would make every process ask for every run.
   */
  announce?(): void;
}

import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import type { Answers, UserMessage } from "../agent.js";
import type { ErrorInfo } from "../errors.js";
import type { JsonObject, JsonValue } from "../json.js";
import type { Interrupt, RunEvent, RunOutcome, Usage } from "../run-event.js";
import type { SessionIdentity } from "../session.js";

/*
 * The contracts of persistence. Every method is one atomic step, and its comment says what it promises when
 * several callers race. Times are the store's own: a Clock in memory, the engine's clock in an engine.
 *
 * Not their job: deciding what a run does, retrying, waiting for a run to end, talking to agents.
 */

/** A process's right to write one session. The epoch only grows; the owner is unique per acquisition. */
export interface Lease {
  readonly threadId: string;
  readonly epoch: number;
  readonly owner: string;
}

/** What was asked of a session. `message` ids are fixed at acceptance, so that a second attempt adds nothing. */
export type RunInput =
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
  /** What the last model call of the run that wrote text wrote. */
  readonly text: string;
  readonly usage: Usage;
  /** The interrupts that now wait for an answer; empty unless the outcome is `interrupted`. */
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
  /** How often it was claimed. */
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
}

export interface Submitted {
  readonly run: RunRecord;
  /** False when the run id was known with the same fingerprint: the caller follows that run. */
  readonly created: boolean;
}

export interface ClaimRequest {
  /** The claiming process; the ledger makes a unique lease owner from it. */
  readonly processId: string;
  readonly leaseMs: number;
  /** The most runs of one user that may be running at once; unlimited if absent. */
  readonly maxConcurrentRunsPerUser?: number | undefined;
  /** A run claimed this often already is failed as `RUN_ABANDONED` instead. */
  readonly maxAttempts: number;
}

export interface Claim {
  readonly lease: Lease;
  readonly run: RunRecord;
  /** Turns that rollbacks have cancelled and that are to be undone before this run's input, oldest first. */
  readonly undo: readonly string[];
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
  /** The last event that was appended, 0 if none. */
  readonly lastSeq: number;
  /** Whether the turns named in {@link Claim.undo} have been undone. */
  readonly undone: boolean;
}

/** What a ledger knows of a session beside its runs. */
export interface LedgerSession {
  readonly config: JsonObject;
  /** The interrupted run that waits for answers. */
  readonly parked?: RunRecord;
  readonly running?: RunRecord;
  readonly queued: number;
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
   */
  claim(request: ClaimRequest): Promise<Claim | undefined>;

  /** Prolongs the leases that are still held; a lost one is reported, never revived. */
  renew(leases: readonly Lease[], leaseMs: number): Promise<readonly Renewal[]>;

  /**
   * Ends a run and frees its session; the first finish of a run wins, and gives back what was stored.
   * Interrupts in the summary park the session. A run marked `deleted` ends as cancelled whatever is said.
   *
   * @throws {AgentError} `LEASE_LOST` when the lease is stale.
   */
  finish(lease: Lease, runId: string, completion: RunCompletion): Promise<RunRecord>;

  /** Puts a claimed run back to the head of its session's queue, for another process. @throws `LEASE_LOST` */
  release(lease: Lease, runId: string): Promise<void>;

  /**
   * Ends a queued or parked run as cancelled, marks a running one to stop, leaves a finished one as it is.
   * Without a run id: the running run, else the parked one, else the oldest queued one. Gives the run after the
   * step, `undefined` when there is none.
   */
  cancel(threadId: string, runId?: string): Promise<RunRecord | undefined>;

  get(threadId: string, runId: string): Promise<RunRecord | undefined>;
  /** The running run, else the parked one, else the oldest queued one, else the last that is retained. */
  current(threadId: string): Promise<RunRecord | undefined>;
  session(threadId: string): Promise<LedgerSession | undefined>;

  /**
   * The first step of deleting: from here on submits are refused, queued and parked runs are cancelled, the
   * running one is marked `deleted`, and the epoch has grown, so that its further writes are refused.
   * False when the ledger does not know the session. Again is harmless.
   */
  tombstone(threadId: string): Promise<boolean>;
  /** The last step: forgets the session's runs, slot and tombstone. Does nothing without a tombstone. */
  purge(threadId: string): Promise<void>;
  /** Threads whose deletion has begun and not ended, for `cleanup()`. */
  tombstones(limit: number): Promise<readonly string[]>;

  /** Forgets finished runs that are past retention and closes parked ones past `interruptTtlMs`; how many. */
  sweep(options: { readonly interruptTtlMs?: number | undefined }): Promise<number>;

  /** The slot behind `context.state`. @throws {AgentError} `LEASE_LOST` */
  readState(threadId: string): Promise<JsonValue | undefined>;
  writeState(lease: Lease, value: JsonValue): Promise<void>;

  /** Calls `listener` on changes until the returned function is called. */
  watch(listener: (hint: LedgerHint) => void): () => void;
}

export interface EventPage {
  /** Consecutive, from `after + 1` or from the oldest that is kept. */
  readonly events: readonly RunEvent[];
  /** The newest that the log has, 0 if none: a page that ends before it is not the last. */
  readonly last: number;
  /** Whether events behind `after` are gone that the reader has not had. */
  readonly trimmed: boolean;
}

/** The events of runs, for as long as they are retained. `run-finished` is not in it: readers take it from the run record. */
export interface EventLog {
  /** How a writer should gather events: flush after `ms` or `events`; one by one if absent. */
  readonly batch?: { readonly ms: number; readonly events: number } | undefined;
  /**
   * Adds events that follow the last one. The log keeps the objects: nobody may change them afterwards.
   *
   * @throws {AgentError} `LEASE_LOST` when the lease is stale or the numbers do not follow.
   */
  append(lease: Lease, runId: string, events: readonly RunEvent[]): void | Promise<void>;
  read(
    threadId: string,
    runId: string,
    options: { readonly after: number; readonly limit: number },
  ): EventPage | Promise<EventPage>;
  /** Hints that the run has more events. */
  watch(threadId: string, runId: string, listener: () => void): () => void;
  /** Forgets the events of a thread. */
  delete(threadId: string): Promise<void>;
}

export interface SessionRecord extends SessionIdentity {
  readonly createdAt: number;
  readonly lastUsedAt: number;
  readonly config: JsonObject;
}

export interface SessionPage {
  readonly sessions: readonly SessionRecord[];
  /** Give it as `after` for the next page; absent on the last. */
  readonly next?: string;
}

/** The directory of sessions: who has which, with what config, since when. */
export interface SessionStore {
  /**
   * Creates the row or renews its config and `lastUsedAt`; `createdAt` stays that of the first call. A store that
   * shares the ledger's engine may create the row when the first run is accepted, so that it is listed while that
   * waits.
   * Called at the start and end of a run with its lease; a store that shares the ledger's engine refuses a
   * stale one with `LEASE_LOST`.
   */
  save(session: SessionIdentity & { readonly config: JsonObject }, lease: Lease): Promise<void>;
  get(threadId: string): Promise<SessionRecord | undefined>;
  /** Newest first, by creation. `after` is the `next` of the page before; rows that went in between are skipped. */
  list(options: {
    readonly userId?: string | undefined;
    readonly limit: number;
    readonly after?: string | undefined;
  }): Promise<SessionPage>;
  delete(threadId: string): Promise<void>;
  count(): Promise<number>;
}

/** A state that a saver keeps for going back to. */
export interface ForkPoint {
  /** The turn that began there. */
  readonly turnId: string;
  /** The messages that the turn added to the `messages` channel and that are still there. */
  readonly messageIds: readonly string[];
}

/**
 * What savers of this library can do beside LangGraph's contract. Runs pass
 * `configurable[RUN_KEY] = { lease, turnId }`: the first put of a new turn makes the state before it a fork point.
 */
export interface ForkingSaver extends BaseCheckpointSaver {
  /** See {@link RunLedger.engine}. */
  readonly engine?: object | undefined;
  /** Oldest first. */
  forkPoints(threadId: string): Promise<readonly ForkPoint[]>;
  /**
   * Puts all namespaces of the thread back to before `turnId`, in one fenced step; later fork points go.
   * False when there is no such fork point.
   */
  restore(lease: Lease, turnId: string): Promise<boolean>;
}

/** The key in LangGraph's `configurable` under which a run's lease and turn travel to the saver. */
export const RUN_KEY = "agent_sessions";

export interface RunConfigurable {
  readonly lease: Lease;
  readonly turnId: string;
}

/** Why a store let go of a conversation by itself. */
export type DropReason = "ttl" | "max-sessions" | "max-bytes";

/** Where conversations, runs and events live. Parts that are left out are in-process ones. */
export interface Store {
  readonly sessions?: SessionStore | undefined;
  /** Any LangGraph saver; one that is not a {@link ForkingSaver} has no rollback, regenerate and edit. */
  readonly checkpointer?: BaseCheckpointSaver | undefined;
  readonly runs?: RunLedger | undefined;
  readonly events?: EventLog | undefined;
  /** Prepares the engine. Called once before first use, again after it failed. */
  init?(): Promise<void>;
  /** Frees what the store opened itself. Called by whoever constructed it. */
  close?(): Promise<void>;
  /** Drops what its limits say should go; called by `cleanup()`. */
  sweep?(): Promise<void>;
  /** Tells of conversations that the store dropped by its own limits. */
  onDrop?(listener: (session: SessionIdentity, reason: DropReason) => void): () => void;
}

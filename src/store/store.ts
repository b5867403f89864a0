import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import type { JsonObject } from "../json.js";
import type { RunEvent } from "../run-event.js";
import type { SessionIdentity } from "../session.js";
import type { Lease, RunLedger } from "./run-ledger.js";

export type * from "./run-ledger.js";

/*
 * The contracts of persistence. Every method is one atomic step, and its comment says what it promises when
 * several callers race. Times are the store's own: a Clock in memory, the engine's clock in an engine.
 *
 * Not their job: deciding what a run does, retrying, waiting for a run to end, talking to agents.
 */

export interface EventPage {
  /** Consecutive, from `after + 1` or from the oldest that is kept. */
  readonly events: readonly RunEvent[];
  /** The newest that the log has, 0 if none: a page that ends before it is not the last. */
  readonly last: number;
  /** Whether events behind `after` are gone that the reader has not had. */
  readonly trimmed: boolean;
}

/** Events of one run that follow the last one in the log; at least one. */
export interface EventBatch {
  readonly runId: string;
  readonly events: readonly RunEvent[];
}

/** What a run has said and its log has not: a saver of the log's engine stores it in the commit that would else wait for it. */
export interface EventRide {
  /** See {@link RunLedger.engine}: a saver of another engine waits for `flush` instead. */
  readonly engine: object;
  /** Waits until all that the run has said so far would go along; asks nothing of the engine. Rejects when the run was stopped. */
  ready(): Promise<void>;
  /**
   * Makes a step with the events that are to be stored in it, `undefined` if there are none; one step of a run at a time,
   * after an append that is under way. The step resolves to whether it was done; of one that fails it is unknown.
   */
  run(step: (batch: EventBatch | undefined) => Promise<boolean>): Promise<boolean>;
}

/** The events of runs, for as long as they are retained. `run-finished` is not in it: readers take it from the run record. */
export interface EventLog {
  /** Equal to {@link RunLedger.engine} when the log is in the ledger's engine. */
  readonly engine?: object | undefined;
  /** How a writer should gather events: flush after `ms` or `events`; one by one if absent. */
  readonly batch?: { readonly ms: number; readonly events: number } | undefined;
  /**
   * Adds events that follow the last one. The log keeps the objects: nobody may change them afterwards.
   *
   * @throws {AgentError} `LEASE_LOST` when the lease is stale or the numbers do not follow.
   */
  append(lease: Lease, runId: string, events: readonly RunEvent[]): void | Promise<void>;
  /**
   * There if other steps of the log's `engine` can store events in place of `append`, which spares a round trip, and a
   * write to disk, for each: the ledger's `finish` takes {@link RunCompletion.events}, its saver may take
   * {@link RunConfigurable.ride}. Says that such a step of this process has stored these events: from here on they are
   * served, and readers told, as after an append. A batch that a step may have stored can be appended again, as it was:
   * that changes nothing then.
   */
  stored?(lease: Lease, runId: string, events: readonly RunEvent[]): void;
  read(
    threadId: string,
    runId: string,
    options: { readonly after: number; readonly limit: number },
  ): EventPage | Promise<EventPage>;
  /** Hints that the run has more events. */
  watch(threadId: string, runId: string, listener: () => void): () => void;
  /** Forgets the events of a thread. */
  delete(threadId: string): Promise<void>;
  /**
   * For a log beside another engine's ledger: looks which runs of a thread have events, and gives what forgets the
   * events of these. A deletion that another process ends first then takes nothing of what begins after it.
   */
  deletion?(threadId: string): Promise<() => Promise<void>>;
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
   * Set by a store whose rows are the ledger's own: the ledger writes them when it accepts, hands out and finishes
   * runs, and nobody needs to call `save`.
   */
  readonly keptByLedger?: boolean | undefined;
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

/** A process that uses the store now. */
export interface ProcessRecord {
  readonly processId: string;
  readonly startedAt: number;
  /** When it last said that it lives. */
  readonly seenAt: number;
  /** What it says of itself: figures for operators, never credentials. */
  readonly info: JsonObject;
}

/** The processes that share a store, and what they tell each other. */
export interface ProcessRegistry {
  /** Adds the process or renews its entry, which goes `ttlMs` after the last call. */
  beat(processId: string, info: JsonObject, ttlMs: number): Promise<void>;
  /** Takes the process out at once. Does nothing when it is not in. */
  leave(processId: string): Promise<void>;
  /** The live ones, oldest first. */
  list(): Promise<readonly ProcessRecord[]>;
  /** Tells every process that watches, this one too. One that is cut off for over a minute may miss it. */
  send(message: JsonObject): Promise<void>;
  /** Calls `listener` with each message sent from now on until the returned function is called. */
  watch(listener: (message: JsonObject) => void): () => void;
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
  /**
   * Whether the conversation, as it stands, has a message of that id. Asked at the beginning of a run that was given
   * such an id, for which the run's first read of the conversation should cost the engine nothing any more. Without it
   * the conversation is read twice.
   */
  hasMessage?(lease: Lease, messageId: string): Promise<boolean>;
  /**
   * For a saver whose `put` may resolve before the checkpoint is stored: resolves when all puts of the thread are, or
   * can't be any more. Agents wait for it before their stream ends: the end of a run takes the lease away.
   */
  settled?(threadId: string): Promise<void>;
}

/** A saver that can show a run its head without reading it twice. */
export interface PeekingSaver extends BaseCheckpointSaver {
  /**
   * As `getTuple`, for a run that looks at its head before its graph does, and changes nothing of what it gets: the
   * next `getTuple` with the same run gives the same objects, if the head is still the same.
   */
  peekTuple(
    ...args: Parameters<BaseCheckpointSaver["getTuple"]>
  ): ReturnType<BaseCheckpointSaver["getTuple"]>;
}

/** The key in LangGraph's `configurable` under which a run's lease and turn travel to the saver. */
export const RUN_KEY = "agent_sessions";

export interface RunConfigurable {
  readonly lease: Lease;
  readonly turnId: string;
  /**
   * Waits until the log has all events of the run so far. A saver waits for it before it stores the results of a step:
   * what is stored is not done again by another owner, and then nobody would tell of it.
   */
  readonly flush?: (() => Promise<void>) | undefined;
  /** In place of waiting, for a saver whose commits can store those events: see {@link EventLog.stored}. */
  readonly ride?: EventRide | undefined;
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
  /** Which processes share the store; none for one that is not shared. */
  readonly processes?: ProcessRegistry | undefined;
  /** Prepares the engine. Called once before first use, again after it failed. */
  init?(): Promise<void>;
  /** Frees what the store opened itself. Called by whoever constructed it. */
  close?(): Promise<void>;
  /** Drops what its limits say should go; called by `cleanup()`. */
  sweep?(): Promise<void>;
  /** Tells of conversations that the store dropped by its own limits. */
  onDrop?(listener: (session: SessionIdentity, reason: DropReason) => void): () => void;
}

import type { EventBatch, Lease } from "../store.js";

/*
 * What an engine must be able to do so that conversations can live in it: keep small texts by key, thread by thread,
 * and change those of one thread in one step. What the texts mean is the saver's matter; which steps are allowed, the
 * ledger's of the same engine.
 */

/** All texts of one thread. */
export interface ThreadRecords {
  /** The `token` of the last commit. */
  readonly version: string;
  readonly records: ReadonlyMap<string, string>;
}

/** One change of a thread. All of it is stored, or nothing. */
export interface RecordsCommit {
  readonly threadId: string;
  /** What the change is based on: the version that was read, `undefined` for a thread that has nothing. */
  readonly base: string | undefined;
  /** The thread's version after it: unique to this commit, so that sending it again is recognised. */
  readonly token: string;
  /** Fences the change; without it, it is let through (host tools, tests). */
  readonly lease: Lease | undefined;
  readonly puts: readonly (readonly [key: string, text: string])[];
  readonly deletes: readonly string[];
  /**
   * Events of the lease's run that are appended in the same step; only where the event log is of this engine and has
   * {@link EventLog.stored}.
   */
  readonly events?: EventBatch | undefined;
}

/** Where an engine keeps conversations. Keys have at most 200 characters; texts hold no NUL and are well-formed. */
export interface ConversationRecords {
  /** Names the engine: see {@link RunLedger.engine}. */
  readonly engine?: object | undefined;
  /**
   * A thread as of one moment; `undefined` when it has nothing, `"unchanged"` when its version still is `known`.
   */
  load(threadId: string, known?: string): Promise<ThreadRecords | "unchanged" | undefined>;
  /**
   * Applies a change if the thread's version is its `base`. `false` when it is another: read again. A commit whose
   * `token` is the thread's version already has been applied before, and is `true`.
   *
   * @throws {AgentError} `LEASE_LOST` when its lease is stale, is another thread's, or the session is being deleted, or
   * its events do not follow those in the log.
   * `STORE_UNAVAILABLE` when the engine can't be reached; whether it was applied is then unknown.
   */
  commit(change: RecordsCommit): Promise<boolean>;
  /** Takes away all of a thread. A commit that is based on what was there is then refused with `false`. */
  delete(threadId: string): Promise<void>;
  /** Threads that have records, in the order of their ids, those behind `after`. */
  threads(options: {
    readonly after: string | undefined;
    readonly limit: number;
  }): Promise<readonly string[]>;
}

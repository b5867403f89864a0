import { optionalInteger } from "../../internal/check-options.js";
import { Listeners } from "../../internal/listeners.js";
import type { SessionIdentity } from "../../session.js";
import type {
  DropReason,
  EventLog,
  ForkingSaver,
  ProcessRegistry,
  RunLedger,
  SessionStore,
  Store,
} from "../store.js";
import type { ConversationOptions } from "./conversation-options.js";

/** What stores over engines keep alike where their options say nothing. */
export const keepingDefaults = {
  runRetentionMs: 600_000,
  maxRetainedRuns: 20,
  maxStateBytes: 1_048_576,
} as const;

/** What a store over an engine keeps, and for how long. */
export interface EngineStoreOptions extends ConversationOptions {
  /** How long a finished run and its events stay readable. @defaultValue 600,000 (10 minutes) */
  readonly runRetentionMs?: number | undefined;
  /** The most finished runs kept per session. @defaultValue 20 */
  readonly maxRetainedRuns?: number | undefined;
  /** A conversation whose last run ended this long ago is dropped by `sweep()`. @defaultValue none is ever dropped */
  readonly sessionTtlMs?: number | undefined;
  /** The longest JSON text of a state slot, in bytes of UTF-8. @defaultValue 1,048,576 */
  readonly maxStateBytes?: number | undefined;
}

/** A whole {@link Store} in an engine that processes share. */
export interface EngineStore extends Store {
  readonly sessions: SessionStore;
  readonly checkpointer: ForkingSaver;
  readonly runs: RunLedger;
  readonly events: EventLog;
  readonly processes: ProcessRegistry;
  /** Forgets runs past `runRetentionMs` and drops conversations past `sessionTtlMs`, in batches. */
  sweep(): Promise<void>;
  /** Tells of each conversation that `sweep()` of this store object dropped. */
  onDrop(listener: (session: SessionIdentity, reason: DropReason) => void): () => void;
}

/** The ledger of an engine, with what only its store asks of it. */
interface SweptLedger extends RunLedger {
  /** Drops a batch of sessions in which nothing has happened for `idleMs`; gives none when there are no more. */
  dropIdle(idleMs: number): Promise<readonly SessionIdentity[]>;
}

/**
 * How stores over engines let go of what is past its time. Functions are properties and not methods, so that
 * `{ ...redisStore(client), events }` has them too.
 */
export abstract class SweptStore {
  abstract readonly runs: SweptLedger;
  readonly #sessionTtlMs: number | undefined;
  readonly #listeners = new Listeners<[session: SessionIdentity, reason: DropReason]>();

  constructor(options: EngineStoreOptions) {
    this.#sessionTtlMs = optionalInteger("sessionTtlMs", options.sessionTtlMs, 1);
  }

  readonly sweep = async (): Promise<void> => {
    await this.runs.sweep({});
    if (this.#sessionTtlMs === undefined) return;
    for (;;) {
      const dropped = await this.runs.dropIdle(this.#sessionTtlMs);
      if (dropped.length === 0) return;
      for (const session of dropped) this.#listeners.tell(session, "ttl");
    }
  };

  readonly onDrop = (listener: (session: SessionIdentity, reason: DropReason) => void): (() => void) =>
    this.#listeners.add(listener);

  protected stopTelling(): void {
    this.#listeners.clear();
  }
}

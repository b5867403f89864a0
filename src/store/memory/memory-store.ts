import { limitOption, refuseUnknownKeys } from "../../internal/check-options.js";
import { systemClock, type Clock } from "../../internal/clock.js";
import { Listeners } from "../../internal/listeners.js";
import type { SessionIdentity } from "../../session.js";
import type { DropReason, EventLog, ForkingSaver, RunLedger, SessionStore, Store } from "../store.js";
import { MemoryConversationSaver } from "../conversation/memory-saver.js";
import { MemoryEventLog } from "./event-log.js";
import { MemoryRunLedger } from "./run-ledger.js";
import { MemorySessionStore } from "./session-directory.js";

/** What {@link memoryStore} does where its options say nothing. */
export const memoryStoreDefaults = Object.freeze({
  sessionTtlMs: 86_400_000,
  maxSessions: 10_000,
  maxBytes: 536_870_912,
  runRetentionMs: 600_000,
  maxRetainedRuns: 20,
  maxEventsPerRun: 10_000,
  maxEventBytes: 67_108_864,
  maxStateBytes: 1_048_576,
});

/** Every limit may be `Infinity`, for none. */
export interface MemoryStoreOptions {
  /** @defaultValue the system's clock */
  readonly clock?: Clock | undefined;
  /** A conversation whose last run ended this long ago is dropped. @defaultValue 86,400,000 (a day) */
  readonly sessionTtlMs?: number | undefined;
  /** The most conversations kept; over it the least recently used idle one is dropped. @defaultValue 10,000 */
  readonly maxSessions?: number | undefined;
  /** About the most bytes of conversations, runs and state slots kept, likewise. @defaultValue 536,870,912 */
  readonly maxBytes?: number | undefined;
  /** How long a finished run and its events stay readable. @defaultValue 600,000 (10 minutes) */
  readonly runRetentionMs?: number | undefined;
  /** The most finished runs kept per session. @defaultValue 20 */
  readonly maxRetainedRuns?: number | undefined;
  /** The most events kept per run; the oldest go first. @defaultValue 10,000 */
  readonly maxEventsPerRun?: number | undefined;
  /** About the most bytes of events kept in all; one run gets a quarter of it. @defaultValue 67,108,864 */
  readonly maxEventBytes?: number | undefined;
  /** The longest JSON text of a state slot, in bytes of UTF-8. @defaultValue 1,048,576 */
  readonly maxStateBytes?: number | undefined;
  /** Whether all checkpoints are kept, or the head and what undoing takes. @defaultValue "forks" */
  readonly history?: "forks" | "all" | undefined;
  /** How many finished turns can be undone. @defaultValue 10 */
  readonly forkableRuns?: number | undefined;
  /**
   * About the bytes of what makes the next turn of a conversation cheap: message objects, and the state of idle
   * conversations as objects. Beyond them idle conversations are kept as text. @defaultValue 64 MB
   */
  readonly liveBytes?: number | undefined;
}

/** What a {@link MemoryStore} holds at the moment. */
export interface MemoryUsage {
  readonly sessions: number;
  /** About what conversations, runs and state slots take. */
  readonly bytes: number;
  /** About what events take. */
  readonly eventBytes: number;
}

/** A whole {@link Store} in memory. */
export interface MemoryStore extends Store {
  readonly sessions: SessionStore;
  readonly checkpointer: ForkingSaver;
  readonly runs: RunLedger;
  readonly events: EventLog;
  readonly usage: MemoryUsage;
  /** Drops all idle conversations past `sessionTtlMs` and forgets all runs past `runRetentionMs`. */
  sweep(): Promise<void>;
  /** Takes off all listeners. There is nothing else to free: no timer, no handle. */
  close(): Promise<void>;
  /**
   * Tells of each conversation that the store dropped by its own limits, after all parts have let go of it. One
   * listener that throws harms neither the store nor the others.
   */
  onDrop(listener: (session: SessionIdentity, reason: DropReason) => void): () => void;
}

const OPTIONS = [...Object.keys(memoryStoreDefaults), "clock", "history", "forkableRuns", "liveBytes"];

/** Conversations past their time that go on the side of one step; `sweep` takes the rest. */
const DROPS_PER_STEP = 8;
/** Conversations that `sweep` drops before others get the event loop. */
const DROPS_PER_TURN = 256;

/**
 * Keeps everything in this process and nothing beyond it, within bounds. A conversation that is dropped goes
 * whole, in one step: ledger entry, runs, events, directory row, state slot and checkpoints. One in which a run is
 * queued, running or waits for answers is never dropped, even over the limits.
 *
 * @throws {TypeError} on options of a wrong type or name. @throws {RangeError} on limits that are no integers from
 * 1 up.
 */
export function memoryStore(options: MemoryStoreOptions = {}): MemoryStore {
  return new WholeMemoryStore(options);
}

class WholeMemoryStore implements MemoryStore {
  readonly sessions: MemorySessionStore;
  readonly checkpointer: MemoryConversationSaver & { readonly engine: object };
  readonly runs: MemoryRunLedger;
  readonly events: MemoryEventLog;
  readonly #clock: Clock;
  readonly #sessionTtlMs: number;
  readonly #maxSessions: number;
  readonly #maxBytes: number;
  readonly #listeners = new Listeners<[session: SessionIdentity, reason: DropReason]>();
  #dropping = false;

  constructor(options: MemoryStoreOptions) {
    refuseUnknownKeys("memoryStore", options, OPTIONS);
    const limit = (name: keyof typeof memoryStoreDefaults): number =>
      limitOption(name, options[name], memoryStoreDefaults[name]);
    const clock = options.clock ?? systemClock;
    this.#clock = clock;
    this.#sessionTtlMs = limit("sessionTtlMs");
    this.#maxSessions = limit("maxSessions");
    this.#maxBytes = limit("maxBytes");
    this.events = new MemoryEventLog({
      maxEventsPerRun: limit("maxEventsPerRun"),
      maxEventBytes: limit("maxEventBytes"),
      fence: (lease, runId) => {
        this.runs.fence(lease, runId);
      },
      endOf: (threadId, runId) => this.runs.endOf(threadId, runId),
    });
    this.runs = new MemoryRunLedger({
      clock,
      runRetentionMs: limit("runRetentionMs"),
      maxRetainedRuns: limit("maxRetainedRuns"),
      maxStateBytes: limit("maxStateBytes"),
      lastSeq: (threadId, runId) => this.events.last(threadId, runId),
      onAccept: (run) => {
        this.sessions.open(run, run.config);
      },
      onFree: (threadId) => {
        this.checkpointer.rest(threadId);
      },
      onRetain: (threadId, runId) => {
        this.events.finished(threadId, runId);
      },
      onForget: (threadId, runId) => {
        this.events.forget(threadId, runId);
      },
      onStep: () => {
        this.#keepLimits(DROPS_PER_STEP);
      },
    });
    this.sessions = new MemorySessionStore({
      clock,
      fence: (lease) => {
        this.runs.fence(lease);
      },
    });
    const saver = new MemoryConversationSaver({
      history: options.history,
      forkableRuns: options.forkableRuns,
      liveBytes: options.liveBytes,
      fence: (lease) => {
        this.runs.fence(lease);
      },
      onResize: (threadId, bytes) => {
        this.runs.setConversationBytes(threadId, bytes);
      },
    });
    this.checkpointer = Object.assign(saver, { engine: this.runs.engine });
  }

  get usage(): MemoryUsage {
    return { sessions: this.runs.size, bytes: this.runs.bytes, eventBytes: this.events.bytes };
  }

  // Properties and not methods, so that `{ ...memoryStore(), sessions }` has them too.

  readonly sweep = async (): Promise<void> => {
    await this.runs.sweep({});
    while (this.#keepLimits(DROPS_PER_TURN) === DROPS_PER_TURN) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  };

  readonly close = (): Promise<void> => {
    this.#listeners.clear();
    return Promise.resolve();
  };

  readonly onDrop = (listener: (session: SessionIdentity, reason: DropReason) => void): (() => void) =>
    this.#listeners.add(listener);

  /**
   * Drops what is over the limits, least recently used first: all that is over the count or the bytes, and up to
   * `expired` of those past their time. Gives how many of the latter.
   */
  #keepLimits(expired: number): number {
    // Listeners may take steps of their own; the loop below sees what those did.
    if (this.#dropping) return 0;
    this.#dropping = true;
    try {
      let past = 0;
      for (let oldest = this.runs.oldestIdle; oldest !== undefined; oldest = this.runs.oldestIdle) {
        const reason = this.#reasonToDrop(oldest.since);
        if (reason === undefined || (reason === "ttl" && past++ === expired)) break;
        this.#drop(oldest.identity, reason);
      }
      return Math.min(past, expired);
    } finally {
      this.#dropping = false;
    }
  }

  #reasonToDrop(idleSince: number): DropReason | undefined {
    if (this.runs.size > this.#maxSessions) return "max-sessions";
    if (this.runs.bytes > this.#maxBytes) return "max-bytes";
    return this.#clock.monotonic() - idleSince >= this.#sessionTtlMs ? "ttl" : undefined;
  }

  /** In memory all parts have done their work when they return. The events go with the runs: see `onForget`. */
  #drop(session: SessionIdentity, reason: DropReason): void {
    const { threadId } = session;
    this.runs.drop(threadId);
    void this.sessions.delete(threadId);
    void this.checkpointer.deleteThread(threadId);
    this.#listeners.tell(session, reason);
  }
}

import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import type { Clock } from "../internal/clock.js";
import type { SessionIdentity } from "../session.js";
import { MemoryEventLog } from "./memory/event-log.js";
import { memoryStore, type MemoryStore } from "./memory/memory-store.js";
import { MemorySessionStore } from "./memory/session-directory.js";
import { AgentError, isAgentError } from "../errors.js";
import type {
  DropReason,
  EventLog,
  ForkingSaver,
  ProcessRegistry,
  RunLedger,
  SessionStore,
  Store,
} from "./store.js";

/**
 * A store made whole: parts that were left out are in-process ones. Owns, and closes, only those.
 *
 * @throws {TypeError} when `runs` comes without the checkpointer of its engine: its leases could not fence it.
 */
export class StoreParts {
  readonly sessions: SessionStore;
  readonly checkpointer: BaseCheckpointSaver;
  readonly runs: RunLedger;
  readonly events: EventLog;
  /** There when the ledger is shared and its store keeps one. */
  readonly processes: ProcessRegistry | undefined;
  /** Whether the directory is the host's own, over a ledger that knows nothing after a restart. */
  readonly directoryOutlivesLedger: boolean;
  readonly #given: Store;
  readonly #own: MemoryStore | undefined;
  #ready: Promise<void> | undefined;

  constructor(given: Store = {}, clock: Clock) {
    const { sessions, checkpointer, runs, events } = given;
    this.#given = given;
    this.directoryOutlivesLedger = sessions !== undefined && runs === undefined;
    if (runs === undefined) {
      const own = memoryStore({ clock });
      this.#own = own;
      this.sessions = sessions ?? own.sessions;
      this.checkpointer = checkpointer ?? own.checkpointer;
      this.runs = own.runs;
      this.events = events ?? own.events;
    } else {
      const { engine } = runs;
      if (
        checkpointer === undefined ||
        engine === undefined ||
        (checkpointer as ForkingSaver).engine !== engine
      ) {
        throw new TypeError("Expected `store.runs` to come with the `store.checkpointer` of the same engine");
      }
      this.checkpointer = checkpointer;
      this.runs = runs;
      // Not those of a whole store in memory: its ledger would fence them, and knows none of these leases.
      this.sessions = sessions ?? new MemorySessionStore({ clock });
      this.events = events ?? new MemoryEventLog();
    }
    this.processes = this.runs.shared ? given.processes : undefined;
  }

  /**
   * Calls the store's `init` once; a failed try is forgotten, so that the next call tries again.
   *
   * @throws {AgentError} the store's own, or `STORE_UNAVAILABLE` with what it threw as the cause.
   */
  ready(): Promise<void> {
    if (this.#ready !== undefined) return this.#ready;
    const ready = this.#init();
    this.#ready = ready;
    ready.catch(() => {
      if (this.#ready === ready) this.#ready = undefined;
    });
    return ready;
  }

  async #init(): Promise<void> {
    try {
      await this.#given.init?.();
    } catch (error) {
      if (isAgentError(error)) throw error;
      throw new AgentError("STORE_UNAVAILABLE", "The store could not be prepared.", { cause: error });
    }
  }

  /** Lets go of what is past the limits of the parts. */
  async sweep(): Promise<void> {
    await this.#given.sweep?.();
    await this.#own?.sweep();
  }

  /** Tells of whole conversations that went; an own directory over somebody else's saver drops none. */
  onDrop(listener: (session: SessionIdentity, reason: DropReason) => void): () => void {
    const source = this.#own?.checkpointer === this.checkpointer ? this.#own : this.#given;
    return source.onDrop?.(listener) ?? (() => undefined);
  }

  async close(): Promise<void> {
    await this.#own?.close();
  }
}

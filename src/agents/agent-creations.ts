import type { AgentConfig } from "../agent.js";
import { AgentCreation } from "./agent-creation.js";
import type { AgentMaker } from "./agent-maker.js";
import type { AgentPlaces } from "./agent-places.js";
import type { AgentError } from "../errors.js";
import type { AgentManagerEvents } from "../events.js";
import type { Clock } from "../internal/clock.js";
import { withTimeLimit } from "../internal/time-limit.js";
import type { Turn } from "../internal/turn-queue.js";
import { SessionAgent, type DirectUse } from "./session-agent.js";
import type { SessionIdentity } from "../session.js";

/** How long a newcomer waits for an evicted agent to close before it evicts another one. */
const EVICT_ANOTHER_MS = 50;

/** What creations ask of the pool that they work for. */
export interface CreationHost<TConfig extends object, TContext> extends DirectUse {
  /** Evicts the least recently used idle agent: it closes, or is gone at once; undefined if there is none. */
  evictOldest(): "closing" | "gone" | undefined;
  /** Takes a new agent in: `pinned` by a run that waits for it, or idle. */
  keep(agent: SessionAgent<TConfig, TContext>, pinned: boolean, durationMs: number): void;
  release(agent: SessionAgent<TConfig, TContext>): void;
  /** Something has changed. */
  notify(): void;
}

export interface AgentCreationsOptions<TConfig extends object, TContext> {
  readonly clock: Clock;
  readonly places: AgentPlaces;
  readonly maker: AgentMaker<TConfig, TContext>;
  readonly emit: (event: "agent:failed", payload: AgentManagerEvents["agent:failed"]) => void;
  readonly pool: CreationHost<TConfig, TContext>;
}

/** The creations under way, at most one per session: each waits for a place, has its agent made, hands it over. */
export class AgentCreations<TConfig extends object, TContext> {
  readonly #options: AgentCreationsOptions<TConfig, TContext>;
  readonly #creations = new Map<string, AgentCreation<TConfig, TContext>>();

  constructor(options: AgentCreationsOptions<TConfig, TContext>) {
    this.#options = options;
  }

  get(threadId: string): AgentCreation<TConfig, TContext> | undefined {
    return this.#creations.get(threadId);
  }

  abortAll(reason: AgentError): void {
    for (const creation of this.#creations.values()) creation.abort(reason);
  }

  /** Waits for the end of all that are under way now. */
  async settled(): Promise<void> {
    await Promise.all([...this.#creations.values()].map((creation) => creation.settled()));
  }

  /** Begins a creation for a session that has none. The caller joins it in the same step. */
  start(
    session: SessionIdentity,
    config: AgentConfig<TConfig>,
    configKey: string,
  ): AgentCreation<TConfig, TContext> {
    const { places, pool } = this.#options;
    const creation: AgentCreation<TConfig, TContext> = new AgentCreation({
      configKey,
      make: (signal) => this.#create(session, config, creation, signal),
      count: (change) => {
        places.countCreation(change);
      },
      release: (agent) => {
        pool.release(agent);
      },
    });
    this.#creations.set(session.threadId, creation);
    return creation;
  }

  async #create(
    session: SessionIdentity,
    config: AgentConfig<TConfig>,
    creation: AgentCreation<TConfig, TContext>,
    signal: AbortSignal,
  ): Promise<SessionAgent<TConfig, TContext>> {
    const { clock, places, maker, pool, emit } = this.#options;
    const startedAt = clock.monotonic();
    const place = places.awaitPlace();
    // In one step with what comes of it.
    const end = (): void => {
      this.#creations.delete(session.threadId);
      creation.end();
      places.leavePlace(place);
    };
    try {
      await this.#makeRoom(place, signal);
      const { inner, slot } = await maker.make(session, config, signal);
      const agent = new SessionAgent(session, config, creation.configKey, inner, slot, pool);
      end();
      if (creation.isForRun) creation.pin(agent);
      pool.keep(agent, creation.isForRun, clock.monotonic() - startedAt);
      return agent;
    } catch (error) {
      end();
      // The maker throws nothing else, and the reasons to abort are our own.
      if (!signal.aborted) emit("agent:failed", { session, phase: "create", error: error as AgentError });
      throw error;
    } finally {
      pool.notify();
    }
  }

  /**
   * Waits until it is the creation's turn to have a place. Evicts an idle agent for it, and another one each time
   * that the wait grows long: an agent that hangs in its close must not hold up a newcomer while others would go
   * at once.
   */
  async #makeRoom(place: Turn, signal: AbortSignal): Promise<void> {
    const { clock, pool } = this.#options;
    for (let evict = true; !place.isGranted();) {
      if (evict && pool.evictOldest() === "gone") continue;
      const waited = await withTimeLimit(place.promise, EVICT_ANOTHER_MS, clock, signal);
      if (!place.isGranted()) signal.throwIfAborted();
      evict = waited.kind === "late";
    }
  }
}

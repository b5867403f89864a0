import type { AgentConfig, AgentFactory, AgentFactoryLike, Conversation } from "./agent.js";
import { AgentPool, type KeyedConfig, type PoolCounts } from "./agents/agent-pool.js";
import { AgentError } from "./errors.js";
import { TypedEvents, type AgentManagerEvents } from "./events.js";
import { canonicalJson, jsonProblem } from "./internal/canonical-json.js";
import { MOST_AGENTS } from "./agents/idle-agents.js";
import { integerOption, refuseUnknownKeys } from "./internal/check-options.js";
import { systemClock, type Clock, type TimerHandle } from "./internal/clock.js";
import { compactConfig, defaults, type AgentManagerOptions } from "./options.js";
import { SessionContext, StateSlot, type SessionAgent } from "./agents/session-agent.js";
import { identify, type SessionIdentity, type SessionRef } from "./session.js";
import { StoreParts } from "./store/store-parts.js";

export const MANAGER_OPTION_KEYS = [
  "factory",
  "store",
  "defaultConfig",
  "maxAgents",
  "agentTtlMs",
  "cleanupIntervalMs",
  "createTimeoutMs",
  "closeTimeoutMs",
  "clock",
] as const satisfies readonly (keyof AgentManagerOptions)[];

/** What a manager has now; times in milliseconds. */
export interface AgentManagerStats {
  /** All that count against `maxAgents`; a creation does once it has a place. */
  readonly totalAgents: number;
  /** Those at work or being created. */
  readonly activeAgents: number;
  readonly idleAgents: number;
  readonly closingAgents: number;
  readonly maxAgents: number;
  readonly agentTtlMs: number;
}

/** What a ChatService uses of its manager. Not part of the public API. */
export interface ManagerInternals<TConfig extends object, TContext> {
  readonly pool: AgentPool<TConfig, TContext>;
  readonly factory: AgentFactory<TConfig, TContext>;
  readonly clock: Clock;
  readonly defaultConfig: AgentConfig<TConfig>;
  readonly cleanupIntervalMs: number;
  conversation(session: SessionIdentity, config: AgentConfig<TConfig>): Conversation | undefined;
}

const internals = new WeakMap<object, unknown>();

/**
 * The friend's entrance to a manager, for the service of this package.
 *
 * @throws {TypeError} on anything else, a manager of another copy of this package (ESM beside CommonJS) included.
 */
export function internalsOf<TConfig extends object, TContext>(
  manager: AgentManager<TConfig, TContext>,
): ManagerInternals<TConfig, TContext> {
  const known = internals.get(manager);
  if (known === undefined)
    throw new TypeError("Expected `manager` to be an AgentManager, of the same copy of agent-sessions");
  // A manager puts in its own.
  return known as ManagerInternals<TConfig, TContext>;
}

/**
 * Keeps one isolated agent per session in this process: created once however many ask at the same time,
 * reused, evicted when idle too long or when its place is needed, and closed. Losing an agent loses nothing of
 * its conversation; the next message gets a fresh agent on it.
 *
 * @throws {TypeError | RangeError} from the constructor, for options that are wrong.
 */
export class AgentManager<
  TConfig extends object = object,
  TContext = unknown,
> extends TypedEvents<AgentManagerEvents> {
  readonly #pool: AgentPool<TConfig, TContext>;
  readonly #clock: Clock;
  readonly #maxAgents: number;
  readonly #agentTtlMs: number;
  readonly #cleanupIntervalMs: number;
  readonly #defaultConfig: AgentConfig<TConfig>;
  readonly #stopListening: () => void;
  #timer: TimerHandle | undefined;
  #closing: Promise<void> | undefined;

  /** The four parts of the store; those that were left out are in-process ones. */
  readonly store: StoreParts;

  constructor(options: AgentManagerOptions<TConfig, TContext>) {
    super();
    refuseUnknownKeys("AgentManager", options, MANAGER_OPTION_KEYS);
    const factory = toFactory(options.factory);
    this.#clock = options.clock ?? systemClock;
    this.#maxAgents = integerOption("maxAgents", options.maxAgents, defaults.maxAgents, 1);
    if (this.#maxAgents > MOST_AGENTS) {
      throw new RangeError(
        `Expected \`maxAgents\` to be at most ${String(MOST_AGENTS)}, got \`${String(this.#maxAgents)}\` (number)`,
      );
    }
    this.#agentTtlMs = integerOption("agentTtlMs", options.agentTtlMs, defaults.agentTtlMs, 1);
    this.#cleanupIntervalMs = integerOption(
      "cleanupIntervalMs",
      options.cleanupIntervalMs,
      defaults.cleanupIntervalMs,
      0,
    );
    const createTimeoutMs = integerOption(
      "createTimeoutMs",
      options.createTimeoutMs,
      defaults.createTimeoutMs,
      1,
    );
    const closeTimeoutMs = integerOption(
      "closeTimeoutMs",
      options.closeTimeoutMs,
      defaults.closeTimeoutMs,
      1,
    );
    // Compacting drops undefined values only; what is left is still the host's config.
    this.#defaultConfig = compactConfig(options.defaultConfig ?? {}) as AgentConfig<TConfig>;
    this.store = new StoreParts(options.store, this.#clock);
    const { checkpointer, runs } = this.store;
    this.#pool = new AgentPool({
      factory,
      checkpointer,
      runs,
      clock: this.#clock,
      maxAgents: this.#maxAgents,
      agentTtlMs: this.#agentTtlMs,
      createTimeoutMs,
      closeTimeoutMs,
      emit: (event, payload) => {
        this.emit(event, payload);
      },
    });
    this.#stopListening = this.store.onDrop((session, reason) => {
      void this.#pool.remove(session.threadId, "dropped");
      this.emit("session:dropped", { session, reason });
    });
    internals.set(this, {
      pool: this.#pool,
      factory,
      clock: this.#clock,
      defaultConfig: this.#defaultConfig,
      cleanupIntervalMs: this.#cleanupIntervalMs,
      conversation: (session, config) =>
        factory.conversation?.(
          new SessionContext(
            session,
            config,
            checkpointer,
            new StateSlot(runs, session.threadId),
            new AbortController().signal,
          ),
        ),
    } satisfies ManagerInternals<TConfig, TContext>);
    this.#schedule();
  }

  /**
   * Prepares the store; every method that needs it calls this. A failed try is forgotten.
   *
   * @throws {AgentError} `CLOSED`, once the manager has been closed: what it were to wait for would never come.
   */
  async ready(): Promise<void> {
    if (this.#closing !== undefined) throw closedError();
    await this.store.ready();
  }

  /**
   * Gives the live agent of a session, creating it if there is none: for one session the same object for as long
   * as that agent lives, however many ask at once. It is not pinned: it may be evicted when idle, and its own
   * `stream` throws `SESSION_BUSY` while a run of the session is under way. To use it, `ChatService.withAgent` is
   * the way. A config goes over that of the session, as in `chat`, but does not stick; if the agent has another one it
   * is rebuilt. Without one, the agent is taken as it is.
   *
   * Waits up to `closeTimeoutMs` for a place that is being made free.
   *
   * @throws {AgentError} `INVALID_INPUT`, `CAPACITY_EXCEEDED` (all places are taken by busy agents),
   * `SESSION_BUSY` (another config during a run), `AGENT_CREATE_FAILED`, `CLOSED`.
   */
  async getAgent(
    session: SessionRef,
    config?: AgentConfig<TConfig>,
  ): Promise<SessionAgent<TConfig, TContext>> {
    const identity = identify(session);
    if (this.#closing !== undefined) throw closedError();
    const live = config === undefined ? this.#pool.live(identity.threadId) : undefined;
    return (
      live ??
      this.#pool.get(
        identity,
        await this.#configOf(identity, config === undefined ? {} : config),
        config !== undefined,
      )
    );
  }

  /**
   * Closes the agent of a session, not its conversation. A busy one goes as soon as its run ends. Gives whether
   * there was one. @throws {AgentError} `INVALID_INPUT`
   */
  async removeAgent(session: SessionRef): Promise<boolean> {
    return this.#pool.remove(identify(session).threadId, "removed");
  }

  /** Closes the agents that have been idle for longer than `agentTtlMs`; gives how many went. */
  cleanupExpiredAgents(): Promise<number> {
    return this.#pool.closeExpired();
  }

  /** Closes up to `count` idle agents, the least recently used first; gives how many went. */
  async cleanupOldestAgents(count: number): Promise<number> {
    return this.#pool.closeOldest(integerOption("count", count, 0, 0));
  }

  getStats(): AgentManagerStats {
    const { creating, busy, idle, closing }: PoolCounts = this.#pool.counts;
    return {
      totalAgents: creating + busy + idle + closing,
      activeAgents: creating + busy,
      idleAgents: idle,
      closingAgents: closing,
      maxAgents: this.#maxAgents,
      agentTtlMs: this.#agentTtlMs,
    };
  }

  /**
   * Takes no more work, waits up to `drainMs` for agents at work, then closes them all and what the manager
   * opened itself (its own in-process store; not a factory or store that it was given). Again gives the same end.
   *
   * @throws {AggregateError} of the agents that failed to close; all others are closed nevertheless.
   */
  close(options: { readonly drainMs?: number | undefined } = {}): Promise<void> {
    const drainMs = integerOption("drainMs", options.drainMs, defaults.drainMs, 0);
    return (this.#closing ??= this.#close(drainMs));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(drainMs: number): Promise<void> {
    this.#clock.clearTimeout(this.#timer);
    try {
      await this.#pool.close(drainMs);
    } finally {
      this.#stopListening();
      await this.store.close();
    }
  }

  /** The config of a session with something over it. */
  async #configOf(
    session: SessionIdentity,
    config: Partial<AgentConfig<TConfig>>,
  ): Promise<KeyedConfig<TConfig>> {
    checkConfig(config);
    await this.ready();
    const known = (await this.store.runs.sessions([session.threadId])).get(session.threadId);
    const whole = compactConfig({ ...this.#defaultConfig, ...known?.config, ...compactConfig(config) });
    // What is stored was checked at acceptance; what is given has the type that the caller promised.
    return { config: whole as AgentConfig<TConfig>, configKey: canonicalJson(whole) };
  }

  #schedule(): void {
    // A listener of what the cleanup evicts may have closed the manager.
    if (this.#cleanupIntervalMs === 0 || this.#closing !== undefined) return;
    this.#timer = this.#clock.setTimeout(() => {
      void this.cleanupExpiredAgents();
      this.#schedule();
    }, this.#cleanupIntervalMs);
  }
}

function checkConfig(config: unknown): void {
  // A caller in plain JavaScript may give anything.
  const problem =
    typeof config !== "object" || config === null || Array.isArray(config)
      ? "to be an object"
      : jsonProblem(config) === undefined
        ? undefined
        : `to be plain JSON, found ${String(jsonProblem(config))}`;
  if (problem !== undefined) throw new AgentError("INVALID_INPUT", `Expected \`config\` ${problem}.`);
}

function toFactory<TConfig extends object, TContext>(
  factory: AgentFactoryLike<TConfig, TContext> | undefined,
): AgentFactory<TConfig, TContext> {
  if (typeof factory === "function") return { create: factory };
  // The type says that it is there; a caller in plain JavaScript may have left it out.
  if (typeof factory?.create !== "function") {
    throw new TypeError("Expected `factory` to be a function or an object with a `create` method");
  }
  return factory;
}

function closedError(): AgentError {
  return new AgentError("CLOSED", "The agent manager has been closed.");
}

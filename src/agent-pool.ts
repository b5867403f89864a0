import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import { LRUCache } from "lru-cache";
import type { Agent, AgentConfig, AgentFactory } from "./agent.js";
import { AgentError, isAgentError } from "./errors.js";
import type { AgentManagerEvents, EvictReason } from "./events.js";
import { ClosingAgents } from "./closing-agents.js";
import { untilAborted } from "./internal/abort.js";
import type { Clock } from "./internal/clock.js";
import { deferred, type Deferred } from "./internal/deferred.js";
import { withTimeLimit } from "./internal/time-limit.js";
import { SessionAgent, SessionContext, StateSlot, type DirectUse } from "./session-agent.js";
import type { SessionIdentity } from "./session.js";
import type { RunLedger } from "./store/store.js";

/*
 * The agents of one process. Per session:
 *
 *   absent ──acquire──▶ creating ──▶ busy ──release──▶ idle ──acquire──▶ busy
 *      ▲                   │                            │ ttl, capacity, config, remove
 *      └──── closed ◀──────┴─ nobody waits ──▶ closing ◀┘
 *
 * - creating: the factory works; everybody who wants the agent waits for this one creation. A failed one is
 *   forgotten. When its last waiter leaves, its signal is aborted and what still comes of it is closed.
 * - busy: pinned by one run (or direct use); never evicted. What wants to be rid of it marks `discard`.
 * - idle: in the LRU cache, with the TTL from the end of the last run.
 * - closing: `agent.close()` works, for at most `closeTimeoutMs`. A newcomer of that session waits for its end.
 *
 * The cap counts creating + busy + idle + closing. Whoever is going to need a place reserves it first; reserved +
 * busy + closing never exceeds the cap, so that there is always an idle agent to evict for a reserved place.
 */

/** How long a newcomer waits for an evicted agent to close before it evicts another one. */
const EVICT_ANOTHER_MS = 50;

/** A creation under way and those who wait for it. */
interface Creation<TConfig extends object, TContext> {
  readonly configKey: string;
  readonly controller: AbortController;
  readonly promise: Promise<SessionAgent<TConfig, TContext>>;
  waiters: number;
}

export interface AgentPoolOptions<TConfig extends object, TContext> {
  readonly factory: AgentFactory<TConfig, TContext>;
  readonly checkpointer: BaseCheckpointSaver;
  readonly runs: RunLedger;
  readonly clock: Clock;
  readonly maxAgents: number;
  readonly agentTtlMs: number;
  readonly createTimeoutMs: number;
  readonly closeTimeoutMs: number;
  readonly emit: <K extends keyof AgentManagerEvents>(event: K, payload: AgentManagerEvents[K]) => void;
}

export interface PoolCounts {
  readonly creating: number;
  readonly busy: number;
  readonly idle: number;
  readonly closing: number;
}

export class AgentPool<TConfig extends object, TContext> implements DirectUse {
  readonly #options: AgentPoolOptions<TConfig, TContext>;
  readonly #creating = new Map<string, Creation<TConfig, TContext>>();
  readonly #busy = new Map<string, SessionAgent<TConfig, TContext>>();
  readonly #idle: LRUCache<string, SessionAgent<TConfig, TContext>>;
  readonly #closing: ClosingAgents;
  /** Which session an object was made for: one object for two sessions would mix them. */
  readonly #madeFor = new WeakMap<object, string>();
  readonly #freeListeners = new Set<() => void>();
  #changed: Deferred<void> | undefined;
  #reserved = 0;
  #roomWaiters = 0;
  #closed = false;

  constructor(options: AgentPoolOptions<TConfig, TContext>) {
    this.#options = options;
    this.#closing = new ClosingAgents({
      ...options,
      onClosed: () => {
        this.#notify();
      },
    });
    this.#idle = new LRUCache({
      max: options.maxAgents,
      ttl: options.agentTtlMs,
      // Asked at every look, so that no timer of the cache's own is needed.
      ttlResolution: 0,
      perf: { now: () => options.clock.monotonic() },
      dispose: (agent, _threadId, reason) => {
        // Not on "evict", which is what `pop` reports: who pops an agent closes it, for a reason of its own.
        if (reason === "expire") this.#startClosing(agent, "ttl");
      },
    });
  }

  get counts(): PoolCounts {
    return {
      creating: this.#creating.size,
      busy: this.#busy.size,
      idle: this.#idle.size,
      closing: this.#closing.size,
    };
  }

  /** Tells when a place may have become free. */
  onFree(listener: () => void): () => void {
    this.#freeListeners.add(listener);
    return () => this.#freeListeners.delete(listener);
  }

  /** Takes a place if one can be had without touching a busy agent; give it to `acquire` or back. */
  reserve(): boolean {
    if (this.#closed) return false;
    if (this.#reserved + this.#busy.size + this.#closing.size >= this.#options.maxAgents) return false;
    this.#reserved += 1;
    return true;
  }

  /** Gives a reserved place back that somebody else may now have. */
  unreserve(): void {
    this.#reserved -= 1;
    this.#notify();
  }

  /** Gives a reserved place back for which there was no use; nobody needs to be told. */
  cancelReservation(): void {
    this.#reserved -= 1;
  }

  /** The live agent of a session that is not being created or closed, without using it. */
  peek(threadId: string): SessionAgent<TConfig, TContext> | undefined {
    return this.#busy.get(threadId) ?? this.#idle.peek(threadId);
  }

  isBusy(threadId: string): boolean {
    return this.#busy.has(threadId) || this.#creating.has(threadId);
  }

  /**
   * Gives the session's agent, pinned, made with this config. Takes over a place that the caller has reserved,
   * in any outcome; `release` frees it.
   *
   * @throws {AgentError} `AGENT_CREATE_FAILED` (or the factory's own AgentError), `CLOSED`; or the signal's reason.
   */
  async acquire(
    session: SessionIdentity,
    config: AgentConfig<TConfig>,
    configKey: string,
    signal: AbortSignal,
  ): Promise<SessionAgent<TConfig, TContext>> {
    let created = false;
    try {
      for (;;) {
        signal.throwIfAborted();
        const agent = this.#takeIdle(session.threadId, configKey);
        if (agent !== undefined) {
          this.#busy.set(session.threadId, agent);
          if (!created) this.#options.emit("agent:reused", { session: agent.session });
          return agent;
        }
        const step = this.#nextStep(session, config, configKey);
        created = !(step instanceof Promise);
        await (step instanceof Promise ? untilAborted(step, signal) : this.#join(step, signal));
      }
    } finally {
      this.unreserve();
    }
  }

  /**
   * Gives the session's agent without pinning it, creating it if need be. An undefined config means: as it is,
   * else `fallback`.
   *
   * @throws {AgentError} as `acquire`, and `CAPACITY_EXCEEDED` when all places are taken by busy agents;
   * `SESSION_BUSY` when another config is asked for during a run.
   */
  async get(
    session: SessionIdentity,
    wanted: { config: AgentConfig<TConfig>; configKey: string } | undefined,
    fallback: () => Promise<{ config: AgentConfig<TConfig>; configKey: string }>,
  ): Promise<SessionAgent<TConfig, TContext>> {
    const { threadId } = session;
    // The common case first, in one step: a live agent.
    let agent = this.#busy.get(threadId) ?? this.#idle.get(threadId);
    if (agent !== undefined && (wanted === undefined || wanted.configKey === agent.configKey)) return agent;
    const { config, configKey } = wanted ?? (await fallback());
    await this.#reservePatiently(session);
    try {
      for (;;) {
        agent = this.#busy.get(threadId);
        if (agent !== undefined) {
          if (wanted === undefined || agent.configKey === configKey) return agent;
          throw new AgentError(
            "SESSION_BUSY",
            `Session "${session.sessionId}" has a run; its config cannot change now.`,
            {
              sessionId: session.sessionId,
            },
          );
        }
        agent = this.#takeIdle(threadId, wanted === undefined ? undefined : configKey);
        if (agent !== undefined) {
          this.#idle.set(threadId, agent);
          return agent;
        }
        const step = this.#nextStep(session, config, configKey);
        await (step instanceof Promise ? step : this.#join(step, undefined));
      }
    } finally {
      this.unreserve();
    }
  }

  /** Unpins an agent that `acquire` gave. With a reason it is closed instead of kept. */
  release(agent: SessionAgent<TConfig, TContext>, discard?: EvictReason): void {
    const { threadId } = agent.session;
    if (this.#busy.get(threadId) !== agent) return;
    this.#busy.delete(threadId);
    const reason = this.#closed ? "closed" : (discard ?? agent.discard);
    if (reason !== undefined) this.#startClosing(agent, reason);
    else this.#idle.set(threadId, agent);
    this.#notify();
  }

  /** Closes a session's agent: at once if idle, after its run if busy. Says whether there was one. */
  async remove(threadId: string, reason: EvictReason): Promise<boolean> {
    const creation = this.#creating.get(threadId);
    if (creation !== undefined) {
      const agent = await creation.promise.catch(() => undefined);
      if (agent === undefined) return false;
    }
    const busy = this.#busy.get(threadId);
    if (busy !== undefined) {
      busy.discard = reason;
      return true;
    }
    const idle = this.#takeIdle(threadId, undefined);
    if (idle !== undefined) this.#startClosing(idle, reason);
    await this.#closing.of(threadId);
    return idle !== undefined;
  }

  /** Closes the idle agents past their TTL; gives how many went. */
  async closeExpired(): Promise<number> {
    const before = this.#idle.size;
    this.#idle.purgeStale();
    const count = before - this.#idle.size;
    await this.#closing.settled();
    return count;
  }

  /** Closes up to `count` idle agents, the least recently used first. */
  async closeOldest(count: number): Promise<number> {
    let closed = 0;
    while (closed < count) {
      const agent = this.#idle.pop();
      if (agent === undefined) break;
      this.#startClosing(agent, "removed");
      closed += 1;
    }
    await this.#closing.settled();
    return closed;
  }

  /** Waits up to `drainMs` for busy agents, then closes all. @throws {AggregateError} of what closing threw. */
  async close(drainMs: number): Promise<void> {
    this.#closed = true;
    this.#closing.takeErrors();
    const { clock } = this.#options;
    const deadline = clock.monotonic() + drainMs;
    for (const creation of this.#creating.values()) creation.controller.abort(closedError());
    while (this.#busy.size > 0) {
      const left = deadline - clock.monotonic();
      if (left <= 0) break;
      await withTimeLimit(this.#change(), left, clock);
    }
    for (const agent of [...this.#busy.values()]) {
      this.#busy.delete(agent.session.threadId);
      this.#startClosing(agent, "closed");
    }
    for (let agent = this.#idle.pop(); agent !== undefined; agent = this.#idle.pop())
      this.#startClosing(agent, "closed");
    while (this.#creating.size > 0) {
      await Promise.all(
        [...this.#creating.values()].map((creation) => creation.promise.catch(() => undefined)),
      );
    }
    await this.#closing.settled();
    this.#notify();
    const errors = this.#closing.takeErrors();
    if (errors.length > 0)
      throw new AggregateError(errors, `${String(errors.length)} agents failed to close.`);
  }

  checkDirectUse(session: SessionIdentity, agent: object): void {
    if (this.#busy.has(session.threadId)) {
      throw new AgentError("SESSION_BUSY", `Session "${session.sessionId}" has a run.`, {
        sessionId: session.sessionId,
      });
    }
    if (this.#idle.peek(session.threadId) !== agent) {
      throw new AgentError(
        "CLOSED",
        `The agent of session "${session.sessionId}" has been closed; get it anew.`,
        {
          sessionId: session.sessionId,
        },
      );
    }
  }

  beginDirectUse(session: SessionIdentity, agent: object): void {
    this.checkDirectUse(session, agent);
    const live = this.#takeIdle(session.threadId, undefined);
    if (live === undefined) throw closedError();
    this.#busy.set(session.threadId, live);
  }

  endDirectUse(session: SessionIdentity): void {
    const agent = this.#busy.get(session.threadId);
    if (agent !== undefined) this.release(agent);
  }

  /** Takes an idle agent out of the cache; one of another config is closed instead. */
  #takeIdle(threadId: string, configKey: string | undefined): SessionAgent<TConfig, TContext> | undefined {
    // get() disposes of an agent past its TTL, which starts its closing.
    const agent = this.#idle.get(threadId);
    if (agent === undefined) return undefined;
    this.#idle.delete(threadId);
    if (configKey === undefined || agent.configKey === configKey) return agent;
    this.#startClosing(agent, "config");
    return undefined;
  }

  /** What somebody who wants the agent has to wait for: a closing, a run, or a creation, started if there is none. */
  #nextStep(
    session: SessionIdentity,
    config: AgentConfig<TConfig>,
    configKey: string,
  ): Promise<unknown> | Creation<TConfig, TContext> {
    if (this.#closed) throw closedError();
    const { threadId } = session;
    const closing = this.#closing.of(threadId);
    if (closing !== undefined) return closing;
    if (this.#busy.has(threadId)) return this.#change();
    const creation = this.#creating.get(threadId);
    if (creation === undefined) return this.#startCreating(session, config, configKey);
    // Being made with another config, or given up by everybody: wait for its end, then look again.
    if (creation.configKey !== configKey || creation.controller.signal.aborted) {
      return creation.promise.then(
        () => undefined,
        () => undefined,
      );
    }
    return creation;
  }

  /** Waits for a creation as one of its waiters; the last one to leave aborts it. */
  async #join(creation: Creation<TConfig, TContext>, signal: AbortSignal | undefined): Promise<void> {
    creation.waiters += 1;
    try {
      await untilAborted(creation.promise, signal);
    } finally {
      creation.waiters -= 1;
      if (creation.waiters === 0)
        creation.controller.abort(new AgentError("RUN_CANCELLED", "Nobody waits for the agent."));
    }
  }

  #startCreating(
    session: SessionIdentity,
    config: AgentConfig<TConfig>,
    configKey: string,
  ): Creation<TConfig, TContext> {
    const controller = new AbortController();
    const promise = this.#create(session, config, configKey, controller.signal);
    const creation: Creation<TConfig, TContext> = { configKey, controller, promise, waiters: 0 };
    this.#creating.set(session.threadId, creation);
    promise.catch(() => undefined);
    return creation;
  }

  async #create(
    session: SessionIdentity,
    config: AgentConfig<TConfig>,
    configKey: string,
    signal: AbortSignal,
  ): Promise<SessionAgent<TConfig, TContext>> {
    const { factory, checkpointer, runs, clock, createTimeoutMs, emit } = this.#options;
    const { threadId, sessionId } = session;
    const startedAt = clock.monotonic();
    try {
      // The map entry is set by the caller right after this first step.
      await this.#room(signal);
      const slot = new StateSlot(runs, threadId);
      const context = new SessionContext(session, config, checkpointer, slot, signal);
      const making = Promise.resolve().then(() => factory.create(context));
      const made = await withTimeLimit(making, createTimeoutMs, clock, signal);
      if (made.kind === "failed") throw made.error;
      if (made.kind === "late") {
        // It keeps its place until it has come and gone, but no longer than a closing agent would.
        this.#closing.start(session, () => making.then((inner) => inner.close?.()));
        signal.throwIfAborted();
        throw new AgentError(
          "AGENT_CREATE_FAILED",
          `The agent took over ${String(createTimeoutMs)} ms to create.`,
          {
            sessionId,
          },
        );
      }
      const inner = made.value;
      this.#checkMade(session, inner);
      const agent = new SessionAgent(session, config, configKey, inner, slot, this);
      if (signal.aborted) {
        this.#startClosing(agent, this.#closed ? "closed" : "removed");
        throw signal.reason;
      }
      this.#idle.set(threadId, agent);
      emit("agent:created", { session, durationMs: clock.monotonic() - startedAt });
      return agent;
    } catch (error) {
      if (signal.aborted && error === signal.reason) throw error;
      const failure = isAgentError(error)
        ? error
        : new AgentError("AGENT_CREATE_FAILED", `The agent of session "${sessionId}" could not be created.`, {
            sessionId,
            cause: error,
          });
      emit("agent:failed", { session, phase: "create", error: failure });
      throw failure;
    } finally {
      this.#creating.delete(threadId);
      this.#notify();
    }
  }

  #checkMade(session: SessionIdentity, inner: Agent<TContext>): void {
    // A factory in plain JavaScript may return anything.
    if (typeof (inner as Partial<Agent> | undefined)?.stream !== "function") {
      throw new TypeError("Expected the factory to return an agent: an object with a `stream` method.");
    }
    const owner = this.#madeFor.get(inner);
    if (owner !== undefined && owner !== session.threadId) {
      throw new AgentError(
        "AGENT_CREATE_FAILED",
        `The factory returned one object for two sessions; make a new agent for session "${session.sessionId}".`,
        { sessionId: session.sessionId },
      );
    }
    this.#madeFor.set(inner, session.threadId);
  }

  /**
   * Waits until there is room for one more. Evicts one idle agent, and another one each time that the wait for
   * it grows long: an agent that hangs in its close must not hold up a newcomer while others would go at once.
   */
  async #room(signal: AbortSignal): Promise<void> {
    const { maxAgents, clock } = this.#options;
    let mayEvict = true;
    this.#roomWaiters += 1;
    try {
      // Our own creation is not in the map yet at the first look; afterwards it is.
      for (let own = 0; ;) {
        const others = this.#creating.size - own - (this.#roomWaiters - 1);
        if (others + this.#busy.size + this.#idle.size + this.#closing.size < maxAgents) return;
        const oldest: SessionAgent<TConfig, TContext> | undefined = mayEvict ? this.#idle.pop() : undefined;
        if (oldest !== undefined) this.#startClosing(oldest, "capacity");
        mayEvict = oldest !== undefined && oldest.inner.close === undefined;
        if (mayEvict) continue;
        const waited = await withTimeLimit(this.#change(), EVICT_ANOTHER_MS, clock, signal);
        signal.throwIfAborted();
        own = 1;
        mayEvict = waited.kind === "late";
      }
    } finally {
      this.#roomWaiters -= 1;
    }
  }

  async #reservePatiently(session: SessionIdentity): Promise<void> {
    const { clock, closeTimeoutMs } = this.#options;
    const deadline = clock.monotonic() + closeTimeoutMs;
    while (!this.reserve()) {
      if (this.#closed) throw closedError();
      const left = deadline - clock.monotonic();
      // A closing agent frees its place soon; a busy one may not.
      if (this.#closing.size === 0 || left <= 0) {
        throw new AgentError("CAPACITY_EXCEEDED", "All agents are busy; try again, or raise `maxAgents`.", {
          sessionId: session.sessionId,
        });
      }
      await withTimeLimit(this.#change(), left, clock);
    }
  }

  /** Begins to close an agent that is in no map any more. */
  #startClosing(agent: SessionAgent<TConfig, TContext>, reason: EvictReason): void {
    const { session, inner } = agent;
    this.#options.emit("agent:evicted", { session, reason });
    if (inner.close === undefined) this.#notify();
    else this.#closing.start(session, () => inner.close?.());
  }

  /** Resolves at the next change of any agent's state. */
  #change(): Promise<void> {
    return (this.#changed ??= deferred()).promise;
  }

  #notify(): void {
    this.#changed?.resolve();
    this.#changed = undefined;
    for (const listener of this.#freeListeners) listener();
  }
}

function closedError(): AgentError {
  return new AgentError("CLOSED", "The agent manager has been closed.");
}

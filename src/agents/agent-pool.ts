import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import type { AgentConfig, AgentFactory } from "../agent.js";
import { AgentCreations, type CreationHost } from "./agent-creations.js";
import { AgentMaker } from "./agent-maker.js";
import { AgentPlaces } from "./agent-places.js";
import { ClosingAgents } from "./closing-agents.js";
import { AgentError } from "../errors.js";
import type { AgentManagerEvents, EvictReason } from "../events.js";
import { IdleAgents } from "./idle-agents.js";
import { untilAborted } from "../internal/abort.js";
import type { Clock } from "../internal/clock.js";
import { deferred, type Deferred } from "../internal/deferred.js";
import { withTimeLimit } from "../internal/time-limit.js";
import type { SessionAgent } from "./session-agent.js";
import type { SessionIdentity } from "../session.js";
import type { RunLedger } from "../store/store.js";

/*
 * The agents of one process. Per session:
 *
 *   absent ──▶ creating ──for a run──▶ busy ──release──▶ idle ──acquire──▶ busy
 *                    └──────for getAgent alone──────────▶ idle
 *   creating ──nobody waits, or it takes too long──▶ closing (of what still comes) ──▶ absent
 *   idle ──ttl, capacity, config, removed──▶ closing ──▶ absent
 *   busy ──release of one that is to be discarded──▶ closing ──▶ absent
 *
 * - creating: the factory works; everybody who wants the agent waits for this one creation. A failed one is
 *   forgotten. When its last waiter leaves, its signal is aborted and what still comes of it is closed.
 * - busy: pinned by one run (or direct use); never evicted. What wants to be rid of it marks `discard`.
 * - idle: in the LRU cache, with the TTL from the end of the last run.
 * - closing: `agent.close()` works, for at most `closeTimeoutMs`. A newcomer of that session waits for its end.
 *
 * The cap counts all four; a creation waits for a place and evicts an idle agent for it. Whoever is going to pin an
 * agent reserves it first: see AgentPlaces.
 *
 * Listeners are told after each step, when the maps are as they should be: they may call back.
 */

/** A config with the text that tells it from others. */
export interface KeyedConfig<TConfig extends object> {
  readonly config: AgentConfig<TConfig>;
  readonly configKey: string;
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

/** How many agents have a place, by state. */
export type PoolCounts = Readonly<Record<"creating" | "busy" | "idle" | "closing", number>>;

export class AgentPool<TConfig extends object, TContext> implements CreationHost<TConfig, TContext> {
  readonly #options: AgentPoolOptions<TConfig, TContext>;
  readonly #busy = new Map<string, SessionAgent<TConfig, TContext>>();
  readonly #idle: IdleAgents<SessionAgent<TConfig, TContext>>;
  readonly #closing: ClosingAgents;
  readonly #freeListeners = new Set<() => void>();
  readonly #places: AgentPlaces;
  readonly #creations: AgentCreations<TConfig, TContext>;
  #changed: Deferred<void> | undefined;
  #closed = false;

  constructor(options: AgentPoolOptions<TConfig, TContext>) {
    this.#options = options;
    this.#places = new AgentPlaces({ ...options, agents: () => this.#agents() });
    this.#closing = new ClosingAgents({
      ...options,
      onClosed: () => {
        this.notify();
      },
    });
    this.#idle = new IdleAgents({
      clock: options.clock,
      max: options.maxAgents,
      ttlMs: options.agentTtlMs,
      onExpired: (agent) => void this.#startClosing(agent, "ttl"),
    });
    this.#creations = new AgentCreations({
      ...options,
      places: this.#places,
      maker: new AgentMaker({
        ...options,
        onGivenUp: (session, end) => void this.#closing.start(session, end, "create"),
      }),
      pool: this,
    });
  }

  get counts(): PoolCounts {
    return { ...this.#agents(), creating: this.#places.placed };
  }

  /** Tells when a place may have become free. */
  onFree(listener: () => void): () => void {
    this.#freeListeners.add(listener);
    return () => this.#freeListeners.delete(listener);
  }

  /** Reserves an agent if one can be had without touching a busy one; give it to `acquire` or back. */
  reserve(): boolean {
    return this.#places.reserve();
  }

  /** Gives a reservation back that somebody else may now have. */
  unreserve(): void {
    this.#places.unreserve();
    this.notify();
  }

  /** As {@link unreserve}, when there was no work to use it for: the listeners of `onFree` need not look for any. */
  cancelReservation(): void {
    this.#places.unreserve();
    this.#places.grantTurns();
  }

  /** The live agent of a session that is not being created or closed, without using it. */
  peek(threadId: string): SessionAgent<TConfig, TContext> | undefined {
    return this.#busy.get(threadId) ?? this.#idle.peek(threadId);
  }

  /**
   * Gives the session's agent, pinned, made with this config. Takes over a reservation of the caller, whatever the
   * outcome; `release` unpins it.
   *
   * @throws {AgentError} `AGENT_CREATE_FAILED` (or the factory's own AgentError), `CLOSED`; or the signal's reason.
   */
  async acquire(
    session: SessionIdentity,
    config: AgentConfig<TConfig>,
    configKey: string,
    signal: AbortSignal,
  ): Promise<SessionAgent<TConfig, TContext>> {
    const { threadId } = session;
    try {
      for (;;) {
        signal.throwIfAborted();
        if (this.#closed) throw closedError();
        const idle = this.#takeIdle(threadId, configKey);
        if (idle !== undefined) {
          this.#busy.set(threadId, idle);
          this.#options.emit("agent:reused", { session: idle.session });
          return idle;
        }
        const ending = this.#ending(threadId, configKey);
        if (ending !== undefined) {
          await untilAborted(ending, signal);
          continue;
        }
        const creation = this.#creations.get(threadId) ?? this.#creations.start(session, config, configKey);
        const made = await creation.joinAsRun(signal);
        if (made !== undefined) return made;
      }
    } finally {
      this.unreserve();
    }
  }

  /** The live agent of a session, which is then the most recently used one. */
  live(threadId: string): SessionAgent<TConfig, TContext> | undefined {
    return this.#busy.get(threadId) ?? this.#idle.get(threadId);
  }

  /**
   * Gives the session's agent without pinning it, creating it with this config if need be. Unless `exact`, one with
   * another config will do. Waits up to `closeTimeoutMs` for a place that is being made free.
   *
   * @throws {AgentError} as `acquire`, and `CAPACITY_EXCEEDED` when all places are taken by busy agents;
   * `SESSION_BUSY` when another config is asked for during a run.
   */
  async get(
    session: SessionIdentity,
    { config, configKey }: KeyedConfig<TConfig>,
    exact: boolean,
  ): Promise<SessionAgent<TConfig, TContext>> {
    const { threadId, sessionId } = session;
    const fits = (other: string): boolean => !exact || other === configKey;
    const deadline = this.#options.clock.monotonic() + this.#options.closeTimeoutMs;
    let reserved = false;
    try {
      for (;;) {
        if (this.#closed) throw closedError();
        const agent = this.live(threadId);
        if (agent !== undefined && fits(agent.configKey)) return agent;
        const creation = this.#creations.get(threadId);
        const joinable = creation !== undefined && fits(creation.configKey);
        if (this.#busy.has(threadId) || (creation?.isForRun === true && !joinable)) {
          const message = `Session "${sessionId}" has a run; its config cannot change now.`;
          throw new AgentError("SESSION_BUSY", message, { sessionId });
        }
        const ending = this.#ending(threadId, joinable ? creation.configKey : configKey);
        if (ending !== undefined) await ending;
        else if (creation !== undefined) return await creation.join();
        else if (!reserved) reserved = this.reserve() || (await this.#reserveSoon(session, deadline));
        // Another config: out with it, now that there is a place for its successor.
        else if (agent !== undefined) this.#takeIdle(threadId, configKey);
        else {
          const started = this.#creations.start(session, config, configKey);
          // From here on the creation counts for itself.
          this.#places.unreserve();
          reserved = false;
          return await started.join();
        }
      }
    } finally {
      if (reserved) this.unreserve();
    }
  }

  /** Unpins an agent that `acquire` gave. With a reason it is closed instead of kept. */
  release(agent: SessionAgent<TConfig, TContext>, discard?: EvictReason): void {
    const { threadId } = agent.session;
    if (this.#busy.get(threadId) !== agent) return;
    this.#busy.delete(threadId);
    const reason = this.#closed ? "closed" : (discard ?? agent.discard);
    if (reason !== undefined) void this.#startClosing(agent, reason);
    else this.#idle.add(agent);
    this.notify();
  }

  /**
   * Closes a session's agent: at once if idle, after its run if busy, after its creation if it is being created.
   * Says whether there was one.
   */
  async remove(threadId: string, reason: EvictReason): Promise<boolean> {
    const creation = this.#creations.get(threadId);
    if (creation !== undefined) await creation.settled();
    const busy = this.#busy.get(threadId);
    if (busy !== undefined) {
      busy.discard = reason;
      return true;
    }
    const idle = this.#idle.take(threadId);
    if (idle !== undefined) void this.#startClosing(idle, reason);
    await this.#closing.of(threadId);
    return idle !== undefined;
  }

  /** Gives how many idle agents were past their TTL. */
  async closeExpired(): Promise<number> {
    const expired = this.#idle.takeExpired();
    // All are closing before anybody is told: a listener may ask for any of them.
    const closing = expired.map((agent) => this.#startClosing(agent));
    for (const { session } of expired) this.#options.emit("agent:evicted", { session, reason: "ttl" });
    await Promise.all(closing);
    return expired.length;
  }

  /** Gives how many idle agents there were, up to `count`. */
  async closeOldest(count: number): Promise<number> {
    const closing: Promise<void>[] = [];
    while (closing.length < count) {
      const agent = this.#idle.takeOldest();
      if (agent === undefined) break;
      closing.push(this.#startClosing(agent, "removed"));
    }
    await Promise.all(closing);
    return closing.length;
  }

  /** Waits up to `drainMs` for busy agents, then closes all. @throws {AggregateError} of what closing threw. */
  async close(drainMs: number): Promise<void> {
    this.#closed = true;
    this.#closing.takeErrors();
    const { clock } = this.#options;
    const deadline = clock.monotonic() + drainMs;
    this.#creations.abortAll(closedError());
    this.#places.close();
    for (let left = drainMs; this.#busy.size > 0 && left > 0; left = deadline - clock.monotonic()) {
      await withTimeLimit(this.#change(), left, clock);
    }
    for (const agent of [...this.#busy.values()]) {
      this.#busy.delete(agent.session.threadId);
      void this.#startClosing(agent, "closed");
    }
    for (let agent = this.#idle.takeOldest(); agent !== undefined; agent = this.#idle.takeOldest()) {
      void this.#startClosing(agent, "closed");
    }
    await this.#creations.settled();
    await this.#closing.settled();
    this.notify();
    const errors = this.#closing.takeErrors();
    if (errors.length > 0) {
      throw new AggregateError(errors, `${String(errors.length)} agents failed to close.`);
    }
  }

  keep(agent: SessionAgent<TConfig, TContext>, pinned: boolean, durationMs: number): void {
    const { session } = agent;
    const closed = this.#closed;
    if (!closed && pinned) this.#busy.set(session.threadId, agent);
    else if (!closed) this.#idle.add(agent);
    this.#options.emit("agent:created", { session, durationMs });
    if (closed) void this.#startClosing(agent, "closed");
  }

  evictOldest(): "closing" | "gone" | undefined {
    const oldest = this.#idle.takeOldest();
    if (oldest === undefined) return undefined;
    void this.#startClosing(oldest, "capacity");
    return oldest.inner.close === undefined ? "gone" : "closing";
  }

  notify(): void {
    this.#changed?.resolve();
    this.#changed = undefined;
    for (const listener of this.#freeListeners) listener();
    this.#places.grantTurns();
  }

  checkDirectUse({ threadId, sessionId }: SessionIdentity, agent: object): void {
    if (this.#busy.has(threadId)) {
      throw new AgentError("SESSION_BUSY", `Session "${sessionId}" has a run.`, { sessionId });
    }
    if (this.#idle.peek(threadId) !== agent) {
      const message = `The agent of session "${sessionId}" has been closed; get it anew.`;
      throw new AgentError("CLOSED", message, { sessionId });
    }
  }

  beginDirectUse(session: SessionIdentity, agent: object): void {
    this.checkDirectUse(session, agent);
    // Pinned it cannot make room for a run that has been promised some.
    if (!this.#places.isReservable) throw capacityExceeded(session);
    const live = this.#idle.take(session.threadId);
    if (live === undefined) throw closedError();
    this.#busy.set(session.threadId, live);
  }

  endDirectUse(session: SessionIdentity, agent: object): void {
    const busy = this.#busy.get(session.threadId);
    if (busy !== undefined && busy === agent) this.release(busy);
  }

  #agents(): Omit<PoolCounts, "creating"> {
    return { busy: this.#busy.size, idle: this.#idle.size, closing: this.#closing.size };
  }

  /** Takes an idle agent out of the cache; one of another config is closed instead. */
  #takeIdle(threadId: string, configKey: string): SessionAgent<TConfig, TContext> | undefined {
    const agent = this.#idle.take(threadId);
    if (agent === undefined || agent.configKey === configKey) return agent;
    void this.#startClosing(agent, "config");
    return undefined;
  }

  /** What has to end before the session can have an agent of this config; undefined if nothing. */
  #ending(threadId: string, configKey: string): Promise<void> | undefined {
    if (this.#busy.has(threadId)) return this.#change();
    const creation = this.#creations.get(threadId);
    // Being made with another config, or given up by everybody.
    if (creation !== undefined && (creation.configKey !== configKey || creation.isAborted)) {
      return creation.settled();
    }
    return this.#closing.of(threadId);
  }

  /** Waits for a reservation. False when the time is over: the caller then looks a last time. */
  #reserveSoon(session: SessionIdentity, deadline: number): Promise<boolean> {
    const left = deadline - this.#options.clock.monotonic();
    // What is reserved, created or closed may soon be free; a run may not.
    if (left <= 0 || this.#busy.size >= this.#options.maxAgents) throw capacityExceeded(session);
    return this.#places.awaitReservation(left);
  }

  /** Begins to close an agent that is in no map any more, and tells why; resolves when it has gone. */
  #startClosing({ session, inner }: SessionAgent<TConfig, TContext>, reason?: EvictReason): Promise<void> {
    const closing =
      inner.close === undefined ? undefined : this.#closing.start(session, () => inner.close?.());
    if (reason !== undefined) this.#options.emit("agent:evicted", { session, reason });
    if (closing === undefined) this.notify();
    return closing ?? Promise.resolve();
  }

  /** Resolves at the next change of any agent's state. */
  #change(): Promise<void> {
    return (this.#changed ??= deferred()).promise;
  }
}

function closedError(): AgentError {
  return new AgentError("CLOSED", "The agent manager has been closed.");
}

function capacityExceeded({ sessionId }: SessionIdentity): AgentError {
  return new AgentError("CAPACITY_EXCEEDED", "All agents are busy; try again, or raise `maxAgents`.", {
    sessionId,
  });
}

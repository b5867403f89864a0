import { LRUCache } from "lru-cache";
import type { Clock } from "../internal/clock.js";
import type { SessionIdentity } from "../session.js";

/** The most agents of one process: the cache reserves room for all of them at once. */
export const MOST_AGENTS = 1_000_000;

export interface IdleAgentsOptions<T> {
  readonly clock: Clock;
  readonly max: number;
  readonly ttlMs: number;
  /** Gets each agent whose time was found to be over, once it is out of the cache. */
  readonly onExpired: (agent: T) => void;
}

/**
 * The agents that nobody uses, by thread, in the order of their last use. An agent's time begins when it is added
 * and is looked at whenever it is asked for; looking an agent up counts as a use but does not prolong its time.
 * Nothing is called back while the cache is at work, so that a callback may use it.
 */
export class IdleAgents<T extends { readonly session: SessionIdentity }> {
  readonly #cache: LRUCache<string, T>;
  readonly #onExpired: (agent: T) => void;
  /** What the present step of the cache has found to be over. */
  #expired: T[] = [];

  constructor({ clock, max, ttlMs, onExpired }: IdleAgentsOptions<T>) {
    this.#onExpired = onExpired;
    this.#cache = new LRUCache({
      max,
      ttl: ttlMs,
      // Asked at every look, so that no timer of the cache's own is needed.
      ttlResolution: 0,
      // A start of 0 means to the cache that there is no TTL.
      perf: { now: () => clock.monotonic() + 1 },
      dispose: (agent, _threadId, reason) => {
        if (reason === "expire") this.#expired.push(agent);
      },
    });
  }

  get size(): number {
    return this.#cache.size;
  }

  /** Looks without using: neither the order changes nor does anything expire. */
  peek(threadId: string): T | undefined {
    return this.#cache.peek(threadId);
  }

  get(threadId: string): T | undefined {
    const agent = this.#cache.get(threadId);
    if (agent === undefined) for (const expired of this.takeExpired(false)) this.#onExpired(expired);
    return agent;
  }

  take(threadId: string): T | undefined {
    const agent = this.get(threadId);
    if (agent !== undefined) this.#cache.delete(threadId);
    return agent;
  }

  add(agent: T): void {
    this.#cache.set(agent.session.threadId, agent);
  }

  /** Takes the least recently used one, expired or not. */
  takeOldest(): T | undefined {
    return this.#cache.pop();
  }

  /** Takes all whose time is over; with `false`, those that the last look found. */
  takeExpired(look = true): T[] {
    if (look) this.#cache.purgeStale();
    if (this.#expired.length === 0) return [];
    const expired = this.#expired;
    this.#expired = [];
    return expired;
  }
}

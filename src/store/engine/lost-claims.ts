import type { Clock } from "../../internal/clock.js";

/** How long after its answer was given up a claim may still be done: it may wait in a connection, or for a lock. */
const LATE_MS = 1_000;
/** The oldest are kept: what is lost later, in a long outage, has mostly never been sent. */
const MOST = 64;

/**
 * The claims of one process whose answers never came. The engine may have done them: then a run belongs to a lease that
 * nobody knows of, and would wait until that expires, to go on as if it had broken a process. So the next claims name
 * the owners of such leases; the engine hands a run of theirs out again, under a fresh lease, and counts no attempt:
 * nobody has begun it.
 */
export class LostClaims {
  readonly #clock: Clock;
  /** When the answer of each owner's claim was given up. */
  readonly #lostAt = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Makes the claim of a fresh `owner`, which is given the owners of claims that were lost. */
  async claim<T>(owner: string, send: (lost: readonly string[]) => Promise<T>): Promise<T> {
    const lost = [...this.#lostAt.keys()];
    const sentAt = this.#clock.monotonic();
    let result: T;
    try {
      result = await send(lost);
    } catch (error) {
      if (this.#lostAt.size < MOST) this.#lostAt.set(owner, this.#clock.monotonic());
      throw error;
    }
    for (const asked of lost) {
      if (sentAt - (this.#lostAt.get(asked) ?? 0) >= LATE_MS) this.#lostAt.delete(asked);
    }
    return result;
  }
}

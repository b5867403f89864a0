import type { AgentPool } from "../agents/agent-pool.js";
import type { Clock, TimerHandle } from "../internal/clock.js";
import type { LeaseKeeper } from "./lease.js";
import type { Claim, RunLedger } from "../store/store.js";

/**
 * How many turns of the event loop lie between two starts. A turn on a fast model is one unbroken chain of
 * microtasks, and libuv accepts one connection per iteration: without a pause a burst of runs holds up every
 * newcomer. Four was measured best: the figures are in docs/architecture.md.
 */
const HOPS_BETWEEN_STARTS = 4;

/** How long to leave a ledger alone that has just failed. */
const RETRY_MS = 500;

export interface DispatcherOptions<TConfig extends object, TContext> {
  readonly runs: RunLedger;
  readonly pool: AgentPool<TConfig, TContext>;
  readonly leases: LeaseKeeper;
  readonly clock: Clock;
  readonly processId: string;
  readonly maxAttempts: number;
  readonly maxConcurrentRuns: number | undefined;
  readonly maxConcurrentRunsPerUser: number | undefined;
  /** Works on a claimed run; must not reject. Its place in the pool is reserved. */
  readonly execute: (claim: Claim, claimedAt: number) => Promise<void>;
  readonly onError: (error: unknown) => void;
}

/**
 * Starts runs: claims the next one whenever a place is free, one at a time, with a pause between two starts. It
 * gates starts, not runs in flight, unless `maxConcurrentRuns` says so. Which run is next is the ledger's matter.
 */
export class Dispatcher<TConfig extends object, TContext> {
  readonly #options: DispatcherOptions<TConfig, TContext>;
  readonly #stopListening: () => void;
  #inFlight = 0;
  #pumping = false;
  #again = false;
  #stopped = false;
  #retry: TimerHandle | undefined;

  constructor(options: DispatcherOptions<TConfig, TContext>) {
    this.#options = options;
    this.#stopListening = options.pool.onFree(() => {
      this.pump();
    });
  }

  /** Looks for work now, or again after the look under way. */
  pump(): void {
    this.#again = true;
    if (this.#pumping || this.#stopped) return;
    this.#pumping = true;
    void this.#loop();
  }

  /** Claims nothing more. */
  stop(): void {
    this.#stopped = true;
    this.#stopListening();
    this.#options.clock.clearTimeout(this.#retry);
  }

  async #loop(): Promise<void> {
    try {
      while (this.#again && !this.#isStopped()) {
        this.#again = false;
        while (await this.#startOne()) await hops(HOPS_BETWEEN_STARTS);
      }
    } finally {
      this.#pumping = false;
    }
  }

  /** The flag may change during any await; a method hides it from the compiler's narrowing. */
  #isStopped(): boolean {
    return this.#stopped;
  }

  async #startOne(): Promise<boolean> {
    const { runs, pool, leases, clock, processId, maxAttempts, maxConcurrentRuns, maxConcurrentRunsPerUser } =
      this.#options;
    if (this.#stopped || (maxConcurrentRuns !== undefined && this.#inFlight >= maxConcurrentRuns))
      return false;
    if (!pool.reserve()) return false;
    let claim: Claim | undefined;
    const claimedAt = clock.monotonic();
    try {
      claim = await runs.claim({ processId, leaseMs: leases.leaseMs, maxConcurrentRunsPerUser, maxAttempts });
    } catch (error) {
      this.#options.onError(error);
      this.#retryLater();
    }
    if (claim === undefined) {
      pool.cancelReservation();
      return false;
    }
    if (this.#isStopped()) {
      // Stopped while the claim was under way: back to where it came from.
      pool.cancelReservation();
      await runs.release(claim.lease, claim.run.runId).catch(this.#options.onError);
      return false;
    }
    this.#inFlight += 1;
    void this.#options.execute(claim, claimedAt).finally(() => {
      this.#inFlight -= 1;
      this.pump();
    });
    return true;
  }

  #retryLater(): void {
    this.#retry ??= this.#options.clock.setTimeout(() => {
      this.#retry = undefined;
      this.pump();
    }, RETRY_MS);
  }
}

function hops(count: number): Promise<void> {
  return new Promise((resolve) => {
    const hop = (left: number): void => {
      if (left === 0) resolve();
      else {
        setImmediate(() => {
          hop(left - 1);
        });
      }
    };
    hop(count);
  });
}

import type { AgentPool } from "../agents/agent-pool.js";
import type { Clock, TimerHandle } from "../internal/clock.js";
import type { LeaseKeeper } from "./lease.js";
import type { Claim, ClaimRequest, RunLedger, Submitted } from "../store/store.js";

/**
 * How many turns of the event loop lie between two starts. A turn on a fast model is one unbroken chain of
 * microtasks, and libuv accepts one connection per iteration: without a pause a burst of runs holds up every
 * newcomer. Four was measured best: the figures are in docs/architecture.md.
 */
const HOPS_BETWEEN_STARTS = 4;

/** How long to leave a ledger alone that has just failed. */
const RETRY_MS = 500;

/** The longest between two looks at a shared ledger, of which a quarter may go off by chance. */
const POLL_MS = 600;

/**
 * How many claims of a shared ledger may be under way at once while there is work: with one at a time the runs of a
 * process that died would wait for one another's round trips. They share the pace of starts.
 */
const CLAIM_LANES = 4;

/** How often other processes are told at most that runs wait which this one has no room for. */
const ANNOUNCE_MS = 100;

export interface DispatcherOptions<TConfig extends object, TContext> {
  readonly runs: RunLedger;
  /** Prepares the store of the ledger, if that has not been done. */
  readonly ready: () => Promise<void>;
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
 * Starts runs: claims the next one whenever a place is free, with a pause between two starts. It gates starts, not
 * runs in flight, unless `maxConcurrentRuns` says so. Which run is next is the ledger's matter.
 *
 * It looks for work when a hint says that there may be some, when room has come after there was none, and, in a
 * shared ledger, by itself in turns of at most `POLL_MS`: hints may be lost, and the leases of a process that died
 * expire without one. A run that is submitted here to a shared ledger is claimed with that, in one step, while there is
 * room and nobody waits before it. After a run it looks again only in a ledger of its own, where that costs nothing: what the end of
 * a run makes claimable comes with a hint.
 */
export class Dispatcher<TConfig extends object, TContext> {
  readonly #options: DispatcherOptions<TConfig, TContext>;
  readonly #stopListening: () => void;
  #inFlight = 0;
  #lanes = 0;
  #looking: Promise<void> | undefined;
  /** Submits under way that claim. */
  readonly #submits = new Set<Promise<void>>();
  #again = false;
  #stopped = false;
  /** Whether the last look was given up for want of room. */
  #full = false;
  /** Whether the last claim failed: told once, until one succeeds. */
  #failing = false;
  #retry: TimerHandle | undefined;
  #poll: TimerHandle | undefined;
  #announced: TimerHandle | undefined;
  #announceAgain = false;

  constructor(options: DispatcherOptions<TConfig, TContext>) {
    this.#options = options;
    this.#stopListening = options.pool.onFree(() => {
      if (this.#full || !options.runs.shared) this.pump();
    });
    if (options.runs.shared) this.#pollLater();
  }

  /** Looks for work now, or again after the look under way. */
  pump(): void {
    this.#again = true;
    if (this.#looking !== undefined || this.#stopped) return;
    this.#looking = this.#look();
  }

  /**
   * Makes a submit, with a claim of its run if there is room. A run that can begin at once then begins here: a round trip is
   * spared, and readers that have it next to them.
   */
  async submitting(submit: (claim?: ClaimRequest) => Promise<Submitted>): Promise<Submitted> {
    const { runs, clock } = this.#options;
    if (!runs.shared || this.#stopped || this.#lanes >= CLAIM_LANES || !this.#reserve()) return submit();
    this.#inFlight += 1;
    this.#lanes += 1;
    const claimedAt = clock.monotonic();
    const submitted = submit(this.#request());
    const begun = submitted
      .then(
        ({ claim }) => this.#begin(claim, claimedAt),
        () => this.#begin(undefined, claimedAt),
      )
      .then(async () => {
        // A look may have been given up for want of the room that was kept.
        if (this.#full) this.pump();
        await hops(HOPS_BETWEEN_STARTS);
      })
      .finally(() => {
        this.#lanes -= 1;
        this.#submits.delete(begun);
      });
    this.#submits.add(begun);
    return submitted;
  }

  /** A run has been submitted here: if there is no room for it, others are told. */
  submitted(isTaken: () => boolean): void {
    if (this.#options.runs.announce === undefined) return;
    // The room that submits had kept may serve it yet, and its own hint has begun a look.
    void Promise.all(this.#submits)
      .then(() => this.#looking)
      .then(() => {
        if (this.#full && !isTaken()) this.#announce();
      });
  }

  /** Claims nothing more; resolves when what was being claimed has been started or given back. */
  async stop(): Promise<void> {
    const { clock } = this.#options;
    this.#stopped = true;
    this.#stopListening();
    for (const timer of [this.#retry, this.#poll, this.#announced]) clock.clearTimeout(timer);
    await this.#looking;
    await Promise.all(this.#submits);
  }

  async #look(): Promise<void> {
    try {
      // Let whoever called set `#looking` first.
      await Promise.resolve();
      while (this.#again && !this.#isStopped()) {
        this.#again = false;
        await this.#lane();
      }
    } finally {
      this.#looking = undefined;
    }
  }

  /**
   * Starts runs one after another until there are none. A second one in a row opens a further lane: one message alone
   * is to cost no claims in vain.
   */
  async #lane(): Promise<void> {
    this.#lanes += 1;
    let others: Promise<void> | undefined;
    try {
      for (let started = 0; await this.#startOne(); started++) {
        if (started > 0 && this.#options.runs.shared && this.#lanes < CLAIM_LANES) others ??= this.#lane();
        await hops(HOPS_BETWEEN_STARTS);
      }
    } finally {
      this.#lanes -= 1;
      await others;
    }
  }

  /** The flag may change during any await; a method hides it from the compiler's narrowing. */
  #isStopped(): boolean {
    return this.#stopped;
  }

  /** Claims a run and starts it; says whether to go on. */
  async #startOne(): Promise<boolean> {
    const { runs, clock } = this.#options;
    if (this.#stopped) return false;
    this.#full = !this.#reserve();
    if (this.#full) return false;
    this.#inFlight += 1;
    let claim: Claim | undefined;
    let claimedAt = 0;
    try {
      if (runs.shared) await this.#options.ready();
      claimedAt = clock.monotonic();
      claim = await runs.claim(this.#request());
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#options.onError(error);
      this.#failing = runs.shared;
      this.#retryLater();
    }
    return (await this.#begin(claim, claimedAt)) && claim?.last !== true;
  }

  #request(): ClaimRequest {
    const { leases, processId, maxAttempts, maxConcurrentRunsPerUser } = this.#options;
    return { processId, leaseMs: leases.leaseMs, maxConcurrentRunsPerUser, maxAttempts };
  }

  /** Starts a claimed run in the place that was kept for it, or gives that back; says which. */
  async #begin(claim: Claim | undefined, claimedAt: number): Promise<boolean> {
    const { runs, pool, maxConcurrentRunsPerUser } = this.#options;
    if (claim === undefined || this.#isStopped()) {
      this.#inFlight -= 1;
      pool.cancelReservation();
      // Stopped while the claim was under way: back to where it came from.
      if (claim !== undefined) await runs.release(claim.lease, claim.run.runId).catch(this.#options.onError);
      return false;
    }
    void this.#options.execute(claim, claimedAt).finally(() => {
      this.#inFlight -= 1;
      if (this.#full || !runs.shared || maxConcurrentRunsPerUser !== undefined) this.pump();
    });
    return true;
  }

  #reserve(): boolean {
    const { pool, maxConcurrentRuns } = this.#options;
    return (maxConcurrentRuns === undefined || this.#inFlight < maxConcurrentRuns) && pool.reserve();
  }

  #retryLater(): void {
    if (this.#stopped) return;
    this.#retry ??= this.#options.clock.setTimeout(() => {
      this.#retry = undefined;
      this.pump();
    }, RETRY_MS);
  }

  #pollLater(): void {
    const { clock, leases } = this.#options;
    const longest = Math.min(POLL_MS, leases.leaseMs / 4);
    // By chance, so that processes started together do not always ask together.
    this.#poll = clock.setTimeout(
      () => {
        this.pump();
        this.#pollLater();
      },
      longest * (1 - Math.random() / 4),
    );
  }

  /** Not on hints: those of processes without room would set each other off. */
  #announce(): void {
    const { runs, clock } = this.#options;
    if (runs.announce === undefined || this.#stopped) return;
    if (this.#announced !== undefined) {
      this.#announceAgain = true;
      return;
    }
    runs.announce();
    this.#announced = clock.setTimeout(() => {
      this.#announced = undefined;
      if (!this.#announceAgain) return;
      this.#announceAgain = false;
      this.#announce();
    }, ANNOUNCE_MS);
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

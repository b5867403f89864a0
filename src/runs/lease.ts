import { AgentError } from "../errors.js";
import type { Clock, TimerHandle } from "../internal/clock.js";
import type { CancelReason, Lease, RunLedger } from "../store/store.js";

/*
 * Leases of a shared ledger, as their owner sees them:
 *
 *   held ──renewed within leaseMs──▶ held
 *   held ──ledger says it is lost, or 0.9 leaseMs passed without a renewal──▶ lost (its run is aborted)
 *
 * The deadline is measured on this process's monotonic clock from before the renewal was sent, so that the owner
 * gives up no later than the engine lets others in. Nothing of this runs for a ledger that is not shared.
 *
 * A renewal that hangs is not waited for: another one is sent, maybe over a connection that works. Their answers may
 * come in any order: a lease lasts as the one says that was sent last, and one that is lost never comes back.
 */

/** The most renewals under way: as many as are sent before the leases of the first one are given up. */
const MAX_RENEWALS = 3;

/** Tells the owner of a lease what became of it. */
export interface LeaseListener {
  lost(error: AgentError): void;
  cancelRequested(reason: CancelReason): void;
}

interface Held {
  readonly lease: Lease;
  readonly listener: LeaseListener;
  deadline: number;
}

/** Keeps the leases of one process renewed, all with one timer. */
export class LeaseKeeper {
  readonly #runs: RunLedger;
  readonly #leaseMs: number;
  readonly #clock: Clock;
  readonly #held = new Set<Held>();
  #timer: TimerHandle | undefined;
  #renewals = 0;
  /** When the last renewal was sent. */
  #sentAt = -Infinity;

  constructor(runs: RunLedger, leaseMs: number, clock: Clock) {
    this.#runs = runs;
    this.#leaseMs = leaseMs;
    this.#clock = clock;
  }

  /** What to claim with: leases of a ledger that nobody shares need not expire. */
  get leaseMs(): number {
    return this.#runs.shared ? this.#leaseMs : Number.POSITIVE_INFINITY;
  }

  /** Renews a fresh lease until the returned function is called. `claimedAt`: monotonic, from before the claim. */
  keep(lease: Lease, claimedAt: number, listener: LeaseListener): () => void {
    if (!this.#runs.shared) return () => undefined;
    const held: Held = { lease, listener, deadline: claimedAt + this.#patienceMs };
    this.#held.add(held);
    this.#schedule();
    return () => {
      this.#held.delete(held);
      if (this.#held.size === 0) {
        this.#clock.clearTimeout(this.#timer);
        this.#timer = undefined;
      }
    };
  }

  /** How long an owner trusts a lease: not to its very end, since timers come late and clocks differ in speed. */
  get #patienceMs(): number {
    return this.#leaseMs * 0.9;
  }

  /** Until the next renewal, or the first deadline if that comes before it. */
  #nextLookMs(): number {
    const now = this.#clock.monotonic();
    let next = this.#leaseMs / 4;
    for (const { deadline } of this.#held) next = Math.min(next, deadline - now);
    return Math.max(1, next);
  }

  #schedule(): void {
    if (this.#held.size === 0) return;
    this.#timer ??= this.#clock.setTimeout(() => {
      this.#timer = undefined;
      this.#expire();
      void this.#renew();
      this.#schedule();
    }, this.#nextLookMs());
  }

  /** Gives up what could not be renewed in time; runs also while a renewal hangs. */
  #expire(): void {
    const now = this.#clock.monotonic();
    for (const held of this.#held) {
      if (now >= held.deadline) this.#lose(held, "could not be renewed in time");
    }
  }

  async #renew(): Promise<void> {
    const sentAt = this.#clock.monotonic();
    if (this.#held.size === 0 || this.#renewals === MAX_RENEWALS) return;
    // The timer may have come for a deadline.
    if (this.#renewals > 0 && sentAt - this.#sentAt < this.#leaseMs / 5) return;
    this.#renewals++;
    this.#sentAt = sentAt;
    const asked = [...this.#held];
    try {
      const renewals = await this.#runs.renew(
        asked.map(({ lease }) => lease),
        this.#leaseMs,
      );
      for (const [index, held] of asked.entries()) {
        const renewal = renewals[index];
        if (renewal === undefined || !this.#held.has(held)) continue;
        if (!renewal.held) this.#lose(held, "was taken over");
        else {
          held.deadline = Math.max(held.deadline, sentAt + this.#patienceMs);
          if (renewal.cancelRequested !== undefined) held.listener.cancelRequested(renewal.cancelRequested);
        }
      }
    } catch {
      // The engine is out of reach: the deadline decides, and each run that it ends reports it.
    } finally {
      this.#renewals--;
    }
  }

  #lose(held: Held, why: string): void {
    this.#held.delete(held);
    held.listener.lost(new AgentError("LEASE_LOST", `The lease on thread ${held.lease.threadId} ${why}.`));
  }
}

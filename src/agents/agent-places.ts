import type { Clock } from "../internal/clock.js";
import { withTimeLimit } from "../internal/time-limit.js";
import { TurnQueue, type Turn } from "../internal/turn-queue.js";

/*
 * The arithmetic of `maxAgents`.
 *
 * Places: what exists must not exceed the cap. Creations at work + busy + idle + closing agents <= `maxAgents`. A
 * creation waits for its place in the order of arrival.
 *
 * Reservations: what cannot be evicted must not exceed it either. Whoever is going to need an agent reserves it
 * first, and gets it only while reserved + busy + closing + creations that no reservation stands for < `maxAgents`.
 * So there is an idle agent to evict for each reservation, or one that closes; agents that begin to close
 * afterwards (TTL, removal, an eviction that hangs) delay it by `closeTimeoutMs` at most.
 */

export interface AgentPlacesOptions {
  readonly clock: Clock;
  readonly maxAgents: number;
  /** How many agents there are now, by state. */
  readonly agents: () => { readonly busy: number; readonly idle: number; readonly closing: number };
}

/** Counts who may have an agent, and lets the others wait in order. */
export class AgentPlaces {
  readonly #options: AgentPlacesOptions;
  readonly #forPlace = new TurnQueue();
  readonly #forReservation = new TurnQueue();
  #reserved = 0;
  #placed = 0;
  /** Creations that no reservation stands for. */
  #unreservedCreations = 0;
  #closed = false;

  constructor(options: AgentPlacesOptions) {
    this.#options = options;
  }

  /** Creations that have a place. */
  get placed(): number {
    return this.#placed;
  }

  /** Whether one more agent may be pinned. */
  get isReservable(): boolean {
    const { busy, closing } = this.#options.agents();
    return this.#reserved + this.#unreservedCreations + busy + closing < this.#options.maxAgents;
  }

  reserve(): boolean {
    if (this.#closed || !this.isReservable) return false;
    this.#reserved += 1;
    return true;
  }

  /** The caller tells the others afterwards, with {@link grantTurns}. */
  unreserve(): void {
    this.#reserved -= 1;
  }

  /** Reserves as soon as it is possible. Gives false after `ms`. */
  async awaitReservation(ms: number): Promise<boolean> {
    const turn = this.#forReservation.join();
    await withTimeLimit(turn.promise, ms, this.#options.clock);
    turn.leave();
    return turn.isGranted();
  }

  /** Counts a creation for as long as no reservation stands for it. */
  countCreation(change: 1 | -1): void {
    this.#unreservedCreations += change;
  }

  /** Lines up for a place. */
  awaitPlace(): Turn {
    const turn = this.#forPlace.join();
    this.grantTurns();
    return turn;
  }

  /** Gives a place back, or the wait for it up. */
  leavePlace(turn: Turn): void {
    if (turn.isGranted()) this.#placed -= 1;
    else turn.leave();
  }

  /** Reserves nothing more; who waits for a reservation gets his turn at once, to find that out. */
  close(): void {
    this.#closed = true;
    this.grantTurns();
  }

  /** Hands out what has become free. */
  grantTurns(): void {
    while (this.#forPlace.size > 0 && this.#used() < this.#options.maxAgents) {
      this.#placed += 1;
      this.#forPlace.grant();
    }
    while (this.#forReservation.size > 0 && (this.#closed || this.isReservable)) {
      this.#reserved += 1;
      this.#forReservation.grant();
    }
  }

  #used(): number {
    const { busy, idle, closing } = this.#options.agents();
    return this.#placed + busy + idle + closing;
  }
}

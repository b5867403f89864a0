import type { Clock, TimerHandle } from "../internal/clock.js";

interface ManualTimer {
  readonly dueAt: number;
  readonly callback: () => void;
}

/** As in Node: no delay is shorter, so that a timer that re-arms itself cannot stop time. */
const SHORTEST_TIMEOUT_MS = 1;
const LONGEST_TIMEOUT_MS = 2_147_483_647;

/** Turns of the event loop that awaiting code gets after each timer: libraries hop a few times before they wait. */
const SETTLE_TURNS = 10;

// Taken at load, so that a runner's fake timers, installed later, cannot stop this clock.
const { setImmediate: nextTurn } = globalThis;

/**
 * A clock that stands still until {@link ManualClock.advance} turns it.
 *
 * @example
 * const clock = new ManualClock();
 * clock.setTimeout(() => order.push("later"), 1000);
 * await clock.advance(1000);
 */
export class ManualClock implements Clock {
  readonly #startedAt: number;
  #elapsed = 0;
  /** In order of creation, which decides between timers due at the same time. */
  readonly #timers = new Set<ManualTimer>();
  #lastAdvance: Promise<void> = Promise.resolve();

  /**
   * @param startMs what `now()` first gives, in milliseconds since the epoch.
   * @defaultValue 2026-01-01T00:00:00Z
   * @throws {TypeError} when the start is not a finite number.
   */
  constructor(startMs: number = Date.UTC(2026, 0, 1)) {
    if (!Number.isFinite(startMs)) {
      throw new TypeError(
        `Expected \`startMs\` to be a finite number, got \`${String(startMs)}\` (${typeof startMs})`,
      );
    }
    this.#startedAt = startMs;
  }

  now(): number {
    return this.#startedAt + this.#elapsed;
  }

  /** Milliseconds since the clock was made. */
  monotonic(): number {
    return this.#elapsed;
  }

  setTimeout(callback: () => void, ms: number): TimerHandle {
    const delay = ms >= SHORTEST_TIMEOUT_MS ? Math.min(ms, LONGEST_TIMEOUT_MS) : SHORTEST_TIMEOUT_MS;
    const timer: ManualTimer = { dueAt: this.#elapsed + delay, callback };
    this.#timers.add(timer);
    return timer;
  }

  clearTimeout(handle: TimerHandle | undefined): void {
    // A handle of another clock is simply not in the set.
    this.#timers.delete(handle as ManualTimer);
  }

  /** Timers that have neither fired nor been cleared. */
  get pending(): number {
    return this.#timers.size;
  }

  /**
   * Moves time on by `ms` and fires what falls due, in order, each timer at its own time; timers that are set
   * meanwhile count too. Before, between and after them awaiting code may go on, as far as it needs no real
   * waiting (network, files, real timers). `advance(0)` only lets awaiting code go on. Calls that overlap are
   * done one after another.
   *
   * Rejects with what a callback throws; time then stands at that timer.
   *
   * @throws {RangeError} when `ms` is not a finite number from 0 up.
   */
  advance(ms: number): Promise<void> {
    if (!(Number.isFinite(ms) && ms >= 0)) {
      throw new RangeError(
        `Expected \`ms\` to be a finite number from 0 up, got \`${String(ms)}\` (${typeof ms})`,
      );
    }
    const advanced = this.#lastAdvance.then(() => this.#advance(ms));
    this.#lastAdvance = advanced.catch(() => undefined);
    return advanced;
  }

  async #advance(ms: number): Promise<void> {
    await settle();
    const target = this.#elapsed + ms;
    for (let timer = this.#next(target); timer !== undefined; timer = this.#next(target)) {
      this.#timers.delete(timer);
      this.#elapsed = timer.dueAt;
      timer.callback();
      await settle();
    }
    this.#elapsed = target;
  }

  #next(target: number): ManualTimer | undefined {
    let next: ManualTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueAt <= target && (next === undefined || timer.dueAt < next.dueAt)) next = timer;
    }
    return next;
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < SETTLE_TURNS; turn++) await new Promise<void>((resolve) => nextTurn(resolve));
}

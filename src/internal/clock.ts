/** A handle that {@link Clock.setTimeout} gave; opaque to callers. */
export type TimerHandle = object;

/**
 * Where every time and timer of the library comes from, so that tests can turn it by hand.
 * `agent-sessions/testing` has `ManualClock`.
 */
export interface Clock {
  /** Wall clock, milliseconds since the epoch: what is shown and stored. */
  now(): number;
  /** Monotonic milliseconds: what deadlines are measured with. */
  monotonic(): number;
  /** Calls `callback` once after `ms`. Never keeps the process alive. */
  setTimeout(callback: () => void, ms: number): TimerHandle;
  /** Forgets a timer; one that has fired, or was cleared before, is ignored. */
  clearTimeout(handle: TimerHandle | undefined): void;
}

/** setTimeout takes 32 bits; a longer delay would fire at once. */
const LONGEST_TIMEOUT_MS = 2_147_483_647;

/** The real clock. Globals are looked up at each call, so that fake timers installed later are seen. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimeout(callback, ms) {
    const timer = setTimeout(callback, Math.min(ms, LONGEST_TIMEOUT_MS));
    timer.unref();
    return timer;
  },
  clearTimeout(handle) {
    if (handle !== undefined) clearTimeout(handle as NodeJS.Timeout);
  },
};

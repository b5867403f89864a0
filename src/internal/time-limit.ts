import { onAbort } from "./abort.js";
import type { Clock, TimerHandle } from "./clock.js";

/** The outcome of {@link withTimeLimit}: the promise's own end, or that it took too long. */
export type Timed<T> =
  | { readonly kind: "done"; readonly value: T }
  | { readonly kind: "failed"; readonly error: unknown }
  | { readonly kind: "late" };

/**
 * Waits for a promise, but no longer than `ms`, nor after the signal aborts. Never rejects; a promise that is
 * late is left to itself.
 */
export function withTimeLimit<T>(
  promise: Promise<T>,
  ms: number,
  clock: Clock,
  signal?: AbortSignal,
): Promise<Timed<T>> {
  return new Promise((resolve) => {
    const settle = (timed: Timed<T>): void => {
      clock.clearTimeout(timer);
      detach();
      resolve(timed);
    };
    const timer = clock.setTimeout(() => {
      settle({ kind: "late" });
    }, ms);
    const detach = onAbort(signal, () => {
      // Not within onAbort itself, where `detach` has no value yet.
      queueMicrotask(() => {
        settle({ kind: "late" });
      });
    });
    promise.then(
      (value) => {
        settle({ kind: "done", value });
      },
      (error: unknown) => {
        settle({ kind: "failed", error });
      },
    );
  });
}

/** Waits for a promise for as long as it takes, but once the signal aborts only `graceMs` more. Never rejects. */
export function withAbortGrace<T>(
  promise: Promise<T>,
  signal: AbortSignal,
  graceMs: number,
  clock: Clock,
): Promise<Timed<T>> {
  return new Promise((resolve) => {
    let timer: TimerHandle | undefined;
    const detach = onAbort(signal, () => {
      timer = clock.setTimeout(() => {
        resolve({ kind: "late" });
      }, graceMs);
    });
    const settle = (timed: Timed<T>): void => {
      detach();
      clock.clearTimeout(timer);
      resolve(timed);
    };
    promise.then(
      (value) => {
        settle({ kind: "done", value });
      },
      (error: unknown) => {
        settle({ kind: "failed", error });
      },
    );
  });
}

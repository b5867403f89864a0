import { setMaxListeners } from "node:events";
import type { AgentError } from "../../errors.js";
import type { Clock } from "../../internal/clock.js";
import { onAbort } from "../../internal/abort.js";

/** What a failed try means, as the client of an engine judges it. */
export interface Failure {
  /** What the caller gets if it is the last try. */
  readonly error: AgentError;
  /** The engine may be there again in a moment. */
  readonly transient: boolean;
  /** The engine has surely done nothing: sending again does no harm, whatever was sent. */
  readonly untouched: boolean;
}

export interface RetryOptions {
  /** For how long after the first failure to try again, in milliseconds. 0 never does. */
  readonly retryMs: number;
  readonly clock: Clock;
  /** Ends the waiting: the last error is thrown at once. */
  readonly signal?: AbortSignal | undefined;
  /** From 0 up to 1; tests give their own. @defaultValue Math.random */
  readonly random?: (() => number) | undefined;
}

/** The longest of the first delay, in milliseconds; each later one may be twice as long. */
const FIRST_DELAY_MS = 20;
const LONGEST_DELAY_MS = 500;

/**
 * Tries until it works, the failure is one that waiting doesn't cure, or `retryMs` are over. A failure after which
 * it is not known whether the engine has done the step ends it too, unless doing it again is `harmless`.
 *
 * Delays double and are jittered, so that the processes of a fleet don't come back all at once.
 *
 * @throws {AgentError} that of the last try.
 */
export async function retrying<T>(
  attempt: () => Promise<T>,
  judge: (error: unknown) => Failure,
  harmless: boolean,
  options: RetryOptions,
): Promise<T> {
  const { retryMs, clock, signal, random = Math.random } = options;
  let deadline: number | undefined;
  for (let longest = FIRST_DELAY_MS; ; longest = Math.min(longest * 2, LONGEST_DELAY_MS)) {
    try {
      return await attempt();
    } catch (caught) {
      const { error, transient, untouched } = judge(caught);
      if (!transient || !(harmless || untouched) || signal?.aborted === true) throw error;
      const now = clock.monotonic();
      deadline ??= now + retryMs;
      // Never under half: a delay near nothing would use the time up in tries that cannot work yet.
      const delay = longest * (0.5 + random() / 2);
      if (now + delay >= deadline) throw error;
      await pause(delay, clock, signal);
    }
  }
}

/** Resolves after `ms`, or when the signal aborts. */
export function pause(ms: number, clock: Clock, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = clock.setTimeout(() => {
      detach();
      resolve();
    }, ms);
    const detach = onAbort(signal, () => {
      clock.clearTimeout(timer);
      resolve();
    });
  });
}

/** What ends a store's waiting when it is closed: any number of steps may listen, where Node would warn of the eleventh. */
export function closingController(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}

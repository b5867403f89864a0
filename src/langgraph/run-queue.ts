import type { AgentEvent } from "../run-event.js";

/** How many events may wait for the reader before producers are asked to wait. */
export const QUEUE_LIMIT = 1024;

/** How many may wait at all: code that cannot wait (a tool that writes in a loop) fails beyond it. */
export const HARD_QUEUE_LIMIT = 64 * QUEUE_LIMIT;

/**
 * The bounded queue between a run's callbacks and its one reader.
 *
 * `open` → `closed` (what is queued is still read) or `open` → `failed` (what is queued is dropped, and the reader
 * gets the error). Once it is not open, what is pushed is ignored: a tool that outlives its run has no effect.
 */
export class RunQueue {
  #events: AgentEvent[] = [];
  #head = 0;
  #state: "open" | "closed" | "failed" = "open";
  #error: unknown;
  #reader:
    | { resolve: (result: IteratorResult<AgentEvent, undefined>) => void; reject: (error: unknown) => void }
    | undefined;
  #writers: (() => void)[] = [];

  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Adds an event. A returned promise asks the caller to wait until the reader has caught up. */
  push(event: AgentEvent): Promise<void> | undefined {
    if (this.#state !== "open") return undefined;
    const reader = this.#reader;
    if (reader !== undefined) {
      this.#reader = undefined;
      reader.resolve({ done: false, value: event });
      return undefined;
    }
    const waiting = this.#events.length - this.#head;
    if (waiting >= HARD_QUEUE_LIMIT) {
      throw new RangeError(
        `Expected at most ${String(HARD_QUEUE_LIMIT)} events to wait for the run's reader`,
      );
    }
    this.#events.push(event);
    if (waiting < QUEUE_LIMIT) return undefined;
    return new Promise((resolve) => this.#writers.push(resolve));
  }

  /** Ends the queue after what is in it. */
  close(): void {
    if (this.#state !== "open") return;
    this.#state = "closed";
    this.#releaseWriters();
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.resolve({ done: true, value: undefined });
  }

  /** Ends the queue at once with an error, which the reader gets exactly once. */
  fail(error: unknown): void {
    if (this.#state !== "open") return;
    this.#state = "failed";
    this.drop();
    const reader = this.#reader;
    this.#reader = undefined;
    if (reader !== undefined) {
      this.#state = "closed";
      reader.reject(error);
      return;
    }
    this.#error = error;
  }

  /** Forgets what is queued and lets its producers go on. */
  drop(): void {
    this.#events = [];
    this.#head = 0;
    this.#releaseWriters();
  }

  /** The next event. At most one call may be waiting. */
  next(): Promise<IteratorResult<AgentEvent, undefined>> {
    const event = this.#events[this.#head];
    if (event !== undefined) {
      this.#head += 1;
      if (this.#head === this.#events.length) {
        this.#events.length = 0;
        this.#head = 0;
        this.#releaseWriters();
      } else if (this.#head >= QUEUE_LIMIT) {
        this.#events.splice(0, this.#head);
        this.#head = 0;
        if (this.#events.length < QUEUE_LIMIT) this.#releaseWriters();
      }
      return Promise.resolve({ done: false, value: event });
    }
    if (this.#state === "failed") {
      const error = this.#error;
      this.#error = undefined;
      this.#state = "closed";
      // The reason of an abort is thrown as it is, whatever its type.
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
      return Promise.reject(error);
    }
    if (this.#state === "closed") return Promise.resolve({ done: true, value: undefined });
    if (this.#reader !== undefined) {
      return Promise.reject(new Error("Expected one reader that waits for each event, got a second next()"));
    }
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
    });
  }

  #releaseWriters(): void {
    if (this.#writers.length === 0) return;
    const writers = this.#writers;
    this.#writers = [];
    for (const release of writers) release();
  }
}

import type { AgentEvent } from "../run-event.js";

/** How many events may wait for the reader before producers are asked to wait. */
export const QUEUE_LIMIT = 1024;

/** How many may wait at all: code that cannot wait (a tool that writes in a loop) fails beyond it. */
export const HARD_QUEUE_LIMIT = 64 * QUEUE_LIMIT;

/** Takes an event over. A promise asks to wait until it resolves, before the next one. */
export type TakeEvent = (event: AgentEvent) => void | Promise<void>;

/** Who takes events as they come. */
interface Taker {
  readonly take: TakeEvent;
  /** Told at once of what `take` threw; the queue is then to be failed or closed. */
  readonly onError: (error: unknown) => void;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The bounded queue between a run's callbacks and its one reader, which calls `next` or gives a function to `each`.
 *
 * `open` → `closed` or `open` → `failed`: what is queued is still read, then comes the end, or the error. Once it is not
 * open, or what it held was dropped, what is pushed is ignored: a tool that outlives its run has no effect.
 *
 * With `each` an event is taken within the push, unless the taker has asked to wait (`#taking`): then what comes is
 * queued, and taken when the wait is over.
 */
export class RunQueue {
  #events: AgentEvent[] = [];
  #head = 0;
  #state: "open" | "closed" | "failed" = "open";
  #error: unknown;
  #reader:
    | { resolve: (result: IteratorResult<AgentEvent, undefined>) => void; reject: (error: unknown) => void }
    | undefined;
  #taker: Taker | undefined;
  #taking = false;
  #writers: (() => void)[] = [];
  #followers: (() => void)[] = [];
  #isDropped = false;
  /** Whether some of what was pushed may never get to the reader, or its run has failed. */
  #isStopped = false;

  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Adds an event. A returned promise asks the caller to wait until the reader has caught up. */
  push(event: AgentEvent): Promise<void> | undefined {
    if (this.#state !== "open" || this.#isDropped) return undefined;
    if (this.#taker !== undefined && !this.#taking) return this.#hand(this.#taker, event);
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

  /** Waits until the reader has had all that was pushed and asks for more. @throws when some of it never gets there. */
  async caughtUp(): Promise<void> {
    if (this.#state === "open" && !this.#isIdle && !this.#isStopped)
      await new Promise<void>((resolve) => this.#followers.push(resolve));
    if (this.#isStopped) throw new Error("The run was stopped before its reader had all of it");
  }

  /** Ends the queue after what is in it. */
  close(): void {
    if (this.#state !== "open") return;
    this.#state = "closed";
    this.#releaseWriters();
    this.#releaseFollowers();
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.resolve({ done: true, value: undefined });
    this.#endTaking();
  }

  /** Ends the queue, after what is in it, with an error, which the reader gets exactly once. */
  fail(error: unknown): void {
    if (this.#state !== "open") return;
    this.#state = "failed";
    this.#isStopped = true;
    this.#releaseWriters();
    this.#releaseFollowers();
    const reader = this.#reader;
    this.#reader = undefined;
    if (reader !== undefined) {
      this.#state = "closed";
      reader.reject(error);
      return;
    }
    this.#error = error;
    this.#endTaking();
  }

  /** Forgets what is queued and what still comes, and lets its producers go on. */
  drop(): void {
    this.#isDropped = true;
    this.#isStopped = true;
    this.#events = [];
    this.#head = 0;
    this.#releaseWriters();
    this.#releaseFollowers();
  }

  /**
   * Gives all events to `take`, in order and one after another, and resolves at the end. Rejects with the queue's
   * error. Instead of `next`, and only once.
   *
   * @param onError - Told at once of what `take` threw or rejected with, after which it is not called again.
   */
  each(take: TakeEvent, onError: (error: unknown) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const taker = { take, onError, resolve, reject };
      this.#taker = taker;
      this.#taking = true;
      void this.#takeQueued(taker, undefined);
    });
  }

  /** The next event. At most one call may be waiting. */
  next(): Promise<IteratorResult<AgentEvent, undefined>> {
    const event = this.#shift();
    if (event !== undefined) return Promise.resolve({ done: false, value: event });
    // The reason of an abort is thrown as it is, whatever its type.
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
    if (this.#state === "failed") return Promise.reject(this.#takeError());
    if (this.#state === "closed") return Promise.resolve({ done: true, value: undefined });
    if (this.#reader !== undefined) {
      return Promise.reject(new Error("Expected one reader that waits for each event, got a second next()"));
    }
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
      this.#releaseFollowers();
    });
  }

  /** Whether who reads has had all that there is. */
  get #isIdle(): boolean {
    return this.#taker === undefined ? this.#reader !== undefined : !this.#taking;
  }

  #hand(taker: Taker, event: AgentEvent): Promise<void> | undefined {
    try {
      const wait = taker.take(event);
      if (wait === undefined) return undefined;
      this.#taking = true;
      return this.#takeQueued(taker, wait);
    } catch (error) {
      this.drop();
      taker.onError(error);
      return undefined;
    }
  }

  /** Goes on with what has gathered when the taker's wait is over. Never rejects. */
  async #takeQueued(taker: Taker, wait: void | Promise<void>): Promise<void> {
    try {
      if (wait !== undefined) await wait;
      for (let event = this.#shift(); event !== undefined; event = this.#shift()) await taker.take(event);
    } catch (error) {
      this.drop();
      taker.onError(error);
    }
    this.#taking = false;
    this.#releaseFollowers();
    this.#endTaking();
  }

  #endTaking(): void {
    const taker = this.#taker;
    if (taker === undefined || this.#taking || this.#state === "open") return;
    this.#taker = undefined;
    if (this.#state === "failed") taker.reject(this.#takeError());
    else taker.resolve();
  }

  #takeError(): unknown {
    const error = this.#error;
    this.#error = undefined;
    this.#state = "closed";
    return error;
  }

  #shift(): AgentEvent | undefined {
    const event = this.#events[this.#head];
    if (event === undefined) return undefined;
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
    return event;
  }

  #releaseFollowers(): void {
    if (this.#followers.length === 0) return;
    const followers = this.#followers;
    this.#followers = [];
    for (const release of followers) release();
  }

  #releaseWriters(): void {
    if (this.#writers.length === 0) return;
    const writers = this.#writers;
    this.#writers = [];
    for (const release of writers) release();
  }
}

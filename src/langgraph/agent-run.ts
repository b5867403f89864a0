import { AsyncLocalStorageProviderSingleton } from "@langchain/core/singletons";
import type { AgentEvents } from "../agent.js";
import type { AgentEvent } from "../run-event.js";
import type { Clock, TimerHandle } from "../internal/clock.js";
import { RunQueue, type TakeEvent } from "./run-queue.js";

/** How long an aborted graph is waited for. LangGraph itself settles within milliseconds, whatever its tools do. */
const ABORT_GRACE_MS = 1000;

/** Does the work, pushing events; returns when the graph has ended. The signal is the run's own. */
export type RunWork = (queue: RunQueue, signal: AbortSignal) => Promise<void>;

/**
 * One run as its reader sees it. The work begins with the first `next`, or with `each`.
 *
 * `idle` → `running` → `ended`. On abort the events that wait are dropped and the graph is told to stop; the reader
 * gets the abort's reason once the graph has settled, so that the run writes nothing afterwards, but after a
 * second at the latest. Leaving the iteration early aborts the graph the same way.
 */
export class AgentRun implements AgentEvents, AsyncIterator<AgentEvent, undefined> {
  readonly #queue = new RunQueue();
  readonly #controller = new AbortController();
  readonly #work: RunWork;
  readonly #signal: AbortSignal;
  readonly #clock: Clock;
  #done: Promise<void> | undefined;
  #grace: TimerHandle | undefined;

  constructor(work: RunWork, signal: AbortSignal, clock: Clock) {
    this.#work = work;
    this.#signal = signal;
    this.#clock = clock;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<AgentEvent, undefined>> {
    this.#done ??= this.#start();
    return this.#queue.next();
  }

  /**
   * Reads the run to its end without a promise for each event: `take` is called with them in order, and is waited for when
   * it gives a promise. What it throws stops the graph as leaving an iteration would, and rejects.
   */
  each(take: TakeEvent): Promise<void> {
    const ended = this.#queue.each(take, (error) => {
      this.#abort(error);
    });
    this.#done ??= this.#start();
    return ended;
  }

  async return(): Promise<IteratorResult<AgentEvent, undefined>> {
    if (this.#done === undefined) {
      this.#done = Promise.resolve();
    } else if (this.#queue.isOpen) {
      const left = new Error("The reader left the run");
      this.#abort(left);
      await this.#queue.next().catch(() => undefined);
    }
    this.#queue.close();
    this.#queue.drop();
    return { done: true, value: undefined };
  }

  async #start(): Promise<void> {
    const signal = this.#signal;
    const onAbort = (): void => {
      this.#abort(signal.reason);
    };
    if (signal.aborted) {
      this.#queue.fail(signal.reason);
      return;
    }
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      // A run started from within a tool of another graph is no subgraph of it.
      await AsyncLocalStorageProviderSingleton.getInstance().run(undefined, () =>
        this.#work(this.#queue, this.#controller.signal),
      );
      this.#end(undefined);
    } catch (error) {
      this.#end({ error });
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#clock.clearTimeout(this.#grace);
    }
  }

  #end(failure: { readonly error: unknown } | undefined): void {
    const own = this.#controller.signal;
    // Whatever an aborted graph ends with, its reader is told why.
    if (own.aborted) this.#queue.fail(own.reason);
    else if (failure === undefined) this.#queue.close();
    else this.#queue.fail(failure.error);
  }

  #abort(reason: unknown): void {
    if (this.#controller.signal.aborted) return;
    this.#controller.abort(reason);
    this.#queue.drop();
    this.#grace = this.#clock.setTimeout(() => {
      this.#queue.fail(reason);
    }, ABORT_GRACE_MS);
  }
}

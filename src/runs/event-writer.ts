import { AgentError, isAgentError } from "../errors.js";
import type { Clock, TimerHandle } from "../internal/clock.js";
import type { AgentEvent, RunEvent, RunLifecycleEvent } from "../run-event.js";
import type { EventLog, Lease } from "../store/store.js";

/*
 * Events on their way into a log that takes them in batches:
 *
 *   gathering ──time is up, or there are many──▶ appending ──▶ stored
 *       │                                            └──the log fails──▶ the run can tell nothing more
 *       └──a step of the engine is made that they belong before──▶ riding ──done──▶ stored
 *                                                                    ├──surely not done──▶ gathering, as the first
 *                                                                    └──fails──▶ unsure ──▶ appending, alone and as it was
 *
 * One batch at a time is appending or riding; what comes meanwhile gathers, so that a slow log gets few large batches and
 * not many in a row. A step that events are to ride with waits for the batch under way, and then takes all: a checkpoint
 * is never in the engine before the events of the step that it ends. Whether an unsure batch is stored nobody knows; the
 * log knows it again.
 *
 * A log that names no batch is one of this process: there each event is appended as it comes.
 */

/** While this many batches' worth of events wait for the log, the writer makes its run wait. */
const WAITING_BATCHES = 4;

/**
 * How long an event gathers that may be waited for: the first word of an answer, a tool that begins. The steps of a graph
 * that need not wait for a model or a tool take about as long, and then the event rides with the step's end.
 */
const SOON_MS = 3;

/** Numbers the events of one run and puts them into the log. */
export class EventWriter {
  readonly #log: EventLog;
  readonly #lease: Lease;
  readonly #runId: string;
  readonly #clock: Clock;
  #seq: number;
  /** The number of the last event that the log has. */
  #stored: number;
  #buffer: RunEvent[] = [];
  #unsure: readonly RunEvent[] | undefined;
  #timer: TimerHandle | undefined;
  #timerAt = Infinity;
  /** The appends under way, one after another, or the step that events ride with; never rejects. */
  #sending: Promise<void> | undefined;
  /** How many steps wait for the batch under way. */
  #riders = 0;
  #stopped = false;
  #failure: Error | undefined;

  constructor(log: EventLog, lease: Lease, runId: string, lastSeq: number, clock: Clock) {
    this.#log = log;
    this.#lease = lease;
    this.#runId = runId;
    this.#seq = lastSeq;
    this.#stored = lastSeq;
    this.#clock = clock;
  }

  /** The number of the last event that the log has taken. */
  get lastSeq(): number {
    return this.#stored;
  }

  /** What the log failed with; nothing more can be stored then. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /**
   * Takes an event over. A promise comes back when the log is behind: wait for it before the next push.
   *
   * @throws what the log threw, for this event or an earlier one.
   */
  push(event: AgentEvent | RunLifecycleEvent): void | Promise<void> {
    if (this.#stopped) throw new AgentError("LEASE_LOST", "The run is over.");
    if (this.#failure !== undefined) throw this.#failure;
    // The event belongs to the run; numbering it in place spares a copy for each token. One that has a number has
    // been given before, here or to another run (an agent's constant): that one must keep its own.
    const fresh = (event as Partial<RunEvent>).seq === undefined && Object.isExtensible(event);
    const numbered = (fresh ? event : { ...event }) as RunEvent & { seq: number };
    (numbered as { seq: number }).seq = ++this.#seq;
    const { batch } = this.#log;
    if (batch === undefined) return this.#append(numbered);
    this.#buffer.push(numbered);
    if (this.#buffer.length >= batch.events) this.#send();
    else this.#sendWithin(canWait(numbered) ? batch.ms : Math.min(batch.ms, SOON_MS));
    return this.#buffer.length > WAITING_BATCHES * batch.events ? this.#sending : undefined;
  }

  /** Waits until the log has all events that were pushed before. @throws what the log threw. */
  async flush(): Promise<void> {
    const last = this.#seq;
    while (this.#stored < last && this.#failure === undefined && !this.#stopped) {
      this.#send();
      await this.#sending;
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /**
   * Makes a step that the events so far have to be stored before or with: it is given those that the log has not, and
   * `isDone` tells from its result whether they are stored. Gives that result.
   *
   * @throws what the step threw, or the log before it.
   */
  async ride<T>(
    step: (events: readonly RunEvent[] | undefined) => Promise<T>,
    isDone: (result: T) => boolean,
  ): Promise<T> {
    // Between the end of the waiting and here another may have begun.
    do await this.settled();
    while (this.#isBusy);
    const events = this.#buffer;
    if (events.length === 0 || this.#stopped) return step(undefined);
    this.#disarm();
    this.#buffer = [];
    let arrived = (): void => undefined;
    this.#sending = new Promise((resolve) => (arrived = resolve));
    // Until the step says otherwise.
    this.#unsure = events;
    try {
      const result = await step(events);
      this.#unsure = undefined;
      if (isDone(result)) {
        this.#stored += events.length;
        this.#log.stored?.(this.#lease, this.#runId, events);
      } else this.#buffer = [...events, ...this.#buffer];
      return result;
    } finally {
      this.#sending = undefined;
      arrived();
      // A next step may be about to take them.
      if (this.#buffer.length > 0) this.#sendWithin(SOON_MS);
    }
  }

  /** Waits until no batch is under way or unsure; what gathers goes on gathering. @throws what the log threw. */
  async settled(): Promise<void> {
    this.#riders += 1;
    try {
      while (this.#isBusy) {
        this.#sending ??= this.#sendAll();
        await this.#sending;
      }
    } finally {
      this.#riders -= 1;
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Drops what has not been sent. */
  stop(): void {
    this.#disarm();
    this.#buffer = [];
    // An error made here would cost each run a stack trace that nobody sees.
    this.#stopped = true;
  }

  /** Whether a batch is under way, or unsure. */
  get #isBusy(): boolean {
    return this.#sending !== undefined || (this.#unsure !== undefined && !this.#isOver);
  }

  get #isOver(): boolean {
    return this.#stopped || this.#failure !== undefined;
  }

  /** Puts one event into a log that takes them one by one. */
  #append(event: RunEvent): void | Promise<void> {
    try {
      const appended = this.#log.append(this.#lease, this.#runId, [event]);
      if (appended === undefined) {
        this.#stored = event.seq;
        return undefined;
      }
      const appending = appended.then(
        () => {
          this.#stored = event.seq;
        },
        (error: unknown) => {
          throw this.#fail(error);
        },
      );
      const sending = appending.then(noop, noop).finally(() => {
        if (this.#sending === sending) this.#sending = undefined;
      });
      this.#sending = sending;
      return appending;
    } catch (error) {
      throw this.#fail(error);
    }
  }

  /** After a failure nothing more can follow: its number is missing. */
  #fail(error: unknown): Error {
    return (this.#failure ??= isAgentError(error)
      ? error
      : new AgentError("STORE_UNAVAILABLE", "The event log failed.", { cause: error }));
  }

  #sendWithin(ms: number): void {
    const at = this.#clock.monotonic() + ms;
    if (at >= this.#timerAt) return;
    this.#disarm();
    this.#timerAt = at;
    this.#timer = this.#clock.setTimeout(() => {
      this.#disarm();
      this.#send();
    }, ms);
  }

  #disarm(): void {
    if (this.#timer === undefined) return;
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAt = Infinity;
  }

  #send(): void {
    if (this.#buffer.length > 0 || this.#unsure !== undefined) this.#sending ??= this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    try {
      // Let whoever called set `#sending` first.
      await Promise.resolve();
      for (
        let batch = this.#next();
        batch !== undefined;
        batch = this.#riders > 0 ? undefined : this.#next()
      ) {
        await this.#log.append(this.#lease, this.#runId, batch);
        this.#unsure = undefined;
        this.#stored += batch.length;
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#sending = undefined;
    }
  }

  /** What is to be appended next. */
  #next(): readonly RunEvent[] | undefined {
    if (this.#isOver) return undefined;
    if (this.#unsure !== undefined) return this.#unsure;
    this.#disarm();
    const events = this.#buffer;
    this.#buffer = [];
    return events.length > 0 ? events : undefined;
  }
}

function noop(): void {
  // What went wrong has been noted.
}

/** Nobody waits for it by itself: more of its kind follows, or it says what is known. */
function canWait({ type }: RunEvent): boolean {
  return type.endsWith("-delta") || type === "run-started";
}

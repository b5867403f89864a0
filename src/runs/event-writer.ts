import { AgentError, isAgentError } from "../errors.js";
import type { Clock, TimerHandle } from "../internal/clock.js";
import type { AgentEvent, RunEvent, RunLifecycleEvent } from "../run-event.js";
import type { EventLog, Lease } from "../store/store.js";

/** While this many batches wait for the log, the writer makes its run wait. */
const WAITING_BATCHES = 4;

/**
 * Numbers the events of one run and puts them into the log: one by one, or in the batches that the log asks
 * for (deltas gather, anything else goes at once with what is before it).
 */
export class EventWriter {
  readonly #log: EventLog;
  readonly #lease: Lease;
  readonly #runId: string;
  readonly #clock: Clock;
  #seq: number;
  /** The number of the last event that the log has. */
  #stored: number;
  #buffer: RunEvent[] = [];
  #timer: TimerHandle | undefined;
  /** The appends under way, one after another. */
  #tail: Promise<void> | undefined;
  #waiting = 0;
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
    const gathers = numbered.type.endsWith("-delta");
    if (!gathers || this.#buffer.length >= batch.events) this.#send();
    else {
      this.#timer ??= this.#clock.setTimeout(() => {
        this.#send();
      }, batch.ms);
    }
    return this.#waiting > WAITING_BATCHES ? this.#tail : undefined;
  }

  /** Waits until the log has all events. @throws what the log threw. */
  async flush(): Promise<void> {
    this.#send();
    await this.#tail;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Drops what has not been sent. */
  stop(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#buffer = [];
    // An error made here would cost each run a stack trace that nobody sees.
    this.#stopped = true;
  }

  /** Puts one event into a log that takes them one by one. */
  #append(event: RunEvent): void | Promise<void> {
    try {
      const appended = this.#log.append(this.#lease, this.#runId, [event]);
      if (appended === undefined) {
        this.#stored = event.seq;
        return undefined;
      }
      return appended.then(
        () => {
          this.#stored = event.seq;
        },
        (error: unknown) => {
          throw this.#fail(error);
        },
      );
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

  #send(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#buffer.length === 0) return;
    const events = this.#buffer;
    this.#buffer = [];
    this.#waiting += 1;
    const before = this.#tail ?? Promise.resolve();
    this.#tail = before
      .then(async () => {
        if (this.#failure !== undefined || this.#stopped) return;
        await this.#log.append(this.#lease, this.#runId, events);
        this.#stored += events.length;
      })
      .catch((error: unknown) => {
        this.#fail(error);
      })
      .then(() => {
        this.#waiting -= 1;
      });
  }
}

import { AgentError } from "../errors.js";
import { onAbort } from "../internal/abort.js";
import { Hint } from "../internal/hint.js";
import { runGone, whyGone, type Gone } from "./gone.js";
import type { RunEvent } from "../run-event.js";
import { isFinished, type RunWatch } from "./run-watch.js";
import type { EventLog, EventPage, RunLedger, RunRecord } from "../store/store.js";

/** How many events are taken from the log at a time. */
const PAGE_SIZE = 256;

const NOTHING: EventPage = { events: [], last: 0, trimmed: false };

export interface RunReaderSource {
  readonly runs: RunLedger;
  readonly events: EventLog;
  readonly watch: RunWatch;
}

/**
 * Reads one run's events, first those that are there, then those that come, up to `run-finished`, which it
 * makes from the run record: so that it comes exactly once, and last, whatever happened to the writer.
 *
 * Ends by itself after that, by `return()` (at once, even while a `next()` is waiting), or by throwing:
 * `EVENTS_TRIMMED` when events are asked for that are no longer kept, `RUN_NOT_FOUND` when there is no such run or the
 * store has lost it, the signal's reason when it aborts.
 * Readers are independent: a slow one holds up nothing but itself.
 *
 * Tokens come in bursts, each with a hint of its own. A reader that waits is woken once per turn of the event loop, and
 * finds them together: a wake for each costs more than the token.
 */
export class RunReader implements AsyncIterableIterator<RunEvent, undefined> {
  readonly #source: RunReaderSource;
  readonly #threadId: string;
  readonly #runId: string;
  readonly #signal: AbortSignal | undefined;
  readonly #stops: (() => void)[] = [];
  #page: readonly RunEvent[] = [];
  #index = 0;
  #after: number;
  #seen = false;
  #started = false;
  #done = false;
  readonly #hint = new Hint();
  #reading: Promise<void> | undefined;

  constructor(source: RunReaderSource, threadId: string, runId: string, after: number, signal?: AbortSignal) {
    this.#source = source;
    this.#threadId = threadId;
    this.#runId = runId;
    this.#after = after;
    this.#signal = signal;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<RunEvent, undefined>> {
    // Calls that overlap are answered in their order, as a generator would.
    const before = this.#reading;
    if (before === undefined) {
      const buffered = this.#page[this.#index];
      if (buffered !== undefined && !this.#done && this.#signal?.aborted !== true) {
        this.#index += 1;
        return Promise.resolve({ done: false, value: buffered });
      }
    }
    const next = before === undefined ? this.#next() : before.then(() => this.#next());
    // Before the caller learns of it, whose following call then finds the way free.
    const clear = (): void => {
      if (this.#reading === settled) this.#reading = undefined;
    };
    const settled = next.then(clear, clear);
    this.#reading = settled;
    return next;
  }

  /**
   * What would come next without waiting, in one go; nothing while a `next()` is waiting. Spares who wants
   * batches a promise for each event.
   */
  take(limit: number): readonly RunEvent[] {
    if (this.#reading !== undefined || this.#done || this.#signal?.aborted === true) return [];
    const events = this.#page.slice(this.#index, this.#index + limit);
    this.#index += events.length;
    if (this.#index < this.#page.length || events.length === limit) return events;
    const end = this.#knownEnd();
    if (end === undefined) return events;
    this.#end();
    return [...events, finishedEvent(end, this.#after + 1)];
  }

  async #next(): Promise<IteratorResult<RunEvent, undefined>> {
    const buffered = this.#page[this.#index];
    if (buffered !== undefined && !this.#done && this.#signal?.aborted !== true) {
      this.#index += 1;
      return { done: false, value: buffered };
    }
    try {
      const event = await this.#read();
      return event === undefined ? { done: true, value: undefined } : { done: false, value: event };
    } catch (error) {
      this.#end();
      throw error;
    }
  }

  return(): Promise<IteratorResult<RunEvent, undefined>> {
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  async #read(): Promise<RunEvent | undefined> {
    if (this.#isDone()) return undefined;
    this.#start();
    const { events, watch } = this.#source;
    let looked = false;
    for (;;) {
      if (this.#isDone()) return undefined;
      this.#signal?.throwIfAborted();
      const end = this.#knownEnd();
      if (end !== undefined) return this.#finish(finishedEvent(end, this.#after + 1));
      this.#hint.clear();
      const page = watch.isUntold(this.#threadId, this.#runId)
        ? NOTHING
        : await events.read(this.#threadId, this.#runId, { after: this.#after, limit: PAGE_SIZE });
      if (this.#isDone()) return undefined;
      if (page.trimmed) throw this.#trimmed();
      const first = page.events[0];
      if (first !== undefined) {
        this.#seen = true;
        this.#page = page.events;
        this.#index = 1;
        this.#after += page.events.length;
        return first;
      }
      // Caught up with the log: the record tells whether more can come. After the first look the watch knows of its end.
      const run = looked
        ? (watch.endOf(this.#threadId, this.#runId) ?? "active")
        : await watch.look(this.#threadId, this.#runId);
      looked = true;
      if (run === undefined || (run !== "active" && typeof run === "string")) {
        if (!this.#seen) throw new AgentError("RUN_NOT_FOUND", `There is no run "${this.#runId}".`);
        return this.#gone(run ?? (await whyGone(this.#source.runs, this.#threadId)));
      }
      this.#seen = true;
      if (run !== "active" && isFinished(run)) {
        // An append that was done, and whose answer its writer never had, the record does not count.
        const last = Math.max(run.lastSeq ?? 0, page.last);
        if (this.#after === last) return this.#finish(finishedEvent(run, last + 1));
        // The reader was told to begin behind the last event: it has had it all.
        if (this.#after > last) return this.#finish(undefined);
        // Events landed between the two looks; if there are none, they are gone: with their session, of which the
        // record goes last, by retention, or lost.
        if (await this.#hasMore()) continue;
        if (run.cancelRequested === "deleted") return this.#gone("deleted");
        return this.#gone(await whyGone(this.#source.runs, this.#threadId));
      }
      if (watch.closed)
        throw new AgentError("CLOSED", "The chat service has been closed before the run ended.");
      await this.#hint.wait();
      if (!this.#isDone() && this.#signal?.aborted !== true) await nextTurn();
    }
  }

  /**
   * The record of a run whose end is known here and which has been read up to it: its log need not be asked again. Of one
   * that failed or was cancelled the log may have more than its record counts.
   */
  #knownEnd(): RunRecord | undefined {
    const end = this.#source.watch.endOf(this.#threadId, this.#runId);
    if (end === undefined || typeof end === "string" || end.lastSeq !== this.#after) return undefined;
    return end.status === "completed" || end.status === "interrupted" ? end : undefined;
  }

  /** What a log keeps of a run in this process may be behind the engine, and thus behind the record, for one look. */
  async #hasMore(): Promise<boolean> {
    for (let look = 0; look < 2; look++) {
      const page = await this.#source.events.read(this.#threadId, this.#runId, {
        after: this.#after,
        limit: 1,
      });
      if (page.events.length > 0) return true;
    }
    return false;
  }

  /** May change during any await; a method hides it from the compiler's narrowing. */
  #isDone(): boolean {
    return this.#done;
  }

  #start(): void {
    if (this.#started) return;
    this.#started = true;
    const { events, watch } = this.#source;
    const hint = this.#hint.raise;
    this.#stops.push(
      events.watch(this.#threadId, this.#runId, hint),
      watch.on(this.#threadId, this.#runId, hint),
      onAbort(this.#signal, hint),
    );
  }

  #finish(event: RunEvent | undefined): RunEvent | undefined {
    this.#end();
    return event;
  }

  /** The end of a run that had begun and is known no more; one whose session was deleted was cancelled. */
  #gone(why: Gone): RunEvent | undefined {
    if (why === "forgotten") throw this.#trimmed();
    if (why === "lost") throw runGone(this.#runId, why);
    return this.#finish({ seq: this.#after + 1, type: "run-finished", outcome: "cancelled" });
  }

  #trimmed(): AgentError {
    return new AgentError(
      "EVENTS_TRIMMED",
      `Events of run "${this.#runId}" after ${String(this.#after)} are no longer kept.`,
    );
  }

  #end(): void {
    this.#done = true;
    this.#page = [];
    for (const stop of this.#stops.splice(0)) stop();
    this.#hint.raise();
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The last event of a run, as its record tells it. */
function finishedEvent(run: RunRecord, seq: number): RunEvent {
  const { status, error, summary } = run;
  if (status === "queued" || status === "running") throw new TypeError("The run has not ended");
  return {
    seq,
    type: "run-finished",
    outcome: status,
    ...(error === undefined ? undefined : { error }),
    ...(summary === undefined || summary.usage.totalTokens === 0 ? undefined : { usage: summary.usage }),
  };
}

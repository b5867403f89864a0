import { AgentError } from "../../errors.js";
import { estimateBytes } from "../../internal/json-value.js";
import { LinkedList, type Linked } from "../../internal/linked-list.js";
import type { RunEvent } from "../../run-event.js";
import type { EventLog, EventPage, Lease } from "../store.js";

/** What a log that holds events takes beside them. */
const LOG_BYTES = 256;
/** One run may take this part of the whole: a noisy one cannot push all others out. */
const SHARE_PER_RUN = 1 / 4;

export interface MemoryEventLogOptions {
  /** The most events kept per run; the oldest go first. @defaultValue 10,000 */
  readonly maxEventsPerRun?: number | undefined;
  /** About the most bytes of events kept in all; one run gets a quarter of it. @defaultValue 67,108,864 */
  readonly maxEventBytes?: number | undefined;
  /**
   * Throws `LEASE_LOST` unless the lease may write events of the run. Without it any writer is trusted, and a run
   * that the log does not know (any more) may go on at any number.
   */
  readonly fence?: ((lease: Lease, runId: string) => void) | undefined;
  /** The number of the last event of a run that has ended, for as long as the run is known: kept here only without it. */
  readonly endOf?: ((threadId: string, runId: string) => number | undefined) | undefined;
}

/** The events of one run from number `first` to number `last`, and who waits for more. */
class RunEvents implements Linked<RunEvents> {
  list: LinkedList<RunEvents> | undefined;
  previous: RunEvents | undefined;
  next: RunEvents | undefined;

  readonly threadId: string;
  readonly runId: string;
  last = 0;
  /** 0 while it holds no event. */
  bytes = 0;
  watchers: Set<() => void> | undefined;
  /** Trimmed ones stay in front, as holes, until they are half of it: dropping one then costs nothing. */
  #events: (RunEvent | undefined)[] = [];
  #start = 0;

  constructor(threadId: string, runId: string) {
    this.threadId = threadId;
    this.runId = runId;
  }

  get size(): number {
    return this.#events.length - this.#start;
  }

  /** The number of the oldest event that is kept, one over `last` if there is none. */
  get first(): number {
    return this.last - this.size + 1;
  }

  add(event: RunEvent): number {
    const bytes = estimateBytes(event) + (this.size === 0 ? LOG_BYTES : 0);
    this.#events.push(event);
    this.last = event.seq;
    this.bytes += bytes;
    return bytes;
  }

  /** Lets go of the oldest event and gives the bytes that it took. */
  trim(): number {
    if (this.size <= 1) return this.clear();
    const bytes = estimateBytes(this.#events[this.#start]);
    this.#events[this.#start] = undefined;
    this.#start++;
    if (this.#start * 2 >= this.#events.length) this.compact();
    this.bytes -= bytes;
    return bytes;
  }

  /** Lets go of all events and gives the bytes that they took; what was the last one stays known. */
  clear(): number {
    const { bytes } = this;
    this.#events = [];
    this.#start = 0;
    this.bytes = 0;
    return bytes;
  }

  /** Gives back the room that the array holds for events that are gone or never came. */
  compact(): void {
    this.#events = this.#events.slice(this.#start);
    this.#start = 0;
  }

  page(after: number, limit: number): readonly RunEvent[] {
    const from = this.#start + Math.max(0, after + 1 - this.first);
    // Holes are only before `#start`.
    return this.#events.slice(from, from + limit) as RunEvent[];
  }
}

/**
 * Events in memory: appended and read synchronously, bounded per run and in all. When the whole is full, the
 * events of finished runs go first, those of the one that finished longest ago before the others, then the oldest
 * events of the run that has been silent longest. With a fence, a log without events stays until somebody else knows
 * how many there were, or until `forget` or `delete`, so that readers learn what they have missed; without one it goes,
 * since nobody would ever take it away.
 */
export class MemoryEventLog implements EventLog {
  readonly #maxEvents: number;
  readonly #maxBytes: number;
  readonly #fence: ((lease: Lease, runId: string) => void) | undefined;
  readonly #endOf: ((threadId: string, runId: string) => number | undefined) | undefined;
  readonly #threads = new Map<string, Map<string, RunEvents>>();
  /** Logs with events of runs that are not known to have ended, in the order of their last event. */
  readonly #open = new LinkedList<RunEvents>();
  /** Logs with events of runs that have ended, in that order. */
  readonly #finished = new LinkedList<RunEvents>();
  #bytes = 0;
  #size = 0;

  constructor(options: MemoryEventLogOptions = {}) {
    this.#maxEvents = options.maxEventsPerRun ?? 10_000;
    this.#maxBytes = options.maxEventBytes ?? 67_108_864;
    this.#fence = options.fence;
    this.#endOf = options.endOf;
  }

  /** About what all events take. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How many runs have events, had some, or are watched. */
  get size(): number {
    return this.#size;
  }

  append(lease: Lease, runId: string, events: readonly RunEvent[]): void {
    const { threadId } = lease;
    this.#fence?.(lease, runId);
    const known = this.#threads.get(threadId)?.get(runId);
    const [first] = events;
    if (first === undefined) return;
    let last = known?.last ?? 0;
    // A log that trusts its writers may have had to forget what came before.
    if (last === 0 && this.#fence === undefined) last = first.seq - 1;
    for (const { seq } of events) {
      if (seq !== ++last) {
        const message = `Run \`${runId}\` goes on with event ${String(last)}, got event ${String(seq)}: another writer was here.`;
        throw new AgentError("LEASE_LOST", message);
      }
    }
    const log = known ?? this.#create(threadId, runId);
    if (log !== this.#open.last) {
      this.#open.remove(log);
      if (log.list === undefined) this.#open.push(log);
    }
    for (const event of events) {
      this.#bytes += log.add(event);
      while (log.size > this.#maxEvents) this.#bytes -= log.trim();
    }
    while (log.bytes > this.#maxBytes * SHARE_PER_RUN) this.#trim(log);
    this.#makeRoom();
    notify(log);
  }

  read(
    threadId: string,
    runId: string,
    options: { readonly after: number; readonly limit: number },
  ): EventPage {
    const log = this.#threads.get(threadId)?.get(runId);
    const { after, limit } = options;
    if (log === undefined || log.last === 0) {
      const last = this.#endOf?.(threadId, runId) ?? 0;
      return { events: [], last, trimmed: after < last };
    }
    return { events: log.page(after, limit), last: log.last, trimmed: after + 1 < log.first };
  }

  watch(threadId: string, runId: string, listener: () => void): () => void {
    const log = this.#threads.get(threadId)?.get(runId) ?? this.#create(threadId, runId);
    const watchers = (log.watchers ??= new Set());
    // Wrapped, so that one function given twice is called twice and taken off once.
    const own = () => {
      listener();
    };
    watchers.add(own);
    return () => {
      if (!watchers.delete(own) || watchers.size > 0) return;
      log.watchers = undefined;
      this.#letGo(log);
    };
  }

  delete(threadId: string): Promise<void> {
    for (const log of [...(this.#threads.get(threadId)?.values() ?? [])]) this.#remove(log);
    return Promise.resolve();
  }

  /** The number of the run's last event, 0 if there is none. */
  last(threadId: string, runId: string): number {
    return this.#threads.get(threadId)?.get(runId)?.last ?? 0;
  }

  /** The run has ended: from now on its events may go before those of others. */
  finished(threadId: string, runId: string): void {
    const log = this.#threads.get(threadId)?.get(runId);
    if (log === undefined) return;
    if (this.#open.remove(log)) {
      log.compact();
      this.#finished.push(log);
    } else this.#letGo(log);
  }

  /** Forgets the events of one run. */
  forget(threadId: string, runId: string): void {
    const log = this.#threads.get(threadId)?.get(runId);
    if (log !== undefined) this.#remove(log);
  }

  #create(threadId: string, runId: string): RunEvents {
    const log = new RunEvents(threadId, runId);
    const runs = this.#threads.get(threadId) ?? new Map<string, RunEvents>();
    if (runs.size === 0) this.#threads.set(threadId, runs);
    runs.set(runId, log);
    this.#size++;
    return log;
  }

  #remove(log: RunEvents): void {
    const runs = this.#threads.get(log.threadId);
    if (runs?.get(log.runId) !== log) return;
    runs.delete(log.runId);
    this.#size--;
    if (runs.size === 0) this.#threads.delete(log.threadId);
    log.list?.remove(log);
    this.#bytes -= log.bytes;
    notify(log);
  }

  #makeRoom(): void {
    while (this.#bytes > this.#maxBytes) {
      const finished = this.#finished.first;
      const log = finished ?? this.#open.first;
      if (log === undefined) return;
      if (finished === undefined) this.#trim(log);
      else {
        this.#bytes -= log.clear();
        this.#emptied(log);
      }
    }
  }

  #trim(log: RunEvents): void {
    this.#bytes -= log.trim();
    if (log.size === 0) this.#emptied(log);
  }

  #emptied(log: RunEvents): void {
    log.list?.remove(log);
    this.#letGo(log);
  }

  /** Forgets a log of which nothing is needed: no event, no watcher, and nobody asks here for its last number. */
  #letGo(log: RunEvents): void {
    const { threadId, runId, last } = log;
    if (log.size > 0 || log.watchers !== undefined) return;
    if (last === 0 || this.#fence === undefined || this.#endOf?.(threadId, runId) !== undefined)
      this.#remove(log);
  }
}

/** Tells a run's readers that there is something to read. One that throws harms neither the writer nor the others. */
function notify(log: RunEvents): void {
  if (log.watchers === undefined) return;
  for (const watcher of [...log.watchers]) {
    try {
      watcher();
    } catch {
      // A hint is a courtesy; the events are in the log.
    }
  }
}

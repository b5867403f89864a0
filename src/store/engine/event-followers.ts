import { Listeners } from "../../internal/listeners.js";
import type { RunEvent } from "../../run-event.js";
import type { EventPage } from "../store.js";
import { EventTails, type EventTailsOptions } from "./event-tails.js";

/** A run that somebody in this process reads along. */
interface Followed {
  readonly threadId: string;
  readonly runId: string;
  readonly listeners: Listeners<[]>;
  /** The newest event that is known here. */
  last: number;
  /** Reads under way, so that readers who ask the same at the same time ask once. */
  readonly reads: Map<string, Promise<EventPage>>;
}

/** A followed run as a poll needs it. */
export interface FollowedRun {
  readonly threadId: string;
  readonly runId: string;
  /** The newest event that is known here: newer ones are news. */
  readonly last: number;
}

export interface EventFollowersOptions extends EventTailsOptions {
  /** Reads a page from the engine. */
  readonly read: (threadId: string, runId: string, after: number, limit: number) => Promise<EventPage>;
  /** Called when the first reader comes; gives what to call when the last has gone. */
  readonly onFirst: () => () => void;
}

/**
 * Those in this process who read runs of a shared event log: wakes them, answers them from memory where the run is
 * written here, and asks the engine once for those who ask the same.
 *
 * Runs that nobody here follows cost nothing: they have no tail.
 */
export class EventFollowers {
  readonly #options: EventFollowersOptions;
  readonly #tails: EventTails;
  readonly #runs = new Map<string, Followed>();
  #stop: (() => void) | undefined;

  constructor(options: EventFollowersOptions) {
    this.#options = options;
    this.#tails = new EventTails(options);
  }

  /** How many runs are followed: 0 when nothing leaks. */
  get size(): number {
    return this.#runs.size;
  }

  get runs(): Iterable<FollowedRun> {
    return this.#runs.values();
  }

  watch(threadId: string, runId: string, listener: () => void): () => void {
    const key = keyOf(threadId, runId);
    let run = this.#runs.get(key);
    if (run === undefined) {
      run = { threadId, runId, listeners: new Listeners(), last: 0, reads: new Map() };
      this.#runs.set(key, run);
      if (this.#runs.size === 1) this.#stop = this.#options.onFirst();
    }
    const { listeners } = run;
    const stop = listeners.add(listener);
    return () => {
      if (!stop() || listeners.size > 0 || this.#runs.get(key)?.listeners !== listeners) return;
      this.#runs.delete(key);
      this.#tails.drop(threadId, runId);
      if (this.#runs.size > 0) return;
      this.#stop?.();
      this.#stop = undefined;
    };
  }

  /** Events that this process has put into the log, and that are durable. */
  appended(threadId: string, runId: string, events: readonly RunEvent[]): void {
    const run = this.#runs.get(keyOf(threadId, runId));
    if (run === undefined) return;
    this.#tails.add(threadId, runId, events);
    run.last = Math.max(run.last, events.at(-1)?.seq ?? 0);
    wake(run);
  }

  /** The run may have events that this process did not write, or none any more. */
  changed(threadId: string, runId: string): void {
    const run = this.#runs.get(keyOf(threadId, runId));
    if (run === undefined) return;
    this.#tails.drop(threadId, runId);
    wake(run);
  }

  threadChanged(threadId: string): void {
    for (const run of [...this.#runs.values()])
      if (run.threadId === threadId) this.changed(threadId, run.runId);
  }

  read(threadId: string, runId: string, after: number, limit: number): EventPage | Promise<EventPage> {
    const run = this.#runs.get(keyOf(threadId, runId));
    if (run === undefined) return this.#options.read(threadId, runId, after, limit);
    const known = this.#tails.read(threadId, runId, after, limit);
    if (known !== undefined) return known;
    const what = `${String(after)} ${String(limit)}`;
    const same = run.reads.get(what);
    if (same !== undefined) return same;
    const reading = this.#options
      .read(threadId, runId, after, limit)
      .then((page) => {
        run.last = Math.max(run.last, page.last);
        return page;
      })
      .finally(() => {
        if (run.reads.get(what) === reading) run.reads.delete(what);
      });
    run.reads.set(what, reading);
    return reading;
  }
}

/** Tells the readers. */
function wake(run: Followed): void {
  // What is being read may be from before; who asks from now on must not be given it.
  run.reads.clear();
  run.listeners.tell();
}

/** No id holds a line break. */
function keyOf(threadId: string, runId: string): string {
  return `${threadId}\n${runId}`;
}

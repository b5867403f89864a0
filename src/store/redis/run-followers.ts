import type { TimerHandle } from "../../internal/clock.js";
import { Listeners } from "../../internal/listeners.js";
import type { RunEvent } from "../../run-event.js";
import type { EventTails } from "../engine/event-tails.js";
import { listOf, numberOf, type RedisEngine } from "./client.js";
import { idAfter, lastNumbers } from "./scripts/events.js";
import type { StreamEntry, StreamReader } from "./stream-reader.js";

/*
 * A run that somebody in this process waits for:
 *
 *   new ──written here──▶ own ──nothing written here for OWN_MS──▶ followed ──written here──▶ own
 *    └──not written here within JOIN_MS──▶ followed
 *
 * Readers of an own run hear of each append when it is durable, and nothing is asked of Redis. A followed run's stream
 * is one of those that the reader looks at; what comes goes into the tail, once for all its readers. An own run that is
 * silent is followed too: its process may have lost it without knowing.
 */

/** Most runs are claimed where they were submitted, and that at once. */
const JOIN_MS = 25;
const OWN_MS = 1_000;
/** How long a run stays known here that was written here and that nobody waits for. */
const FORGET_MS = 10_000;

interface Followed {
  readonly threadId: string;
  readonly runId: string;
  readonly listeners: Listeners<[]>;
  /** When it is to be followed, or forgotten, unless something is written here. */
  dueAt: number;
  /** Up to which event its listeners have been told, at least; `undefined` while nobody has looked. */
  position: number | undefined;
  stop: (() => void) | undefined;
}

export interface RunFollowersOptions {
  readonly engine: RedisEngine;
  readonly reader: StreamReader;
  readonly tails: EventTails;
  readonly streamKey: (threadId: string, runId: string) => string;
}

/** Tells readers of this process of new events, wherever they were written. */
export class RunFollowers {
  readonly #options: RunFollowersOptions;
  readonly #runs = new Map<string, Followed>();
  readonly #stopListening: () => void;
  #timer: TimerHandle | undefined;
  #timerAt = Infinity;
  #closed = false;

  constructor(options: RunFollowersOptions) {
    this.#options = options;
    // Redis may have come back without what it had: whoever waits looks again.
    this.#stopListening = options.reader.onReconnect(() => {
      for (const run of this.#runs.values()) run.listeners.tell();
    });
  }

  /** How many runs are watched, or were written here a moment ago. */
  get size(): number {
    return this.#runs.size;
  }

  watch(threadId: string, runId: string, listener: () => void): () => void {
    if (this.#closed) return () => undefined;
    const run = this.#run(threadId, runId);
    if (run.listeners.size === 0 && run.stop === undefined) this.#due(run, JOIN_MS);
    const stop = run.listeners.add(listener);
    return () => {
      if (!stop() || run.listeners.size > 0) return;
      run.stop?.();
      run.stop = undefined;
      this.#options.tails.drop(threadId, runId);
      this.#due(run, FORGET_MS);
    };
  }

  /** Events that this process has put into the log. */
  wrote(threadId: string, runId: string, events: readonly RunEvent[]): void {
    const last = events.at(-1);
    if (last === undefined || this.#closed) return;
    const run = this.#run(threadId, runId);
    run.stop?.();
    run.stop = undefined;
    run.position = last.seq;
    const isWatched = run.listeners.size > 0;
    this.#due(run, isWatched ? OWN_MS : FORGET_MS);
    if (!isWatched) return;
    this.#options.tails.add(threadId, runId, events);
    run.listeners.tell();
  }

  /** A reader has been told by Redis that `last` is the newest event. */
  looked(threadId: string, runId: string, last: number): void {
    const run = this.#runs.get(keyOf(threadId, runId));
    // The first look counts: others may have looked earlier than the newest.
    if (run !== undefined) run.position ??= last;
  }

  /** Whether the tail of the run is kept up to date: somebody waits for it. */
  knows(threadId: string, runId: string): boolean {
    return (this.#runs.get(keyOf(threadId, runId))?.listeners.size ?? 0) > 0;
  }

  /** The run is written elsewhere from now on. */
  lost(threadId: string, runId: string): void {
    const run = this.#runs.get(keyOf(threadId, runId));
    if (run !== undefined) this.#due(run, 0);
  }

  close(): void {
    this.#closed = true;
    this.#stopListening();
    for (const run of this.#runs.values()) run.stop?.();
    this.#runs.clear();
    this.#options.engine.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #run(threadId: string, runId: string): Followed {
    const key = keyOf(threadId, runId);
    let run = this.#runs.get(key);
    if (run === undefined) {
      run = { threadId, runId, listeners: new Listeners(), dueAt: 0, position: undefined, stop: undefined };
      this.#runs.set(key, run);
    }
    return run;
  }

  #due(run: Followed, ms: number): void {
    run.dueAt = this.#options.engine.clock.monotonic() + ms;
    this.#schedule(run.dueAt);
  }

  /** One timer for all runs, for the first that is due. */
  #schedule(at: number): void {
    const { clock } = this.#options.engine;
    if (this.#closed || at >= this.#timerAt) return;
    clock.clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = clock.setTimeout(
      () => {
        this.#timerAt = Infinity;
        this.#check();
      },
      Math.max(1, Math.ceil(at - clock.monotonic())),
    );
  }

  #check(): void {
    const now = this.#options.engine.clock.monotonic();
    const joining: Followed[] = [];
    let next = Infinity;
    for (const [key, run] of this.#runs) {
      if (run.stop !== undefined) continue;
      if (run.dueAt > now) next = Math.min(next, run.dueAt);
      else if (run.listeners.size > 0) joining.push(run);
      else this.#runs.delete(key);
    }
    // Runs that are being written move their time all along: no need to look at all of them more often than this.
    if (next < Infinity) this.#schedule(Math.max(next, now + JOIN_MS));
    if (joining.length > 0) void this.#join(joining);
  }

  async #join(runs: readonly Followed[]): Promise<void> {
    const unseen = runs.filter((run) => run.position === undefined);
    for (const run of runs) if (run.position !== undefined) this.#follow(run, run.position);
    if (unseen.length === 0) return;
    for (const run of unseen) run.dueAt = Infinity;
    try {
      const { engine } = this.#options;
      const names = unseen.flatMap(({ threadId, runId }) => [threadId, runId]);
      const numbers = listOf(await engine.run(lastNumbers, names, { repeat: true }));
      for (const [i, run] of unseen.entries()) {
        const last = numberOf(numbers[i]);
        // Written here or left meanwhile.
        if (run.dueAt < Infinity) continue;
        this.#follow(run, (run.position ??= last));
        // Nobody had looked: there may be events that nobody was told of.
        if (last > 0) run.listeners.tell();
      }
    } catch {
      // Whoever reads is told so. Looked at again in a while.
      for (const run of unseen) if (run.dueAt === Infinity) this.#due(run, OWN_MS);
    }
  }

  #follow(run: Followed, position: number): void {
    if (this.#closed || run.stop !== undefined || run.listeners.size === 0) return;
    const { reader, streamKey } = this.#options;
    run.stop = reader.follow(streamKey(run.threadId, run.runId), idAfter(position), (entries) => {
      this.#arrived(run, entries);
    });
  }

  #arrived(run: Followed, entries: readonly StreamEntry[]): void {
    const position = run.position ?? 0;
    const events = entries
      .map(({ value }) => JSON.parse(value) as RunEvent)
      .filter(({ seq }) => seq > position);
    const last = events.at(-1);
    if (last === undefined) return;
    run.position = last.seq;
    this.#options.tails.add(run.threadId, run.runId, events);
    run.listeners.tell();
  }
}

/** No id holds a line break. */
function keyOf(threadId: string, runId: string): string {
  return `${threadId}\n${runId}`;
}

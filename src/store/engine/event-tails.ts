import { estimateBytes } from "../../internal/json-value.js";
import { LinkedList, type Linked } from "../../internal/linked-list.js";
import type { RunEvent } from "../../run-event.js";
import type { EventPage } from "../store.js";

/** The newest events of one run, up to number `last`. */
interface Tail extends Linked<Tail> {
  readonly key: string;
  events: RunEvent[];
  last: number;
  bytes: number;
  /** Whether a reader has been told that there is nothing after `last`. */
  askedAtEnd: boolean;
}

export interface EventTailsOptions {
  /** About the most bytes that all tails take. */
  readonly maxBytes: number;
  /** The most events of one run. */
  readonly maxEvents: number;
}

/**
 * The newest events that this process has put into a shared log, so that its readers need not ask the engine for
 * them. Only what is durable may be added: a reader must not see what a crash would take back.
 *
 * What is in a tail never changes, so pages from it are always right. That there is nothing more is not sure:
 * another process may have taken the run over. A tail says so once and then, until it grows, sends readers to the
 * engine.
 */
export class EventTails {
  readonly #options: EventTailsOptions;
  readonly #tails = new Map<string, Tail>();
  /** Longest without a new event first. */
  readonly #order = new LinkedList<Tail>();
  #bytes = 0;

  constructor(options: EventTailsOptions) {
    this.#options = options;
  }

  /** About what all tails take. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Adds events that are in the engine now. */
  add(threadId: string, runId: string, events: readonly RunEvent[]): void {
    const [first] = events;
    if (first === undefined) return;
    const key = keyOf(threadId, runId);
    let tail = this.#tails.get(key);
    // What does not follow begins anew: the events between were somebody else's.
    if (tail !== undefined && tail.last + 1 !== first.seq) this.#remove(tail);
    tail = this.#tails.get(key);
    if (tail === undefined) {
      tail = { ...UNLINKED, key, events: [], last: first.seq - 1, bytes: 0, askedAtEnd: false };
      this.#tails.set(key, tail);
    } else this.#order.remove(tail);
    this.#order.push(tail);
    for (const event of events) {
      const bytes = estimateBytes(event);
      tail.events.push(event);
      tail.last = event.seq;
      tail.bytes += bytes;
      this.#bytes += bytes;
    }
    tail.askedAtEnd = false;
    const { maxEvents, maxBytes } = this.#options;
    // In halves, so that it is seldom.
    if (tail.events.length > maxEvents) this.#cut(tail, tail.events.length - Math.ceil(maxEvents / 2));
    if (tail.bytes > maxBytes / 4) this.#cut(tail, Math.ceil(tail.events.length / 2));
    for (let oldest = this.#order.first; this.#bytes > maxBytes && oldest; oldest = this.#order.first)
      this.#remove(oldest);
  }

  /** A page, if it is known here without asking the engine. */
  read(threadId: string, runId: string, after: number, limit: number): EventPage | undefined {
    const tail = this.#tails.get(keyOf(threadId, runId));
    if (tail === undefined) return undefined;
    const { last, events } = tail;
    if (after === last && !tail.askedAtEnd) {
      tail.askedAtEnd = true;
      return { events: [], last, trimmed: false };
    }
    const from = after + events.length - last;
    if (after >= last || from < 0) return undefined;
    return { events: events.slice(from, from + limit), last, trimmed: false };
  }

  /** The run goes on elsewhere, or is over. */
  drop(threadId: string, runId: string): void {
    const tail = this.#tails.get(keyOf(threadId, runId));
    if (tail !== undefined) this.#remove(tail);
  }

  dropThread(threadId: string): void {
    const prefix = keyOf(threadId, "");
    for (const tail of [...this.#tails.values()]) if (tail.key.startsWith(prefix)) this.#remove(tail);
  }

  clear(): void {
    for (const tail of [...this.#tails.values()]) this.#remove(tail);
  }

  #cut(tail: Tail, count: number): void {
    const gone = tail.events.slice(0, count);
    tail.events = tail.events.slice(count);
    for (const event of gone) {
      const bytes = estimateBytes(event);
      tail.bytes -= bytes;
      this.#bytes -= bytes;
    }
    if (tail.events.length === 0) this.#remove(tail);
  }

  #remove(tail: Tail): void {
    this.#tails.delete(tail.key);
    this.#order.remove(tail);
    this.#bytes -= tail.bytes;
  }
}

const UNLINKED = { list: undefined, previous: undefined, next: undefined };

/** No id holds a line break. */
function keyOf(threadId: string, runId: string): string {
  return `${threadId}\n${runId}`;
}

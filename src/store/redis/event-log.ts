import { AgentError, isAgentError } from "../../errors.js";
import type { RunEvent } from "../../run-event.js";
import { EventTails } from "../engine/event-tails.js";
import type { EventLog, EventPage, Lease } from "../store.js";
import { listOf, numberOf, textOf, type RedisEngine } from "./client.js";
import { RunFollowers } from "./run-followers.js";
import {
  appendByEpoch,
  appendFenced,
  deleteByEpoch,
  deleteFenced,
  readPage,
  runsByEpoch,
} from "./scripts/events.js";
import { redisKeys } from "./scripts/fence.js";
import type { StreamReader } from "./stream-reader.js";

/** About what the newest events of all runs may take that are kept here, so that readers need not ask for them. */
const TAIL_BYTES = 16 * 1024 * 1024;
const TAIL_EVENTS = 1_024;

/** How long events are kept. */
export interface EventLimits {
  readonly maxEventsPerRun: number;
  /** How long after the last event they go by themselves; 0 for never. */
  readonly expireMs: number;
}

/**
 * A batch as scripts take it: see scripts/events.ts.
 *
 * @throws {AgentError} `LEASE_LOST` when the numbers do not follow each other.
 */
export function batchArguments(
  runId: string,
  events: readonly RunEvent[],
  { maxEventsPerRun, expireMs }: EventLimits,
): readonly (string | number)[] {
  const first = events[0]?.seq ?? 0;
  for (const [i, { seq }] of events.entries()) {
    if (seq === first + i) continue;
    throw new AgentError(
      "LEASE_LOST",
      `Run \`${runId}\` goes on with event ${String(first + i)}, got ${String(seq)}.`,
    );
  }
  return [first, maxEventsPerRun, expireMs, ...events.map((event) => JSON.stringify(event))];
}

export interface RedisEventLogParts extends EventLimits {
  readonly engine: RedisEngine;
  readonly reader: StreamReader;
  readonly prefix: string;
  /** Whether the ledger of the same store says who may write; otherwise the highest epoch that has written does. */
  readonly fenced: boolean;
}

/**
 * The events of runs in Redis, a stream for each run. An append is one trip; readers of the process that writes need
 * none, those of other processes share one connection.
 */
export class RedisEventLog implements EventLog {
  readonly batch = { ms: 3, events: 64 } as const;
  readonly #parts: RedisEventLogParts;
  readonly #engine: RedisEngine;
  readonly #tails = new EventTails({ maxBytes: TAIL_BYTES, maxEvents: TAIL_EVENTS });
  readonly #followers: RunFollowers;

  /** None beside another store's ledger. */
  get engine(): object | undefined {
    return this.#parts.fenced ? this.#engine : undefined;
  }

  constructor(parts: RedisEventLogParts) {
    this.#parts = parts;
    this.#engine = parts.engine;
    this.#followers = new RunFollowers({
      engine: parts.engine,
      reader: parts.reader,
      tails: this.#tails,
      streamKey: redisKeys(parts.prefix).events,
    });
  }

  async append(lease: Lease, runId: string, events: readonly RunEvent[]): Promise<void> {
    const { threadId, epoch, owner } = lease;
    const batch = batchArguments(runId, events, this.#parts);
    try {
      const script = this.#parts.fenced ? appendFenced : appendByEpoch;
      await this.#engine.run(script, [threadId, runId, epoch, owner, ...batch], { repeat: true, lease });
    } catch (error) {
      if (isAgentError(error) && error.code === "LEASE_LOST") this.#followers.lost(threadId, runId);
      throw error;
    }
    this.stored(lease, runId, events);
  }

  stored({ threadId }: Lease, runId: string, events: readonly RunEvent[]): void {
    this.#followers.wrote(threadId, runId, events);
  }

  read(
    threadId: string,
    runId: string,
    options: { readonly after: number; readonly limit: number },
  ): EventPage | Promise<EventPage> {
    const { after, limit } = options;
    const known = this.#followers.knows(threadId, runId)
      ? this.#tails.read(threadId, runId, after, limit)
      : undefined;
    return known ?? this.#read(threadId, runId, after, limit);
  }

  watch(threadId: string, runId: string, listener: () => void): () => void {
    return this.#followers.watch(threadId, runId, listener);
  }

  async delete(threadId: string): Promise<void> {
    if (!this.#parts.fenced) {
      await (
        await this.deletion(threadId)
      )();
      return;
    }
    await this.#engine.run(deleteFenced, [threadId], { repeat: true });
    this.forget(threadId);
  }

  /** Of a log beside another store's ledger, as {@link EventLog.deletion} says. */
  async deletion(threadId: string): Promise<() => Promise<void>> {
    const reply = await this.#engine.run(runsByEpoch, [threadId], { repeat: true });
    const runIds = listOf(reply).map((runId) => textOf(runId) ?? "");
    return async () => {
      if (runIds.length > 0) await this.#engine.run(deleteByEpoch, [threadId, ...runIds], { repeat: true });
      this.forget(threadId);
    };
  }

  /** Lets go of what is kept here of a thread that Redis has forgotten. */
  forget(threadId: string): void {
    this.#tails.dropThread(threadId);
  }

  /** Nobody is told of anything from here on. */
  close(): void {
    this.#followers.close();
    this.#tails.clear();
  }

  async #read(threadId: string, runId: string, after: number, limit: number): Promise<EventPage> {
    const reply = listOf(await this.#engine.run(readPage, [threadId, runId, after, limit], { repeat: true }));
    const last = numberOf(reply[0]);
    this.#followers.looked(threadId, runId, last);
    const events = reply.slice(1).map((text) => JSON.parse(textOf(text) ?? "") as RunEvent);
    const first = events[0]?.seq;
    return { events, last, trimmed: first !== undefined && first > after + 1 };
  }
}

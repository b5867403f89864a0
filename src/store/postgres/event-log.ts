import { AgentError } from "../../errors.js";
import type { RunEvent } from "../../run-event.js";
import { EventFollowers } from "../engine/event-followers.js";
import { Gatherer, type ItemResult } from "../engine/gatherer.js";
import type { EventLog, EventPage, Lease } from "../store.js";
import type { Database } from "./client.js";
import type { Hints } from "./hints.js";

const TOPIC = "events";

/** What the tails of the runs that are written and read in this process may take, for all of them together. */
const TAIL_BYTES = 16 * 1024 * 1024;
const TAIL_EVENTS = 512;

/** How many statements each for writing and for reading may be under way; what comes meanwhile goes together. */
const LANES = 2;
/** Each batch is a subtransaction; of more than 64 PostgreSQL loses sight, and everybody's reads become slower. */
const MAX_ITEMS = 50;

interface Batch {
  readonly lease: Lease;
  readonly runId: string;
  readonly first: number;
  readonly last: number;
  readonly body: string;
}

interface PageRequest {
  readonly threadId: string;
  readonly runId: string;
  readonly after: number;
  readonly limit: number;
}

export interface PostgresEventLogOptions {
  /** About the most events kept per run; the oldest go first. */
  readonly maxEventsPerRun: number;
}

/**
 * How a step of the schema takes events along: its last arguments, for `add_batch`. First and last number, the events as
 * JSON, and how many are kept; nothing without events.
 *
 * @throws {AgentError} `LEASE_LOST` when the numbers do not follow each other.
 */
export function batchArguments(
  runId: string,
  events: readonly RunEvent[] | undefined,
  maxEventsPerRun: number,
): readonly unknown[] {
  const first = events?.[0];
  if (events === undefined || first === undefined) return [null, null, null, null];
  checkNumbers(runId, events);
  return [first.seq, first.seq + events.length - 1, JSON.stringify(events), finite(maxEventsPerRun)];
}

/**
 * Events in rows of a batch each. Readers of the process that writes are served from memory, once the batch is
 * durable; those of other processes read when a hint comes, or when one poll for all of them finds news.
 */
export class PostgresEventLog implements EventLog {
  readonly batch = { ms: 25, events: 64 } as const;
  readonly engine: object;
  readonly #database: Database;
  readonly #hints: Hints;
  readonly #keep: number;
  readonly #followers: EventFollowers;
  /** Gives whether the batch was added, or its session was locked. */
  readonly #appends: Gatherer<Batch, boolean>;
  readonly #reads: Gatherer<PageRequest, EventPage>;

  constructor(database: Database, hints: Hints, { maxEventsPerRun }: PostgresEventLogOptions) {
    this.engine = database;
    this.#database = database;
    this.#hints = hints;
    this.#keep = finite(maxEventsPerRun);
    const limits = { lanes: LANES, maxItems: MAX_ITEMS };
    this.#appends = new Gatherer({ run: (batches) => this.#append(batches), ...limits });
    this.#reads = new Gatherer({ run: (requests) => this.#read(requests), ...limits });
    this.#followers = new EventFollowers({
      maxBytes: TAIL_BYTES,
      maxEvents: TAIL_EVENTS,
      read: (threadId, runId, after, limit) => this.#reads.add({ threadId, runId, after, limit }),
      onFirst: () =>
        hints.watch(TOPIC, {
          onHint: ([threadId, runId]) => {
            if (threadId === undefined) return;
            if (runId === undefined) this.#followers.threadChanged(threadId);
            else this.#followers.changed(threadId, runId);
          },
          onPoll: () => this.#poll(),
        }),
    });
  }

  /** How many runs are followed in this process. */
  get followed(): number {
    return this.#followers.size;
  }

  async append(lease: Lease, runId: string, events: readonly RunEvent[]): Promise<void> {
    const { threadId } = lease;
    const [first] = events;
    if (first === undefined) return;
    const last = first.seq + events.length - 1;
    checkNumbers(runId, events);
    try {
      const batch = { lease, runId, first: first.seq, last, body: JSON.stringify(events) };
      // One that has to wait does so alone.
      if (!(await this.#appends.add(batch))) await this.#append([batch]);
    } catch (error) {
      // Somebody else may have gone on with the run.
      this.#followers.changed(threadId, runId);
      throw error;
    }
    this.stored(lease, runId, events);
  }

  read(
    threadId: string,
    runId: string,
    { after, limit }: { readonly after: number; readonly limit: number },
  ): EventPage | Promise<EventPage> {
    return this.#followers.read(threadId, runId, after, limit);
  }

  watch(threadId: string, runId: string, listener: () => void): () => void {
    return this.#followers.watch(threadId, runId, listener);
  }

  async delete(threadId: string): Promise<void> {
    await this.#database.query(`SELECT ${this.#database.schema}.forget_events($1)`, [threadId], {
      retry: true,
    });
    this.forget(threadId);
  }

  /** Tells those who read runs of a thread that the engine has forgotten. */
  forget(threadId: string): void {
    this.#followers.threadChanged(threadId);
    this.#hints.announce(TOPIC, threadId);
  }

  stored({ threadId }: Lease, runId: string, events: readonly RunEvent[]): void {
    this.#followers.appended(threadId, runId, events);
    this.#hints.announce(TOPIC, threadId, runId);
  }

  async #append(batches: readonly Batch[]): Promise<readonly ItemResult<boolean>[]> {
    const refused = (await this.#database.query(
      `SELECT place, message FROM ${this.#database.schema}.append_events($1, $2, $3, $4, $5, $6, $7, $8)`,
      [
        batches.map(({ lease }) => lease.threadId),
        batches.map(({ lease }) => lease.epoch),
        batches.map(({ lease }) => lease.owner),
        batches.map(({ runId }) => runId),
        batches.map(({ first }) => first),
        batches.map(({ last }) => last),
        batches.map(({ body }) => body),
        this.#keep,
      ],
      { retry: true },
    )) as readonly { readonly place: unknown; readonly message: string | null }[];
    const results: ItemResult<boolean>[] = batches.map(() => ({ value: true }));
    for (const { place, message } of refused) {
      results[Number(place) - 1] =
        message === null ? { value: false } : { error: new AgentError("LEASE_LOST", message) };
    }
    return results;
  }

  async #read(requests: readonly PageRequest[]): Promise<readonly ItemResult<EventPage>[]> {
    const rows = (await this.#database.query(
      `SELECT place, oldest, newest, first, body FROM ${this.#database.schema}.read_events($1, $2, $3, $4)`,
      [
        requests.map(({ threadId }) => threadId),
        requests.map(({ runId }) => runId),
        requests.map(({ after }) => after),
        requests.map(({ limit }) => limit),
      ],
      { retry: true },
    )) as readonly EventRow[];
    const rowsOf: EventRow[][] = requests.map(() => []);
    for (const row of rows) rowsOf[Number(row.place) - 1]?.push(row);
    return requests.map((request, i) => ({ value: pageOf(request, rowsOf[i] ?? []) }));
  }

  /** Looks for news of all runs that are followed here, in one statement. */
  async #poll(): Promise<void> {
    const runs = [...this.#followers.runs];
    const found = (await this.#database.query(
      `SELECT place, newest FROM ${this.#database.schema}.events_after($1, $2, $3)`,
      [runs.map((run) => run.threadId), runs.map((run) => run.runId), runs.map((run) => run.last)],
      { retry: false },
    )) as readonly { readonly place: unknown; readonly newest: unknown }[];
    for (const { place, newest } of found) {
      const run = runs[Number(place) - 1];
      // What came meanwhile is known already.
      if (run !== undefined && Number(newest) > run.last) this.#followers.changed(run.threadId, run.runId);
    }
  }
}

/** More than a bigint holds is no limit either. */
function finite(limit: number): number {
  return Math.min(limit, Number.MAX_SAFE_INTEGER);
}

function checkNumbers(runId: string, events: readonly RunEvent[]): void {
  const first = events[0]?.seq ?? 0;
  if (events.every(({ seq }, i) => seq === first + i)) return;
  throw new AgentError("LEASE_LOST", `The numbers of events of run \`${runId}\` do not follow each other.`);
}

/** A row of `read_events`; int8 as the driver gives it. */
interface EventRow {
  readonly place: unknown;
  readonly oldest: unknown;
  readonly newest: unknown;
  readonly first: unknown;
  readonly body: string | null;
}

function pageOf({ after, limit }: PageRequest, rows: readonly EventRow[]): EventPage {
  const [row] = rows;
  if (row === undefined) return { events: [], last: 0, trimmed: false };
  const events: RunEvent[] = [];
  for (const { first, body } of rows) {
    if (body === null) continue;
    const batch = JSON.parse(body) as RunEvent[];
    events.push(...batch.slice(Math.max(0, after + 1 - Number(first))));
  }
  return {
    events: events.slice(0, limit),
    last: Number(row.newest),
    trimmed: after + 1 < Number(row.oldest),
  };
}

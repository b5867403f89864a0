import type { ConversationRecords, RecordsCommit, ThreadRecords } from "../conversation/records.js";
import { checkLeaseThread, type Database } from "./client.js";
import { batchArguments } from "./event-log.js";

/** Conversations in two tables: a row per thread with its version, and a row per text. */
export class PostgresConversationRecords implements ConversationRecords {
  readonly engine: object;
  readonly #database: Database;
  readonly #maxEventsPerRun: number;

  /** @param maxEventsPerRun as that of the event log, for events that go along with a commit. */
  constructor(database: Database, engine: object, maxEventsPerRun = Infinity) {
    this.#database = database;
    this.engine = engine;
    this.#maxEventsPerRun = maxEventsPerRun;
  }

  async load(threadId: string, known?: string): Promise<ThreadRecords | "unchanged" | undefined> {
    const rows = (await this.#database.query(
      `SELECT version, key, body FROM ${this.#database.schema}.load_conversation($1, $2)`,
      [threadId, known ?? null],
      { retry: true },
    )) as readonly RecordRow[];
    const [row] = rows;
    if (row === undefined) return undefined;
    const { version } = row;
    if (version === known) return "unchanged";
    const records = new Map<string, string>();
    for (const { key, body } of rows) if (key !== null && body !== null) records.set(key, body);
    return { version, records };
  }

  async commit(change: RecordsCommit): Promise<boolean> {
    const { threadId, base, token, lease, puts, deletes, events } = change;
    if (lease !== undefined) checkLeaseThread(lease, threadId);
    const rows = await this.#database.query(
      `SELECT ${this.#database.schema}.commit_conversation(
         $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) AS applied`,
      [
        threadId,
        base ?? null,
        token,
        lease?.epoch ?? null,
        lease?.owner ?? null,
        puts.map(([key]) => key),
        puts.map(([, body]) => body),
        [...deletes],
        events?.runId ?? null,
        ...batchArguments(events?.runId ?? "", events?.events, this.#maxEventsPerRun),
      ],
      { retry: true },
    );
    return rows[0]?.["applied"] === true;
  }

  async delete(threadId: string): Promise<void> {
    await this.#database.query(`SELECT ${this.#database.schema}.forget_conversation($1)`, [threadId], {
      retry: true,
    });
  }

  async threads(options: {
    readonly after: string | undefined;
    readonly limit: number;
  }): Promise<readonly string[]> {
    const rows = (await this.#database.query(
      `SELECT thread FROM ${this.#database.schema}.list_conversations($1, $2) AS thread`,
      [options.after ?? null, options.limit],
      { retry: true },
    )) as readonly { readonly thread: string }[];
    return rows.map(({ thread }) => thread);
  }
}

interface RecordRow {
  readonly version: string;
  readonly key: string | null;
  readonly body: string | null;
}

import { integerOption, limitOption, refuseUnknownKeys } from "../../internal/check-options.js";
import { RecordsConversationSaver } from "../conversation/records-saver.js";
import {
  CONVERSATION_OPTIONS,
  conversationOptions,
  type ConversationOptions,
} from "../engine/conversation-options.js";
import {
  keepingDefaults,
  SweptStore,
  type EngineStore,
  type EngineStoreOptions,
} from "../engine/engine-store.js";
import { closingController } from "../engine/retry.js";
import type { ForkingSaver, SessionStore } from "../store.js";
import type { Database, PostgresClient, PostgresPool } from "./client.js";
import { PostgresConversationRecords } from "./conversation-records.js";
import type { EmbeddedPostgres } from "./embedded.js";
import { PostgresEventLog } from "./event-log.js";
import { Hints } from "./hints.js";
import { migrate } from "./migrate.js";
import {
  CONNECTION_OPTIONS,
  connectionDefaults,
  openDatabase,
  type PostgresConnectionOptions,
} from "./options.js";
import { PostgresProcessRegistry } from "./processes.js";
import { PostgresRunLedger } from "./run-ledger.js";
import { PostgresSessionStore } from "./session-store.js";

/** What {@link postgresStore} does where its options say nothing. */
export const postgresStoreDefaults = Object.freeze({
  ...connectionDefaults,
  ...keepingDefaults,
  pollMs: 250,
  maxEventsPerRun: 10_000,
});

/** `runRetentionMs`, `maxRetainedRuns`, `maxEventsPerRun` and `maxStateBytes` may be `Infinity`, for no limit. */
export interface PostgresStoreOptions extends PostgresConnectionOptions, EngineStoreOptions {
  /**
   * Whether to hold one connection of the pool that listens for what other processes do. Without it, and while it is
   * lost, they are polled. Needs a direct connection: one through a pooler is found out to hear nothing.
   *
   * @defaultValue true, unless the pool has one connection only; never with PGlite
   */
  readonly listen?: boolean | undefined;
  /** How often to look what other processes did while nothing listens, in milliseconds; else 20 times less often. @defaultValue 250 */
  readonly pollMs?: number | undefined;
  /** About the most events kept per run; the oldest go first. @defaultValue 10,000 */
  readonly maxEventsPerRun?: number | undefined;
}

/** A whole store in PostgreSQL. */
export interface PostgresStore extends EngineStore {
  /**
   * Creates the schema or brings it up to date; takes the directory of a PGlite. May be called by many processes at
   * once, and again.
   *
   * @throws {AgentError} `UNSUPPORTED` on a database that is too old, or a schema of a later version of this library
   * that this one can't work with; `STORE_UNAVAILABLE` when the database can't be reached, refuses the login, is
   * read-only, or when another process has the directory of the PGlite.
   */
  init(): Promise<void>;
  /**
   * Gives back the connection that listens and sends nothing more. The pool, or the PGlite that was given open, stays
   * open: end it after. One that the store has opened is closed.
   */
  close(): Promise<void>;
}

const OPTIONS = [
  ...Object.keys(postgresStoreDefaults),
  ...CONVERSATION_OPTIONS,
  "clock",
  "listen",
  "sessionTtlMs",
];

/**
 * Keeps everything in PostgreSQL 13 or later, for any number of processes, or in a PGlite, for one. Each step is one
 * statement; what it has acknowledged is as durable as the server's `synchronous_commit` says.
 *
 * A PGlite on disk is damaged when a second process opens its directory. With `{ directory, open }` the store takes the
 * directory before it lets `open` open it. A PGlite that is given open has been opened unseen: a second one is refused
 * at its first use, when the directory may be damaged already.
 *
 * @throws {TypeError} on what is no client, and options of a wrong type or name. @throws {RangeError} on limits that
 * are no integers from 1 up (`retryMs`: from 0).
 */
export function postgresStore(client: PostgresClient, options: PostgresStoreOptions = {}): PostgresStore {
  refuseUnknownKeys("postgresStore", options, OPTIONS);
  return new WholePostgresStore(client, options);
}

class WholePostgresStore extends SweptStore implements PostgresStore {
  readonly sessions: SessionStore;
  readonly checkpointer: ForkingSaver;
  readonly runs: PostgresRunLedger;
  readonly events: PostgresEventLog;
  readonly processes: PostgresProcessRegistry;
  readonly #database: Database;
  /** What makes the schema must not wait for itself. */
  readonly #migrating: Database;
  readonly #hints: Hints;
  readonly #closing = closingController();

  constructor(client: PostgresClient, options: PostgresStoreOptions) {
    super(options);
    const limit = (name: "runRetentionMs" | "maxRetainedRuns" | "maxEventsPerRun" | "maxStateBytes") =>
      limitOption(name, options[name], postgresStoreDefaults[name]);
    const pollMs = integerOption("pollMs", options.pollMs, postgresStoreDefaults.pollMs, 1);
    const database = openDatabase(client, options, { signal: this.#closing.signal });
    const hints = new Hints(database, { listen: listenOption(database, options.listen), pollMs });
    const engine = database;
    const maxEventsPerRun = limit("maxEventsPerRun");
    this.#database = database;
    this.#migrating = openDatabase(client, options, { signal: this.#closing.signal });
    this.#hints = hints;
    const saver = new RecordsConversationSaver(
      new PostgresConversationRecords(database, engine, maxEventsPerRun),
      conversationOptions(options),
    );
    this.checkpointer = saver;
    this.runs = new PostgresRunLedger(database, hints, {
      engine,
      runRetentionMs: limit("runRetentionMs"),
      maxRetainedRuns: limit("maxRetainedRuns"),
      maxStateBytes: limit("maxStateBytes"),
      onPurge: (threadId) => {
        saver.forget(threadId);
        this.events.forget(threadId);
      },
      maxEventsPerRun,
    });
    this.sessions = new PostgresSessionStore(database);
    this.events = new PostgresEventLog(database, hints, { maxEventsPerRun });
    this.processes = new PostgresProcessRegistry(database, hints);
  }

  // Properties and not methods, so that `{ ...postgresStore(pool), events }` has them too.

  readonly init = async (): Promise<void> => {
    await migrate(this.#database);
    // A database that was emptied is one to begin in anew.
    this.#database.remake = () => migrate(this.#migrating);
  };

  readonly close = async (): Promise<void> => {
    this.stopTelling();
    await this.#hints.close();
    this.#closing.abort();
    await this.#migrating.close();
    await this.#database.close();
  };
}

function listenOption(database: Database, listen: boolean | undefined): boolean {
  const { pool } = database;
  const isPossible = pool !== undefined && pool.options?.max !== 1;
  if (listen === undefined) return isPossible;
  // Hosts without types give anything.
  if (typeof (listen as unknown) !== "boolean") {
    throw new TypeError(`Expected \`listen\` to be a boolean, got \`${String(listen)}\` (${typeof listen})`);
  }
  if (listen && !isPossible) {
    throw new TypeError(
      "Expected `listen` to be false: it takes a connection of its own, so a pool of at least 2, and PGlite has one only",
    );
  }
  return listen;
}

export interface UnfencedPostgresCheckpointerOptions extends PostgresConnectionOptions, ConversationOptions {}

/**
 * The conversations of a {@link postgresStore} of the same schema, open to writes without a lease: for tools of the
 * host, while nothing runs in the sessions that they write, and for conformance tests. The schema must be there.
 *
 * @throws {TypeError | RangeError} as {@link postgresStore}.
 */
export function unfencedPostgresCheckpointer(
  client: PostgresPool | EmbeddedPostgres,
  options: UnfencedPostgresCheckpointerOptions = {},
): ForkingSaver {
  refuseUnknownKeys("unfencedPostgresCheckpointer", options, [
    ...CONNECTION_OPTIONS,
    ...CONVERSATION_OPTIONS,
  ]);
  const database = openDatabase(client, options, { locks: false });
  const records = new PostgresConversationRecords(database, database);
  return RecordsConversationSaver.unfenced(records, conversationOptions(options));
}

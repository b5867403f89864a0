import { AgentError } from "../../errors.js";
import type { Clock } from "../../internal/clock.js";
import { withTimeLimit } from "../../internal/time-limit.js";
import { retrying } from "../engine/retry.js";
import { Embedded, isDirectory, type EmbeddedDirectory, type EmbeddedPostgres } from "./embedded.js";
import { LATE, isMissing, isReadOnly, judge } from "./failures.js";

/** What a statement gives back, as far as it is read. */
export interface PostgresResult {
  // Rows are whatever the statement selects.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly rows: any[];
}

/** A connection checked out of a {@link PostgresPool}. */
export interface PostgresConnection {
  query(sql: string, params?: unknown[]): Promise<PostgresResult>;
  /** Gives it back; with an error or `true` it is closed instead. */
  release(error?: Error | boolean): void;
  // Drivers differ in what their listeners are given.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  on(event: string, listener: (...args: any[]) => void): unknown;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  removeListener(event: string, listener: (...args: any[]) => void): unknown;
}

/** The part of a `Pool` of the `pg` package that is used. */
export interface PostgresPool {
  connect(): Promise<PostgresConnection>;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  on(event: "error" | "acquire", listener: (...args: any[]) => void): unknown;
  readonly options?: { readonly max?: number | undefined } | undefined;
}

/**
 * A `Pool` of the `pg` package, a directory for a `PGlite` of `@electric-sql/pglite`, or such a `PGlite`, which has been
 * opened already.
 */
export type PostgresClient = PostgresPool | EmbeddedDirectory | EmbeddedPostgres;

/** A row as it came, to be cast to what was selected. int8 may be a string, a number or a bigint: go over `Number`. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type SqlRow = Readonly<Record<string, any>>;

/** Runs statements one after another on one connection. Without parameters the text may hold several. */
export type RunSql = (sql: string, params?: readonly unknown[]) => Promise<readonly SqlRow[]>;

export interface QueryOptions {
  /** Whether sending it again does no harm when its answer was lost: reads, and steps that recognise themselves. */
  readonly retry: boolean;
}

export interface DatabaseOptions {
  readonly clock: Clock;
  /** Where tables and functions are. */
  readonly schema: string;
  readonly retryMs: number;
  /** How long a statement of a pool may take, and the wait for a connection before it. */
  readonly statementTimeoutMs: number;
  /** Whether to take the directory of a PGlite, until `close()`. @defaultValue true */
  readonly locks?: boolean | undefined;
  /** Aborted when the store is closed: retries end, and nothing more is sent. */
  readonly signal?: AbortSignal | undefined;
}

/** Pools, and their connections, that have a listener for errors. */
const guarded = new WeakSet<object>();

/**
 * A connection that is lost is an event, and an event that nobody listens to ends the process. The pool listens to idle
 * connections and tells of them; whoever has one checked out listens to it, but only once `connect()` has settled, which
 * is too late when the server says in one breath that it is ready and that it shuts down. `acquire` comes before.
 */
function guard(pool: PostgresPool): void {
  if (guarded.has(pool)) return;
  guarded.add(pool);
  pool.on("error", () => {
    // The pool has let go of the connection; the next statement gets another or says what is wrong.
  });
  pool.on("acquire", (connection: PostgresConnection) => {
    if (guarded.has(connection)) return;
    guarded.add(connection);
    connection.on("error", () => {
      // Its statements fail, which says enough.
    });
  });
}

/**
 * All statements of a store go through here: errors become {@link AgentError}s, and what can be tried again is.
 *
 * No method holds a connection while it waits for another, so that a pool of one will do. Statements are unnamed and
 * leave no state in the connection, so that poolers will do.
 */
export class Database {
  /** Quoted, to go before the name of a table or function. */
  readonly schema: string;
  readonly schemaName: string;
  readonly clock: Clock;
  /** None with an embedded database, which is the only one to talk to. */
  readonly pool: PostgresPool | undefined;
  readonly #embedded: Embedded | undefined;
  /** Makes the schema again that a statement has missed, which then is sent again. Set once the schema was there. */
  remake: (() => Promise<void>) | undefined;
  #remaking: Promise<void> | undefined;
  readonly #options: DatabaseOptions;

  /** @throws {TypeError} on a client that is neither. */
  constructor(client: PostgresClient, options: DatabaseOptions) {
    if (isEmbedded(client)) this.#embedded = new Embedded(client, options.clock, options.locks !== false);
    else if (isPool(client)) this.pool = client;
    else {
      throw new TypeError(
        "Expected `client` to be a Pool of `pg`, or `{ directory, open }` or a PGlite of `@electric-sql/pglite`",
      );
    }
    this.schemaName = options.schema;
    this.schema = quoteName(options.schema);
    this.clock = options.clock;
    this.#options = options;
    if (this.pool !== undefined) guard(this.pool);
  }

  /**
   * Runs one statement, in a transaction of its own.
   *
   * @throws {AgentError} with the code that the step's function raised, or `STORE_UNAVAILABLE`.
   */
  query(sql: string, params: readonly unknown[], { retry }: QueryOptions): Promise<readonly SqlRow[]> {
    return this.#retrying(retry, async () => {
      if (this.#embedded !== undefined) return rowsOf((await this.#embedded.get()).query(sql, [...params]));
      return this.withConnection((run) => run(sql, params));
    });
  }

  /**
   * Runs `work` in one transaction, again from its start if `retry` says that this does no harm. Its statements are
   * not limited in time.
   *
   * @throws {AgentError} as {@link Database.query}; what else `work` throws goes through as it is.
   */
  transaction<T>(work: (run: RunSql) => Promise<T>, { retry }: QueryOptions): Promise<T> {
    return this.#retrying(retry, async () => {
      if (this.#embedded !== undefined) {
        return (await this.#embedded.get()).transaction((transaction) =>
          work(async (sql, params) => {
            if (params !== undefined) return rowsOf(transaction.query(sql, [...params]));
            await transaction.exec(sql);
            return [];
          }),
        );
      }
      return this.withConnection(async (run) => {
        await run("BEGIN");
        try {
          const result = await work(run);
          await run("COMMIT");
          return result;
        } catch (error) {
          await run("ROLLBACK").catch(() => undefined);
          throw error;
        }
      }, Infinity);
    });
  }

  /** Gives the directory of an embedded database free, and closes what this has opened. Nothing may be sent any more. */
  async close(): Promise<void> {
    await this.#embedded?.close();
  }

  /** What an error of the driver means to callers. */
  error(error: unknown): AgentError {
    return judge(error, true).error;
  }

  /** Checks a connection of the pool out, for as long as `work` takes. */
  async withConnection<T>(
    work: (run: RunSql) => Promise<T>,
    timeoutMs = this.#options.statementTimeoutMs,
  ): Promise<T> {
    const connection = await this.connect();
    let broken = false;
    const run: RunSql = async (sql, params) => {
      try {
        return await this.inTime(
          rowsOf(connection.query(sql, params === undefined ? undefined : [...params])),
          timeoutMs,
        );
      } catch (error) {
        // What the server refuses leaves the connection as it was; it need not be opened anew. But for one to a server
        // that was the primary: it would be refused for good, while a new one may lead to the new primary.
        if (isReadOnly(error) || judge(error, true).transient) broken = true;
        throw error;
      }
    };
    const onError = (): void => {
      broken = true;
    };
    connection.on("error", onError);
    try {
      return await work(run);
    } finally {
      connection.release(broken);
      // Only now: the pool listens again from `release` on.
      connection.removeListener("error", onError);
    }
  }

  /** A connection of the pool; the caller releases it. @throws what the driver throws, marked as not sent. */
  async connect(): Promise<PostgresConnection> {
    const { pool } = this;
    if (pool === undefined) throw new TypeError("An embedded database has no connections");
    const connecting = pool.connect();
    try {
      return await this.inTime(connecting);
    } catch (error) {
      // One that comes after all must go back.
      connecting.then(
        (late) => {
          late.release();
        },
        () => undefined,
      );
      throw new NotSent(error);
    }
  }

  /** Waits for what a connection does, as long as a statement may take. @throws {@link LATE} */
  async inTime<T>(promise: Promise<T>, ms = this.#options.statementTimeoutMs): Promise<T> {
    if (ms === Infinity) return promise;
    const timed = await withTimeLimit(promise, ms, this.clock);
    if (timed.kind === "done") return timed.value;
    throw timed.kind === "failed" ? timed.error : LATE;
  }

  #retrying<T>(harmless: boolean, attempt: () => Promise<T>): Promise<T> {
    const { retryMs, clock, signal } = this.#options;
    if (signal?.aborted === true)
      return Promise.reject(new AgentError("CLOSED", "The store has been closed."));
    return retrying(
      () => this.#remakingSchema(attempt),
      (error) => (error instanceof NotSent ? judge(error.reason, false) : judge(error, true)),
      harmless,
      { retryMs, clock, signal },
    );
  }

  /** What missed the schema has done nothing. */
  async #remakingSchema<T>(attempt: () => Promise<T>): Promise<T> {
    try {
      return await attempt();
    } catch (error) {
      const { remake } = this;
      if (remake === undefined || !isMissing(error)) throw error;
      this.#remaking ??= remake().finally(() => {
        this.#remaking = undefined;
      });
      await this.#remaking;
      return attempt();
    }
  }
}

/** No connection could be had: the statement has not been sent. */
class NotSent extends Error {
  constructor(readonly reason: unknown) {
    super("No connection");
  }
}

async function rowsOf(result: Promise<PostgresResult>): Promise<readonly SqlRow[]> {
  const done = await result;
  // Several statements in one text give an array of results, of which nobody reads the rows.
  return Array.isArray(done) ? [] : (done.rows as readonly SqlRow[]);
}

function isEmbedded(client: unknown): client is EmbeddedDirectory | EmbeddedPostgres {
  return (
    (typeof client === "object" && client !== null && isDirectory(client)) ||
    hasMethods(client, ["query", "exec", "transaction"])
  );
}

function isPool(client: unknown): client is PostgresPool {
  return hasMethods(client, ["query", "connect", "on", "end"]) && !hasMethods(client, ["release"]);
}

function hasMethods(client: unknown, names: readonly string[]): boolean {
  if (typeof client !== "object" || client === null) return false;
  return names.every((name) => typeof (client as Record<string, unknown>)[name] === "function");
}

/** A name as an identifier in SQL. @throws {TypeError} on one that PostgreSQL would cut off or refuse. */
export function quoteName(name: string): string {
  if (name === "" || name.includes("\0") || Buffer.byteLength(name) > 63) {
    throw new TypeError("Expected `schema` to be a name of 1 to 63 bytes");
  }
  return `"${name.replaceAll('"', '""')}"`;
}

/** Throws unless the lease is on the thread. */
export function checkLeaseThread(lease: { readonly threadId: string }, threadId: string): void {
  if (lease.threadId === threadId) return;
  throw new AgentError("LEASE_LOST", `The lease on thread \`${lease.threadId}\` is none on \`${threadId}\`.`);
}

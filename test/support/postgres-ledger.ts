import { Pool } from "pg";
import { systemClock } from "../../src/internal/clock.js";
import { Database, type PostgresClient } from "../../src/store/postgres/client.js";
import { PostgresEventLog } from "../../src/store/postgres/event-log.js";
import { Hints } from "../../src/store/postgres/hints.js";
import { migrate } from "../../src/store/postgres/migrate.js";
import { PostgresRunLedger } from "../../src/store/postgres/run-ledger.js";
import { PostgresSessionStore } from "../../src/store/postgres/session-store.js";

interface LedgerLimits {
  readonly runRetentionMs?: number;
  readonly maxRetainedRuns?: number;
  readonly maxStateBytes?: number;
}

const LIMITS = { runRetentionMs: 600_000, maxRetainedRuns: 20, maxStateBytes: 1_048_576 };

interface LedgerOptions {
  readonly schema: string;
  readonly limits?: LedgerLimits | undefined;
  readonly listen?: boolean | undefined;
  readonly connections?: number | undefined;
}

/** The ledger's side of a Postgres store, as one process has it. */
export class PostgresLedgerParts {
  readonly database: Database;
  readonly hints: Hints;
  readonly runs: PostgresRunLedger;
  readonly sessions: PostgresSessionStore;
  readonly events: PostgresEventLog;
  readonly #pool: Pool | undefined;
  readonly #others: Hints[] = [];

  /** `client`: the URL of a database, or an embedded one, which is left open. */
  constructor(client: string | PostgresClient, { schema, limits = {}, listen, connections }: LedgerOptions) {
    if (typeof client === "string") this.#pool = new Pool({ connectionString: client, max: connections });
    this.database = new Database(this.#pool ?? (client as PostgresClient), {
      clock: systemClock,
      schema,
      retryMs: 5_000,
      statementTimeoutMs: 20_000,
    });
    this.hints = new Hints(this.database, { listen: listen ?? false, pollMs: 100 });
    this.runs = new PostgresRunLedger(this.database, this.hints, { ...LIMITS, ...limits });
    this.sessions = new PostgresSessionStore(this.database);
    this.events = new PostgresEventLog(this.database, this.hints, { maxEventsPerRun: 10_000 });
  }

  /** Another ledger on the same rows, until the next `clear()`. */
  withLimits(limits: LedgerLimits): PostgresRunLedger {
    const hints = new Hints(this.database, { listen: false, pollMs: 100 });
    this.#others.push(hints);
    return new PostgresRunLedger(this.database, hints, { ...LIMITS, ...limits });
  }

  init(): Promise<void> {
    return migrate(this.database);
  }

  /** Runs a statement; `@` stands for the schema. */
  sql(text: string, params: readonly unknown[] = []): Promise<readonly Readonly<Record<string, unknown>>[]> {
    return this.database.query(text.replaceAll("@", this.database.schema), params, { retry: false });
  }

  /** Makes it as if `ms` had passed. */
  async advance(ms: number): Promise<void> {
    await this.sql(
      "WITH r AS (UPDATE @.runs SET retained_at = retained_at - $1::float8) " +
        "UPDATE @.sessions SET expires_at = expires_at - $1::float8, parked_at = parked_at - $1::float8, " +
        "last_used_at = last_used_at - $1::float8",
      [ms],
    );
  }

  /** Forgets everything, and ends the hints of other ledgers. */
  async clear(): Promise<void> {
    for (const hints of this.#others.splice(0)) await hints.close();
    await this.sql("TRUNCATE @.sessions, @.states, @.runs, @.lanes, @.events");
    await this.sql("UPDATE @.counters SET queued = 0, listed = 0");
  }

  /** How many sessions the ledger knows. */
  async size(): Promise<number> {
    const [row] = await this.sql("SELECT count(*) AS n FROM @.sessions");
    return Number(row?.["n"]);
  }

  async close(): Promise<void> {
    for (const hints of this.#others.splice(0)) await hints.close();
    await this.hints.close();
    await this.#pool?.end();
  }
}

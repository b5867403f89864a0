import { Pool, type PoolConfig } from "pg";
import { systemClock } from "../../src/internal/clock.js";
import type { RunEvent } from "../../src/run-event.js";
import { PostgresConversationRecords } from "../../src/store/postgres/conversation-records.js";
import { Database, type DatabaseOptions, type PostgresClient } from "../../src/store/postgres/client.js";
import { PostgresEventLog } from "../../src/store/postgres/event-log.js";
import { Hints, type HintsOptions } from "../../src/store/postgres/hints.js";
import { PostgresProcessRegistry } from "../../src/store/postgres/processes.js";
import type { Lease } from "../../src/store/store.js";

export interface PartsOptions
  extends Partial<Omit<DatabaseOptions, "signal">>, Partial<HintsOptions>, PoolConfig {
  readonly maxEventsPerRun?: number;
}

/** The parts of a Postgres store beside its ledger, as one process has them. */
export class PostgresParts {
  readonly database: Database;
  readonly hints: Hints;
  readonly events: PostgresEventLog;
  readonly records: PostgresConversationRecords;
  readonly processes: PostgresProcessRegistry;
  /** The texts of the statements that were sent, in order. */
  readonly statements: string[] = [];
  readonly pool: Pool | undefined;

  constructor(client: string | PostgresClient, options: PartsOptions = {}) {
    const {
      clock = systemClock,
      schema = "agent_sessions",
      retryMs = 5_000,
      statementTimeoutMs = 10_000,
    } = options;
    const { listen = true, pollMs = 250, maxEventsPerRun = 10_000, ...pool } = options;
    this.pool = typeof client === "string" ? new Pool({ connectionString: client, ...pool }) : undefined;
    this.database = new Database(this.pool ?? (client as PostgresClient), {
      clock,
      schema,
      retryMs,
      statementTimeoutMs,
    });
    const query = this.database.query.bind(this.database);
    this.database.query = (sql, params, how) => {
      this.statements.push(sql);
      return query(sql, params, how);
    };
    this.hints = new Hints(this.database, { listen, pollMs });
    this.events = new PostgresEventLog(this.database, this.hints, { maxEventsPerRun });
    this.records = new PostgresConversationRecords(this.database, {});
    this.processes = new PostgresProcessRegistry(this.database, this.hints);
  }

  /** How many statements have called a function of the schema. */
  calls(name: string): number {
    return this.statements.filter((sql) => sql.includes(`.${name}(`)).length;
  }

  /** Gives a lease on a running run, without a ledger. */
  async grant(threadId: string, runId: string, epoch = 1): Promise<Lease> {
    const owner = `p:${String(epoch)}`;
    await this.database.query(
      `INSERT INTO ${this.database.schema}.sessions (thread_id, session_id, last_used_at, config, epoch, lease_epoch, owner, running)
       VALUES ($1, $1, 0, '{}', $2, $2, $3, $4)
       ON CONFLICT (thread_id) DO UPDATE SET epoch = $2, lease_epoch = $2, owner = $3, running = $4`,
      [threadId, epoch, owner, runId],
      { retry: true },
    );
    return { threadId, epoch, owner };
  }

  async close(): Promise<void> {
    await this.hints.close();
    await this.pool?.end();
  }
}

/** Text deltas with the numbers from `from` to `to`. */
export function deltas(from: number, to: number, delta = "x"): RunEvent[] {
  return Array.from({ length: to - from + 1 }, (_, i) => ({
    type: "text-delta",
    id: "t",
    delta,
    seq: from + i,
  }));
}

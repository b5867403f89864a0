import { integerOption } from "../../internal/check-options.js";
import { systemClock, type Clock } from "../../internal/clock.js";
import { Database, quoteName, type DatabaseOptions, type PostgresClient } from "./client.js";

export const connectionDefaults = {
  schema: "agent_sessions",
  retryMs: 5_000,
  statementTimeoutMs: 10_000,
} as const;

/** Where the tables are, and how the database is talked to. */
export interface PostgresConnectionOptions {
  /** What delays and time limits are measured with; what is stored has the time of the database. @defaultValue the system's clock */
  readonly clock?: Clock | undefined;
  /** The schema of the tables, which `init()` creates. Stores of different schemas know nothing of each other. @defaultValue "agent_sessions" */
  readonly schema?: string | undefined;
  /**
   * For how long steps are tried again while the database can't be reached, in milliseconds; then `STORE_UNAVAILABLE`.
   * Only those that do no harm when they are done twice. @defaultValue 5,000
   */
  readonly retryMs?: number | undefined;
  /**
   * How long a statement may take, and the wait for a connection of the pool before it, in milliseconds. Its connection
   * is then closed. No limit with PGlite, nor for migrations. @defaultValue 10,000
   */
  readonly statementTimeoutMs?: number | undefined;
}

export const CONNECTION_OPTIONS: readonly string[] = [...Object.keys(connectionDefaults), "clock"];

/** @throws {TypeError} on what is no client or option. @throws {RangeError} on times out of range. */
export function openDatabase(
  client: PostgresClient,
  options: PostgresConnectionOptions,
  ending: Pick<DatabaseOptions, "signal" | "locks"> = {},
): Database {
  const { schema = connectionDefaults.schema, clock = systemClock } = options;
  quoteName(schema);
  const time = (name: "retryMs" | "statementTimeoutMs", min: number): number =>
    integerOption(name, options[name], connectionDefaults[name], min);
  return new Database(client, {
    clock,
    schema,
    retryMs: time("retryMs", 0),
    statementTimeoutMs: time("statementTimeoutMs", 1),
    ...ending,
  });
}

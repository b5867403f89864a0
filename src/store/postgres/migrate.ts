import { AgentError } from "../../errors.js";
import type { Database, RunSql } from "./client.js";
import { migrations, type Migration } from "./schema/index.js";

/*
 * How a schema comes to the version that this code knows:
 *
 *   missing ──▶ current ◀── older              one transaction, under a lock: all of it or nothing
 *               newer, compatible              left as it is: functions are only added, and old ones keep their meaning
 *               newer, incompatible            refused
 *               damaged, or not ours           refused: which steps it lacks can't be known
 *
 * Whoever finds it current does nothing but look. Of processes that start at once one migrates; the others wait for
 * its transaction and find that it is done. The lock ends with the transaction, so that it also holds through poolers,
 * and nothing is left of a process that dies.
 */

/** Anything else is no version: compared as it is, it would pass for one that is current. */
const WHOLE_NUMBER = /^\d{1,9}$/;

/** The oldest PostgreSQL that has all that is used, as in `server_version_num`. */
const MIN_SERVER = 130_000;

interface SchemaVersion {
  readonly version: number;
  readonly compatible: number;
}

/**
 * Brings the schema to the version of this code, creating it when it is missing.
 *
 * @throws {AgentError} `UNSUPPORTED` when the schema is newer than this code can work with or does not say its version,
 * or the database is too old or set up in a way that steps can't be atomic in; `STORE_UNAVAILABLE` when it can't be
 * reached or does not let us.
 */
export async function migrate(database: Database, steps: readonly Migration[] = migrations): Promise<void> {
  if (await isCurrent(database, steps)) return;
  await database.transaction(
    async (run) => {
      await run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED");
      await run("SELECT pg_advisory_xact_lock(hashtext('agent_sessions.migrate'), hashtext($1))", [
        database.schemaName,
      ]);
      const [schema] = await run("SELECT to_regnamespace($1) IS NOT NULL AS there", [database.schema]);
      if (schema?.["there"] !== true) await run(`CREATE SCHEMA ${database.schema}`);
      await run("SELECT set_config('search_path', $1, true)", [`${database.schema}, pg_temp`]);
      const found = await versionIn(run, database);
      if (checkVersion(found, database, steps)) return;
      if (found === undefined) {
        await run("CREATE TABLE schema_version (version integer NOT NULL, compatible integer NOT NULL)");
        await run("INSERT INTO schema_version VALUES (0, 0)");
      }
      for (const { version, compatible, sql } of steps) {
        if (version <= (found?.version ?? 0)) continue;
        for (const part of sql) await run(part);
        await run("UPDATE schema_version SET version = $1, compatible = $2", [version, compatible]);
      }
    },
    { retry: true },
  );
}

async function isCurrent(database: Database, steps: readonly Migration[]): Promise<boolean> {
  const run: RunSql = (sql, params = []) => database.query(sql, params, { retry: true });
  await checkServer(run);
  return checkVersion(await versionIn(run, database), database, steps);
}

async function versionIn(run: RunSql, database: Database): Promise<SchemaVersion | undefined> {
  const table = `${database.schema}.schema_version`;
  const [known] = await run("SELECT to_regclass($1) IS NOT NULL AS there", [table]);
  if (known?.["there"] !== true) return undefined;
  // All columns, since those of another program's table may have other names.
  const [row, second] = await run(`SELECT * FROM ${table} LIMIT 2`, []);
  const numbers = [row?.["version"], row?.["compatible"]].map(String);
  if (second !== undefined || !numbers.every((text) => WHOLE_NUMBER.test(text))) {
    throw new AgentError(
      "UNSUPPORTED",
      `Table \`schema_version\` of schema \`${database.schemaName}\` does not say which version the schema has: it is damaged, or belongs to another program. Restore it from a backup, or use another schema.`,
    );
  }
  return { version: Number(numbers[0]), compatible: Number(numbers[1]) };
}

/** Whether there is nothing to do. @throws {AgentError} `UNSUPPORTED` */
function checkVersion(
  found: SchemaVersion | undefined,
  database: Database,
  steps: readonly Migration[],
): boolean {
  const known = steps.at(-1)?.version ?? 0;
  if (found === undefined || found.version < known) return false;
  if (found.version > known && found.compatible > known) {
    throw new AgentError(
      "UNSUPPORTED",
      `Schema \`${database.schemaName}\` has version ${String(found.version)}, made by a newer agent-sessions; this one knows up to ${String(known)}. Update agent-sessions here, or use another schema.`,
    );
  }
  return true;
}

async function checkServer(run: RunSql): Promise<void> {
  const [row] = await run(
    `SELECT current_setting('server_version_num') AS version, current_setting('server_encoding') AS encoding,
       current_setting('default_transaction_isolation') AS isolation`,
    [],
  );
  const refuse = (what: string): never => {
    throw new AgentError("UNSUPPORTED", what);
  };
  if (Number(row?.["version"]) < MIN_SERVER) refuse("Expected PostgreSQL 13 or newer.");
  if (row?.["encoding"] !== "UTF8") {
    refuse("Expected a database with the encoding UTF8: create it with `ENCODING 'UTF8'`.");
  }
  // A step takes its lock first and must then see what those before it have done.
  if (row?.["isolation"] !== "read committed") {
    refuse(
      "Expected `default_transaction_isolation` to be `read committed`, for this database and its user.",
    );
  }
}

import { afterAll, beforeAll, expect, it } from "vitest";
import { migrate } from "../../src/store/postgres/migrate.js";
import { migrations, type Migration } from "../../src/store/postgres/schema/index.js";
import { describeWithPostgres, startPostgres, type PostgresServer } from "../support/engines/index.js";
import { claimRequest, completion, submission } from "../support/ledger-requests.js";
import { PostgresLedgerParts } from "../support/postgres-ledger.js";

/** A later step that old code can live with, and one that it can't. */
const added: Migration = { version: 2, compatible: 1, sql: ["ALTER TABLE sessions ADD COLUMN extra text"] };
const broken: Migration = {
  version: 3,
  compatible: 3,
  sql: ["ALTER TABLE sessions RENAME COLUMN undo TO turns"],
};

describeWithPostgres("migrations", () => {
  let server: PostgresServer;
  let schemas = 0;
  const opened: PostgresLedgerParts[] = [];

  beforeAll(async () => {
    server = await startPostgres();
  });

  afterAll(async () => {
    for (const parts of opened) await parts.close();
    await server.stop();
  });

  function open(schema = `s${String(++schemas)}`, url = server.url): PostgresLedgerParts {
    const parts = new PostgresLedgerParts(url, { schema, connections: 2 });
    opened.push(parts);
    return parts;
  }

  async function versionOf(parts: PostgresLedgerParts): Promise<unknown> {
    const [row] = await parts.sql("SELECT version, compatible FROM @.schema_version");
    return row;
  }

  async function works(parts: PostgresLedgerParts, sessionId: string): Promise<void> {
    await parts.runs.submit(submission({ sessionId }));
    const claim = await parts.runs.claim(claimRequest());
    expect(claim?.run.sessionId).toBe(sessionId);
    const { lease, run } = claim!;
    expect(await parts.runs.finish(lease, run.runId, completion())).toMatchObject({ status: "completed" });
  }

  it("are made once by ten processes that start at the same time", async () => {
    const first = open();
    const others = Array.from({ length: 9 }, () => open(first.database.schemaName));
    await Promise.all([first, ...others].map((parts) => parts.init()));
    expect(await versionOf(first)).toEqual({ version: 1, compatible: 1 });
    await works(first, "a");
  });

  it("leave nothing when one fails, and go through the next time", async () => {
    const parts = open();
    const [first] = migrations;
    const failing = { ...first!, sql: [...first!.sql, "SELECT 1 / 0"] };
    await expect(migrate(parts.database, [failing])).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(await parts.sql("SELECT to_regnamespace($1) AS there", [parts.database.schema])).toEqual([
      { there: null },
    ]);
    await parts.init();
    await works(parts, "a");
  });

  it("go on from the version that is there and keep what is in it", async () => {
    const parts = open();
    await parts.init();
    await parts.runs.submit(submission({ sessionId: "before", runId: "r" }));
    await Promise.all([1, 2, 3].map(() => migrate(parts.database, [...migrations, added])));
    expect(await versionOf(parts)).toEqual({ version: 2, compatible: 1 });
    const claim = await parts.runs.claim(claimRequest());
    expect(claim?.run).toMatchObject({ sessionId: "before", runId: "r" });
  });

  it("by a newer version let an older one go on when they are compatible", async () => {
    const parts = open();
    await migrate(parts.database, [...migrations, added]);
    const old = open(parts.database.schemaName);
    await old.init();
    await works(old, "a");
    await works(parts, "b");
    expect(await versionOf(old)).toEqual({ version: 2, compatible: 1 });
  });

  it("by a newer version stop an older one that can't work with it, and say what to do", async () => {
    const parts = open();
    await migrate(parts.database, [...migrations, added, broken]);
    const old = open(parts.database.schemaName);
    await expect(old.init()).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("Update agent-sessions") as string,
    });
    expect(await versionOf(parts)).toEqual({ version: 3, compatible: 3 });
  });

  it("refuse a schema that does not say which version it has, and leave it as it is", async () => {
    const damages: Record<string, string> = {
      "no row": "DELETE FROM @.schema_version",
      "two rows": "INSERT INTO @.schema_version VALUES (7, 7)",
      "no number": "ALTER TABLE @.schema_version ALTER version TYPE text USING '1.x'",
      "no such column": "ALTER TABLE @.schema_version RENAME COLUMN compatible TO checksum",
    };
    for (const [what, sql] of Object.entries(damages)) {
      const parts = open();
      await parts.init();
      await parts.sql(sql);
      const rows = await parts.sql("SELECT * FROM @.schema_version");
      const again = open(parts.database.schemaName);
      await expect(again.init(), what).rejects.toMatchObject({
        code: "UNSUPPORTED",
        message: expect.stringContaining("schema_version") as string,
      });
      expect(await parts.sql("SELECT * FROM @.schema_version")).toEqual(rows);
    }
  });

  it("need no right to create a schema that is there, and say which right is missing else", async () => {
    await server.query("CREATE ROLE app LOGIN PASSWORD 'secret-word'");
    await server.query("CREATE SCHEMA given AUTHORIZATION app");
    await server.query("REVOKE CREATE ON DATABASE postgres FROM PUBLIC");
    const url = server.url.replace("postgres@", "app:secret-word@");
    const given = open("given", url);
    await given.init();
    await works(given, "a");
    const refused = open("other", url);
    await expect(refused.init()).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringContaining("privilege") as string,
    });
  });

  it("refuse a database whose transactions would not see what was done before them", async () => {
    const url = await server.createDatabase();
    const name = new URL(url).pathname.slice(1);
    await server.query(`ALTER DATABASE ${name} SET default_transaction_isolation TO 'repeatable read'`);
    await expect(open("s", url).init()).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("read committed") as string,
    });
  });

  it("refuse an encoding that does not take every text", async () => {
    await server.query("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    await expect(open("s", server.url.replace(/postgres$/, "latin")).init()).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("UTF8") as string,
    });
  });
});

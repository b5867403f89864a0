import { Pool } from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeWithPostgres, startPostgres, type PostgresServer } from "../support/engines/index.js";
import { completion, submission } from "../support/ledger-requests.js";
import { PostgresConversationRecords } from "../../src/store/postgres/conversation-records.js";
import { openDatabase } from "../../src/store/postgres/options.js";
import { postgresStore } from "../../src/store/postgres/index.js";
import { deltas } from "../support/postgres-parts.js";

const SESSIONS = 20_000;

/** Sessions that rest, that run and that wait, each of a user of its own, with all that sessions have. */
const CROWD = `
  INSERT INTO sessions (thread_id, session_id, user_id, created_order, created_at, last_used_at, config, queued, running, expires_at, head_order, head_affinity)
    SELECT 'x' || i, i, 'u' || i, nextval('ticks'), 1, now_ms(), '{}', (i % 4 = 1)::int,
      CASE WHEN i % 4 = 0 THEN 'r' END, CASE WHEN i % 4 = 0 THEN 1e15 END,
      CASE WHEN i % 4 = 1 THEN nextval('ticks') END, CASE WHEN i % 4 = 1 THEN '' END
    FROM generate_series(1, ${String(SESSIONS)}) i;
  INSERT INTO lanes SELECT user_key, '', head_order FROM sessions WHERE head_order IS NOT NULL;
  INSERT INTO runs (thread_id, run_id, turn_id, accepted_order, place, kind, input, fingerprint, config, nonce, status, created_at, retained_order, retained_at)
    SELECT thread_id, 'r', 'r', coalesce(head_order, 1), 1, 'message', '{}', 'f', '{}', 'n',
      CASE WHEN running IS NOT NULL THEN 'running' WHEN queued > 0 THEN 'queued' ELSE 'completed' END, 1,
      CASE WHEN running IS NULL AND queued = 0 THEN nextval('ticks') END, CASE WHEN running IS NULL AND queued = 0 THEN now_ms() END
    FROM sessions WHERE thread_id LIKE 'x%';
  INSERT INTO events SELECT thread_id, 'r', 1, 1, 1, '[]' FROM sessions WHERE thread_id LIKE 'x%';
  INSERT INTO states SELECT thread_id, '{}' FROM sessions WHERE thread_id LIKE 'x%';
  INSERT INTO conversations (thread_id, version) SELECT thread_id, 'v' FROM sessions WHERE thread_id LIKE 'x%';
  INSERT INTO records SELECT id, key, '' FROM conversations, unnest('{a,b,c}'::text[]) AS key WHERE thread_id LIKE 'x%';`;

describeWithPostgres("Steps planned when the tables were small", () => {
  let server: PostgresServer;
  beforeAll(async () => {
    // What is known of the tables is what this file analyzes.
    server = await startPostgres({ settings: { autovacuum: "off" } });
  }, 180_000);
  afterAll(() => server.stop());

  it.each([0, 60])(
    "read a few rows once they are large, analyzed with %i sessions",
    async (analyzed) => {
      const url = await server.createDatabase();
      // One connection, whose plans stay.
      const pool = new Pool({ connectionString: url, max: 1, options: "-c search_path=s" });
      const store = postgresStore(pool, { schema: "s" });
      await store.init();
      const records = new PostgresConversationRecords(openDatabase(pool, { schema: "s" }), {});

      /** All steps of a session's life but for its end. */
      const live = async (sessionId: string): Promise<void> => {
        const request = submission({ sessionId, runId: "r" });
        const { threadId } = request;
        await store.runs.submit(request);
        await store.runs.submit({ ...request, runId: "next" });
        const claim = { processId: "p", leaseMs: 10_000, maxAttempts: 3, maxConcurrentRunsPerUser: 3 };
        const { lease, run } = (await store.runs.claim(claim))!;
        await store.runs.renew([lease], 10_000);
        const { threadId: claimed } = lease;
        // The run may be one of the crowd, which has an event.
        const { last } = await store.events.read(claimed, run.runId, { after: 0, limit: 100 });
        await store.events.append(lease, run.runId, deltas(last + 1, last + 2));
        const loaded = await records.load(claimed);
        const base = typeof loaded === "object" ? loaded.version : undefined;
        const commit = { threadId: claimed, lease, puts: [["a", "1"]], deletes: ["b"] } as const;
        await records.commit({ ...commit, base, token: sessionId });
        await records.threads({ after: claimed, limit: 10 });
        await store.sessions.save({ threadId: claimed, sessionId, config: {} }, lease);
        await store.runs.writeState(lease, 1);
        await store.runs.readState(claimed);
        await store.runs.finish(lease, run.runId, completion());
        await store.runs.get(claimed, run.runId);
        await store.runs.current(threadId);
        await store.runs.sessions([threadId, claimed]);
        await store.runs.cancel(threadId);
        await store.sessions.get(threadId);
        await store.sessions.list({ limit: 20 });
        await store.runs.sweep({ interruptTtlMs: 1000 });
      };
      const end = async (sessionId: string): Promise<void> => {
        const { threadId } = submission({ sessionId, runId: "r" });
        await store.runs.tombstone(threadId);
        await store.runs.tombstones(10);
        await store.events.delete(threadId);
        await records.delete(threadId);
        await store.sessions.delete(threadId);
        await store.runs.purge(threadId);
      };

      for (let i = 0; i < analyzed; i++) await live(`kept ${String(i)}`);
      await pool.query("VACUUM ANALYZE");
      for (let i = 0; i < 8; i++) {
        await live(`young ${String(i)}`);
        await end(`young ${String(i)}`);
      }
      await pool.query(CROWD);
      const before = await rowsRead(pool);
      await live("old");
      await end("old");
      const after = await rowsRead(pool);
      await store.close();
      await pool.end();
      const many = [...after].map(([index, rows]) => [index, rows - (before.get(index) ?? 0)] as const);
      expect(many.filter(([, rows]) => rows > 500)).toEqual([]);
    },
    180_000,
  );
});

/** How many rows have been read so far, by index, and by table for scans of all of it. */
async function rowsRead(pool: Pool): Promise<ReadonlyMap<string, number>> {
  await pool.query("SELECT pg_stat_force_next_flush()");
  const { rows } = await pool.query<{ name: string; rows: string }>(
    `SELECT relname AS name, seq_tup_read AS rows FROM pg_stat_user_tables WHERE relname <> 'counters'
     UNION ALL SELECT indexrelname, idx_tup_read FROM pg_stat_user_indexes WHERE relname <> 'counters'`,
  );
  return new Map(rows.map(({ name, rows }) => [name, Number(rows)]));
}

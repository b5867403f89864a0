/* Scenario 12: rolling restarts under load, runs that are handed over, and deleting a session that is at work. */
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { expect, test } from "vitest";
import type { ServiceHealth, ServiceStats } from "../../src/index.js";
import { systemClock } from "../../src/internal/clock.js";
import { Database } from "../../src/store/postgres/client.js";
import { migrate } from "../../src/store/postgres/migrate.js";
import { migrations, type Migration } from "../../src/store/postgres/schema/index.js";
import { SLACK_MS, type Cluster } from "./cluster/cluster.js";
import { onEachEngine, onPostgres } from "./cluster/on-each-engine.js";
import { answerOf, type Program } from "./cluster/protocol.js";
import { lastTextOf } from "./cluster/reading.js";
import { now } from "./cluster/records.js";
import { until } from "./cluster/until.js";

/** Longer than any test waits for a hand-over: what goes on before it was released, and did not expire. */
const LONG_LEASE_MS = 60_000;
const DRAIN_MS = 1_500;

/** Users who say one thing after another, and look at each answer. */
function chatting(cluster: Cluster): { stop(): Promise<number> } {
  let going = true;
  const users = Array.from({ length: 12 }, async (_, user) => {
    const session = { sessionId: "s", userId: `u${String(user)}` };
    const said: string[] = [];
    while (going) {
      const runId = `u${String(user)}-${String(said.length)}`;
      const program: Program =
        user % 3 === 0
          ? { run: runId, rounds: [["alpha", "beta"]], words: 30, slowMs: 20 }
          : { run: runId, rounds: [["alpha"]] };
      await cluster.send({ ...session, runId, program });
      said.push(runId);
      const events = await cluster.read({ ...session, runId });
      expect(events.at(-1)).toMatchObject({ type: "run-finished", outcome: "completed" });
      expect(lastTextOf(events)).toBe(answerOf(program));
    }
    const history = await cluster.history(session);
    expect(history.filter(({ role }) => role === "user").map(({ id }) => id)).toEqual(said);
    return said.length;
  });
  return {
    stop: async () => {
      going = false;
      return (await Promise.all(users)).reduce((sum, count) => sum + count, 0);
    },
  };
}

onEachEngine("a rolling restart", (engine) => {
  test("under load loses no run, and each process exits by its deadline", async () => {
    const cluster = await engine.cluster(3, { workers: { drainMs: DRAIN_MS, leaseMs: LONG_LEASE_MS } });
    const users = chatting(cluster);
    for (const worker of [...cluster.workers]) {
      await sleep(300);
      await cluster.add();
      const started = now();
      await worker.terminate();
      // Its own time to stop what does not stop by itself, and to close.
      expect(now() - started).toBeLessThan(DRAIN_MS + 2_500 + SLACK_MS);
      expect(worker.output).not.toMatch(/Error/);
      expect(worker.records().at(-1)).toMatchObject({ event: "terminated" });
    }
    expect(await users.stop()).toBeGreaterThan(12);
  });

  test("hands a run over that would take too long, at once and without waiting for the lease", async () => {
    const cluster = await engine.cluster(1, { workers: { drainMs: 300, leaseMs: LONG_LEASE_MS } });
    const [owner] = cluster.workers;
    const program: Program = { run: "r", rounds: [["alpha"]] };
    const ref = { sessionId: "s", userId: "u", runId: "r" };
    const held = cluster.gates.hold("model:1", "r");
    await cluster.send({ ...ref, program });
    await held.reached;
    const other = await cluster.add();
    const reading = cluster.read(ref, { via: () => other });
    await owner!.terminate();
    const exitedAt = now();
    const events = await reading;
    const taken = cluster.steps("claim").find(({ worker }) => worker === other.name);
    expect(taken!.end - exitedAt).toBeLessThan(SLACK_MS);
    expect(events.at(-1)).toMatchObject({ outcome: "completed" });
    expect(lastTextOf(events)).toBe(answerOf(program));
    // What was finished was not done again.
    expect(cluster.modelCalls("r")).toEqual([1, 2]);
    expect(cluster.effects("r")).toHaveLength(1);
  });

  test("stops at the end of a step when it can: nothing at all is done twice", async () => {
    const cluster = await engine.cluster(1, { workers: { drainMs: 10_000, leaseMs: LONG_LEASE_MS } });
    const [owner] = cluster.workers;
    const ref = { sessionId: "s", userId: "u", runId: "r" };
    const held = cluster.gates.hold("tool:alpha:after", "r");
    await cluster.send({ ...ref, program: { run: "r", rounds: [["alpha"], ["beta"]] } });
    await held.reached;
    const other = await cluster.add();
    const exiting = owner!.terminate();
    await until(async () => (await owner!.call<ServiceHealth>("getHealth")).status === "draining");
    held.release();
    await exiting;
    expect((await cluster.read(ref)).at(-1)).toMatchObject({ outcome: "completed" });
    expect(cluster.modelCalls("r")).toEqual([1, 1, 1]);
    expect(cluster.effects("r").map(({ worker, tool }) => [worker, tool])).toEqual([
      [owner!.name, "alpha"],
      [other.name, "beta"],
    ]);
  });
});

onPostgres("a migration", (engine) => {
  // As a later version might do it: each table gets a column and each function is replaced, in one transaction.
  const next: Migration = {
    version: migrations.at(-1)!.version + 1,
    compatible: migrations.at(-1)!.version,
    sql: [
      `DO $$
      DECLARE it record;
      BEGIN
        FOR it IN SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema() LOOP
          EXECUTE format('ALTER TABLE %I ADD COLUMN later text NOT NULL DEFAULT %L', it.name, 'x');
        END LOOP;
        FOR it IN SELECT pg_get_functiondef(oid) AS body FROM pg_proc WHERE pronamespace = current_schema()::regnamespace LOOP
          EXECUTE it.body;
        END LOOP;
      END $$`,
    ],
  };

  test("of a later version, under load: those before it go on, and may still be started", async () => {
    const cluster = await engine.cluster(2, { workers: { leaseMs: LONG_LEASE_MS } });
    const users = chatting(cluster);
    await until(() => cluster.steps("finish").length > 12);
    const pool = new pg.Pool({ connectionString: engine.postgres.url, max: 1 });
    const database = new Database(pool, {
      ...{ clock: systemClock, schema: cluster.options.space },
      ...{ retryMs: 60_000, statementTimeoutMs: 60_000 },
    });
    try {
      await migrate(database, [...migrations, next]);
    } finally {
      await pool.end();
    }
    const before = cluster.steps("finish").length;
    // One of the same version, as a rollback or a restart would start it.
    const late = await cluster.add();
    await until(() => cluster.steps("finish").filter(({ worker }) => worker === late.name).length > 3);
    await until(() => cluster.steps("finish").length > before + 12);
    await users.stop();
    expect(cluster.notes("error")).toEqual([]);
    const [{ version }] = (await engine.postgres.query(
      `SELECT version FROM ${cluster.options.space}.schema_version`,
    )) as [{ version: number }];
    expect(version).toBe(next.version);
  });
});

onEachEngine("deleting a session", (engine) => {
  test("that is at work on another node wins: its run ends, and nothing of it comes back", async () => {
    const cluster = await engine.cluster(2);
    const sessions = Array.from({ length: 10 }, (_, index) => ({
      sessionId: `s${String(index)}`,
      userId: "u",
    }));
    await Promise.all(
      sessions.map(async (session, index) => {
        const runId = `r${String(index)}`;
        const program: Program = { run: runId, rounds: [["alpha"]], words: 60, slowMs: 20 };
        await cluster.send({ ...session, runId, program });
        await cluster.send({
          ...session,
          runId: `${runId}-next`,
          program: { run: `${runId}-next`, rounds: [] },
        });
        const owner = await cluster.ownerOf(runId);
        await sleep(index * 50);
        // A reader may find it ended as cancelled, or gone.
        const reading = cluster.read({ ...session, runId }).then(
          (events) => (events.at(-1) as { outcome?: string } | undefined)?.outcome ?? events,
          (error: unknown) => (error as { code?: string }).code ?? String(error),
        );
        expect(await cluster.ask("deleteSession", session, cluster.any(owner))).toBe(true);
        const last = await reading;
        expect(["cancelled", "completed", "RUN_NOT_FOUND"]).toContain(last);
      }),
    );
    await until(async () => {
      const stats = await Promise.all(cluster.workers.map((worker) => worker.call<ServiceStats>("getStats")));
      return stats.every(({ sessions: known, activeRuns }) => known === 0 && activeRuns === 0);
    });
    for (const worker of cluster.workers) {
      const listing = await worker.call<{ sessions: unknown[] }>("listSessions", { limit: 100 });
      expect(listing.sessions).toEqual([]);
      for (const session of sessions) {
        expect(await worker.call("getSession", session)).toBeNull();
        expect(await worker.call("getHistory", session)).toMatchObject({ messages: [] });
      }
    }
    // An old id can be used anew, and knows nothing of before.
    const program: Program = { run: "fresh", rounds: [] };
    await cluster.send({ ...sessions[0]!, runId: "fresh", program });
    expect((await cluster.read({ ...sessions[0]!, runId: "fresh" })).at(-1)).toMatchObject({
      outcome: "completed",
    });
    expect(await cluster.history(sessions[0]!)).toHaveLength(2);
    // The two nodes agree on what there is.
    for (const worker of cluster.workers) {
      const listing = await worker.call<{ sessions: unknown[] }>("listSessions", { limit: 100 });
      expect(listing.sessions).toHaveLength(1);
    }
  });
});

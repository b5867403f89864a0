import { PGlite } from "@electric-sql/pglite";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { PostgresClient } from "../../src/store/postgres/client.js";
import type { BusyPolicy, Claim, RunLedger } from "../../src/store/store.js";
import { describeWithPostgres, startPostgres, type PostgresServer } from "../support/engines/index.js";
import {
  answers,
  claimRequest,
  completion,
  interrupted,
  submission,
  threadOf,
} from "../support/ledger-requests.js";
import { describeLedger } from "../support/ledger-suite.js";
import { PostgresLedgerParts } from "../support/postgres-ledger.js";

const SCHEMA = 'The "ledger"';

/** What holds on a server and embedded. */
function facts(client: () => string | PostgresClient): void {
  let parts: PostgresLedgerParts;

  beforeAll(async () => {
    // One connection: what is sent first is done first.
    parts = new PostgresLedgerParts(client(), { schema: SCHEMA, connections: 1 });
    await parts.init();
  });

  beforeEach(() => parts.clear());

  afterAll(() => parts.close());

  describeLedger((limits) => {
    const ledger = parts.withLimits(limits);
    return { ledger, advance: (ms) => parts.advance(ms), size: () => parts.size() };
  }, 20_000);

  describe("a session that nobody uses", () => {
    async function finished(sessionId: string, how = completion()): Promise<Claim> {
      await parts.runs.submit(submission({ sessionId, userId: "u" }));
      const claim = (await parts.runs.claim(claimRequest()))!;
      await parts.events.append(claim.lease, claim.run.runId, [{ type: "data", name: "x", data: 1, seq: 1 }]);
      await parts.runs.writeState(claim.lease, "state");
      await parts.runs.finish(claim.lease, claim.run.runId, how);
      return claim;
    }

    it("is dropped after its time with all that belongs to it, and may come again", async () => {
      const { run, lease } = await finished("old");
      expect(await parts.runs.dropIdle(60_000)).toEqual([]);
      await parts.advance(60_000);
      await finished("new");
      expect(await parts.runs.dropIdle(60_000)).toEqual([
        { threadId: run.threadId, sessionId: "old", userId: "u" },
      ]);
      expect(await parts.sessions.get(run.threadId)).toBeUndefined();
      expect(await parts.sessions.count()).toBe(1);
      expect(await parts.runs.get(run.threadId, run.runId)).toBeUndefined();
      expect(await parts.events.read(run.threadId, run.runId, { after: 0, limit: 9 })).toMatchObject({
        last: 0,
      });
      const again = await finished("old");
      expect(again.lease.epoch).toBeGreaterThan(lease.epoch);
      expect(await parts.sessions.count()).toBe(2);
    });

    it("is not dropped while something waits, runs or is parked in it, or it is being deleted", async () => {
      await parts.runs.submit(submission({ sessionId: "waits" }));
      await parts.runs.submit(submission({ sessionId: "runs" }));
      await parts.runs.claim(claimRequest());
      const running = (await parts.runs.claim(claimRequest()))!;
      expect(running.run.sessionId).toBe("runs");
      await parts.runs.submit(submission({ sessionId: "waits" }));
      await finished("parked", interrupted("i"));
      await finished("deleted");
      await parts.runs.tombstone(threadOf("deleted", "u"));
      await parts.advance(60_000);
      expect(await parts.runs.dropIdle(1)).toEqual([]);
      expect(await parts.size()).toBe(4);
    });
  });

  it("takes its directory's row back for a session that was taken out of it", async () => {
    const { run } = await parts.runs.submit(submission({ sessionId: "s", defaults: { a: 1 } }));
    await parts.sessions.delete(run.threadId);
    expect(await parts.sessions.get(run.threadId)).toBeUndefined();
    expect(await parts.sessions.count()).toBe(0);
    await parts.runs.submit(submission({ sessionId: "s", defaults: { a: 2 } }));
    expect(await parts.sessions.get(run.threadId)).toMatchObject({ sessionId: "s", config: { a: 2 } });
    expect(await parts.sessions.count()).toBe(1);
  });

  it("tells a submission that was sent twice that it made the run, and another one that it did not", async () => {
    // The same call of the function, as when its answer was lost.
    const call = (nonce: string) =>
      parts.sql(
        `SELECT @.submit_run('t', 's', NULL, 'r', $1, 'message', '{}', 'f', '{}', NULL, 'enqueue', 9, 9, NULL, '', NULL, 9, 9, NULL, NULL, NULL) AS r`,
        [nonce],
      );
    const told = async (nonce: string) =>
      (JSON.parse(String((await call(nonce))[0]?.["r"])) as { created: boolean }).created;
    expect([await told("mine"), await told("mine"), await told("other")]).toEqual([true, true, false]);
    expect((await parts.runs.sessions(["t"])).get("t")?.queued).toBe(1);
  });

  it("takes a release that was told twice for one", async () => {
    await parts.runs.submit(submission({ sessionId: "s", runId: "r" }));
    const first = (await parts.runs.claim(claimRequest()))!;
    await parts.runs.release(first.lease, "r");
    await parts.runs.release(first.lease, "r");
    const second = (await parts.runs.claim(claimRequest()))!;
    await parts.runs.release(first.lease, "r");
    expect(await parts.runs.get(second.run.threadId, "r")).toMatchObject({ status: "running", attempt: 2 });
  });
}

describe("the ledger on PGlite", () => {
  let embedded: PGlite;

  beforeAll(async () => {
    embedded = await PGlite.create();
  });

  afterAll(() => embedded.close());

  facts(() => embedded);
});

describeWithPostgres("the ledger on Postgres", () => {
  let server: PostgresServer;

  beforeAll(async () => {
    server = await startPostgres();
  });

  afterAll(() => server.stop());

  facts(() => server.url);

  describe("with three processes at once", () => {
    const processes: PostgresLedgerParts[] = [];

    beforeAll(async () => {
      for (let i = 0; i < 3; i++) {
        processes.push(
          new PostgresLedgerParts(server.url, {
            schema: "racing",
            connections: 10,
            limits: { maxRetainedRuns: 1_000 },
          }),
        );
      }
      await Promise.all(processes.map((process) => process.init()));
    });

    beforeEach(() => processes[0]!.clear());

    afterAll(async () => {
      for (const process of processes) await process.close();
    });

    /** Calls `action` `each` times per process, all at once. */
    function race<T>(each: number, action: (ledger: RunLedger, n: number) => Promise<T>) {
      const calls = processes.flatMap(({ runs }, at) =>
        Array.from({ length: each }, (_, i) => action(runs, at * each + i)),
      );
      return Promise.allSettled(calls);
    }

    function codes(results: readonly PromiseSettledResult<unknown>[]): unknown[] {
      return results.flatMap((result) =>
        result.status === "rejected" ? [(result.reason as { code?: unknown }).code] : [],
      );
    }

    /** Runs everything to its end, with three workers; the run ids in the order of their starts. */
    async function work(limit?: number): Promise<string[]> {
      const started: string[] = [];
      const active = new Set<string>();
      await Promise.all(
        processes.map(async ({ runs }, at) => {
          for (;;) {
            const request = { processId: `p${String(at)}`, leaseMs: 60_000, maxConcurrentRunsPerUser: limit };
            const claim = await runs.claim(claimRequest(request));
            if (claim === undefined) return;
            const { threadId, runId } = claim.run;
            expect(active.has(threadId)).toBe(false);
            active.add(threadId);
            started.push(runId);
            active.delete(threadId);
            await runs.finish(claim.lease, runId, completion());
          }
        }),
      );
      return started;
    }

    it.each<BusyPolicy>(["enqueue", "interrupt", "rollback"])(
      "150 submissions under `%s` are applied one after another",
      async (onBusy) => {
        const results = await race(50, (ledger, n) =>
          ledger.submit(submission({ sessionId: "s", runId: `r${String(n)}`, onBusy, queueLimit: 1_000 })),
        );
        expect(codes(results)).toEqual([]);
        const rows = await processes[0]!.sql("SELECT run_id FROM @.runs ORDER BY accepted_order");
        const accepted = rows.map((row) => String(row["run_id"]));
        expect(new Set(accepted).size).toBe(150);
        const order = await work();
        // The last one to be accepted has cancelled all before it, unless they queue.
        expect(order).toEqual(onBusy === "enqueue" ? accepted : accepted.slice(-1));
      },
      60_000,
    );

    it("claims pass over a session whose row somebody holds on to, and wait for it but a moment", async () => {
      const [one, other] = processes as [PostgresLedgerParts, PostgresLedgerParts];
      await one.runs.submit(submission({ sessionId: "expired" }));
      const lost = (await one.runs.claim(claimRequest({ leaseMs: 60_000 })))!;
      await one.advance(60_000);
      await one.runs.submit(submission({ sessionId: "waits" }));
      await one.database.transaction(
        async (run) => {
          await run(`SELECT FROM ${one.database.schema}.sessions WHERE session_id = 'expired' FOR SHARE`);
          const request = claimRequest({ processId: "q", leaseMs: 60_000 });
          const begun = performance.now();
          expect((await other.runs.claim(request))?.run.sessionId).toBe("waits");
          expect(await other.runs.claim(request)).toBeUndefined();
          expect(performance.now() - begun).toBeLessThan(15_000);
        },
        { retry: false },
      );
      expect((await other.runs.claim(claimRequest({ processId: "q" })))?.run.runId).toBe(lost.run.runId);
    }, 60_000);

    it("of 150 submissions under `reject` one is accepted", async () => {
      const results = await race(50, (ledger) =>
        ledger.submit(submission({ sessionId: "s", onBusy: "reject" })),
      );
      expect(codes(results)).toEqual(Array.from({ length: 149 }, () => "SESSION_BUSY"));
    });

    it("150 submissions under one run id create it once", async () => {
      const results = await race(50, (ledger) => ledger.submit(submission({ sessionId: "s", runId: "r" })));
      const created = results.map((result) => result.status === "fulfilled" && result.value.created);
      expect(created.filter(Boolean)).toHaveLength(1);
      expect(codes(results)).toEqual([]);
      expect(await work()).toEqual(["r"]);
    });

    it("150 submissions of as many users keep the total limit", async () => {
      const results = await race(50, (ledger, n) =>
        ledger.submit(submission({ sessionId: "s", userId: `u${String(n)}`, totalQueueLimit: 40 })),
      );
      expect(codes(results)).toEqual(Array.from({ length: 110 }, () => "QUEUE_FULL"));
      expect(await processes[0]!.sessions.count()).toBe(40);
      expect(await processes[0]!.size()).toBe(40);
    });

    it("claims, in a mesh of users and sessions, give out each run once and keep the users' limits", async () => {
      await race(20, (ledger, n) =>
        ledger.submit(
          submission({ sessionId: String(n % 12), userId: n % 5 === 0 ? undefined : `u${String(n % 3)}` }),
        ),
      );
      const results = await race(20, (ledger, n) =>
        ledger.claim(
          claimRequest({ processId: `p${String(n)}`, leaseMs: 60_000, maxConcurrentRunsPerUser: 2 }),
        ),
      );
      expect(codes(results)).toEqual([]);
      const claims = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
      const given = claims.filter((claim) => claim !== undefined);
      expect(new Set(given.map(({ run }) => run.threadId)).size).toBe(given.length);
      for (const user of ["u0", "u1", "u2"]) {
        expect(given.filter(({ run }) => run.userId === user).length).toBeLessThanOrEqual(2);
      }
      for (const { lease, run } of given) await processes[0]!.runs.finish(lease, run.runId, completion());
      const rest = await work(2);
      expect(new Set([...rest, ...given.map(({ run }) => `${run.threadId} ${run.runId}`)]).size).toBe(60);
    }, 180_000);

    it("finish, cancel, release, takeover and deletion that race leave every run with one end", async () => {
      const { runs } = processes[0]!;
      for (let round = 0; round < 10; round++) {
        await processes[0]!.clear();
        for (let n = 0; n < 6; n++) {
          await runs.submit(submission({ sessionId: String(n), userId: "u", runId: `r${String(n)}` }));
        }
        const claims: Claim[] = [];
        for (let n = 0; n < 6; n++) claims.push((await runs.claim(claimRequest({ leaseMs: 60_000 })))!);
        await processes[0]!.advance(120_000);
        const results = await race(12, (ledger, n): Promise<unknown> => {
          const { lease, run } = claims[n % 6]!;
          const what = (n + round) % 6;
          if (what < 2) return ledger.finish(lease, run.runId, completion());
          if (what === 2) return ledger.cancel(lease.threadId, run.runId);
          if (what === 3) return ledger.release(lease, run.runId);
          if (what === 4) return ledger.claim(claimRequest({ processId: "p2", leaseMs: 60_000 }));
          return n % 3 === 0 ? ledger.tombstone(lease.threadId) : ledger.renew([lease], 1);
        });
        expect(codes(results).filter((code) => code !== "LEASE_LOST")).toEqual([]);
        await processes[0]!.advance(120_000);
        await work();
        const rows = await processes[0]!.sql(
          "SELECT status FROM @.runs WHERE status NOT IN ('completed', 'cancelled', 'failed')",
        );
        expect(rows).toEqual([]);
        const [left] = await processes[0]!.sql(
          `SELECT (SELECT count(*) FROM @.lanes)::int AS lanes, (SELECT sum(queued) FROM @.counters)::int AS queued,
             (SELECT count(*) FROM @.sessions WHERE running IS NOT NULL OR queued <> 0)::int AS busy`,
        );
        expect(left).toEqual({ lanes: 0, queued: 0, busy: 0 });
      }
    }, 180_000);

    it("a takeover waits for a fenced write that is under way, and then refuses the old owner's", async () => {
      const { runs, database } = processes[0]!;
      await runs.submit(submission({ sessionId: "s" }));
      const claim = (await runs.claim(claimRequest({ leaseMs: 60_000 })))!;
      const { threadId, epoch, owner } = claim.lease;
      await processes[0]!.advance(120_000);
      let taken: Promise<Claim | undefined> | undefined;
      let isTaken = false;
      await database.transaction(
        async (run) => {
          await run(`SET LOCAL search_path TO ${database.schema}`);
          await run("SELECT assert_lease($1, $2, $3)", [threadId, epoch, owner]);
          taken = processes[1]!.runs.claim(claimRequest({ processId: "p2" }));
          void taken.then((next) => (isTaken = next !== undefined));
          await run("SELECT pg_sleep(0.2)");
          expect(isTaken).toBe(false);
        },
        { retry: false },
      );
      expect((await taken)?.run).toMatchObject({ attempt: 2 });
      await expect(runs.writeState(claim.lease, 1)).rejects.toMatchObject({ code: "LEASE_LOST" });
    });

    it("of racing answers one is accepted", async () => {
      const { runs } = processes[0]!;
      await runs.submit(submission({ sessionId: "s" }));
      const claim = (await runs.claim(claimRequest()))!;
      await runs.finish(claim.lease, claim.run.runId, interrupted("i"));
      const results = await race(10, (ledger) => ledger.submit(answers("s", "i")));
      expect(codes(results)).toEqual(Array.from({ length: 29 }, () => "INTERRUPT_STALE"));
    });
  });
});

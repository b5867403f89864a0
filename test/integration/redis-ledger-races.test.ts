import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { isAgentError } from "../../src/errors.js";
import type { Claim, RunLedger, Submitted } from "../../src/store/store.js";
import { describeWithRedis, startRedis, type RedisServer } from "../support/engines/index.js";
import { claimRequest, completion, interrupted, submission, threadOf } from "../support/ledger-requests.js";
import { RedisLedgerFixture } from "../support/redis-ledger.js";

const CONNECTIONS = 3;
const EACH = 50;
const thread = threadOf("s");

describeWithRedis("processes that race for a ledger on Redis", () => {
  let server: RedisServer;
  let clients: Redis[];
  /** What each process has: the same store over a connection of its own. */
  let processes: RedisLedgerFixture[];
  let first: RedisLedgerFixture;

  beforeAll(async () => {
    server = await startRedis();
    clients = Array.from({ length: CONNECTIONS }, () => new Redis(server.url));
  });

  afterAll(async () => {
    for (const client of clients) client.disconnect();
    await server.stop();
  });

  beforeEach(() => {
    first = new RedisLedgerFixture(clients[0]!);
    processes = clients.map((client) => new RedisLedgerFixture(client, { tag: first.tag }));
  });

  /** Calls `step` so often in each process, all at once, and waits for what becomes of them. */
  async function race<T>(step: (ledger: RunLedger, n: number) => Promise<T>, each = EACH) {
    const all = processes.flatMap(({ ledger }, p) =>
      Array.from({ length: each }, (_, n) => step(ledger, p * each + n)),
    );
    const settled = await Promise.allSettled(all);
    return {
      done: settled.flatMap((result) => (result.status === "fulfilled" ? [result.value] : [])),
      codes: settled.flatMap((result) => {
        if (result.status === "fulfilled") return [];
        const reason: unknown = result.reason;
        if (!isAgentError(reason)) throw reason;
        return [reason.code];
      }),
    };
  }

  async function claimOne(ledger: RunLedger = first.ledger): Promise<Claim> {
    const claimed = await ledger.claim(claimRequest());
    if (claimed === undefined) throw new Error("there was nothing to claim");
    return claimed;
  }

  /** Runs all that waits, one after the other, by turns in each process. */
  async function runAll(): Promise<string[]> {
    const ran: string[] = [];
    for (let n = 0; ; n++) {
      const { ledger } = processes[n % processes.length]!;
      const claimed = await ledger.claim(claimRequest());
      if (claimed === undefined) return ran;
      expect(await first.ledger.claim(claimRequest())).toBeUndefined();
      await ledger.finish(claimed.lease, claimed.run.runId, completion());
      ran.push(claimed.run.runId);
    }
  }

  const racing = (n: number, changes: Partial<Parameters<typeof submission>[0]> = {}) =>
    submission({ sessionId: "s", runId: `r${String(n)}`, queueLimit: 1000, ...changes });

  it("`enqueue` accepts all, and they run in the order of each process", async () => {
    const { done } = await race((ledger, n) => ledger.submit(racing(n)));
    expect(done.filter(({ created }) => created)).toHaveLength(CONNECTIONS * EACH);
    const ran = await runAll();
    expect(ran).toHaveLength(CONNECTIONS * EACH);
    for (let p = 0; p < CONNECTIONS; p++) {
      const own = Array.from({ length: EACH }, (_, n) => `r${String(p * EACH + n)}`);
      expect(ran.filter((run) => own.includes(run))).toEqual(own);
    }
  });

  it("`reject` accepts exactly one", async () => {
    const { done, codes } = await race((ledger, n) => ledger.submit(racing(n, { onBusy: "reject" })));
    expect(done).toHaveLength(1);
    expect(new Set(codes)).toEqual(new Set(["SESSION_BUSY"]));
    expect(await runAll()).toEqual([done[0]!.run.runId]);
  });

  it.each(["interrupt", "rollback"] as const)(
    "`%s` leaves one run waiting and the running one told to stop",
    async (onBusy) => {
      await first.ledger.submit(racing(-1));
      const running = await claimOne();
      const { done } = await race((ledger, n) => ledger.submit(racing(n, { onBusy })));
      expect(done).toHaveLength(CONNECTIONS * EACH);
      const session = (await first.ledger.sessions([thread])).get(thread);
      expect(session).toMatchObject({ running: { cancelRequested: onBusy }, queued: 1 });
      expect(await first.ledger.claim(claimRequest())).toBeUndefined();
      await first.ledger.finish(running.lease, "r-1", completion({ outcome: "cancelled" }));
      expect((await claimOne()).undo).toEqual(onBusy === "rollback" ? ["r-1"] : []);
    },
  );

  it("one run id is created once, and all others follow it", async () => {
    const given = racing(0);
    const { done } = await race((ledger) => ledger.submit(given));
    expect(done).toHaveLength(CONNECTIONS * EACH);
    expect(done.filter(({ created }) => created)).toHaveLength(1);
    expect(await runAll()).toEqual(["r0"]);
  });

  it("a limit of waiting runs in all sessions holds", async () => {
    const { done, codes } = await race((ledger, n) =>
      ledger.submit(submission({ sessionId: `s${String(n)}`, totalQueueLimit: 20 })),
    );
    expect(done).toHaveLength(20);
    expect(new Set(codes)).toEqual(new Set(["QUEUE_FULL"]));
  });

  it("each patch of a config sticks, and each run has what had stuck when it was accepted", async () => {
    const { done } = await race(
      (ledger, n) =>
        ledger.submit(racing(n, { configPatch: { [`k${String(n)}`]: n }, defaults: { base: true } })),
      20,
    );
    const { config } = (await first.ledger.sessions([thread])).get(thread)!;
    expect(Object.keys(config)).toHaveLength(CONNECTIONS * 20);
    const sizes = done.map(({ run }) => Object.keys(run.config).length).sort((a, b) => a - b);
    expect(sizes).toEqual(Array.from({ length: CONNECTIONS * 20 }, (_, n) => n + 2));
  });

  it("a run is given out once", async () => {
    const runs = Array.from({ length: 40 }, (_, n) => `r${String(n)}`);
    for (const runId of runs) {
      await first.ledger.submit(
        submission({ sessionId: runId, userId: `u${String(runs.indexOf(runId) % 7)}`, runId }),
      );
    }
    const { done } = await race(
      (ledger, n) => ledger.claim(claimRequest({ processId: `p${String(n % 3)}` })),
      30,
    );
    const given = done.flatMap((claimed) => (claimed === undefined ? [] : [claimed.run.runId]));
    expect(given.sort()).toEqual(runs.sort());
  });

  it("no user gets more runs than the limit, whichever process claims", async () => {
    for (let n = 0; n < 60; n++) {
      await first.ledger.submit(submission({ sessionId: `s${String(n)}`, userId: `u${String(n % 4)}` }));
    }
    const { done } = await race((ledger) => ledger.claim(claimRequest({ maxConcurrentRunsPerUser: 3 })), 20);
    const users = done.flatMap((claimed) => (claimed === undefined ? [] : [claimed.run.userId]));
    for (let n = 0; n < 4; n++) expect(users.filter((user) => user === `u${String(n)}`)).toHaveLength(3);
  });

  it("an expired lease is taken over once", async () => {
    for (let n = 0; n < 20; n++) await first.ledger.submit(submission({ sessionId: `s${String(n)}` }));
    const before: Claim[] = [];
    for (let n = 0; n < 20; n++) before.push((await first.ledger.claim(claimRequest({ leaseMs: 60_000 })))!);
    await first.advance(60_000);
    const { done } = await race((ledger) => ledger.claim(claimRequest({ leaseMs: 60_000 })), 20);
    const taken = done.filter((claimed) => claimed !== undefined);
    expect(taken).toHaveLength(20);
    expect(new Set(taken.map(({ run }) => run.threadId)).size).toBe(20);
    for (const { run } of taken) expect(run.attempt).toBe(2);
    for (const { lease, run } of before) {
      await expect(first.ledger.finish(lease, run.runId, completion())).rejects.toMatchObject({
        code: "LEASE_LOST",
      });
    }
  });

  it("finish, cancel and takeover end a run once, and what was told is what is kept", async () => {
    for (let round = 0; round < 30; round++) {
      const sessionId = `round-${String(round)}`;
      const runId = "run";
      await first.ledger.submit(submission({ sessionId, runId }));
      const owner = (await first.ledger.claim(claimRequest({ leaseMs: 60_000 })))!;
      await first.advance(60_000);
      const [a, b, c] = processes.map(({ ledger }): RunLedger => ledger) as [RunLedger, RunLedger, RunLedger];
      const [finished, cancelled, taken] = await Promise.allSettled([
        a.finish(owner.lease, runId, completion()),
        b.cancel(owner.run.threadId, runId),
        c.claim(claimRequest({ processId: "p2", leaseMs: 60_000 })),
      ] as const);
      expect(cancelled.status).toBe("fulfilled");
      const successor = taken.status === "fulfilled" ? taken.value : undefined;
      // Either the owner came first, or the next one has it: never both, never none.
      expect(finished.status === "fulfilled").toBe(successor === undefined);
      if (finished.status === "fulfilled") {
        expect(await a.get(owner.run.threadId, runId)).toMatchObject({ status: "completed" });
      } else if (successor !== undefined) {
        expect(successor.run.attempt).toBe(2);
        const last = await c.finish(successor.lease, runId, completion({ outcome: "cancelled" }));
        expect(last).toMatchObject({ status: "cancelled", cancelRequested: "cancel" });
      }
      expect(await first.ledger.claim(claimRequest())).toBeUndefined();
    }
  });

  it("answers are taken once, beside submissions that close the question", async () => {
    for (let round = 0; round < 20; round++) {
      const sessionId = `round-${String(round)}`;
      await first.ledger.submit(submission({ sessionId, runId: "asks" }));
      const asking = await claimOne();
      await first.ledger.finish(asking.lease, "asks", interrupted("i"));
      const given = () => submission({ sessionId, input: { kind: "answers", answers: { i: true } } });
      const results = await Promise.allSettled<Submitted>([
        ...processes.map(({ ledger }) => ledger.submit(given())),
        processes[1]!.ledger.submit(submission({ sessionId, runId: "instead", onBusy: "interrupt" })),
      ]);
      const created = results.slice(0, -1).filter((result) => result.status === "fulfilled");
      expect(created.length).toBeLessThanOrEqual(1);
      const next = await claimOne();
      expect(next.run.runId).toBe("instead");
      await first.ledger.finish(next.lease, "instead", completion());
    }
  });
});

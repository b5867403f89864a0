import { createServer, type AddressInfo } from "node:net";
import { Cluster, Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Claim, LedgerHint } from "../../src/store/store.js";
import { describeWithRedis, startRedis, type RedisServer } from "../support/engines/index.js";
import {
  claimRequest,
  completion,
  interrupted,
  submission,
  summary,
  threadOf,
} from "../support/ledger-requests.js";
import { RedisLedgerFixture } from "../support/redis-ledger.js";

const thread = threadOf("s");

describeWithRedis("what Redis adds to the ledger", () => {
  let server: RedisServer;
  let client: Redis;
  let fixture: RedisLedgerFixture;

  beforeAll(async () => {
    server = await startRedis();
    client = new Redis(server.url);
  });

  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  beforeEach(() => {
    fixture = new RedisLedgerFixture(client);
  });

  /** The same store as another process has it. */
  function another(): RedisLedgerFixture {
    return new RedisLedgerFixture(client, { tag: fixture.tag });
  }

  async function begin(runId: string, sessionId = "s"): Promise<Claim> {
    await fixture.ledger.submit(submission({ sessionId, runId }));
    return (await fixture.ledger.claim(claimRequest()))!;
  }

  describe("texts", () => {
    const odd = {
      nul: "a\u0000b",
      surrogate: "\ud800",
      emoji: "👩‍👩‍👧",
      empty: {},
      list: [],
      big: 12345678901234567000,
      small: 1e-7,
      deep: [[[[null, true, { "": "" }]]]],
    };

    it("come back as they were given", async () => {
      const config = JSON.parse(`{"__proto__":{"a":1},"odd":${JSON.stringify(odd)}}`) as typeof odd;
      const { run } = await fixture.ledger.submit(
        submission({
          sessionId: "s",
          runId: "a:b\u2028👍",
          input: { kind: "message", message: { id: "m", content: odd.nul + odd.emoji } },
          configPatch: config,
        }),
      );
      const { lease } = (await fixture.ledger.claim(claimRequest()))!;
      await fixture.ledger.writeState(lease, odd);
      const given = {
        ...summary(),
        text: odd.nul,
        interrupts: [{ id: "i\n:1", kind: "input" as const, value: odd }],
      };
      await fixture.ledger.finish(lease, run.runId, completion({ outcome: "interrupted", summary: given }));
      const stored = (await another().ledger.current(thread))!;
      expect(stored).toMatchObject({
        runId: "a:b\u2028👍",
        input: { message: { content: odd.nul + odd.emoji } },
        summary: given,
      });
      expect(JSON.stringify(stored.config)).toBe(JSON.stringify(config));
      expect(await fixture.ledger.readState(thread)).toEqual(odd);
      const answer = submission({ sessionId: "s", input: { kind: "answers", answers: { "i\n:1": 1 } } });
      expect(await fixture.ledger.submit(answer)).toMatchObject({ created: true });
    });

    it("of a state that is not JSON are refused by the name of the session, unless the lease is lost", async () => {
      const { lease } = await begin("a");
      const refused = { code: "INVALID_INPUT", sessionId: "s" };
      await expect(fixture.ledger.writeState(lease, NaN)).rejects.toMatchObject(refused);
      const lost = fixture.ledger.writeState({ ...lease, owner: "other" }, NaN);
      await expect(lost).rejects.toMatchObject({ code: "LEASE_LOST" });
    });
  });

  describe("a config that sticks", () => {
    it("is found by a process that has not seen it, also after the session was deleted and came again", async () => {
      const other = another();
      const patch = (configPatch: { readonly [key: string]: number }) =>
        submission({ sessionId: "s", configPatch, defaults: { d: 0 } });
      await fixture.ledger.submit(patch({ a: 1 }));
      expect((await other.ledger.submit(patch({ b: 2 }))).run.config).toEqual({ d: 0, a: 1, b: 2 });
      expect((await fixture.ledger.submit(patch({}))).run.config).toEqual({ d: 0, a: 1, b: 2 });
      await other.ledger.tombstone(thread);
      await other.ledger.purge(thread);
      expect((await fixture.ledger.submit(patch({ c: 3 }))).run.config).toEqual({ d: 0, c: 3 });
    });
  });

  describe("an answer that got lost", () => {
    /** Lets a step be done and then fails it, as a cut connection does; the client's next try goes through. */
    function losing(): { readonly ledger: RedisLedgerFixture["ledger"]; loseNext: () => void } {
      let lose = false;
      const cut = new Proxy(client, {
        get(target, name) {
          if (name !== "call") return Reflect.get(target, name, target) as unknown;
          return async (...args: Parameters<Redis["call"]>) => {
            const reply = await target.call(...args);
            if (!lose) return reply;
            lose = false;
            throw new Error("Connection is closed.");
          };
        },
      });
      const own = new RedisLedgerFixture(cut, { tag: fixture.tag });
      return {
        ledger: own.ledger,
        loseNext: () => {
          lose = true;
        },
      };
    }

    it("of a submission does not make its run somebody else's", async () => {
      const { ledger, loseNext } = losing();
      await ledger.submit(submission({ sessionId: "t" }));
      loseNext();
      expect(await ledger.submit(submission({ sessionId: "s", runId: "a" }))).toMatchObject({
        created: true,
      });
      const again = await ledger.submit(submission({ sessionId: "s", runId: "a" }));
      expect(again.created).toBe(false);
    });

    it("of a submission that claims its run does not leave that to nobody", async () => {
      const { ledger, loseNext } = losing();
      await ledger.submit(submission({ sessionId: "t", affinity: "p9" }));
      loseNext();
      const { created, run, claim } = await ledger.submit(
        submission({ sessionId: "s", claim: claimRequest() }),
      );
      expect({ created, status: run.status, attempt: run.attempt }).toEqual({
        created: true,
        status: "running",
        attempt: 1,
      });
      expect(await ledger.renew([claim!.lease], 60_000)).toEqual([{ lease: claim!.lease, held: true }]);
    });

    it("of a claim is made up for by the next one, which gets the run as if it had come at once", async () => {
      const { ledger, loseNext } = losing();
      await ledger.submit(submission({ sessionId: "s", runId: "a" }));
      // So that the script is known and the one command is the claim.
      await ledger.claim(claimRequest({ maxConcurrentRunsPerUser: 0 }));
      for (const request of [claimRequest({ maxAttempts: 1 }), claimRequest({ maxAttempts: 2 })]) {
        loseNext();
        await expect(ledger.claim(request)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
        expect(await ledger.get(thread, "a")).toMatchObject({ status: "running" });
        const { lease, run, undo } = (await ledger.claim(request))!;
        expect(run).toMatchObject({ runId: "a", attempt: request.maxAttempts });
        expect(undo).toEqual([]);
        expect(await ledger.renew([lease], 60_000)).toEqual([{ lease, held: true }]);
        // It has begun now: what comes next is another attempt, and not before the lease has expired.
        expect(await ledger.claim(claimRequest({ maxAttempts: 9 }))).toBeUndefined();
        await fixture.advance(60_000);
      }
      expect(await ledger.claim(claimRequest({ maxAttempts: 2 }))).toBeUndefined();
      expect(await ledger.get(thread, "a")).toMatchObject({ status: "failed" });
    });

    it("of a claim brings back no session that was deleted meanwhile", async () => {
      const { ledger, loseNext } = losing();
      await ledger.submit(submission({ sessionId: "s", runId: "a" }));
      await ledger.claim(claimRequest({ maxConcurrentRunsPerUser: 0 }));
      loseNext();
      await expect(ledger.claim(claimRequest())).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
      await ledger.tombstone(thread);
      expect(await ledger.claim(claimRequest())).toBeUndefined();
      await ledger.purge(thread);
      expect(await fixture.keys()).not.toContain(`session:${thread}`);
    });

    it("of a finish, a release, a cancel or a deletion changes nothing", async () => {
      const { ledger, loseNext } = losing();
      const a = await begin("a");
      loseNext();
      await ledger.release(a.lease, "a");
      const b = (await ledger.claim(claimRequest()))!;
      loseNext();
      expect(await ledger.cancel(thread, "a")).toMatchObject({ cancelRequested: "cancel" });
      loseNext();
      expect(await ledger.finish(b.lease, "a", completion({ lastSeq: 3 }))).toMatchObject({ lastSeq: 3 });
      loseNext();
      expect(await ledger.tombstone(thread)).toBe(true);
      loseNext();
      await ledger.purge(thread);
      expect(await ledger.tombstones(10)).toEqual([]);
    });

    it("of a cancel without run id is told: sent again it might end another run", async () => {
      const { ledger, loseNext } = losing();
      await fixture.ledger.submit(submission({ sessionId: "s", runId: "a" }));
      await fixture.ledger.submit(submission({ sessionId: "s", runId: "b" }));
      // So that the script is known and the one command is the cancel.
      await ledger.cancel(thread, "unknown");
      loseNext();
      await expect(ledger.cancel(thread)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
      expect(await fixture.ledger.get(thread, "a")).toMatchObject({ status: "cancelled" });
      expect(await fixture.ledger.get(thread, "b")).toMatchObject({ status: "queued" });
    });

    it("of a claim is told, and other processes get the run when its lease has expired", async () => {
      const { ledger, loseNext } = losing();
      await fixture.ledger.submit(submission({ sessionId: "s", runId: "a" }));
      // So that the script is known and the one command is the claim.
      await ledger.claim(claimRequest({ processId: "warm", maxConcurrentRunsPerUser: 0 }));
      loseNext();
      await expect(ledger.claim(claimRequest({ leaseMs: 60_000 }))).rejects.toMatchObject({
        code: "STORE_UNAVAILABLE",
      });
      const other = another().ledger;
      expect(await other.claim(claimRequest())).toBeUndefined();
      await fixture.advance(60_000);
      expect((await other.claim(claimRequest()))?.run).toMatchObject({ runId: "a", attempt: 2 });
    });
  });

  describe("the directory", () => {
    const submit = (sessionId: string, userId?: string) =>
      fixture.ledger.submit(submission({ sessionId, userId, configPatch: { model: sessionId } }));

    it("lists sessions from the acceptance of their first run, newest first, page by page", async () => {
      for (let n = 0; n < 7; n++) await submit(String(n), n % 2 === 0 ? "even" : undefined);
      const names: string[][] = [];
      for (let after: string | undefined, more = true; more;) {
        const page = await fixture.sessions.list({ limit: 3, after });
        names.push(page.sessions.map(({ sessionId }) => sessionId));
        after = page.next;
        more = after !== undefined;
      }
      expect(names).toEqual([["6", "5", "4"], ["3", "2", "1"], ["0"]]);
      const own = await fixture.sessions.list({ userId: "even", limit: 10 });
      expect(own.sessions.map(({ sessionId }) => sessionId)).toEqual(["6", "4", "2", "0"]);
      expect(own.sessions[0]).toMatchObject({ userId: "even", config: { model: "6" } });
      expect(await fixture.sessions.list({ userId: "odd", limit: 10 })).toEqual({ sessions: [] });
      expect(await fixture.sessions.count()).toBe(7);
    });

    it("goes on behind a row that has gone, and skips those that came", async () => {
      for (const id of ["a", "b", "c", "d"]) await submit(id);
      const { next } = await fixture.sessions.list({ limit: 2 });
      await fixture.sessions.delete(threadOf("c"));
      await submit("e");
      const page = await fixture.sessions.list({ limit: 2, after: next });
      expect(page.sessions.map(({ sessionId }) => sessionId)).toEqual(["b", "a"]);
      expect(page).not.toHaveProperty("next");
    });

    it("refuses a cursor of another make and a limit under 1", async () => {
      for (const after of ["", "x", "-1", "1.5", "(1", "+inf", "9".repeat(16)]) {
        await expect(fixture.sessions.list({ limit: 1, after })).rejects.toMatchObject({
          code: "INVALID_INPUT",
        });
      }
      await expect(fixture.sessions.list({ limit: 0 })).rejects.toThrow(RangeError);
    });

    it("says when a session was used last, and shows the config of its last run", async () => {
      await submit("s");
      const created = (await fixture.sessions.get(thread))!;
      expect(created.lastUsedAt).toBe(created.createdAt);
      const claimed = (await fixture.ledger.claim(claimRequest()))!;
      expect((await fixture.sessions.get(thread))?.lastUsedAt).toBe(claimed.run.startedAt);
      await fixture.ledger.submit(submission({ sessionId: "s", configPatch: { model: "later" } }));
      const { finishedAt } = await fixture.ledger.finish(claimed.lease, claimed.run.runId, completion());
      expect(await fixture.sessions.get(thread)).toMatchObject({
        createdAt: created.createdAt,
        lastUsedAt: finishedAt,
        config: { model: "later" },
      });
    });

    it("saves under a lease that holds, on its own thread, and nothing of a session that is deleted", async () => {
      const { lease, run } = await begin("a");
      const row = { threadId: thread, sessionId: run.sessionId, config: { model: "m" } };
      await fixture.sessions.save(row, lease);
      expect((await fixture.sessions.get(thread))?.config).toEqual({ model: "m" });
      const lost = { code: "LEASE_LOST" };
      await expect(fixture.sessions.save({ ...row, threadId: "t" }, lease)).rejects.toMatchObject(lost);
      await expect(fixture.sessions.save(row, { ...lease, epoch: 99 })).rejects.toMatchObject(lost);
      await fixture.ledger.tombstone(thread);
      await fixture.sessions.delete(thread);
      await expect(fixture.sessions.save(row, lease)).rejects.toMatchObject(lost);
      expect(await fixture.sessions.get(thread)).toBeUndefined();
      expect(await fixture.sessions.count()).toBe(0);
    });
  });

  describe("retention", () => {
    const events = (runId: string) => `${fixture.tag}:events:${thread}:${runId}`;

    it("takes the events of a run along", async () => {
      const { lease } = await begin("a");
      await client.xadd(events("a"), "1-1", "e", "{}");
      await fixture.ledger.finish(lease, "a", completion());
      await fixture.advance(600_000);
      expect(await fixture.ledger.sweep({})).toBe(1);
      expect(await client.exists(events("a"))).toBe(0);
    });

    it("gives a run that the ledger ends itself the number of its last event", async () => {
      await begin("a");
      await client.xadd(events("a"), "1-1", "e", "{}");
      await client.xadd(events("a"), "2-1", "e", "{}");
      await fixture.ledger.tombstone(thread);
      await client.zadd(`${fixture.tag}:leases`, 0, thread);
      expect(await fixture.ledger.claim(claimRequest())).toBeUndefined();
      expect(await fixture.ledger.get(thread, "a")).toMatchObject({ status: "cancelled", lastSeq: 2 });
    });

    it("sweeps more than fits one command", async () => {
      const many = new RedisLedgerFixture(client, { maxRetainedRuns: Infinity });
      for (let n = 0; n < 450; n++)
        await many.ledger.submit(
          submission({ sessionId: String(n % 3), runId: String(n), queueLimit: 1000 }),
        );
      for (let n = 0; n < 3; n++)
        await many.ledger.submit(submission({ sessionId: String(n), onBusy: "interrupt" }));
      await many.advance(600_000);
      expect(await many.ledger.sweep({})).toBe(450);
    });

    it("drops sessions that were idle for long enough, whole, and none in which something is to come", async () => {
      for (const id of ["idle", "parked", "running", "fresh", "queued"]) {
        const { lease } = await begin(id, id);
        if (id === "queued") await fixture.ledger.release(lease, id);
        else if (id !== "running") {
          await fixture.ledger.finish(lease, id, id === "parked" ? interrupted("i") : completion());
        }
        await client.hset(`${fixture.tag}:conversation:${threadOf(id)}`, "v", "1");
        await client.zadd(`${fixture.tag}:conversations`, "0", threadOf(id));
        if (id === "running") await fixture.advance(3_600_000);
      }
      expect(await fixture.ledger.dropIdle(3_600_000)).toEqual([
        { threadId: threadOf("idle"), sessionId: "idle" },
      ]);
      expect(await fixture.ledger.dropIdle(3_600_000)).toEqual([]);
      expect(await fixture.sessions.count()).toBe(4);
      expect((await fixture.keys()).filter((key) => key.includes("s.idle"))).toEqual([]);
      expect(await client.zscore(`${fixture.tag}:conversations`, threadOf("idle"))).toBeNull();
    });

    it("is never Redis's own: no key of the ledger expires", async () => {
      const { lease } = await begin("a");
      await fixture.ledger.writeState(lease, 1);
      for (const key of await fixture.keys()) expect(await client.pttl(`${fixture.tag}:${key}`)).toBe(-1);
    });
  });

  it("goes on with the other sessions after a server that evicts keys has lost some", async () => {
    await begin("running", "running");
    await client.zadd(`${fixture.tag}:leases`, "0", threadOf("running"));
    for (const id of ["queued", "kept"])
      await fixture.ledger.submit(submission({ sessionId: id, userId: "u" }));
    await fixture.ledger.submit(submission({ sessionId: "alone" }));
    for (const id of [threadOf("running"), threadOf("queued", "u"), threadOf("alone")]) {
      await client.del(`${fixture.tag}:session:${id}`);
    }
    expect((await fixture.ledger.claim(claimRequest()))?.run.sessionId).toBe("kept");
    expect(await fixture.ledger.claim(claimRequest())).toBeUndefined();
    expect(await client.zcard(`${fixture.tag}:leases`)).toBe(1);
  });

  describe("other processes", () => {
    const told = async () => {
      const entries = await client.xrange(`${fixture.tag}:hints`, "-", "+");
      return entries.map(([, fields]) =>
        fields[1]!.split("\n").filter((_, at, all) => all[0] === "run" || at === 0),
      );
    };

    it("are told of runs that end or are to stop, and of released ones, but not of each that waits", async () => {
      const { lease } = await begin("a");
      await fixture.ledger.submit(submission({ sessionId: "s", runId: "b" }));
      expect(await told()).toEqual([]);
      await fixture.ledger.release(lease, "a");
      expect(await told()).toEqual([["queue"]]);
      const again = (await fixture.ledger.claim(claimRequest()))!;
      await fixture.ledger.cancel(thread, "a");
      await fixture.ledger.finish(again.lease, "a", completion({ outcome: "cancelled" }));
      expect(await told()).toEqual([["queue"], ["run", thread, "a"], ["run", thread, "a"]]);
    });

    it("are told once of many announcements, and once more when the pause is over", async () => {
      for (let n = 0; n < 100; n++) fixture.ledger.announce();
      await expect.poll(told, { timeout: 5_000 }).toEqual([["queue"], ["queue"]]);
      await expect.poll(async () => (await told()).length, { timeout: 200 }).toBe(2);
    });

    it("see who holds the lease", async () => {
      await begin("a");
      expect((await another().ledger.sessions([thread])).get(thread)?.owner).toBe("p1");
    });

    it("hear this one's own steps at once", async () => {
      const hints: LedgerHint[] = [];
      fixture.ledger.watch((hint) => hints.push(hint));
      await begin("a");
      expect(hints.map(({ type }) => type)).toEqual(["run", "queue", "run"]);
    });
  });
});

describeWithRedis("a Redis that comes back empty", () => {
  it("refuses the owner from before, even when the same epoch is given again", async () => {
    const server = await startRedis();
    const client = new Redis(server.url);
    try {
      const { ledger, sessions } = new RedisLedgerFixture(client);
      await ledger.submit(submission({ sessionId: "s", runId: "a" }));
      const before = (await ledger.claim(claimRequest()))!;
      await server.restartEmpty();
      const refused = { code: "LEASE_LOST" };
      const { lease, run } = before;
      await expect(ledger.finish(lease, "a", completion())).rejects.toMatchObject(refused);
      expect(await ledger.get(thread, "a")).toBeUndefined();
      await ledger.submit(submission({ sessionId: "s", runId: "a" }));
      const after = (await ledger.claim(claimRequest()))!;
      expect(after.lease.epoch).toBe(lease.epoch);
      await expect(ledger.finish(lease, "a", completion())).rejects.toMatchObject(refused);
      await expect(ledger.release(lease, "a")).rejects.toMatchObject(refused);
      await expect(ledger.writeState(lease, 1)).rejects.toMatchObject(refused);
      await expect(sessions.save({ ...run, config: {} }, lease)).rejects.toMatchObject(refused);
      expect(await ledger.renew([lease, after.lease], 1000)).toEqual([
        { lease, held: false },
        { lease: after.lease, held: true },
      ]);
    } finally {
      client.disconnect();
      await server.stop();
    }
  });
});

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

describeWithRedis("a Redis cluster", () => {
  it("does every step of the ledger on the shard of its prefix", async () => {
    const server = await startRedis({
      settings: {
        "cluster-enabled": "yes",
        "cluster-announce-ip": "127.0.0.1",
        // By default 10,000 over the port of the server: that may be no port any more.
        "cluster-port": String(await freePort()),
      },
    });
    const client = new Cluster([{ host: "127.0.0.1", port: server.port }], { lazyConnect: true });
    try {
      const node = new Redis(server.url);
      await node.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383);
      await expect
        .poll(() => node.call("CLUSTER", "INFO"), { timeout: 10_000 })
        .toContain("cluster_state:ok");
      node.disconnect();
      await client.connect();
      const { ledger, sessions } = new RedisLedgerFixture(client);
      await ledger.submit(submission({ sessionId: "s", userId: "u", runId: "a" }));
      const { lease } = (await ledger.claim(claimRequest({ leaseMs: 60_000 })))!;
      await ledger.writeState(lease, { a: 1 });
      expect(await ledger.renew([lease], 60_000)).toEqual([{ lease, held: true }]);
      await ledger.release(lease, "a");
      const again = (await ledger.claim(claimRequest()))!;
      await ledger.finish(again.lease, "a", interrupted("i"));
      await ledger.cancel(threadOf("s", "u"));
      expect(await ledger.current(threadOf("s", "u"))).toMatchObject({ status: "interrupted" });
      expect((await sessions.list({ limit: 10, userId: "u" })).sessions).toHaveLength(1);
      expect(await ledger.sweep({ interruptTtlMs: 1 })).toBe(0);
      expect(await ledger.dropIdle(0)).toHaveLength(1);
      await ledger.submit(submission({ sessionId: "s", userId: "u" }));
      await ledger.tombstone(threadOf("s", "u"));
      await ledger.purge(threadOf("s", "u"));
      expect(await sessions.count()).toBe(0);
    } finally {
      client.disconnect();
      await server.stop();
    }
  });
});

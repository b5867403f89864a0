import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import type { JsonObject, LedgerHint } from "../../src/index.js";
import { claimRequest, submission } from "../support/ledger-requests.js";
import { describeWithRedis, startRedis, type RedisServer } from "../support/engines/index.js";
import { RedisStores, startRun } from "../support/redis-stores.js";

let server: RedisServer;
const stores = new RedisStores(() => server.url);

describeWithRedis("processes that share a Redis store", () => {
  beforeAll(async () => {
    server = await startRedis();
  });
  afterEach(() => stores.close());
  afterAll(() => server.stop());

  it("are listed oldest first, with what they last said of themselves, until their time is over or they leave", async () => {
    const [a, b] = stores.pair();
    await a.processes.beat("p1", { runs: 1 }, 60_000);
    await sleep(5);
    await b.processes.beat("p0", { name: "é" }, 60_000);
    await b.processes.beat("p2", {}, 1);
    const [first] = await b.processes.list();
    await a.processes.beat("p1", { runs: 2 }, 60_000);
    await vi.waitFor(async () => {
      expect((await a.processes.list()).map(({ processId }) => processId)).toEqual(["p1", "p0"]);
    });
    const [p1, p0] = await b.processes.list();
    expect(p1).toMatchObject({ startedAt: first?.startedAt, info: { runs: 2 } });
    expect(p1?.seenAt).toBeGreaterThanOrEqual(p1?.startedAt ?? Infinity);
    expect(p0?.info).toEqual({ name: "é" });
    await b.processes.leave("p1");
    await b.processes.leave("p1");
    expect((await a.processes.list()).map(({ processId }) => processId)).toEqual(["p0"]);
  });

  it("hear each message once, the sender too, in order, from when they watch until they stop", async () => {
    const [a, b] = stores.pair();
    await a.processes.send({ n: 0 });
    const heard: Record<string, JsonObject[]> = { a: [], b: [], gone: [] };
    const stops = [
      a.processes.watch(() => {
        throw new Error("A listener that fails.");
      }),
      a.processes.watch((message) => heard["a"]?.push(message)),
      // Of another process it may hear what was sent a moment before.
      b.processes.watch((message) => message["n"] !== 0 && heard["b"]?.push(message)),
    ];
    b.processes.watch((message) => heard["gone"]?.push(message))();
    for (let n = 1; n <= 20; n++) await (n % 2 === 0 ? a : b).processes.send({ n, text: "你好 \0" });
    const all = Array.from({ length: 20 }, (_, i) => ({ n: i + 1, text: "你好 \0" }));
    await vi.waitFor(() => {
      expect(heard).toEqual({ a: all, b: all, gone: [] });
    });
    for (const stop of stops) stop();
    await a.processes.send({ n: 21 });
    await sleep(30);
    expect(heard["a"]).toHaveLength(20);
  });

  it("hear what was said while they were cut off", async () => {
    const [a, b] = stores.pair();
    const heard: JsonObject[] = [];
    const hints: LedgerHint[] = [];
    const stops = [
      b.processes.watch((message) => heard.push(message)),
      b.runs.watch((hint) => hints.push(hint)),
    ];
    await a.processes.send({ n: 1 });
    await vi.waitFor(() => {
      expect(heard).toHaveLength(1);
    });
    const lease = await startRun(a.runs);
    const admin = stores.client();
    // Blocked in XREAD, so that it is the listening connection that goes.
    await admin.call("client", "kill", "skipme", "yes", "type", "normal");
    await a.processes.send({ n: 2 });
    await a.runs.cancel(lease.threadId, "r");
    await vi.waitFor(() => {
      expect(heard).toEqual([{ n: 1 }, { n: 2 }]);
      expect(hints).toContainEqual({ type: "run", threadId: lease.threadId, runId: "r" });
    });
    for (const stop of stops) stop();
  });

  it("hear of stops of each other's runs, and of waiting runs when they are announced", async () => {
    const [a, b] = stores.pair();
    const hints: { a: LedgerHint[]; b: LedgerHint[] } = { a: [], b: [] };
    const stops = [a.runs.watch((hint) => hints.a.push(hint)), b.runs.watch((hint) => hints.b.push(hint))];
    const lease = await startRun(a.runs, { sessionId: "hinted" });
    await b.runs.submit(submission({ sessionId: "waiting", runId: "w" }));
    await b.runs.cancel(lease.threadId, "r");
    await vi.waitFor(() => {
      expect(hints.a).toContainEqual({ type: "run", threadId: lease.threadId, runId: "r" });
    });
    const before = hints.a.filter(({ type }) => type === "queue").length;
    b.runs.announce?.();
    await vi.waitFor(() => {
      expect(hints.a.filter(({ type }) => type === "queue").length).toBeGreaterThan(before);
    });
    expect((await a.runs.claim(claimRequest()))?.run.runId).toBe("w");
    for (const stop of stops) stop();
  });
});

/* Scenarios 9 and 10: many nodes at one session at once, and cancelling a run that is about to end. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { RunInfo } from "../../src/index.js";
import { LEASE_MS, type Cluster } from "./cluster/cluster.js";
import { onEachEngine } from "./cluster/on-each-engine.js";
import { distinct } from "./cluster/reading.js";
import { now } from "./cluster/records.js";
import { until } from "./cluster/until.js";
import { Refused } from "./cluster/worker-process.js";

const NODES = 3;
const SENDS = 50;
const session = { sessionId: "s", userId: "u" };
/** Nobody dies here, however slow the machine is: what is counted is counted exactly. */
const CALM = { gates: false, leaseMs: 30_000 } as const;

interface Sent {
  readonly runId: string;
  readonly start: number;
  readonly end: number;
  readonly refused: string | undefined;
}

/** All nodes send at once; each gives its own sends to its own worker, several under way at a time. */
function flood(cluster: Cluster, onBusy: "enqueue" | "reject" | "interrupt" | "rollback"): Promise<Sent[]> {
  const sends = cluster.workers.flatMap((worker) =>
    Array.from({ length: SENDS }, async (_, index): Promise<Sent> => {
      const runId = `${worker.name}-${String(index)}`;
      await sleep(index);
      const start = now();
      const refused = await cluster
        .send({ ...session, runId, program: { run: runId, rounds: [] }, onBusy }, worker)
        .then(() => undefined)
        .catch((error: unknown) => (error instanceof Refused ? error.code : String(error)));
      return { runId, start, end: now(), refused };
    }),
  );
  return Promise.all(sends);
}

/** The order of the runs' first model calls: one session's runs are one after another. */
function startOrder(cluster: Cluster, runs: readonly Sent[]): string[] {
  const known = new Set(runs.map(({ runId }) => runId));
  return distinct(cluster.model.calls.map(({ runId }) => runId).filter((runId) => known.has(runId)));
}

async function infoOf(cluster: Cluster, runId: string): Promise<RunInfo> {
  return cluster.ask<RunInfo>("getRun", { ...session, runId });
}

onEachEngine("3 nodes x 50 sends on one session", (engine) => {
  const setUp = async (history = {}) =>
    engine.cluster(NODES, { workers: { ...CALM, storeOptions: { maxRetainedRuns: 1_000 } }, history });

  test("enqueue: all are accepted, and run first in, first out", async () => {
    const cluster = await setUp();
    const sent = await flood(cluster, "enqueue");
    expect(sent.filter(({ refused }) => refused !== undefined)).toEqual([]);
    await Promise.all(sent.map(({ runId }) => cluster.read({ ...session, runId })));
    const order = startOrder(cluster, sent);
    expect(order).toHaveLength(NODES * SENDS);
    // One that had been accepted before another was sent runs before it.
    const place = new Map(order.map((runId, index) => [runId, index]));
    for (const a of sent)
      for (const b of sent)
        if (a.end < b.start)
          expect([a.runId, b.runId, place.get(a.runId)! < place.get(b.runId)!]).toEqual([
            a.runId,
            b.runId,
            true,
          ]);
    const history = await cluster.history(session);
    expect(history.filter(({ role }) => role === "user").map(({ id }) => id)).toEqual(order);
    expect(cluster.model.calls).toHaveLength(NODES * SENDS);
  });

  test("reject: exactly one is accepted", async () => {
    const cluster = await engine.cluster(NODES, { workers: { leaseMs: CALM.leaseMs } });
    const held = cluster.workers.flatMap(({ name }) =>
      Array.from({ length: SENDS }, (_, index) => cluster.gates.hold("model:0", `${name}-${String(index)}`)),
    );
    const sent = await flood(cluster, "reject");
    expect(sent.filter(({ refused }) => refused === undefined)).toHaveLength(1);
    expect(new Set(sent.map(({ refused }) => refused))).toEqual(new Set([undefined, "SESSION_BUSY"]));
    for (const one of held) one.release();
    const { runId } = sent.find(({ refused }) => refused === undefined)!;
    expect((await cluster.read({ ...session, runId })).at(-1)).toMatchObject({ outcome: "completed" });
  });

  test.each(["interrupt", "rollback"] as const)(
    "%s: the old run is terminal before the new one starts, and the last one stays",
    async (policy) => {
      const threads = new Set<string>();
      const cluster = await setUp({ rolledBack: threads });
      const sent = await flood(cluster, policy);
      expect(sent.filter(({ refused }) => refused !== undefined)).toEqual([]);
      await Promise.all(sent.map(({ runId }) => cluster.read({ ...session, runId })));
      for (const { threadId } of cluster.steps("submit")) if (policy === "rollback") threads.add(threadId);

      const runs = await Promise.all(sent.map(({ runId }) => infoOf(cluster, runId)));
      const started = runs.filter(({ startedAt }) => startedAt !== undefined);
      started.sort((a, b) => a.startedAt! - b.startedAt! || a.finishedAt! - b.finishedAt!);
      for (const [index, run] of started.entries()) {
        const before = started[index - 1];
        if (before !== undefined) expect(before.finishedAt).toBeLessThanOrEqual(run.startedAt!);
      }
      expect(new Set(runs.map(({ status }) => status))).toEqual(new Set(["completed", "cancelled"]));
      const last = started.at(-1)!;
      expect(last.status).toBe("completed");
      if (policy === "interrupt") return;
      // What a rollback undid is gone: of all those only runs that had ended before the next was accepted are left.
      const completed = new Set(
        runs.filter(({ status }) => status === "completed").map(({ runId }) => runId),
      );
      const said = (await cluster.history(session)).filter(({ role }) => role === "user").map(({ id }) => id);
      expect(said.at(-1)).toBe(last.runId);
      for (const id of said) expect(completed).toContain(id);
    },
  );
});

onEachEngine("cancelling from another node", (engine) => {
  test("races the end of the run: all readers see the one outcome", async () => {
    const cluster = await engine.cluster(2);
    const [owner, other] = cluster.workers;
    const outcomes: string[] = [];
    for (let round = 0; round < 20; round++) {
      const runId = `r${String(round)}`;
      const ref = { sessionId: runId, userId: "u", runId };
      const held = cluster.gates.hold("finish:before", runId);
      await cluster.send({ ...ref, program: { run: runId, rounds: [] } }, owner);
      await held.reached;
      // From well before the end to well after it.
      const cancelling = (async () => {
        await sleep(round % 10);
        return cluster.ask<RunInfo>("cancel", ref, other);
      })();
      await sleep(5);
      held.release();
      const cancelled = await cancelling;
      const readers = await Promise.all([owner, other].map((via) => cluster.read(ref, { via: () => via! })));
      const ends = readers.map((events) => events.at(-1));
      expect(ends[0]).toEqual(ends[1]);
      const outcome = (ends[0] as { outcome: string }).outcome;
      expect(outcome).toBe(cancelled.status);
      outcomes.push(outcome);
    }
    for (const outcome of outcomes) expect(["cancelled", "completed"]).toContain(outcome);
  });

  test("an owner that has done all and dies before it has said so: the run ends once, as cancelled", async () => {
    const cluster = await engine.cluster(2);
    const ref = { ...session, runId: "r" };
    const held = cluster.gates.hold("finish:before", "r");
    await cluster.send({ ...ref, program: { run: "r", rounds: [["alpha"]] } });
    await held.reached;
    const owner = await cluster.ownerOf("r");
    const other = cluster.any(owner);
    const cancelling = cluster.ask<RunInfo>("cancel", ref, other);
    const { threadId } = cluster.steps("claim")[0]!;
    const { runs } = engine.open(cluster).store;
    await until(async () => (await runs!.get(threadId, "r"))?.cancelRequested === "cancel");
    await owner.kill();
    held.release();
    expect(await cancelling).toMatchObject({ status: "cancelled" });
    const events = await cluster.read(ref);
    expect(events.filter(({ type }) => type === "run-finished")).toEqual([events.at(-1)]);
    expect(events.at(-1)).toMatchObject({ outcome: "cancelled" });
    const ends = cluster
      .steps("finish")
      .filter(({ runId, refused }) => runId === "r" && refused === undefined);
    expect(ends).toMatchObject([{ worker: other.name, outcome: "cancelled" }]);
    expect([cluster.modelCalls("r"), cluster.effects("r").length]).toEqual([[1, 1], 1]);
  });

  test("survives the owner's death: the run is not taken up again, it ends as cancelled", async () => {
    const cluster = await engine.cluster(2);
    const ref = { ...session, runId: "r" };
    const held = cluster.gates.hold("model:0", "r");
    await cluster.send({ ...ref, program: { run: "r", rounds: [["alpha"]] } });
    await held.reached;
    const owner = await cluster.ownerOf("r");
    // It must not hear of it.
    await owner.pause();
    const other = cluster.any(owner);
    const cancelling = cluster.ask<RunInfo>("cancel", ref, other);
    await sleep(LEASE_MS / 10);
    await owner.kill();
    expect(await cancelling).toMatchObject({ status: "cancelled" });
    const events = await cluster.read(ref);
    expect(events.at(-1)).toMatchObject({ type: "run-finished", outcome: "cancelled" });
    expect(cluster.modelCalls("r")).toEqual([1]);
    expect(cluster.effects("r")).toEqual([]);
    // The session is free.
    await cluster.send({ ...session, runId: "next", program: { run: "next", rounds: [] } });
    expect((await cluster.read({ ...session, runId: "next" })).at(-1)).toMatchObject({
      outcome: "completed",
    });
    await until(() => cluster.model.calls.some(({ runId }) => runId === "next"));
  });
});

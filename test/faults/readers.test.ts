/* Scenario 11: readers that break off and come back, anywhere, while the run changes its owner under them. */
import { expect, test } from "vitest";
import type { RunEvent } from "../../src/index.js";
import { random } from "../support/chat.js";
import type { Cluster } from "./cluster/cluster.js";
import { onBoth, onEachEngine, onPostgres, type EngineUnderTest } from "./cluster/on-each-engine.js";
import { answerOf, type Program, type WorkerOptions } from "./cluster/protocol.js";
import { lastTextOf } from "./cluster/reading.js";
import { until } from "./cluster/until.js";
import { Refused } from "./cluster/worker-process.js";

const ref = { sessionId: "s", userId: "u", runId: "r" };

/** Reads on by fits and starts: leaves after a few events and goes on at another node from the last one it had. */
async function restless(cluster: Cluster, seed: number): Promise<RunEvent[]> {
  const next = random(seed);
  const events: RunEvent[] = [];
  for (;;) {
    const patience = 1 + Math.floor(next() * 6);
    const worker = cluster.living[Math.floor(next() * cluster.living.length)]!;
    let had = 0;
    try {
      for await (const event of worker.follow({ ...ref, after: events.length })) {
        if (event.seq !== events.length + 1)
          throw new Error(`Event ${String(event.seq)} came after ${String(events.length)}`);
        events.push(event);
        if (event.type === "run-finished") return events;
        if (++had === patience) break;
      }
    } catch (error) {
      if (error instanceof Refused || (error as Error).message.startsWith("Event ")) throw error;
    }
  }
}

function throughFailovers(engine: EngineUnderTest, workers: Partial<WorkerOptions> = {}): void {
  test("that reconnect to random nodes across two failovers miss nothing and get nothing twice", async () => {
    const cluster = await engine.cluster(4, { workers });
    const program: Program = { run: "r", rounds: [["alpha"]], words: 120, slowMs: 20 };
    await cluster.send({ ...ref, program });
    const readers = Promise.all(Array.from({ length: 8 }, (_, seed) => restless(cluster, seed)));
    for (const attempt of [1, 2]) {
      const owner = await cluster.ownerOf("r", attempt);
      // In the middle of the answer.
      const told = () =>
        cluster
          .steps("append")
          .filter(({ worker }) => worker === owner.name)
          .reduce((sum, { count = 0 }) => sum + count, 0);
      const before = told();
      await until(() => told() > before + 10);
      await owner.kill();
    }
    const all = await readers;
    for (const events of all) expect(events).toEqual(all[0]);
    expect(all[0]!.map(({ seq }) => seq)).toEqual(all[0]!.map((_, index) => index + 1));
    expect(all[0]!.filter(({ type }) => type === "run-resumed")).toHaveLength(2);
    expect(all[0]!.at(-1)).toMatchObject({ type: "run-finished", outcome: "completed" });
    expect(lastTextOf(all[0]!)).toBe(answerOf(program));
    // One that comes late, to a node that had nothing to do with it, has the same.
    expect(await cluster.read(ref, { via: () => cluster.any() })).toEqual(all[0]);
  });
}

onBoth("readers", (engine) => {
  throughFailovers(engine);
});
onPostgres("readers over pools of one connection, without LISTEN", (engine) => {
  throughFailovers(engine, { poolSize: 1, storeOptions: { listen: false, pollMs: 100 } });
});
onEachEngine("readers", (engine) => {
  throughFailovers(engine);

  test("behind what is kept are told so, and can begin again from the history", async () => {
    const cluster = await engine.cluster(2, { workers: { storeOptions: { maxEventsPerRun: 32 } } });
    const program: Program = { run: "r", rounds: [], words: 200 };
    await cluster.send({ ...ref, program });
    for (const worker of cluster.workers) {
      const end = await cluster.ask("result", { ...ref, message: JSON.stringify(program) }, worker);
      expect(end).toMatchObject({ outcome: "completed", text: answerOf(program) });
      const late = async (): Promise<void> => {
        const events = worker.follow({ ...ref, after: 1 });
        while ((await events.next()).done !== true);
      };
      await expect(late()).rejects.toMatchObject({ code: "EVENTS_TRIMMED" });
    }
    expect((await cluster.history(ref)).at(-1)).toMatchObject({
      role: "assistant",
      content: answerOf(program),
    });
  });
});

/* Scenarios 4, 5 and 8: owners that sleep, that are cut off, and whose clocks are wrong. They come back. */
import { expect, test } from "vitest";
import { LEASE_MS, SCAN_MS, SLACK_MS } from "./cluster/cluster.js";
import { onEachEngine } from "./cluster/on-each-engine.js";
import { answerOf, type Program } from "./cluster/protocol.js";
import { lastTextOf } from "./cluster/reading.js";
import { now } from "./cluster/records.js";
import { until } from "./cluster/until.js";

const program: Program = { run: "r", rounds: [["alpha"], ["beta"]] };
const session = { sessionId: "s", userId: "u" };
const run = { ...session, runId: "r" };

onEachEngine("an owner that comes back", (engine) => {
  test("stopped for longer than its lease, wherever it was: nothing stale is accepted, no tool is started", async () => {
    const points = ["model:0", "put:before#2", "tool:alpha:before", "finish:before"] as const;
    const cluster = await engine.cluster(1);
    const owner = cluster.workers[0]!;
    const runs = points.map((point) => ({ sessionId: point, userId: "u", runId: point }));
    const held = runs.map(({ runId }, index) => cluster.gates.hold(points[index]!, runId));
    for (const run of runs)
      await cluster.send({ ...run, program: { run: run.runId, rounds: [["alpha"], ["beta"]] } });
    await Promise.all(held.map(({ reached }) => reached));
    const other = await cluster.add();
    await owner.pause();
    const stoppedAt = now();
    const all = await Promise.all(runs.map((run) => cluster.read(run, { via: () => other })));
    const taken = cluster.steps("claim").filter(({ attempt }) => attempt === 2);
    expect(taken).toHaveLength(points.length);
    for (const { end } of taken) expect(end - stoppedAt).toBeLessThan(LEASE_MS + SCAN_MS + SLACK_MS);
    for (const one of held) one.release();
    await owner.resume();

    for (const [index, run] of runs.entries()) {
      const events = all[index]!;
      expect(events.at(-1)).toMatchObject({ outcome: "completed" });
      expect(lastTextOf(events)).toBe(answerOf({ run: run.runId, rounds: [] }));
      await until(() =>
        cluster
          .notes("error")
          .some(
            ({ worker, runId, code }) =>
              worker === owner.name && runId === run.runId && code === "LEASE_LOST",
          ),
      );
      // What it tells of the run is what the other one did.
      expect(await cluster.read(run, { via: () => owner })).toEqual(events);
      const late = cluster
        .effects(run.runId)
        .filter(({ worker, at }) => worker === owner.name && at > stoppedAt);
      expect(late).toEqual([]);
      // It still serves.
      const next: Program = { run: `${run.runId} next`, rounds: [["alpha"]] };
      await cluster.send({ ...run, runId: next.run, program: next }, owner);
      expect(lastTextOf(await cluster.read({ ...run, runId: next.run }))).toBe(answerOf(next));
    }
  });

  test.each(["swallow", "cut"] as const)(
    "cut off from the engine (%s): it stops itself, others take over",
    async (how) => {
      const cluster = await engine.cluster(0);
      const { worker: owner, network } = await cluster.addBehindProxy();
      const held = cluster.gates.hold("tool:alpha:before", "r");
      await cluster.send({ ...run, program }, owner);
      await held.reached;
      const other = await cluster.add();
      network[how]();
      const cutAt = now();
      const events = await cluster.read(run, { via: () => other });
      expect(events.at(-1)).toMatchObject({ outcome: "completed" });
      const taken = cluster.steps("claim").find(({ attempt }) => attempt === 2);
      expect(taken!.end - cutAt).toBeLessThan(LEASE_MS + SCAN_MS + SLACK_MS);
      // Cut off as it still is, only its own clock can have told it.
      await until(() => cluster.notes("tool-aborted").some(({ worker }) => worker === owner.name));

      network.open();
      held.release();
      const next: Program = { run: "next", rounds: [] };
      await cluster.send({ ...session, runId: "next", program: next }, owner);
      const answer = await cluster.read({ ...session, runId: "next" });
      expect(lastTextOf(answer)).toBe(answerOf(next));
      expect(cluster.effects("r").map(({ worker }) => worker)).toEqual([other.name, other.name]);
    },
  );

  test.each([5_000, -5_000])(
    "whose clock is off by %i ms: no turn and no step is lost when the conversation moves",
    async (clockAheadMs) => {
      const cluster = await engine.cluster(0);
      const first = await cluster.add({ clockAheadMs });
      await cluster.send({ ...run, program }, first);
      expect((await cluster.read(run)).at(-1)).toMatchObject({ outcome: "completed" });
      // A turn of another session is in the middle.
      const moving = { sessionId: "moving", userId: "u", runId: "moving" };
      const held = cluster.gates.hold("model:1", "moving");
      await cluster.send({ ...moving, program: { run: "moving", rounds: program.rounds } }, first);
      await held.reached;
      const second = await cluster.add();
      await first.kill();

      const started = now();
      const next: Program = { run: "next", rounds: [["alpha"]] };
      await cluster.send({ ...session, runId: "next", program: next }, second);
      expect((await cluster.read({ ...session, runId: "next" })).at(-1)).toMatchObject({
        outcome: "completed",
      });
      const history = await cluster.history(session);
      expect(history.filter(({ role }) => role === "user").map(({ id }) => id)).toEqual(["r", "next"]);
      expect(history.at(-1)).toMatchObject({ role: "assistant", content: answerOf(next) });

      expect((await cluster.read(moving)).at(-1)).toMatchObject({ outcome: "completed" });
      expect(now() - started).toBeLessThan(15_000 + SLACK_MS);
      expect(cluster.modelCalls("moving")).toEqual([1, 2, 1]);
      expect(cluster.effects("moving").map(({ tool }) => tool)).toEqual(["alpha", "beta"]);
      const moved = await cluster.history(moving);
      expect(moved.map(({ role }) => role)).toEqual([
        ...["user", "assistant", "tool", "assistant", "tool", "assistant"],
      ]);
    },
  );

  test("a slow network costs time and nothing else", async () => {
    const cluster = await engine.cluster(0);
    const { network } = await cluster.addBehindProxy();
    network.delay(40);
    await cluster.send({ ...run, program });
    expect((await cluster.read(run)).at(-1)).toMatchObject({ outcome: "completed" });
    expect(cluster.modelCalls("r")).toEqual([1, 1, 1]);
  });
});

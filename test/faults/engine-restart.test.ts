/* Scenarios 6 and 7: the engine itself goes away in mid-run, and comes back with its data, or without. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { ServiceStats } from "../../src/index.js";
import { LEASE_MS, type Cluster } from "./cluster/cluster.js";
import { onEachEngine, type EngineUnderTest } from "./cluster/on-each-engine.js";
import type { HistoryOptions } from "./cluster/history.js";
import { answerOf, type Program } from "./cluster/protocol.js";
import { lastTextOf } from "./cluster/reading.js";
import { now } from "./cluster/records.js";
import { until } from "./cluster/until.js";

interface Restart {
  readonly what: string;
  readonly down: (engine: EngineUnderTest) => Promise<void>;
  readonly up: (engine: EngineUnderTest) => Promise<void>;
  readonly forMs: number;
}

const RESTARTS: readonly Restart[] = [
  {
    what: "restarted properly",
    down: async () => undefined,
    up: ({ server }) => server.restart(),
    forMs: 0,
  },
  {
    what: "killed and restarted",
    down: ({ server }) => server.kill(),
    up: ({ server }) => server.restart(),
    forMs: 0,
  },
  {
    what: "down for longer than a lease",
    down: ({ server }) => server.kill(),
    up: ({ server }) => server.restart(),
    forMs: LEASE_MS * 1.5,
  },
  {
    what: "frozen for longer than a lease",
    down: ({ server }) => server.pause(),
    up: ({ server }) => server.resume(),
    forMs: LEASE_MS * 1.5,
  },
];

onEachEngine("the engine", (engine) => {
  test.each(RESTARTS)(
    "$what in mid-run: no accepted run is lost, readers come back",
    async ({ down, up, forMs }) => {
      const cluster = await engine.cluster(2);
      const programs = Array.from({ length: 8 }, (_, index): Program => {
        const run = `r${String(index)}`;
        return index % 2 === 0
          ? { run, rounds: [["alpha", "beta"]] }
          : { run, rounds: [], words: 60, slowMs: 20 };
      });
      const held = programs.map(({ run }) => cluster.gates.hold("model:0", run));
      const reading = programs.map(async (program) => {
        const { run } = program;
        const session = { sessionId: run, userId: "u" };
        await cluster.send({ ...session, runId: run, program });
        // A second one waits behind it.
        await cluster.send({ ...session, runId: `${run}-next`, program: { run: `${run}-next`, rounds: [] } });
        return [
          await cluster.read({ ...session, runId: run }),
          await cluster.read({ ...session, runId: `${run}-next` }),
        ];
      });
      await Promise.all(held.map(({ reached }) => reached));
      // Half of them are streaming, half are still held.
      held.forEach((one, index) => {
        if (index % 2 === 1) one.release();
      });
      await until(() => cluster.steps("append").some(({ first }) => (first ?? 0) > 2));
      await down(engine);
      await sleep(forMs);
      for (const one of held) one.release();
      await up(engine);

      for (const [index, [first, next]] of (await Promise.all(reading)).entries()) {
        const program = programs[index]!;
        expect(first!.filter(({ type }) => type === "run-finished")).toHaveLength(1);
        expect(first!.at(-1)).toMatchObject({ outcome: "completed" });
        expect(lastTextOf(first!)).toBe(answerOf(program));
        expect(next!.at(-1)).toMatchObject({ outcome: "completed" });
        const history = await cluster.history({ sessionId: program.run, userId: "u" });
        const said = history.filter(({ role }) => role === "user").map(({ id }) => id);
        expect(said).toEqual([program.run, `${program.run}-next`]);
      }
    },
  );
});

onEachEngine(
  "an engine that comes back empty",
  (engine) => {
    test("rejects the stale owner, tells readers so, and begins anew", async () => {
      const history: HistoryOptions = {};
      const cluster = await engine.cluster(2, { history });
      const session = { sessionId: "s", userId: "u" };
      const held = cluster.gates.hold("model:0", "r");
      await cluster.send({ ...session, runId: "r", program: { run: "r", rounds: [["alpha"]] } });
      await held.reached;
      const owner = await cluster.ownerOf("r");
      let begun = false;
      const reading = cluster.read({ ...session, runId: "r" }, { onEvent: () => (begun = true) }).then(
        (events) => (events.at(-1) as { outcome: string }).outcome,
        (error: unknown) => (error as { code?: string }).code,
      );
      await until(() => begun);
      const lease = cluster.steps("claim").find(({ runId }) => runId === "r")!;
      await wipe(engine, cluster);
      history.lostAt = now();
      held.release();
      // Nobody has deleted it: nobody may be told so.
      expect(["RUN_NOT_FOUND", "EVENTS_TRIMMED"]).toContain(await reading);
      await until(async () => (await owner.call<ServiceStats>("getStats")).activeRuns === 0);
      expect(cluster.effects("r")).toEqual([]);
      const errors = cluster.notes("error").filter(({ runId }) => runId === "r");
      expect(errors).toMatchObject([{ worker: owner.name, code: "LEASE_LOST" }]);

      const program: Program = { run: "again", rounds: [["beta"]] };
      await cluster.send({ ...session, runId: "again", program });
      const events = await cluster.read({ ...session, runId: "again" });
      expect(lastTextOf(events)).toBe(answerOf(program));
      const messages = await cluster.history(session);
      expect(messages.filter(({ role }) => role === "user").map(({ id }) => id)).toEqual(["again"]);
      const stale = cluster
        .steps()
        .filter(({ owner: of, end: at }) => of === lease.owner && at > history.lostAt!);
      // There is none where the renewal of its lease was quicker to tell it.
      for (const step of stale) expect(step.refused).toBeDefined();
    });
  },
  "none",
);

async function wipe(engine: EngineUnderTest, cluster: Cluster): Promise<void> {
  if (engine.name === "redis") return engine.redis.restartEmpty();
  const { space } = cluster.options;
  await engine.postgres.query(`DROP SCHEMA ${space} CASCADE`);
}

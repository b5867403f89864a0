/*
 * Scenarios 1 to 3: kill -9 of the owner at each boundary of a turn of model, two tools at once, model. All its sessions
 * are held at one boundary each, then the process dies, and another one takes them all over. What must not be done again
 * is counted outside of the processes: model calls by the provider, effects in a file.
 */
import { beforeAll, describe, expect, test } from "vitest";
import type { RunEvent } from "../../src/index.js";
import { LEASE_MS, SCAN_MS, SLACK_MS, type Cluster } from "./cluster/cluster.js";
import { onEachEngine } from "./cluster/on-each-engine.js";
import { lastTextOf } from "./cluster/reading.js";
import { answerOf, type GateName, type Program } from "./cluster/protocol.js";
import { now } from "./cluster/records.js";
import { until } from "./cluster/until.js";

interface Boundary {
  readonly at: GateName;
  readonly what: string;
  /** Calls of the first and of the second model step, effects of the tools. */
  readonly model: readonly [number, number];
  readonly alpha: number;
  readonly beta: number;
}

const once = { model: [1, 1], alpha: 1, beta: 1 } as const;

/** In the order of a turn. Those in a model call or tool do that one again, and nothing else. */
const BOUNDARIES: readonly Boundary[] = [
  { at: "credentials", what: "claimed, nothing checkpointed", ...once },
  { at: "put:before#0", what: "before the input's checkpoint", ...once },
  { at: "put:after#0", what: "after the input's checkpoint", ...once },
  { at: "put:before#1", what: "before the first step's checkpoint", ...once },
  { at: "put:after#1", what: "after the first step's checkpoint", ...once },
  { at: "model:0", what: "in the first model call", ...once, model: [2, 1] },
  { at: "put:before#2", what: "the first model call done, its step not checkpointed", ...once },
  { at: "put:after#2", what: "the first model call checkpointed", ...once },
  { at: "tool:alpha:before", what: "in a tool before its effect, its sibling done", ...once },
  { at: "tool:alpha:after", what: "in a tool after its effect, its sibling done", ...once, alpha: 2 },
  { at: "put:before#3", what: "both tools done, their step not checkpointed", ...once },
  { at: "put:after#3", what: "both tools checkpointed", ...once },
  { at: "model:1", what: "in the second model call", ...once, model: [1, 2] },
  { at: "put:before#4", what: "the second model call done, its step not checkpointed", ...once },
  { at: "put:after#4", what: "the last checkpoint written", ...once },
  { at: "finish:before", what: "all done but the ledger's record", ...once },
  { at: "finish:after", what: "all done and recorded", ...once },
  { at: "claim:after", what: "claimed, nothing begun", ...once },
  { at: "submit:after", what: "accepted, and claimed with that, the client not told", ...once },
];

/** Where a run is held that its submit has claimed, before its client is told. */
const heldInSubmit: ReadonlySet<GateName> = new Set(["claim:after", "submit:after"]);

function programOf(run: string): Program {
  return { run, rounds: [["alpha", "beta"]] };
}

onEachEngine("kill -9 of the owner", (engine) => {
  describe("at each boundary of a turn", () => {
    let cluster: Cluster;
    let killedAt: number;
    let resumedAt: number;
    const events = new Map<GateName, RunEvent[]>();
    const second = new Map<GateName, RunEvent[]>();

    beforeAll(async () => {
      cluster = await engine.cluster(1, { keep: true });
      const owner = cluster.workers[0]!;
      const waiting: Promise<unknown>[] = [];
      for (const { at } of BOUNDARIES) {
        const session = { sessionId: at, userId: "u" };
        const held = cluster.gates.hold(at, at);
        const sent = owner.call("chat", { ...session, runId: at, message: JSON.stringify(programOf(at)) });
        sent.catch(() => undefined);
        if (!heldInSubmit.has(at)) await sent;
        waiting.push(held.reached);
      }
      await Promise.all(waiting);
      // The sibling of a tool that is held has ended, and the ledger's own record of the last one is read.
      for (const run of ["tool:alpha:before", "tool:alpha:after"]) {
        await until(() => cluster.effects(run).some(({ tool }) => tool === "beta"));
        await until(() => cluster.steps("writes").filter(({ runId }) => runId === run).length >= 3);
      }
      // Behind each of them waits a second message, accepted by the one that lives or by the one that dies; not by that
      // where it is held in the submit of the first, behind which the session's next one waits.
      const next = await cluster.add();
      for (const [index, { at }] of BOUNDARIES.entries()) {
        const run = `${at} again`;
        const ref = { sessionId: at, userId: "u", runId: run };
        const taker = index % 2 === 1 || heldInSubmit.has(at) ? next : owner;
        await cluster.send({ ...ref, program: { run, rounds: [] } }, taker);
      }
      const inModel = cluster.read(
        { sessionId: "model:0", userId: "u", runId: "model:0" },
        {
          via: () => next,
          onEvent: ({ type }) => {
            if (type === "run-resumed") resumedAt = now();
          },
        },
      );
      killedAt = now();
      await owner.kill();
      await Promise.all(
        BOUNDARIES.map(async ({ at }) => {
          const ref = { sessionId: at, userId: "u" };
          events.set(at, await (at === "model:0" ? inModel : cluster.read({ ...ref, runId: at })));
          second.set(at, await cluster.read({ ...ref, runId: `${at} again` }));
        }),
      );
    });

    test("a reader sees run-resumed soon after lease and scan", () => {
      expect(resumedAt - killedAt).toBeLessThan(LEASE_MS + SCAN_MS + SLACK_MS);
    });

    test.each(BOUNDARIES)(
      "$what ($at): nothing is lost, nothing finished is done again",
      async (boundary) => {
        const { at } = boundary;
        const run = events.get(at)!;
        expect(run.filter(({ type }) => type === "run-finished")).toEqual([run.at(-1)]);
        expect(run.at(-1)).toMatchObject({ type: "run-finished", outcome: "completed" });
        expect(lastTextOf(run)).toBe(answerOf(programOf(at)));
        expect(second.get(at)!.at(-1)).toMatchObject({ type: "run-finished", outcome: "completed" });

        const effects = cluster.effects(at);
        const of = (tool: string) => effects.filter((effect) => effect.tool === tool);
        expect({ model: cluster.modelCalls(at), alpha: of("alpha").length, beta: of("beta").length }).toEqual(
          {
            model: boundary.model,
            alpha: boundary.alpha,
            beta: boundary.beta,
          },
        );
        // A second try of a tool can be told from a second call.
        for (const tool of ["alpha", "beta"]) {
          const keys = new Set(of(tool).map(({ key }) => key));
          expect(keys).toEqual(new Set([`${at}:${of(tool)[0]!.toolCallId}`]));
        }

        // A finished step is not done again, so nobody would tell of it again: its events are in the log with it.
        for (const toolCallId of new Set(effects.map((effect) => effect.toolCallId))) {
          const told = run.filter((event) => "toolCallId" in event && event.toolCallId === toolCallId);
          const types = told.map(({ type }) => type);
          expect(types).toEqual(expect.arrayContaining(["tool-input-available", "tool-output-available"]));
        }

        const history = await cluster.history({ sessionId: at, userId: "u" });
        expect(history.map(({ id, role }) => (role === "user" ? id : role))).toEqual([
          ...[at, "assistant", "tool", "tool", "assistant"],
          ...[`${at} again`, "assistant"],
        ]);
        expect(
          cluster.model.calls.filter(({ runId }) => runId === at).map((call) => call.userMessages),
        ).toEqual(boundary.model.flatMap((count) => Array.from({ length: count }, () => 1)));
      },
    );
  });

  test("again and again: a run is given up after maxAttempts, and its session goes on", async () => {
    const cluster = await engine.cluster(0, { workers: { maxAttempts: 2 } });
    const ref = { sessionId: "s", userId: "u", runId: "r" };
    for (const attempt of [1, 2]) {
      const owner = await cluster.add();
      const held = cluster.gates.hold("tool:alpha:after", "r");
      if (attempt === 1) await cluster.send({ ...ref, program: { run: "r", rounds: [["alpha"]] } });
      await held.reached;
      await owner.kill();
      held.release();
    }
    await cluster.add();
    const events = await cluster.read(ref);
    expect(events.filter(({ type }) => type === "run-finished")).toEqual([events.at(-1)]);
    expect(events.at(-1)).toMatchObject({ outcome: "failed", error: { code: "RUN_ABANDONED" } });
    expect([cluster.modelCalls("r"), cluster.effects("r").length]).toEqual([[1], 2]);
    const next: Program = { run: "next", rounds: [["alpha"]] };
    await cluster.send({ ...ref, runId: "next", program: next });
    expect(lastTextOf(await cluster.read({ ...ref, runId: "next" }))).toBe(answerOf(next));
  });

  test("in the middle of an answer: the reader is told to drop it and gets it whole", async () => {
    const cluster = await engine.cluster(2);
    // Seconds long, for a reader that comes late to see it begin.
    const program = { run: "r", rounds: [], words: 120, slowMs: 20 };
    const session = { sessionId: "s", userId: "u" };
    await cluster.send({ ...session, runId: "r", program });
    let owner: string | undefined;
    const events = await cluster.read(
      { ...session, runId: "r" },
      {
        onEvent: ({ type }) => {
          if (type !== "text-delta" || owner !== undefined) return;
          owner = cluster.notes("run-started").find(({ runId }) => runId === "r")?.worker;
          void cluster.worker(owner!).kill();
        },
      },
    );
    // Once, unless a busy machine has cost the owner its lease before.
    const attempts = 1 + events.filter(({ type }) => type === "run-resumed").length;
    const resumed = events.findLastIndex(({ type }) => type === "run-resumed");
    expect(events.slice(0, resumed).some(({ type }) => type === "text-delta")).toBe(true);
    expect(lastTextOf(events.slice(resumed))).toBe(answerOf(program));
    expect(events.at(-1)).toMatchObject({ type: "run-finished", outcome: "completed" });
    const [calls] = cluster.modelCalls("r");
    expect(calls).toBeGreaterThan(1);
    expect(calls).toBeLessThanOrEqual(attempts);
  });
});

/* Runs that wait for a human when their process dies, and answers whose process dies at each boundary of theirs. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { RunInfo } from "../../src/index.js";
import { LEASE_MS, SCAN_MS } from "./cluster/cluster.js";
import { onEachEngine } from "./cluster/on-each-engine.js";
import { answerOf, type GateName, type Program } from "./cluster/protocol.js";
import { lastTextOf } from "./cluster/reading.js";

interface Boundary {
  readonly at: GateName;
  /** Whose gate it is: the session's, the turn's, or that of the run that answers. They are named so that all differ. */
  readonly of: "turn" | "answers";
  readonly effects: number;
  readonly answers: number;
}

const once = { effects: 1, answers: 1 } as const;

/** After the question: tool, its checkpoint, model, its checkpoint, end. */
const BOUNDARIES: readonly Boundary[] = [
  { at: "credentials", of: "turn", ...once },
  { at: "tool:ask:before", of: "turn", ...once },
  { at: "tool:ask:after", of: "turn", ...once, effects: 2 },
  { at: "put:before#0", of: "turn", ...once },
  { at: "put:after#0", of: "turn", ...once },
  { at: "model:1", of: "turn", ...once, answers: 2 },
  { at: "put:before#1", of: "turn", ...once },
  { at: "put:after#1", of: "turn", ...once },
  { at: "finish:before", of: "answers", ...once },
  { at: "finish:after", of: "answers", ...once },
  { at: "claim:after", of: "answers", ...once },
];

function programOf(run: string): Program {
  return { run, rounds: [["ask"]] };
}

onEachEngine("a question to a human", (engine) => {
  test("waits on when its process dies; an answer whose process dies is finished by another, and given once", async () => {
    const cluster = await engine.cluster(1);
    const asker = cluster.workers[0]!;
    const questions = new Map<string, string>();
    await Promise.all(
      BOUNDARIES.map(async ({ at }) => {
        const ref = { sessionId: at, userId: "u", runId: at };
        await cluster.send({ ...ref, program: programOf(at) }, asker);
        expect((await cluster.read(ref)).at(-1)).toMatchObject({ outcome: "interrupted" });
        const { interrupts } = await asker.call<RunInfo>("getRun", ref);
        questions.set(at, interrupts[0]!.id);
      }),
    );
    await asker.kill();
    const owner = await cluster.add();
    await sleep(LEASE_MS + 2 * SCAN_MS);
    for (const { at } of BOUNDARIES) {
      const run = await owner.call<RunInfo>("getRun", { sessionId: at, userId: "u", runId: at });
      expect(run).toMatchObject({ status: "interrupted", attempt: 1, interrupts: [{ value: "Sure?" }] });
    }
    expect(cluster.steps("claim").filter(({ worker }) => worker === owner.name)).toEqual([]);

    const reached: Promise<unknown>[] = [];
    for (const { at, of } of BOUNDARIES) {
      const held = cluster.gates.hold(at, of === "turn" ? at : `${at} answers`);
      const ref = { sessionId: at, userId: "u", runId: `${at} answers` };
      const sent = owner.call("resume", { ...ref, answers: { [questions.get(at)!]: "Yes" } });
      // One that is held in its claim may not be told.
      sent.catch(() => undefined);
      if (at !== "claim:after") await sent;
      reached.push(held.reached);
    }
    await Promise.all(reached);
    const other = await cluster.add();
    await owner.kill();
    for (const { at, effects, answers } of BOUNDARIES) {
      const ref = { sessionId: at, userId: "u", runId: `${at} answers` };
      const events = await cluster.read(ref, { via: () => other });
      expect(events.filter(({ type }) => type === "run-finished")).toEqual([events.at(-1)]);
      expect(events.at(-1)).toMatchObject({ outcome: "completed" });
      expect(lastTextOf(events)).toBe(answerOf(programOf(at)));
      const done = { effects: cluster.effects(at).length, model: cluster.modelCalls(at) };
      expect({ at, ...done }).toEqual({ at, effects, model: [1, answers] });
      expect(new Set(cluster.effects(at).map(({ key }) => key)).size).toBe(1);
      const history = await cluster.history(ref);
      expect(history.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "assistant"]);
      const again = { ...ref, runId: `${at} again`, answers: { [questions.get(at)!]: "No" } };
      await expect(other.call("resume", again)).rejects.toMatchObject({ code: "INTERRUPT_STALE" });
    }
  });
});

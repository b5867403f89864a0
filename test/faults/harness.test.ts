/* What judges the faults is judged first: it finds nothing where nothing is wrong, and each wrong for what it is. */
import { expect, test } from "vitest";
import { Cluster } from "./cluster/cluster.js";
import { problemsOf } from "./cluster/history.js";
import { answerOf } from "./cluster/protocol.js";
import { lastTextOf } from "./cluster/reading.js";
import type { StepRecord } from "./cluster/records.js";

test("a worker that nothing happens to calls model and tools once, and its history has no problems", async () => {
  const cluster = await Cluster.start({ engine: "memory", url: "", space: "" }, 1);
  try {
    const program = { run: "r1", rounds: [["alpha", "beta"], ["alpha"]] };
    await cluster.send({ sessionId: "s1", runId: "r1", program });
    const events = await cluster.read({ sessionId: "s1", runId: "r1" });
    expect(events.at(-1)).toMatchObject({ type: "run-finished", outcome: "completed" });
    expect(lastTextOf(events)).toBe(answerOf(program));
    expect(cluster.modelCalls("r1")).toEqual([1, 1, 1]);
    const tools = cluster.effects("r1").map(({ tool }) => tool);
    expect(tools.sort()).toEqual(["alpha", "alpha", "beta"]);
    expect(cluster.steps("put").length).toBeGreaterThan(3);
    expect(cluster.problems()).toEqual([]);
  } finally {
    await cluster.stop();
  }
});

const common = { kind: "step", worker: "w1", threadId: "t", runId: "r", owner: "o1", epoch: 1 } as const;

function step(start: number, end: number, more: Partial<StepRecord> & Pick<StepRecord, "step">): StepRecord {
  return { ...common, start, end, ...more };
}

test.each<[string, StepRecord[], RegExp]>([
  [
    "a write by an owner that was taken over",
    [step(1, 2, { step: "append", epoch: 2, first: 1, count: 1 }), step(3, 4, { step: "state", epoch: 1 })],
    /stale write accepted/,
  ],
  [
    "a checkpoint with two children",
    [
      step(1, 2, { step: "put", checkpoint: "b", parent: "a" }),
      step(3, 4, { step: "put", checkpoint: "c", parent: "a" }),
    ],
    /two checkpoints follow a/,
  ],
  [
    "a second beginning of a thread",
    [step(1, 2, { step: "put", checkpoint: "a" }), step(3, 4, { step: "put", checkpoint: "b" })],
    /two checkpoints follow/,
  ],
  [
    "an input that something follows, beside another one",
    [
      step(1, 2, { step: "put", checkpoint: "a", source: "input" }),
      step(1, 2, { step: "put", checkpoint: "b", parent: "a", source: "loop" }),
      step(3, 4, { step: "put", checkpoint: "c", source: "loop" }),
    ],
    /two checkpoints follow/,
  ],
  [
    "a checkpoint that sorts before its parent",
    [step(1, 2, { step: "put", checkpoint: "a", parent: "b" })],
    /sorts before its parent/,
  ],
  [
    "a run that ends twice",
    [step(1, 2, { step: "finish", outcome: "completed" }), step(3, 4, { step: "finish", outcome: "failed" })],
    /ended as completed and as failed/,
  ],
  [
    "an event number that is used twice",
    [step(1, 2, { step: "append", first: 1, count: 3 }), step(3, 4, { step: "append", first: 3, count: 1 })],
    /event 3 of run t r was accepted twice/,
  ],
  [
    "an epoch with two owners",
    [step(1, 2, { step: "claim" }), step(3, 4, { step: "claim", owner: "o2" })],
    /was given to two owners/,
  ],
])("a history with %s has a problem", (_, steps, problem) => {
  expect(problemsOf(steps)).toEqual([expect.stringMatching(problem)]);
});

test.each<[string, StepRecord[]]>([
  [
    "a stale write that was refused",
    [
      step(1, 2, { step: "append", epoch: 2, first: 1, count: 1 }),
      step(3, 4, { step: "append", epoch: 1, first: 1, count: 1, refused: "LEASE_LOST" }),
    ],
  ],
  [
    "a write that was under way while another owner's was accepted",
    [step(1, 5, { step: "state", epoch: 1 }), step(3, 4, { step: "state", epoch: 2 })],
  ],
  [
    "an input that was acknowledged and never stored",
    [
      step(1, 2, { step: "put", checkpoint: "a", source: "input" }),
      step(3, 4, { step: "put", checkpoint: "b", source: "input" }),
      step(5, 6, { step: "put", checkpoint: "c", parent: "b", source: "loop" }),
    ],
  ],
  [
    "threads that have nothing to do with each other",
    [
      step(1, 2, { step: "put", checkpoint: "a", epoch: 2 }),
      step(3, 4, { step: "put", checkpoint: "a", threadId: "u" }),
    ],
  ],
])("a history with %s has none", (_, steps) => {
  expect(problemsOf(steps)).toEqual([]);
});

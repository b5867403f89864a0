import { describe, expect, test } from "vitest";
import { replayOf } from "../../../src/http/replay.js";
import type { AgentEvent, RunEvent, RunLifecycleEvent } from "../../../src/index.js";

const started = { type: "run-started", runId: "r", messageId: "m" } as const;
const half = [
  { type: "text-start", id: "t" },
  { type: "text-delta", id: "t", delta: "half" },
] as const;
const whole = [
  { type: "text-start", id: "u" },
  { type: "text-delta", id: "u", delta: "whole" },
  { type: "text-end", id: "u" },
] as const;

/** A run's events that come when they are asked for; takes note of how many were, and of leaving. */
class Source implements AsyncIterator<RunEvent, undefined> {
  asked = 0;
  left = false;
  readonly #events: RunEvent[];

  constructor(...list: readonly (AgentEvent | RunLifecycleEvent)[]) {
    this.#events = list.map((event, index) => ({ ...event, seq: index + 1 }));
  }

  next(): Promise<IteratorResult<RunEvent, undefined>> {
    const value = this.#events[this.asked++];
    return Promise.resolve(value === undefined ? { done: true, value } : { done: false, value });
  }

  return(): Promise<IteratorResult<RunEvent, undefined>> {
    this.left = true;
    return Promise.resolve({ done: true, value: undefined });
  }
}

async function kinds(events: AsyncIterator<RunEvent, undefined>): Promise<string[]> {
  const all: string[] = [];
  for (;;) {
    const { done, value } = await events.next();
    if (done === true) return all;
    all.push("delta" in value ? value.delta : value.type);
  }
}

describe("a replay", () => {
  test("leaves out the text, the reasoning and the call that a takeover cut off, and keeps what had ended", async () => {
    const source = new Source(
      started,
      ...whole,
      { type: "tool-input-start", toolCallId: "a", toolName: "add" },
      { type: "tool-input-available", toolCallId: "a", toolName: "add", input: {} },
      ...half,
      { type: "reasoning-start", id: "h" },
      { type: "reasoning-delta", id: "h", delta: "hm" },
      { type: "tool-input-start", toolCallId: "b", toolName: "add" },
      { type: "tool-input-delta", toolCallId: "b", delta: "{" },
      { type: "run-resumed", attempt: 2 },
      // Agents may use an id again.
      ...half,
      { type: "text-end", id: "t" },
      { type: "run-finished", outcome: "completed" },
    );
    expect(await kinds(replayOf({ status: "completed", attempt: 2 }, source))).toEqual([
      ...["run-started", "text-start", "whole", "text-end", "tool-input-start", "tool-input-available"],
      ...["run-resumed", "text-start", "half", "text-end", "run-finished"],
    ]);
  });

  test("reads ahead to the newest takeover and no further", async () => {
    const source = new Source(
      ...[started, ...half, { type: "run-resumed", attempt: 2 } as const, ...half],
      ...[{ type: "run-resumed", attempt: 3 } as const, ...whole],
    );
    const replay = replayOf({ status: "running", attempt: 3 }, source);
    expect((await replay.next()).value).toMatchObject(started);
    expect(source.asked).toBe(7);
    expect(await kinds(replay)).toEqual(["run-resumed", "run-resumed", "text-start", "whole", "text-end"]);
  });

  test("waits for the next attempt of a run that was handed over", async () => {
    const source = new Source(started, ...half, { type: "run-resumed", attempt: 2 }, ...whole);
    expect(await kinds(replayOf({ status: "queued", attempt: 1 }, source))).toEqual([
      ...["run-started", "run-resumed", "text-start", "whole", "text-end"],
    ]);
  });

  test("of a run that no process has lost is the run", () => {
    const source = new Source(started, ...half);
    expect(replayOf({ status: "running", attempt: 1 }, source)).toBe(source);
    expect(replayOf({ status: "queued", attempt: 0 }, source)).toBe(source);
  });

  test("ends with its run when no takeover was told of, and when its reader leaves", async () => {
    const source = new Source(started, ...half, { type: "run-finished", outcome: "failed" });
    const replay = replayOf({ status: "failed", attempt: 3 }, source);
    expect(await kinds(replay)).toEqual(["run-started", "text-start", "half", "run-finished"]);
    await replay.return?.();
    expect(source.left).toBe(true);
  });
});

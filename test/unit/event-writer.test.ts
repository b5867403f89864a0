import { describe, expect, it } from "vitest";
import { AgentError } from "../../src/errors.js";
import { deferred } from "../../src/internal/deferred.js";
import type { RunEvent } from "../../src/run-event.js";
import { EventWriter } from "../../src/runs/event-writer.js";
import type { EventLog, Lease } from "../../src/store/store.js";
import { ManualClock } from "../../src/testing/manual-clock.js";

const lease: Lease = { threadId: "t", epoch: 1, owner: "o" };
const isDone = (done: boolean): boolean => done;

/** A log that an engine might keep: appends are answered when the test says so. */
function logged(batch = { ms: 25, events: 64 }) {
  const clock = new ManualClock();
  const batches: number[][] = [];
  const stored: number[][] = [];
  const answers: ReturnType<typeof deferred<undefined>>[] = [];
  const log: EventLog = {
    batch,
    stored: (_lease, _runId, events) => void stored.push(numbers(events)),
    append: (_lease, _runId, events) => {
      batches.push(numbers(events));
      const answer = deferred<undefined>();
      answers.push(answer);
      return answer.promise;
    },
    read: () => ({ events: [], last: 0, trimmed: false }),
    watch: () => () => undefined,
    delete: () => Promise.resolve(),
  };
  const writer = new EventWriter(log, lease, "r", 0, clock);
  const say = (...types: ("text-delta" | "tool-input-start" | "run-started")[]) => {
    for (const type of types) {
      if (type === "run-started") void writer.push({ type, runId: "r" });
      else if (type === "text-delta") void writer.push({ type, id: "t", delta: "x" });
      else void writer.push({ type, toolCallId: "c", toolName: "look_up" });
    }
  };
  return { clock, batches, stored, answers, writer, say };
}

function numbers(events: readonly RunEvent[] | undefined): number[] {
  return (events ?? []).map(({ seq }) => seq);
}

describe("events that nobody takes along", () => {
  it("gather as long as the log says, the first of what a reader waits for a few milliseconds", async () => {
    const { clock, batches, answers, say } = logged();
    say("run-started", "text-delta");
    await clock.advance(24);
    expect(batches).toEqual([]);
    say("tool-input-start");
    await clock.advance(1);
    expect(batches).toEqual([[1, 2, 3]]);
    answers[0]!.resolve(undefined);
    await clock.advance(0);
    say("tool-input-start");
    await clock.advance(2);
    expect(batches).toHaveLength(1);
    await clock.advance(1);
    expect(batches).toEqual([[1, 2, 3], [4]]);
  });

  it("are sent at once when there are many", async () => {
    const { clock, batches, say } = logged({ ms: 25, events: 3 });
    say("text-delta", "text-delta", "text-delta", "text-delta");
    await clock.advance(0);
    expect(batches).toEqual([[1, 2, 3, 4]]);
  });

  it("make the run wait when the log is far behind", async () => {
    const { clock, writer, answers } = logged({ ms: 25, events: 1 });
    let waits: void | Promise<void> = undefined;
    for (let n = 0; n < 5; n++) waits = writer.push({ type: "text-delta", id: "t", delta: "x" });
    expect(waits).toBeInstanceOf(Promise);
    await clock.advance(0);
    for (const answer of answers) answer.resolve(undefined);
    await waits;
    expect(writer.lastSeq).toBe(5);
  });
});

describe("a step that events ride with", () => {
  it("and an append that somebody else begins at the same moment never take the same events", async () => {
    // However many turns of the microtask queue the one comes after the other.
    for (let hops = 0; hops < 12; hops++) {
      const { clock, batches, stored, answers, writer, say } = logged();
      say("text-delta");
      const first = writer.flush();
      await clock.advance(0);
      say("text-delta");
      const given: number[][] = [];
      const ride = writer.ride(async (events) => {
        given.push(numbers(events));
        await new Promise((resolve) => setImmediate(resolve));
        return true;
      }, isDone);
      answers[0]!.resolve(undefined);
      for (let hop = 0; hop < hops; hop++) await Promise.resolve();
      const second = writer.flush();
      while (given.length === 0) {
        await clock.advance(0);
        for (const answer of answers) answer.resolve(undefined);
      }
      await Promise.all([first, ride, second]);
      // Each event went one of the two ways.
      expect([...batches, ...stored].flat()).toEqual([1, 2]);
      expect(writer.lastSeq).toBe(2);
    }
  });

  it("is given all that the log has not, and the log is told once it is done", async () => {
    const { clock, batches, stored, writer, say } = logged();
    say("run-started", "text-delta");
    const step = deferred<boolean>();
    let given: number[] = [];
    const ride = writer.ride((events) => {
      given = numbers(events);
      return step.promise;
    }, isDone);
    await clock.advance(100);
    expect({ given, stored, batches, last: writer.lastSeq }).toEqual({
      given: [1, 2],
      stored: [],
      batches: [],
      last: 0,
    });
    step.resolve(true);
    await ride;
    expect({ stored, last: writer.lastSeq }).toEqual({ stored: [[1, 2]], last: 2 });
    await clock.advance(100);
    expect(batches).toEqual([]);
  });

  it("waits for the append under way, and takes what came behind it", async () => {
    const { clock, batches, answers, writer, say } = logged();
    say("tool-input-start");
    await clock.advance(3);
    expect(batches).toEqual([[1]]);
    say("text-delta", "text-delta");
    let given: number[] | undefined;
    const ride = writer.ride((events) => {
      given = numbers(events);
      return Promise.resolve(true);
    }, isDone);
    await clock.advance(100);
    expect(given).toBeUndefined();
    answers[0]!.resolve(undefined);
    await ride;
    expect({ given, batches }).toEqual({ given: [2, 3], batches: [[1]] });
  });

  it("holds up what comes meanwhile, which goes soon after it", async () => {
    const { clock, batches, writer, say } = logged();
    say("text-delta");
    const step = deferred<boolean>();
    const ride = writer.ride(() => step.promise, isDone);
    await clock.advance(0);
    say("tool-input-start");
    const flushed = writer.flush();
    await clock.advance(100);
    expect(batches).toEqual([]);
    step.resolve(true);
    await ride;
    await clock.advance(3);
    expect(batches).toEqual([[2]]);
    void flushed;
  });

  it("that was surely not done loses nothing: the next one takes them with what came since", async () => {
    const { writer, stored, say } = logged();
    say("text-delta");
    expect(await writer.ride(() => Promise.resolve(false), isDone)).toBe(false);
    say("text-delta");
    let given: number[] = [];
    await writer.ride((events) => {
      given = numbers(events);
      return Promise.resolve(true);
    }, isDone);
    expect({ given, stored }).toEqual({ given: [1, 2], stored: [[1, 2]] });
  });

  it("that failed may have been done: its events are appended as they were, before anything else", async () => {
    const { clock, batches, answers, writer, say } = logged();
    say("text-delta", "text-delta");
    const lost = new AgentError("STORE_UNAVAILABLE", "The answer got lost.");
    await expect(writer.ride(() => Promise.reject(lost), isDone)).rejects.toBe(lost);
    say("text-delta");
    let given: number[] | undefined;
    const ride = writer.ride((events) => {
      given = numbers(events);
      return Promise.resolve(true);
    }, isDone);
    await clock.advance(0);
    expect({ batches, given }).toEqual({ batches: [[1, 2]], given: undefined });
    answers[0]!.resolve(undefined);
    await ride;
    expect({ batches, given, last: writer.lastSeq }).toEqual({ batches: [[1, 2]], given: [3], last: 3 });
  });

  it("is not made when the log has failed", async () => {
    const { clock, answers, writer, say } = logged();
    say("tool-input-start");
    await clock.advance(3);
    let made = false;
    const ride = writer.ride(() => {
      made = true;
      return Promise.resolve(true);
    }, isDone);
    answers[0]!.reject(new AgentError("LEASE_LOST", "Somebody else was here."));
    await expect(ride).rejects.toMatchObject({ code: "LEASE_LOST" });
    expect(made).toBe(false);
  });

  it("that there are no events for is made at once", async () => {
    const { writer } = logged();
    const given: unknown[] = [];
    await writer.ride((events) => {
      given.push(events);
      return Promise.resolve(true);
    }, isDone);
    expect(given).toEqual([undefined]);
  });
});

it("flush waits for a log that takes events one by one and later", async () => {
  const answer = deferred<undefined>();
  const log: EventLog = {
    append: () => answer.promise,
    read: () => ({ events: [], last: 0, trimmed: false }),
    watch: () => () => undefined,
    delete: () => Promise.resolve(),
  };
  const writer = new EventWriter(log, lease, "r", 0, new ManualClock());
  void writer.push({ type: "text-delta", id: "t", delta: "x" });
  let isFlushed = false;
  const flushed = writer.flush().then(() => (isFlushed = true));
  await new Promise((resolve) => setImmediate(resolve));
  expect(isFlushed).toBe(false);
  answer.resolve(undefined);
  await flushed;
  expect(writer.lastSeq).toBe(1);
});

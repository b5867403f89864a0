import { uuid6, type Checkpoint } from "@langchain/langgraph-checkpoint";
import type { RunEvent } from "../../run-event.js";
import {
  RUN_KEY,
  type EventLog,
  type EventRide,
  type Lease,
  type RunConfigurable,
} from "../../store/store.js";
import { rulesOf, type Bench } from "./bench.js";
import { expectEqual, expectLike, expectRefused } from "./expectations.js";
import { completion, eventsFrom, threadOf } from "./requests.js";

const thread = threadOf("s");

/** What tells the log of events that went along with another step; a store that can't take any has nothing to keep. */
function storedOf(bench: Bench): EventLog["stored"] {
  const { events, runs } = bench;
  return events.engine === runs.engine ? events.stored?.bind(events) : undefined;
}

async function seqsOf(bench: Bench): Promise<number[]> {
  const { events } = await bench.events.read(thread, "a", { after: 0, limit: 100 });
  return events.map(({ seq }) => seq);
}

function ending(first: number, last: number) {
  return completion({ lastSeq: last, events: eventsFrom(first, last) });
}

/** A run's configurable, whose one batch of events is stored when the saver says so, in either way. */
function telling(bench: Bench, lease: Lease, events: readonly RunEvent[]): RunConfigurable {
  const stored = storedOf(bench);
  let isTold = false;
  const flush = async (): Promise<void> => {
    if (isTold) return;
    isTold = true;
    await bench.events.append(lease, "a", events);
  };
  const { engine } = bench.runs;
  if (stored === undefined || engine === undefined) return { lease, turnId: "a", flush };
  const ride: EventRide = {
    engine,
    ready: () => Promise.resolve(),
    run: async (step) => {
      if (isTold) return step(undefined);
      isTold = await step({ runId: "a", events });
      if (isTold) stored(lease, "a", events);
      return isTold;
    },
  };
  return { lease, turnId: "a", flush, ride };
}

async function put(bench: Bench, run: RunConfigurable): Promise<void> {
  const checkpoint: Checkpoint = {
    ...{ v: 4, id: uuid6(1), ts: "2026-01-01T00:00:00.000Z" },
    ...{ channel_values: { count: 1 }, channel_versions: { count: 1 }, versions_seen: {} },
  };
  const configurable = { thread_id: thread, checkpoint_ns: "", [RUN_KEY]: run };
  const metadata = { source: "loop" as const, step: 1, parents: {} };
  await bench.checkpointer.put({ configurable }, checkpoint, metadata, { count: 1 });
}

/** Events that are stored by the step that would else wait for them. */
export const alongRules = [
  ...rulesOf(["events", "runs"], {
    "events: those that go along with a run's end are there with it": async (bench) => {
      if (storedOf(bench) === undefined) return;
      const claimed = await bench.begin("s", "a");
      await bench.events.append(claimed.lease, "a", eventsFrom(1, 1));
      const ended = await bench.finish(claimed, ending(2, 3));
      expectLike(ended, { status: "completed", lastSeq: 3 }, "the finished run");
      expectEqual(await seqsOf(await bench.other()), [1, 2, 3], "the numbers in the log");
      expectEqual(await bench.finish(claimed, ending(2, 3)), ended, "what finish gave once more");
      expectEqual(await seqsOf(bench), [1, 2, 3], "the numbers in the log");
    },

    "events: readers are told of those that went along, in other processes too": async (bench) => {
      const stored = storedOf(bench);
      if (stored === undefined) return;
      const claimed = await bench.begin("s", "a");
      const other = await bench.other();
      const told = new Set<string>();
      const stops = [
        bench.events.watch(thread, "a", () => told.add("writer")),
        other.events.watch(thread, "a", () => told.add("reader")),
      ];
      await bench.finish(claimed, ending(1, 2));
      stored(claimed.lease, "a", eventsFrom(1, 2));
      expectEqual(await seqsOf(bench), [1, 2], "the numbers that the writer's process serves");
      await bench.eventually(
        () => told.size === 2,
        "both to be told",
        () => told,
      );
      for (const stop of stops) stop();
      expectEqual(await seqsOf(other), [1, 2], "the numbers that the other process serves");
    },

    "events: a run does not end with events that do not follow": async (bench) => {
      if (storedOf(bench) === undefined) return;
      const claimed = await bench.begin("s", "a");
      await bench.events.append(claimed.lease, "a", eventsFrom(1, 1));
      await expectRefused(
        () => bench.finish(claimed, ending(3, 4)),
        "LEASE_LOST",
        "an end with a gap before",
      );
      expectEqual(await seqsOf(bench), [1], "the numbers in the log");
      expectEqual(await bench.statusOf("s", "a"), "running", "the run");
      expectLike(await bench.finish(claimed, ending(2, 2)), { lastSeq: 2 }, "the end that follows");
    },

    "events: a stale owner's do not go along": async (bench) => {
      if (storedOf(bench) === undefined) return;
      const stale = await bench.begin("s", "a", { leaseMs: bench.leaseMs });
      await bench.expire();
      const claimed = await bench.claim({ processId: "process-2" });
      await expectRefused(() => bench.finish(stale, ending(1, 2)), "LEASE_LOST", "the stale owner's end");
      expectEqual(await seqsOf(bench), [], "the numbers in the log");
      expectLike(await bench.finish(claimed, ending(1, 1)), { lastSeq: 1 }, "the new owner's end");
      expectEqual(await seqsOf(bench), [1], "the numbers in the log");
    },

    "events: those of a session that is being deleted do not keep its run from ending": async (bench) => {
      if (storedOf(bench) === undefined) return;
      const claimed = await bench.begin("s", "a");
      await bench.events.append(claimed.lease, "a", eventsFrom(1, 1));
      await bench.runs.tombstone(thread);
      const ended = await bench.finish(claimed, ending(2, 3));
      expectLike(ended, { status: "cancelled", lastSeq: 1 }, "the run's end");
      expectEqual(await seqsOf(bench), [1], "the numbers in the log");
    },
  }),

  ...rulesOf(["events", "runs", "checkpointer"], {
    "checkpointer: what a run has told is in the log no later than what it put": async (bench) => {
      const { lease } = await bench.begin("s", "a");
      const events = eventsFrom(1, 2);
      await put(bench, telling(bench, lease, events));
      expectEqual(await seqsOf(await bench.other()), [1, 2], "the numbers in the log");
      if (storedOf(bench) === undefined) return;
      // As by a writer who never had the answer.
      await bench.events.append(lease, "a", events);
      await bench.events.append(lease, "a", eventsFrom(3, 3));
      expectEqual(await seqsOf(bench), [1, 2, 3], "the numbers after the same events once more");
    },

    "checkpointer: what a stale owner puts takes no events along": async (bench) => {
      const stale = await bench.begin("s", "a", { leaseMs: bench.leaseMs });
      await bench.expire();
      await bench.claim({ processId: "process-2" });
      const run = telling(bench, stale.lease, eventsFrom(1, 2));
      await expectRefused(() => put(bench, run), "LEASE_LOST", "the stale owner's put");
      expectEqual(await seqsOf(bench), [], "the numbers in the log");
    },
  }),
];

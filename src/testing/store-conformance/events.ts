import type { RunEvent } from "../../run-event.js";
import type { EventPage, Lease } from "../../store/store.js";
import { rulesOf, type Bench } from "./bench.js";
import { acceptedOf, attemptOf, expectEqual, expectLike, expectRefused, expectThat } from "./expectations.js";
import { completion, difficultJson, difficultTexts, eventsFrom, threadOf } from "./requests.js";

const thread = threadOf("s");
const runId = "run-of-s";
const MAX_EVENTS = 10;

function read(bench: Bench, after = 0, limit = 1_000): EventPage | Promise<EventPage> {
  return bench.events.read(thread, runId, { after, limit });
}

async function seqsOf(bench: Bench, after = 0, limit = 1_000): Promise<number[]> {
  return (await read(bench, after, limit)).events.map((event) => event.seq);
}

function count(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

async function append(bench: Bench, lease: Lease, ...numbers: readonly number[]): Promise<void> {
  await bench.events.append(
    lease,
    runId,
    numbers.flatMap((seq) => eventsFrom(seq, seq)),
  );
}

/** The log of what runs emit. */
export const eventRules = [
  ...rulesOf(["events"], {
    "events: what was appended is read in order": async (bench) => {
      const lease = await bench.lease("s");
      await append(bench, lease, 1);
      await append(bench, lease, 2, 3);
      expectEqual(await read(bench), { events: eventsFrom(1, 3), last: 3, trimmed: false }, "the page");
    },

    "events: pages join up without gap or duplicate while the log grows": async (bench) => {
      const other = await bench.other();
      const lease = await bench.lease("s");
      const seen: number[] = [];
      for (let n = 1; n <= 30; n++) {
        await append(bench, lease, ...count(3 * n - 2, 3 * n));
        const page = await read(other, seen.length, 2);
        expectLike(page, { last: 3 * n, trimmed: false }, "the page");
        expectThat(page.events.length <= 2, "at most 2 events", page);
        seen.push(...page.events.map((event) => event.seq));
      }
      seen.push(...(await seqsOf(other, seen.length)));
      expectEqual(seen, count(1, 90), "the numbers on all pages");
    },

    "events: a reader at the end or ahead of the log gets nothing": async (bench) => {
      await append(bench, await bench.lease("s"), 1, 2);
      for (const after of [2, 500]) {
        expectEqual(
          await read(bench, after),
          { events: [], last: 2, trimmed: false },
          `the page after ${String(after)}`,
        );
      }
    },

    "events: a run without events has an empty log": async (bench) => {
      const none = { events: [], last: 0, trimmed: false };
      expectEqual(await read(bench), none, "the page of an unknown thread");
      const lease = await bench.lease("s");
      await append(bench, lease);
      expectEqual(await read(bench), none, "the page of a run to which nothing was appended");
      await append(bench, lease, 1);
      expectEqual(
        await bench.events.read(thread, "other", { after: 0, limit: 9 }),
        none,
        "another run's page",
      );
      expectEqual(
        await bench.events.read(threadOf("t"), runId, { after: 0, limit: 9 }),
        none,
        "another thread's page",
      );
    },

    "events: a batch whose numbers do not follow is refused whole": async (bench) => {
      const lease = await bench.lease("s");
      await append(bench, lease, 1, 2);
      for (const batch of [[4], [4, 5], [3, 5], [2, 3], [0], [1]]) {
        const what = `the batch ${batch.join()} after event 2`;
        await expectRefused(() => append(bench, lease, ...batch), "LEASE_LOST", what);
      }
      expectEqual(await seqsOf(bench), [1, 2], "the numbers in the log");
      await append(bench, lease, 3);
      expectEqual(await seqsOf(bench), [1, 2, 3], "the numbers in the log");
    },

    "events: a batch that is sent again is in the log once": async (bench) => {
      const lease = await bench.lease("s");
      await append(bench, lease, 1, 2, 3);
      // Taken as done, or refused: who sends again does so because the answer got lost.
      acceptedOf([await attemptOf(() => append(bench, lease, 1, 2, 3))], ["LEASE_LOST"], "the batch");
      expectEqual(await seqsOf(bench), [1, 2, 3], "the numbers in the log");
      await append(bench, lease, 4);
      acceptedOf([await attemptOf(() => append(bench, lease, 4))], ["LEASE_LOST"], "the batch");
      expectEqual(await seqsOf(bench), [1, 2, 3, 4], "the numbers in the log");
    },

    "events: text and JSON of every kind come back unchanged": async (bench) => {
      const lease = await bench.lease("s");
      const texts = Object.values(difficultTexts).map((delta, i): RunEvent => ({
        type: "text-delta",
        id: "t",
        delta,
        seq: i + 1,
      }));
      const data: RunEvent = { type: "data", name: "你好 👋", data: difficultJson(), seq: texts.length + 1 };
      await bench.events.append(lease, runId, [...texts, data]);
      expectEqual((await read(bench)).events, [...texts, data], "the events");
    },

    "events: an event of 200 KB comes back unchanged": async (bench) => {
      const lease = await bench.lease("s");
      const big = eventsFrom(1, 1, "0123456789 你好👋 ".repeat(12_000));
      await bench.events.append(lease, runId, big);
      await append(bench, lease, 2);
      const { events } = await read(bench);
      expectThat(JSON.stringify(events[0]) === JSON.stringify(big[0]), "the event", events[0]);
      expectEqual(events[1], eventsFrom(2, 2)[0], "the event after it");
    },

    "events: a watcher is told of more events, in other processes too": async (bench) => {
      const lease = await bench.lease("s");
      const told = new Map<string, number>();
      const watch = (who: Bench, name: string) =>
        who.events.watch(thread, runId, () => told.set(name, (told.get(name) ?? 0) + 1));
      const stops = [watch(bench, "writer"), watch(await bench.other(), "reader")];
      for (const [seq, last] of [
        [1, 1],
        [2, 2],
      ] as const) {
        told.clear();
        await append(bench, lease, seq);
        await bench.eventually(
          () => told.size === 2,
          `both to be told of event ${String(last)}`,
          () => told,
        );
      }
      for (const stop of stops) stop();
    },

    "events: a watcher that was taken off is told no more": async (bench) => {
      const lease = await bench.lease("s");
      let told = "";
      const stop = bench.events.watch(thread, runId, () => (told += "stopped "));
      const listener = () => (told += "listener ");
      const [first, second] = [1, 2].map(() => bench.events.watch(thread, runId, listener));
      stop();
      stop();
      first?.();
      await append(bench, lease, 1);
      await bench.eventually(
        () => told.includes("listener"),
        "the watcher that is left to be told",
        () => told,
      );
      expectThat(!told.includes("stopped"), "nothing to be told to the watcher that was taken off", told);
      second?.();
    },

    "events: a watcher that throws harms neither the writer nor the others": async (bench) => {
      const lease = await bench.lease("s");
      let told = 0;
      const stop = bench.events.watch(thread, runId, () => {
        throw new Error("a watcher of the conformance kit throws");
      });
      const second = bench.events.watch(thread, runId, () => (told += 1));
      await append(bench, lease, 1);
      await bench.eventually(
        () => told > 0,
        "the other watcher to be told",
        () => told,
      );
      expectEqual(await seqsOf(bench), [1], "the numbers in the log");
      stop();
      second();
    },

    "events: delete forgets the events of its thread alone": async (bench) => {
      const lease = await bench.lease("s");
      await append(bench, lease, 1, 2);
      const other = await bench.lease("t");
      await bench.events.append(other, "run-of-t", eventsFrom(1, 3));
      await bench.events.delete(thread);
      await bench.events.delete(threadOf("nobody"));
      expectEqual((await read(bench)).events, [], "the events of the deleted thread");
      const page = await bench.events.read(threadOf("t"), "run-of-t", { after: 0, limit: 9 });
      expectEqual(
        page,
        { events: eventsFrom(1, 3), last: 3, trimmed: false },
        "the page of the other thread",
      );
    },

    "events: a reader behind what is kept is told so": {
      limits: { maxEventsPerRun: MAX_EVENTS },
      check: async (bench) => {
        const lease = await bench.lease("s");
        for (let n = 1; n <= 50; n++) await append(bench, lease, ...count(10 * n - 9, 10 * n));
        const all = await read(bench);
        const first = all.events[0]?.seq ?? 0;
        expectLike(all, { last: 500, trimmed: true }, "the page from the beginning");
        expectThat(first > 1 && first <= 500 - MAX_EVENTS + 1, "the oldest events to be gone", all);
        expectEqual(
          all.events.map((event) => event.seq),
          count(first, 500),
          "the numbers from the oldest kept",
        );
        expectEqual(
          (await read(bench, first - 2)).trimmed,
          true,
          "`trimmed` of a reader that misses one event",
        );
        expectEqual((await read(bench, first - 1)).trimmed, false, "`trimmed` of a reader that misses none");
        expectEqual((await read(bench, 500)).trimmed, false, "`trimmed` of a reader at the end");
      },
    },
  }),

  ...rulesOf(["events", "runs"], {
    "events: the first event of a run is 1": async (bench) => {
      const lease = await bench.lease("s");
      await expectRefused(() => append(bench, lease, 2), "LEASE_LOST", "event 2 of an empty log");
      expectEqual(await seqsOf(bench), [], "the numbers in the log");
    },

    "events: a stale owner cannot append": async (bench) => {
      const stale = await bench.begin("s", runId, { leaseMs: bench.leaseMs });
      await append(bench, stale.lease, 1);
      await bench.expire();
      const { lease } = await bench.claim({ processId: "process-2" });
      await expectRefused(() => append(bench, stale.lease, 2), "LEASE_LOST", "the stale owner's event");
      await append(bench, lease, 2);
      await expectRefused(() => append(bench, stale.lease, 3), "LEASE_LOST", "the stale owner's next event");
      expectEqual(await seqsOf(bench), [1, 2], "the numbers in the log");
    },

    "events: a new owner goes on where the last one stopped": async (bench) => {
      const first = await bench.begin("s", runId, { leaseMs: bench.leaseMs });
      await append(bench, first.lease, 1, 2);
      await bench.expire();
      const other = await bench.other();
      const { lease } = await other.claim({ processId: "process-2" });
      expectEqual((await read(other)).last, 2, "the last event that the new owner finds");
      await expectRefused(() => append(other, lease, 1), "LEASE_LOST", "event 1 once more");
      await append(other, lease, 3);
      expectEqual(await seqsOf(bench), [1, 2, 3], "the numbers in the log");
    },

    "events: an owner writes for its run alone": async (bench) => {
      const { lease } = await bench.begin("s", runId);
      await bench.submit("s", "other");
      await bench.submit("t", "run-of-t");
      await bench.claim();
      const write = (of: Lease, run: string) => () => bench.events.append(of, run, eventsFrom(1, 1));
      await expectRefused(write(lease, "other"), "LEASE_LOST", "an event of a queued run");
      await expectRefused(write(lease, "unknown"), "LEASE_LOST", "an event of an unknown run");
      const elsewhere = { ...lease, threadId: threadOf("t") };
      await expectRefused(write(elsewhere, "run-of-t"), "LEASE_LOST", "an event of another thread");
      await expectRefused(write({ ...lease, owner: "x" }, runId), "LEASE_LOST", "an event of a forged owner");
    },

    "events: nothing is appended after the end": async (bench) => {
      const claimed = await bench.begin("s", runId);
      await append(bench, claimed.lease, 1);
      await bench.finish(claimed, completion({ lastSeq: 1 }));
      await expectRefused(() => append(bench, claimed.lease, 2), "LEASE_LOST", "an event after the end");
      expectEqual(await seqsOf(bench), [1], "the numbers in the log");
    },

    "events: a session that is being deleted takes no events": async (bench) => {
      const { lease } = await bench.begin("s", runId);
      await append(bench, lease, 1);
      await bench.runs.tombstone(thread);
      await bench.events.delete(thread);
      await expectRefused(() => append(bench, lease, 2), "LEASE_LOST", "an event after the tombstone");
      await expectRefused(() => append(bench, lease, 1), "LEASE_LOST", "event 1 after the tombstone");
      expectEqual(await seqsOf(bench), [], "the numbers in the log");
    },

    "events: two owners that race leave no gap and do not mix": async (bench) => {
      const other = await bench.other();
      const stale = await bench.begin("s", runId, { leaseMs: bench.leaseMs });
      await append(bench, stale.lease, 1, 2, 3);
      await bench.expire();
      const old = async (): Promise<number> => {
        for (let seq = 4; seq <= 60; seq++) {
          const event = eventsFrom(seq, seq, "stale");
          const result = await attemptOf(() => bench.events.append(stale.lease, runId, event));
          if (acceptedOf([result], ["LEASE_LOST"], "a stale owner's event").length === 0) return seq - 1;
        }
        return 60;
      };
      const oldWriter = old();
      const { lease } = await other.claim({ processId: "process-2" });
      const { last } = await read(other);
      for (let seq = last + 1; seq <= last + 20; seq++) {
        await other.events.append(lease, runId, eventsFrom(seq, seq, "fresh"));
      }
      expectEqual(await oldWriter, last, "the last event of the stale owner, as the fresh one found it");
      const { events } = await read(bench);
      expectEqual(
        events.map((event) => event.seq),
        count(1, last + 20),
        "the numbers in the log",
      );
      const texts = events.map((event) => (event.type === "text-delta" ? event.delta : ""));
      const from = texts.indexOf("fresh");
      expectEqual(
        [from, texts.lastIndexOf("stale") < from],
        [last, true],
        "where the fresh owner's events begin",
      );
    },
  }),
];

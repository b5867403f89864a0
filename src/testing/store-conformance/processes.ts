import type { JsonObject } from "../../json.js";
import type { ProcessRecord } from "../../store/store.js";
import { rulesOf, times, type Bench } from "./bench.js";
import { expectEqual, expectLike, expectThat } from "./expectations.js";
import { difficultJson } from "./requests.js";

const HOUR_MS = 3_600_000;

async function idsOf(bench: Bench): Promise<string[]> {
  return (await bench.processes.list()).map((record) => record.processId);
}

/** Waits until a change that one process made is seen by another. */
async function listed(bench: Bench, ids: readonly string[]): Promise<void> {
  let seen: readonly ProcessRecord[] = [];
  await bench.eventually(
    async () => {
      seen = await bench.processes.list();
      return seen.map((record) => record.processId).join() === ids.join();
    },
    `the processes ${ids.join()}`,
    () => seen,
  );
}

/** The processes that share a store, and what they tell each other. */
export const processRules = rulesOf(["processes"], {
  "processes: one that beats is listed with what it says of itself": async (bench) => {
    expectEqual(await bench.processes.list(), [], "the list at first");
    const info = difficultJson();
    await bench.processes.beat("你好 p:1", info, HOUR_MS);
    const [record] = await (await bench.other()).processes.list();
    expectLike(record, { processId: "你好 p:1", info }, "the entry");
    const isInTime = record !== undefined && record.startedAt > 1e12 && record.seenAt >= record.startedAt;
    expectThat(isInTime, "times in milliseconds since the epoch", record);
  },

  "processes: a beat renews the entry and keeps its start": async (bench) => {
    await bench.processes.beat("p", { n: 1 }, HOUR_MS);
    const [first] = await bench.processes.list();
    await bench.pass(30);
    await bench.processes.beat("p", { n: 2 }, HOUR_MS);
    const [second, ...others] = await bench.processes.list();
    expectEqual(others, [], "further entries");
    expectLike(second, { startedAt: first?.startedAt, info: { n: 2 } }, "the entry");
    expectThat(Number(second?.seenAt) > Number(first?.seenAt), "a later `seenAt`", [first, second]);
  },

  "processes: an entry goes ttlMs after its last beat": async (bench) => {
    await bench.processes.beat("silent", {}, HOUR_MS);
    // Or both began in one millisecond.
    await bench.pass(3);
    await bench.processes.beat("alive", {}, HOUR_MS);
    expectEqual(await idsOf(bench), ["silent", "alive"], "the list");
    await bench.processes.beat("silent", {}, bench.leaseMs);
    await bench.expire();
    expectEqual(await idsOf(bench), ["alive"], "the list when one has been silent");
    await bench.processes.beat("silent", {}, HOUR_MS);
    expectEqual(await idsOf(bench), ["alive", "silent"], "the list when it has come back, as a new one");
  },

  "processes: one that leaves is gone at once": async (bench) => {
    const other = await bench.other();
    await bench.processes.beat("a", {}, HOUR_MS);
    await other.processes.beat("b", {}, HOUR_MS);
    await bench.processes.leave("a");
    await bench.processes.leave("nobody");
    await listed(other, ["b"]);
  },

  "processes: the oldest is listed first": async (bench) => {
    for (const id of ["b", "a", "c"]) {
      await bench.processes.beat(id, {}, HOUR_MS);
      await bench.pass(3);
    }
    await bench.processes.beat("b", {}, HOUR_MS);
    expectEqual(await idsOf(bench), ["b", "a", "c"], "the list");
  },

  "processes: racing beats of one process make one entry": async (bench) => {
    const other = await bench.other();
    await times(16, (i) => (i % 2 === 0 ? bench : other).processes.beat("p", { i }, HOUR_MS));
    expectEqual(await idsOf(bench), ["p"], "the list");
  },

  "processes: a message reaches all that watch, its sender too": async (bench) => {
    const other = await bench.other();
    const heard = { here: [] as JsonObject[], there: [] as JsonObject[] };
    const stops = [
      bench.processes.watch((message) => heard.here.push(message)),
      other.processes.watch((message) => heard.there.push(message)),
    ];
    const message = { type: "removed", ...difficultJson() };
    await bench.processes.send(message);
    await other.processes.send({ type: "second" });
    const isHeard = () => heard.here.length >= 2 && heard.there.length >= 2;
    await bench.eventually(isHeard, "both messages at both", () => heard);
    for (const stop of stops) stop();
    for (const messages of Object.values(heard)) {
      const bySize = [...messages].sort((a, b) => Object.keys(b).length - Object.keys(a).length);
      expectEqual(bySize, [message, { type: "second" }], "the messages, each once");
    }
  },

  "processes: a listener hears what is sent from now on, until it is taken off": async (bench) => {
    await bench.processes.send({ n: 1 });
    const heard: unknown[] = [];
    const [early, late]: [unknown[], unknown[]] = [[], []];
    const stopThrowing = bench.processes.watch(() => {
      throw new Error("a listener of the conformance kit throws");
    });
    const stopEarly = bench.processes.watch((message) => early.push(message["n"]));
    const stopLate = bench.processes.watch((message) => late.push(message["n"]));
    await bench.processes.send({ n: 2 });
    await bench.eventually(
      () => early.includes(2) && late.includes(2),
      "both to hear",
      () => [early, late],
    );
    stopEarly();
    stopEarly();
    await bench.processes.send({ n: 3 });
    await bench.eventually(
      () => late.includes(3),
      "the one that is left to hear",
      () => late,
    );
    heard.push(early, late);
    stopThrowing();
    stopLate();
    expectEqual(heard, [[2], [2, 3]], "what both heard");
  },
});

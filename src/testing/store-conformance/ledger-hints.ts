import type { LedgerHint } from "../../store/store.js";
import { rulesOf, type Bench } from "./bench.js";
import { expectEqual, expectLike } from "./expectations.js";
import { completion, threadOf } from "./requests.js";

interface Listener {
  readonly hints: LedgerHint[];
  readonly stop: () => void;
  /** Waits until a hint like this has come since `from`. */
  heard(wanted: LedgerHint, from?: number): Promise<void>;
}

function listenTo(bench: Bench): Listener {
  const hints: LedgerHint[] = [];
  const stop = bench.runs.watch((hint) => {
    hints.push(hint);
  });
  const heard = (wanted: LedgerHint, from = 0) =>
    bench.eventually(
      () => hints.slice(from).some((hint) => JSON.stringify(key(hint)) === JSON.stringify(key(wanted))),
      `the hint ${JSON.stringify(wanted)}`,
      () => hints,
    );
  return { hints, stop, heard };
}

function key(hint: LedgerHint): unknown {
  return hint.type === "queue" ? hint.type : [hint.type, hint.threadId, hint.runId];
}

const ofRun = { type: "run", threadId: threadOf("s"), runId: "a" } as const;

/** What listeners are told; within patience, since engines may find it out by looking. */
export const hintRules = rulesOf(["runs"], {
  "ledger: who submits a run hears that one may be claimable": async (bench) => {
    const listener = listenTo(bench);
    await bench.submit("s", "a");
    await listener.heard({ type: "queue" });
    listener.stop();
    expectLike(await bench.claim(), { run: { runId: "a" } }, "the claim after the hint");
  },

  "ledger: the end of a run is hinted, to other processes too": async (bench) => {
    const claimed = await bench.begin("s", "a");
    const listeners = [listenTo(bench), listenTo(await bench.other())];
    await bench.finish(claimed);
    for (const listener of listeners) await listener.heard(ofRun);
    for (const listener of listeners) listener.stop();
  },

  "ledger: the stop mark of a run is hinted, to other processes too": async (bench) => {
    await bench.begin("s", "a");
    const listeners = [listenTo(bench), listenTo(await bench.other())];
    await bench.runs.cancel(threadOf("s"), "a");
    for (const listener of listeners) await listener.heard(ofRun);
    for (const listener of listeners) listener.stop();
  },

  "ledger: the end of a queued run is hinted, to other processes too": async (bench) => {
    await bench.submit("s", "a");
    const listeners = [listenTo(bench), listenTo(await bench.other())];
    await bench.submit("s", "b", { onBusy: "interrupt" });
    for (const listener of listeners) await listener.heard(ofRun);
    for (const listener of listeners) listener.stop();
  },

  "ledger: a deletion is hinted to the owner of the running run": async (bench) => {
    const other = await bench.other();
    await bench.begin("s", "a");
    const listener = listenTo(bench);
    await other.runs.tombstone(threadOf("s"));
    await listener.heard(ofRun);
    listener.stop();
  },

  "ledger: a finish that lets the next run go is hinted": async (bench) => {
    await bench.submit("s", "a");
    await bench.submit("s", "b");
    const claimed = await bench.claim();
    const listener = listenTo(bench);
    await bench.finish(claimed, completion());
    await listener.heard({ type: "queue" });
    listener.stop();
  },

  "ledger: a released run is hinted to other processes": async (bench) => {
    const other = await bench.other();
    const { lease } = await bench.begin("s", "a");
    const listener = listenTo(other);
    const before = listener.hints.length;
    await bench.runs.release(lease, "a");
    await listener.heard({ type: "queue" }, before);
    listener.stop();
  },

  "ledger: announce tells other processes that runs wait": async (bench) => {
    const other = await bench.other();
    await bench.submit("s", "a");
    const listener = listenTo(other);
    const before = listener.hints.length;
    if (bench.runs.announce !== undefined) {
      bench.runs.announce();
      await listener.heard({ type: "queue" }, before);
    }
    listener.stop();
    expectLike(await other.claim(), { run: { runId: "a" } }, "the claim of the other process");
  },

  "ledger: a listener that was taken off is called no more": async (bench) => {
    const heard: string[] = [];
    const stop = bench.runs.watch(() => heard.push("stopped"));
    // Given twice: each has an end of its own.
    const listener = (hint: LedgerHint) => void heard.push(hint.type);
    const stopFirst = bench.runs.watch(listener);
    const second = bench.runs.watch(listener);
    stop();
    stop();
    stopFirst();
    const witness = listenTo(bench);
    await bench.submit("s", "a");
    await witness.heard({ type: "queue" });
    await bench.eventually(
      () => heard.includes("queue"),
      "the listener that was left to hear",
      () => heard,
    );
    second();
    witness.stop();
    expectEqual(heard.includes("stopped"), false, "whether the listener that was taken off heard anything");
  },

  "ledger: a listener that throws harms neither the step nor the others": async (bench) => {
    const stop = bench.runs.watch(() => {
      throw new Error("a listener of the conformance kit throws");
    });
    const listener = listenTo(bench);
    await bench.submit("s", "a");
    await listener.heard({ type: "queue" });
    const claimed = await bench.claim();
    expectLike(await bench.finish(claimed), { status: "completed" }, "what finish gave");
    await listener.heard(ofRun);
    stop();
    listener.stop();
  },
});

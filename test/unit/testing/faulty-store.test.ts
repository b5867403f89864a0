import { describe, expect, it } from "vitest";
import { StoreParts } from "../../../src/store/store-parts.js";
import { memoryStore } from "../../../src/store/memory/memory-store.js";
import { systemClock } from "../../../src/internal/clock.js";
import type { ForkingSaver } from "../../../src/store/store.js";
import {
  faultyStore,
  ManualClock,
  storeConformance,
  type Fault,
  type FaultPlan,
} from "../../../src/testing/index.js";
import { claimRequest, completion, submission, threadOf } from "../../support/ledger-requests.js";

const unavailable = { code: "STORE_UNAVAILABLE", retryable: true };

function faulty(plan: FaultPlan = {}) {
  const inner = memoryStore();
  const store = faultyStore(inner, plan);
  return { inner, store, runs: store.runs!, events: store.events! };
}

/** Which of 40 submits fail. */
async function pattern(plan: FaultPlan): Promise<string> {
  const { runs } = faulty(plan);
  let seen = "";
  for (let i = 0; i < 40; i++) {
    seen += await runs.submit(submission({ sessionId: `s${String(i)}` })).then(
      () => ".",
      () => "x",
    );
  }
  return seen;
}

describe("a faulty store without faults", () => {
  let clock = new ManualClock();
  const cases = storeConformance({
    createStore: (limits) => {
      clock = new ManualClock();
      return faultyStore(memoryStore({ clock, ...limits }));
    },
    parts: ["runs", "sessions", "checkpointer", "events"],
    advance: (ms) => clock.advance(ms),
  });

  it("keeps every promise that the wrapped store keeps", async () => {
    for (const { run } of cases) await run();
  });

  it("tells the engine of the wrapped one, so that its parts go together", () => {
    const { inner, store } = faulty();
    expect((store.checkpointer as ForkingSaver).engine).toBe(inner.runs.engine);
    expect(() => new StoreParts(store, systemClock)).not.toThrow();
    expect(() => new StoreParts({ ...store }, systemClock)).not.toThrow();
  });

  it("has no part that the wrapped one has not", () => {
    const { sessions } = memoryStore();
    const store = faultyStore({ sessions });
    expect([store.runs, store.events, store.checkpointer, store.processes]).toEqual(Array(4).fill(undefined));
    expect(store).toMatchObject({ onDrop: undefined });
  });
});

describe("a fault", () => {
  it("before the effect leaves nothing done", async () => {
    const { inner, runs } = faulty({ faults: [{ on: "runs.submit", kind: "error-before" }] });
    await expect(runs.submit(submission({ sessionId: "s", runId: "a" }))).rejects.toMatchObject(unavailable);
    expect(await inner.runs.get(threadOf("s"), "a")).toBeUndefined();
  });

  it("after the effect has it done and the answer lost", async () => {
    const { inner, runs } = faulty({ faults: [{ on: "runs.submit", kind: "error-after", times: 1 }] });
    const given = submission({ sessionId: "s", runId: "a" });
    await expect(runs.submit(given)).rejects.toMatchObject(unavailable);
    expect(await inner.runs.get(threadOf("s"), "a")).toMatchObject({ status: "queued" });
    expect(await runs.submit(given)).toMatchObject({ created: false });
  });

  it("delays by the clock that was given", async () => {
    const clock = new ManualClock();
    const { runs } = faulty({ clock, faults: [{ on: "runs.*", kind: "delay", delayMs: 100 }] });
    let isDone = false;
    const submitted = runs.submit(submission({ sessionId: "s" })).then(() => (isDone = true));
    await clock.advance(99);
    expect(isDone).toBe(false);
    await clock.advance(1);
    await submitted;
  });

  it("hangs until the connection is back, and is then an error", async () => {
    const { inner, store, runs } = faulty({ faults: [{ on: "runs.submit", kind: "hang", times: 1 }] });
    const results: unknown[] = [];
    const hanging = runs
      .submit(submission({ sessionId: "s" }))
      .catch((error: unknown) => results.push(error));
    await runs.submit(submission({ sessionId: "t" }));
    expect(results).toEqual([]);
    store.reconnect();
    await hanging;
    expect(results).toMatchObject([unavailable]);
    expect((await inner.runs.sessions([threadOf("s")])).size).toBe(0);
  });

  it("is an error when a store that hangs is closed", async () => {
    const { store, runs } = faulty({ faults: [{ on: "*", kind: "hang" }] });
    const hanging = runs.claim(claimRequest());
    await Promise.all([expect(hanging).rejects.toMatchObject(unavailable), store.close?.()]);
  });

  it("strikes after some calls, so many times, with its own error", async () => {
    const fault: Fault = {
      on: ["runs.submit"],
      kind: "error-before",
      after: 2,
      times: 3,
      error: (call) => new Error(`no ${call}`),
    };
    expect(await pattern({ faults: [fault] })).toBe(`..xxx${".".repeat(35)}`);
    const { store, runs } = faulty({ faults: [{ ...fault, after: 0 }] });
    await expect(runs.submit(submission({ sessionId: "s" }))).rejects.toThrow("no runs.submit");
    expect([...store.struck]).toEqual([["runs.submit error-before", 1]]);
  });

  it("strikes the same calls for equal seeds, others for others, at about its rate", async () => {
    const plan = (seed: number): FaultPlan => ({
      seed,
      faults: [{ on: "runs.*", kind: "error-before", rate: 0.3 }],
    });
    const first = await pattern(plan(1));
    expect(await pattern(plan(1))).toBe(first);
    const patterns = new Set([first, await pattern(plan(2)), await pattern(plan(3))]);
    expect(patterns.size).toBe(3);
    const struck = [...patterns].join("").replaceAll(".", "").length;
    expect(struck).toBeGreaterThan(18);
    expect(struck).toBeLessThan(54);
    expect(await pattern({ faults: [{ on: "runs.submit", kind: "error-before", rate: 0 }] })).not.toContain(
      "x",
    );
  });

  it("strikes events, checkpoints, the directory and the store's own steps", async () => {
    const { store, events } = faulty({
      faults: [{ on: ["events.read", "sessions.*", "checkpointer.*", "store.*"], kind: "error-before" }],
    });
    const at = { configurable: { thread_id: "t" } };
    const listed = async () => {
      for await (const tuple of store.checkpointer!.list(at)) return tuple;
      return undefined;
    };
    for (const call of [
      async () => events.read("t", "r", { after: 0, limit: 1 }),
      async () => store.sessions?.count(),
      async () => store.checkpointer?.getTuple(at),
      async () => (store.checkpointer as ForkingSaver).forkPoints("t"),
      listed,
      async () => store.init?.(),
      async () => store.sweep?.(),
    ]) {
      await expect(call()).rejects.toMatchObject(unavailable);
    }
    await events.delete("t");
  });

  it("must be one that there is", () => {
    const plans: unknown[] = [
      { faults: [{ on: "runs.submitt", kind: "delay" }] },
      { faults: [{ on: "runs.submit", kind: "explode" }] },
      { faults: [{ on: "runs.submit", kind: "delay", ms: 4 }] },
      { fault: [] },
    ];
    for (const plan of plans) expect(() => faulty(plan as FaultPlan)).toThrow(TypeError);
    for (const rate of [-0.1, 1.1, NaN]) {
      expect(() => faulty({ faults: [{ on: "*", kind: "hang", rate }] })).toThrow(RangeError);
      expect(() => faulty({ hints: { lost: rate } })).toThrow(RangeError);
    }
    expect(() => faulty({ faults: [{ on: "*", kind: "delay", delayMs: -1 }] })).toThrow(RangeError);
  });
});

describe("a lost connection", () => {
  it("fails every call and loses every hint until it is back", async () => {
    const { inner, store, runs } = faulty();
    const hints: string[] = [];
    runs.watch((hint) => hints.push(hint.type));
    store.disconnect();
    await expect(runs.submit(submission({ sessionId: "s" }))).rejects.toMatchObject(unavailable);
    await inner.runs.submit(submission({ sessionId: "t" }));
    expect(hints).toEqual([]);
    store.reconnect();
    const claimed = await runs.claim(claimRequest());
    expect(claimed).toMatchObject({ run: { sessionId: "t" } });
    await runs.finish(claimed!.lease, claimed!.run.runId, completion());
    expect(hints).toContain("queue");
  });

  it("may hang instead", async () => {
    const { store, runs } = faulty();
    store.disconnect("hangs");
    const hanging = runs.submit(submission({ sessionId: "s" }));
    store.reconnect();
    await expect(hanging).rejects.toMatchObject(unavailable);
  });
});

describe("hints", () => {
  async function told(hints: FaultPlan["hints"]): Promise<number> {
    const { runs } = faulty({ hints });
    let count = 0;
    const stop = runs.watch((hint) => {
      if (hint.type === "queue") count++;
    });
    for (let i = 0; i < 40; i++) await runs.submit(submission({ sessionId: `s${String(i)}` }));
    stop();
    await runs.submit(submission({ sessionId: "unheard" }));
    return count;
  }

  it("come once each, get lost, or come twice", async () => {
    expect(await told(undefined)).toBe(40);
    expect(await told({ lost: 1 })).toBe(0);
    expect(await told({ doubled: 1 })).toBe(80);
    const some = await told({ lost: 0.5 });
    expect(some).toBeGreaterThan(8);
    expect(some).toBeLessThan(32);
  });
});

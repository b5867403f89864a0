import { emptyCheckpoint, type Checkpoint } from "@langchain/langgraph-checkpoint";
import { beforeEach, describe, expect, it } from "vitest";
import type { JsonValue } from "../../src/json.js";
import { identify } from "../../src/session.js";
import {
  memoryStore,
  memoryStoreDefaults,
  type MemoryStore,
  type MemoryStoreOptions,
} from "../../src/store/memory/memory-store.js";
import { RUN_KEY, type Claim, type EventPage, type Store } from "../../src/store/store.js";
import { ManualClock } from "../../src/testing/manual-clock.js";
import {
  answers,
  claimRequest,
  completion,
  interrupted,
  submission,
  threadOf,
} from "../support/ledger-requests.js";

let clock: ManualClock;
let store: MemoryStore;
let dropped: string[];

function build(options: MemoryStoreOptions = {}): void {
  store = memoryStore({ clock, ...options });
  dropped = [];
  store.onDrop((session, reason) => dropped.push(`${session.sessionId}:${reason}`));
}

beforeEach(() => {
  clock = new ManualClock();
  build();
});

async function begin(
  sessionId: string,
  changes: Partial<Parameters<typeof submission>[0]> = {},
): Promise<Claim> {
  await store.runs.submit(submission({ sessionId, ...changes }));
  const claimed = await store.runs.claim(claimRequest());
  if (claimed === undefined) throw new Error("there was nothing to claim");
  return claimed;
}

/** Puts something into every part under the run's lease. */
async function write({ lease, run }: Claim, text = "text"): Promise<void> {
  const { threadId, sessionId, userId } = run;
  await store.sessions.save({ threadId, sessionId, userId, config: {} }, lease);
  await store.events.append(lease, run.runId, [{ type: "text-delta", id: "t", delta: text, seq: 1 }]);
  await store.runs.writeState(lease, { text });
  await put({ lease, run }, text);
}

async function put({ lease, run }: Pick<Claim, "lease" | "run">, value: JsonValue): Promise<void> {
  const checkpoint: Checkpoint = {
    ...emptyCheckpoint(),
    channel_values: { value },
    channel_versions: { value: 1 },
  };
  const configurable = {
    thread_id: run.threadId,
    checkpoint_ns: "",
    [RUN_KEY]: { lease, turnId: run.turnId },
  };
  await store.checkpointer.put(
    { configurable },
    checkpoint,
    { source: "loop", step: 0, parents: {} },
    { value: 1 },
  );
}

async function turn(sessionId: string, text?: string): Promise<Claim> {
  const claimed = await begin(sessionId);
  await write(claimed, text);
  await store.runs.finish(claimed.lease, claimed.run.runId, completion({ lastSeq: 1 }));
  return claimed;
}

/** Which parts still know a session. */
async function traces(threadId: string, runId: string): Promise<string[]> {
  const found: string[] = [];
  if ((await store.runs.sessions([threadId])).get(threadId) !== undefined) found.push("session");
  if ((await store.runs.get(threadId, runId)) !== undefined) found.push("run");
  if ((await store.runs.readState(threadId)) !== undefined) found.push("state");
  if ((await store.sessions.get(threadId)) !== undefined) found.push("row");
  if ((await store.events.read(threadId, runId, { after: 0, limit: 1 })).last > 0) found.push("events");
  const configurable = { thread_id: threadId };
  if ((await store.checkpointer.getTuple({ configurable })) !== undefined) found.push("checkpoint");
  return found;
}

const everywhere = ["session", "run", "state", "row", "events", "checkpoint"];

describe("a memory store", () => {
  it("drops a conversation whole when its time is over, and tells", async () => {
    const { run } = await turn("a");
    expect(await traces(run.threadId, run.runId)).toEqual(everywhere);
    await clock.advance(memoryStoreDefaults.sessionTtlMs - 1);
    await store.sweep();
    expect((await store.runs.sessions([run.threadId])).get(run.threadId)).toBeDefined();
    await clock.advance(1);
    await store.sweep();
    expect(await traces(run.threadId, run.runId)).toEqual([]);
    expect(dropped).toEqual(["a:ttl"]);
    expect(store.usage).toEqual({ sessions: 0, bytes: 0, eventBytes: 0 });
  });

  it("drops what is past its time on the side of other steps, without sweep", async () => {
    build({ sessionTtlMs: 1000 });
    await turn("a");
    await clock.advance(1000);
    await store.runs.submit(submission({ sessionId: "b" }));
    expect(dropped).toEqual(["a:ttl"]);
  });

  it("counts the time from the end of the last run", async () => {
    build({ sessionTtlMs: 1000 });
    await turn("a");
    await clock.advance(900);
    const claimed = await begin("a");
    await clock.advance(900);
    await store.runs.finish(claimed.lease, claimed.run.runId, completion());
    await clock.advance(999);
    await store.sweep();
    expect(dropped).toEqual([]);
  });

  it("drops the least recently used idle conversation over maxSessions", async () => {
    build({ maxSessions: 3 });
    for (const id of ["a", "b", "c"]) await turn(id);
    await turn("a");
    const { run } = await turn("d");
    expect(dropped).toEqual(["b:max-sessions"]);
    await turn("e");
    expect(dropped).toEqual(["b:max-sessions", "c:max-sessions"]);
    expect(await traces(run.threadId, run.runId)).toEqual(everywhere);
    expect(store.usage.sessions).toBe(3);
  });

  it("stays under maxBytes by dropping the least recently used idle conversations", async () => {
    build({ maxBytes: 100_000 });
    for (let i = 0; i < 30; i++) {
      await turn(String(i), "x".repeat(5_000));
      expect(store.usage.bytes).toBeLessThanOrEqual(100_000);
    }
    expect(dropped.length).toBeGreaterThan(20);
    expect(dropped).toEqual(dropped.map((_, i) => `${String(i)}:max-bytes`));
    expect(store.usage.bytes).toBeGreaterThan(50_000);
  });

  it("counts conversations, state slots, inputs and summaries", async () => {
    const big = "x".repeat(10_000);
    const claimed = await begin("a");
    const sizes = [store.usage.bytes];
    await put(claimed, big);
    sizes.push(store.usage.bytes);
    await store.runs.writeState(claimed.lease, big);
    sizes.push(store.usage.bytes);
    const summary = { ...completion().summary, text: big };
    await store.runs.finish(claimed.lease, claimed.run.runId, completion({ summary }));
    sizes.push(store.usage.bytes);
    const message = { id: "m", content: big };
    await store.runs.submit(submission({ sessionId: "a", input: { kind: "message", message } }));
    sizes.push(store.usage.bytes);
    for (let i = 1; i < sizes.length; i++) expect(sizes[i]! - sizes[i - 1]!).toBeGreaterThan(9_000);
  });

  it("never drops a conversation that is queued, running or parked", async () => {
    build({ maxSessions: 1, maxBytes: 1, sessionTtlMs: 1 });
    const parked = await begin("parked");
    await store.runs.finish(parked.lease, parked.run.runId, interrupted("i"));
    await begin("running");
    await store.runs.submit(submission({ sessionId: "queued", affinity: "another process" }));
    await clock.advance(1_000_000);
    await store.sweep();
    await turn("idle");
    expect(dropped).toEqual(["idle:max-sessions"]);
    expect((await store.runs.submit(answers("parked", "i"))).created).toBe(true);
  });

  it("never drops a conversation that is being deleted", async () => {
    await turn("a");
    await store.runs.tombstone(threadOf("a"));
    await clock.advance(memoryStoreDefaults.sessionTtlMs);
    await store.sweep();
    expect(dropped).toEqual([]);
    expect(await store.runs.tombstones(1)).toEqual([threadOf("a")]);
  });

  it("tells every listener but those taken off, whoever throws", async () => {
    build({ sessionTtlMs: 1000 });
    const heard: string[] = [];
    store.onDrop(() => {
      throw new Error("listener");
    });
    const stop = store.onDrop(() => heard.push("stopped"));
    store.onDrop((session) => heard.push(session.threadId));
    stop();
    await turn("a");
    await clock.advance(1000);
    await store.sweep();
    expect(heard).toEqual([threadOf("a")]);
    await store.close();
    await turn("b");
    await clock.advance(1000);
    await store.sweep();
    expect(heard).toHaveLength(1);
  });

  it("lets a listener use the store at once", async () => {
    build({ maxSessions: 1 });
    const again: Promise<unknown>[] = [];
    store.onDrop((session) => {
      if (session.sessionId === "a") again.push(turn("c"));
    });
    await turn("a");
    await turn("b");
    await Promise.all(again);
    expect(store.usage.sessions).toBe(1);
  });

  it("tells of one drop after the other, also when a listener takes steps that drop more", async () => {
    build({ sessionTtlMs: 1000 });
    for (const id of ["a", "b", "c"]) await turn(id);
    let depth = 0;
    let deepest = 0;
    store.onDrop(() => {
      deepest = Math.max(deepest, ++depth);
      void store.runs.cancel("s.none");
      depth--;
    });
    await clock.advance(1000);
    await store.sweep();
    expect([deepest, dropped]).toEqual([1, ["a:ttl", "b:ttl", "c:ttl"]]);
  });

  it("lets go of the events of runs that have ended before those of the ones at work", async () => {
    build({ maxEventBytes: 40_000 });
    const flood = async (claimed: Claim) => {
      const delta = "x".repeat(4_000);
      await store.events.append(claimed.lease, claimed.run.runId, [
        { type: "text-delta", id: "t", delta, seq: 1 },
      ]);
    };
    const working = await begin("working");
    await flood(working);
    const ended: Claim[] = [];
    for (let i = 0; i < 6; i++) {
      const claimed = await begin(String(i));
      await flood(claimed);
      await store.runs.finish(claimed.lease, claimed.run.runId, completion({ lastSeq: 1 }));
      ended.push(claimed);
    }
    const kept = [working, ...ended].map(
      ({ run }) => store.events.read(run.threadId, run.runId, { after: 0, limit: 1 }) as EventPage,
    );
    expect(kept.map((page) => page.events.length)).toEqual([1, 0, 0, 0, 1, 1, 1]);
    expect(kept.map((page) => page.trimmed)).toEqual([false, true, true, true, false, false, false]);
  });

  it("sweeps many conversations, not only those of one turn of the event loop", async () => {
    build({ sessionTtlMs: 1000 });
    for (let i = 0; i < 1000; i++) await turn(String(i));
    await clock.advance(1000);
    await store.sweep();
    expect(store.usage).toEqual({ sessions: 0, bytes: 0, eventBytes: 0 });
    expect(dropped).toHaveLength(1000);
  });

  it("fences every part with the ledger's leases", async () => {
    const stale = await turn("a");
    const lost = { code: "LEASE_LOST" };
    const { lease, run } = stale;
    await expect(store.sessions.save({ ...identify(run), config: {} }, lease)).rejects.toMatchObject(lost);
    await expect(put(stale, "late")).rejects.toMatchObject(lost);
    expect(() => store.events.append(lease, run.runId, [{ type: "step-started", step: 1, seq: 2 }])).toThrow(
      expect.objectContaining(lost) as unknown,
    );
    const current = await begin("a");
    expect(() =>
      store.events.append(current.lease, run.runId, [{ type: "step-started", step: 1, seq: 2 }]),
    ).toThrow(expect.objectContaining(lost) as unknown);
  });

  it("takes nothing back from the run of a conversation that was deleted or dropped meanwhile", async () => {
    const claimed = await begin("a");
    await write(claimed);
    await store.runs.tombstone(claimed.run.threadId);
    await store.checkpointer.deleteThread(claimed.run.threadId);
    await store.events.delete(claimed.run.threadId);
    await store.sessions.delete(claimed.run.threadId);
    await store.runs.purge(claimed.run.threadId);
    await expect(write(claimed)).rejects.toMatchObject({ code: "LEASE_LOST" });
    await expect(put(claimed, "late")).rejects.toMatchObject({ code: "LEASE_LOST" });
    expect(await traces(claimed.run.threadId, claimed.run.runId)).toEqual([]);
    expect(store.usage).toEqual({ sessions: 0, bytes: 0, eventBytes: 0 });
  });

  it("forgets a run's events with the run", async () => {
    build({ runRetentionMs: 1000 });
    const { run } = await turn("a");
    await clock.advance(1000);
    await store.sweep();
    expect(await traces(run.threadId, run.runId)).toEqual(["session", "state", "row", "checkpoint"]);
    expect(store.usage.eventBytes).toBe(0);
  });

  it("knows the last event of a run that the ledger itself ends", async () => {
    const claimed = await begin("a", { runId: "r" });
    await write(claimed);
    await store.runs.release(claimed.lease, "r");
    expect(await store.runs.cancel(threadOf("a"))).toMatchObject({ status: "cancelled", lastSeq: 1 });
  });

  it("names one engine for its ledger and its checkpointer, another than that of the next store", () => {
    expect(store.runs.engine).toBeDefined();
    expect(store.checkpointer.engine).toBe(store.runs.engine);
    expect(memoryStore().runs.engine).not.toBe(store.runs.engine);
  });

  it("checks its options at once", () => {
    expect(() => memoryStore({ maxSessions: 0 })).toThrow(RangeError);
    expect(() => memoryStore({ maxBytes: 1.5 })).toThrow(
      "Expected `maxBytes` to be an integer from 1 up, got `1.5` (number)",
    );
    // What a caller without types may do.
    expect(() => memoryStore({ sessionTtlMs: "1h" as unknown as number })).toThrow(TypeError);
    expect(() => memoryStore({ history: "some" as unknown as "all" })).toThrow(TypeError);
    expect(() => memoryStore({ maxSession: 1 } as MemoryStoreOptions)).toThrow("Unknown option `maxSession`");
    expect(() => memoryStore({ maxSessions: Infinity, sessionTtlMs: Infinity })).not.toThrow();
  });
});

it("sweeps, closes and tells of drops when its parts are spread into another store", async () => {
  build({ sessionTtlMs: 10 });
  const spread: Store = { ...store };
  const told: string[] = [];
  spread.onDrop?.((session, reason) => told.push(`${session.sessionId}:${reason}`));
  const { lease, run } = await begin("a");
  await store.runs.finish(lease, run.runId, completion());
  await clock.advance(10);
  await spread.sweep?.();
  expect(told).toEqual(["a:ttl"]);
  await spread.close?.();
});

it("lists a session from the acceptance of its first run on, and none whose run was refused", async () => {
  await store.runs.submit(submission({ sessionId: "a" }));
  expect((await store.sessions.list({ limit: 10 })).sessions.map(({ sessionId }) => sessionId)).toEqual([
    "a",
  ]);
  const refused = store.runs.submit(submission({ sessionId: "b", totalQueueLimit: 1 }));
  await expect(refused).rejects.toMatchObject({ code: "QUEUE_FULL" });
  expect(await store.sessions.count()).toBe(1);
});

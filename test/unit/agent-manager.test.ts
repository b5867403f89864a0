import { afterEach, describe, expect, it } from "vitest";
import { AgentManager, ChatService, isAgentError, type AgentManagerOptions } from "../../src/index.js";
import { ManualClock } from "../../src/testing/index.js";
import {
  FakeFactory,
  gate,
  recordEvents,
  stateOf,
  type FakeAgent,
  type FakeConfig,
} from "../support/fake-agent.js";

const closables: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closables.splice(0).reverse()) await close();
});

function setUp(options: Partial<AgentManagerOptions<FakeConfig>> = {}) {
  const clock = new ManualClock();
  const factory = new FakeFactory();
  const manager = new AgentManager<FakeConfig>({ factory, clock, cleanupIntervalMs: 0, ...options });
  const chat = new ChatService({ manager });
  const events = recordEvents(manager);
  // Agents that hang would hold up the end of a test.
  const settle = async (closing: Promise<unknown>): Promise<void> => {
    const closed = closing.catch(() => undefined);
    for (let n = 0; n < 5 && (await stateOf(closed)) === "pending"; n++) await clock.advance(60_000);
    await closed;
  };
  closables.push(
    () => settle(manager.close({ drainMs: 0 })),
    () => settle(chat.close({ drainMs: 0 })),
  );
  const get = (sessionId: string, config?: FakeConfig) => manager.getAgent({ sessionId }, config);
  const say = (sessionId: string, config?: FakeConfig) =>
    chat.chat({ sessionId, message: "hi", config }).result;
  return { clock, factory, manager, chat, events, get, say };
}

const code = (expected: string) => ({ code: expected, name: "AgentError" });
const never = new Promise<never>(() => undefined);

describe("creation", () => {
  it("is one for a hundred that ask at once, also with a smaller cap, and gives all the same object", async () => {
    const { factory, get, events } = setUp({ maxAgents: 3 });
    const agents = await Promise.all(Array.from({ length: 100 }, () => get("a")));
    expect(factory.calls).toBe(1);
    expect(new Set(agents).size).toBe(1);
    expect(await get("a")).toBe(agents[0]);
    expect(events).toEqual(["created a"]);
  });

  it("is shared by runs and getAgent", async () => {
    const { factory, get, say } = setUp();
    const [agent] = await Promise.all([get("a"), say("a"), get("a")]);
    expect(factory.calls).toBe(1);
    expect(agent.inner).toBe(factory.made[0]);
  });

  it("that failed is not remembered, and fails all that waited for it", async () => {
    const { factory, get, events } = setUp();
    factory.onCreate = (_, call) => {
      if (call === 1) throw new Error("no luck");
    };
    const failed = await Promise.allSettled([get("a"), get("a")]);
    for (const one of failed) {
      expect(one).toMatchObject({ status: "rejected", reason: code("AGENT_CREATE_FAILED") });
    }
    expect(events).toEqual(["failed a create AGENT_CREATE_FAILED"]);
    await get("a");
    expect(factory.calls).toBe(2);
  });

  it("that is slow holds up no other session", async () => {
    const { factory, get, say } = setUp({ maxAgents: 2 });
    const slow = gate();
    factory.onCreate = ({ sessionId }) => (sessionId === "slow" ? slow.opened : undefined);
    const waiting = get("slow");
    await say("b");
    await say("c");
    expect(await stateOf(waiting)).toBe("pending");
    slow.open();
    await waiting;
  });

  it("has its signal aborted when nobody waits any more, and what still comes is closed untold", async () => {
    const { factory, chat, events, get } = setUp();
    const slow = gate();
    const signals: AbortSignal[] = [];
    factory.onCreate = ({ signal }) => {
      signals.push(signal);
      return slow.opened;
    };
    const run = chat.chat({ sessionId: "a", message: "hi" });
    expect(await stateOf(run.result)).toBe("pending");
    await run.cancel();
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    expect((await run.result).outcome).toBe("cancelled");
    slow.open();
    await get("a");
    expect(factory.made.map(({ closes }) => closes)).toEqual([1, 0]);
    expect(events).toEqual(["created a"]);
  });

  it("goes on when one of two leaves", async () => {
    const { factory, chat, get } = setUp();
    const slow = gate();
    factory.onCreate = () => slow.opened;
    const run = chat.chat({ sessionId: "a", message: "hi" });
    expect(await stateOf(run.result)).toBe("pending");
    const waiting = get("a");
    await run.cancel();
    slow.open();
    expect((await waiting).inner).toBe(factory.made[0]);
    expect(factory.calls).toBe(1);
  });

  it("leaves its signal alone once the agent is there", async () => {
    const { factory, get, say } = setUp();
    await get("a");
    await say("a");
    expect(factory.made[0]?.context.signal.aborted).toBe(false);
  });

  it("that hangs fails after createTimeoutMs, gives its place back, and its late agent is closed", async () => {
    const { factory, clock, get, events, manager } = setUp({
      maxAgents: 1,
      createTimeoutMs: 1_000,
      closeTimeoutMs: 500,
    });
    const hang = gate();
    factory.onCreate = (_, call) => (call === 1 ? hang.opened : undefined);
    const failed = expect(get("a")).rejects.toMatchObject(code("AGENT_CREATE_FAILED"));
    await clock.advance(1_000);
    await failed;
    const other = get("b");
    expect(manager.getStats()).toMatchObject({ totalAgents: 1, closingAgents: 1 });
    await clock.advance(500);
    await other;
    hang.open();
    await clock.advance(0);
    expect(factory.made.map(({ context, closes }) => [context.sessionId, closes])).toEqual([
      ["b", 0],
      ["a", 1],
    ]);
    expect(events).toEqual([
      "failed a create AGENT_CREATE_FAILED",
      "failed a create AGENT_FAILED",
      "created b",
    ]);
  });

  it("that obeys its abort is reported as nothing", async () => {
    const { factory, chat, events, manager } = setUp();
    factory.onCreate = ({ signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => {
          reject(new Error("stopped"));
        });
      });
    const run = chat.chat({ sessionId: "a", message: "hi" });
    expect(await stateOf(run.result)).toBe("pending");
    await run.cancel();
    await manager.close();
    expect(events).toEqual([]);
  });

  it("refuses one object for two sessions, and leaves it open for the first", async () => {
    const factory = new FakeFactory();
    let shared: FakeAgent | undefined;
    const { get, say, events } = setUp({
      factory: async (context) => (shared ??= await factory.create(context)),
    });
    const first = await get("a");
    await expect(get("b")).rejects.toMatchObject(code("AGENT_CREATE_FAILED"));
    await expect(say("c")).rejects.toThrow("one object for two sessions");
    expect(await get("a")).toBe(first);
    expect(shared?.closes).toBe(0);
    expect(events.filter((event) => event.startsWith("evicted"))).toEqual([]);
  });

  it("does not close an object that is late for one session but serves another", async () => {
    const factory = new FakeFactory();
    let shared: FakeAgent | undefined;
    const late = gate();
    const { get, clock } = setUp({
      createTimeoutMs: 100,
      factory: async (context) => {
        if (context.sessionId === "late") await late.opened;
        return (shared ??= await factory.create(context));
      },
    });
    const failed = expect(get("late")).rejects.toMatchObject(code("AGENT_CREATE_FAILED"));
    await get("a");
    await clock.advance(100);
    await failed;
    late.open();
    await clock.advance(0);
    expect(shared?.closes).toBe(0);
  });

  it.each([[undefined], [null], ["agent"], [{}], [{ stream: 1 }]])("refuses %o as an agent", async (made) => {
    // What a factory in plain JavaScript may do.
    const { get } = setUp({ factory: (() => made) as never });
    await expect(get("a")).rejects.toMatchObject(code("AGENT_CREATE_FAILED"));
  });

  it("passes an AgentError of the factory on", async () => {
    const { factory, get, say } = setUp();
    const { AgentError } = await import("../../src/index.js");
    factory.onCreate = () => {
      throw new AgentError("MODEL_NOT_CONFIGURED", "no model");
    };
    await expect(get("a")).rejects.toMatchObject(code("MODEL_NOT_CONFIGURED"));
    await expect(say("a")).rejects.toMatchObject(code("MODEL_NOT_CONFIGURED"));
  });
});

describe("the cap", () => {
  it("evicts the least recently used idle agent; getAgent counts as use", async () => {
    const { get, say, events } = setUp({ maxAgents: 2 });
    await say("a");
    await say("b");
    await get("a");
    await say("c");
    expect(events.slice(-2)).toEqual(["evicted b capacity", "created c"]);
  });

  it("closes each evicted agent once, with one event", async () => {
    const { get, say, factory, events, manager } = setUp({ maxAgents: 1 });
    await get("a");
    await get("b");
    await say("c");
    expect(await manager.cleanupOldestAgents(5)).toBe(1);
    expect(factory.made.map(({ closes }) => closes)).toEqual([1, 1, 1]);
    expect(factory.faults).toEqual([]);
    expect(events).toEqual([
      "created a",
      "evicted a capacity",
      "created b",
      "evicted b capacity",
      "created c",
      "evicted c removed",
    ]);
  });

  it("never evicts a busy agent: getAgent gets CAPACITY_EXCEEDED, runs queue up and end", async () => {
    const { factory, get, say, manager } = setUp({ maxAgents: 2 });
    const work = gate();
    factory.onStream = () => work.opened;
    const runs = ["a", "b", "c", "d"].map((sessionId) => say(sessionId));
    expect(await stateOf(Promise.all(runs))).toBe("pending");
    expect(manager.getStats()).toMatchObject({ totalAgents: 2, activeAgents: 2 });
    await expect(get("e")).rejects.toMatchObject({ ...code("CAPACITY_EXCEEDED"), retryable: true });
    // One that is live is had all the same.
    expect((await get("a")).inner).toBe(factory.made[0]);
    work.open();
    expect((await Promise.all(runs)).map(({ outcome }) => outcome)).toEqual(Array(4).fill("completed"));
    expect(factory.peak).toBe(2);
    expect(factory.faults).toEqual([]);
  });

  it("counts a closing agent; getAgent waits for it, but not longer than closeTimeoutMs", async () => {
    const { factory, clock, get, manager, events } = setUp({ maxAgents: 1, closeTimeoutMs: 1_000 });
    factory.onClose = () => never;
    await get("a");
    const next = get("b");
    await clock.advance(999);
    expect(await stateOf(next)).toBe("pending");
    expect(manager.getStats()).toMatchObject({ totalAgents: 1, closingAgents: 1 });
    await clock.advance(1);
    await next;
    expect(events).toEqual(["created a", "evicted a capacity", "failed a close AGENT_FAILED", "created b"]);
  });

  it("is not held up by one agent that hangs in its close while others would go", async () => {
    const { factory, clock, get, say } = setUp({ maxAgents: 2, closeTimeoutMs: 5_000 });
    factory.onClose = ({ context }) => (context.sessionId === "hangs" ? never : undefined);
    await get("hangs");
    await get("b");
    const run = say("c");
    await clock.advance(100);
    expect(await stateOf(run)).toBe("fulfilled");
  });

  it("lets getAgent wait for a place that a creation is about to free, in order", async () => {
    const { factory, get } = setUp({ maxAgents: 2 });
    const slow = gate();
    factory.onCreate = () => slow.opened;
    const ids = Array.from({ length: 50 }, (_, n) => `s${String(n)}`);
    const order: string[] = [];
    const all = ids.map(async (id) => get(id).then(() => order.push(id)));
    slow.open();
    await Promise.all(all);
    expect(order).toEqual(ids);
    expect(factory.peak).toBe(2);
  });

  it("ends every wait of getAgent with CAPACITY_EXCEEDED after closeTimeoutMs", async () => {
    const { factory, clock, get } = setUp({ maxAgents: 1, closeTimeoutMs: 1_000, createTimeoutMs: 60_000 });
    factory.onCreate = ({ sessionId }) => (sessionId === "hangs" ? never : undefined);
    const first = get("hangs");
    first.catch(() => undefined);
    const others = Promise.allSettled(["b", "c", "d"].map((id) => get(id)));
    await clock.advance(1_000);
    for (const one of await others) {
      expect(one).toMatchObject({ status: "rejected", reason: code("CAPACITY_EXCEEDED") });
    }
  });

  it("counts an agent in direct use, which then refuses a second stream and lets a run wait", async () => {
    const { factory, get, say, manager } = setUp({ maxAgents: 1 });
    const work = gate();
    factory.onStream = () => work.opened;
    const agent = await get("a");
    const options = { runId: "r", turnId: "r", attempt: 1, context: undefined } as const;
    const lease = { threadId: "s.a", epoch: 1, owner: "nobody" };
    const input = { kind: "message", message: { id: "m", content: "hi" } } as const;
    const stream = () => agent.stream(input, { ...options, lease, signal: new AbortController().signal });
    const used = (async () => {
      for await (const event of stream()) expect(event.type).toMatch(/^text/);
    })();
    expect(await stateOf(used)).toBe("pending");
    expect(manager.getStats()).toMatchObject({ activeAgents: 1, idleAgents: 0 });
    expect(stream).toThrow(expect.objectContaining(code("SESSION_BUSY")));
    await expect(get("b")).rejects.toMatchObject(code("CAPACITY_EXCEEDED"));
    const run = say("b");
    expect(await stateOf(run)).toBe("pending");
    work.open();
    await used;
    await run;
    expect(stream).toThrow(expect.objectContaining(code("CLOSED")));
  });
});

describe("TTL", () => {
  it("counts from the end of the last run, whatever getAgent does meanwhile", async () => {
    const { clock, get, say, manager, events } = setUp({ agentTtlMs: 1_000 });
    await say("a");
    await clock.advance(900);
    await get("a");
    await say("a");
    await clock.advance(900);
    await get("a");
    expect(await manager.cleanupExpiredAgents()).toBe(0);
    await clock.advance(101);
    expect(await manager.cleanupExpiredAgents()).toBe(1);
    expect(events).toEqual(["created a", "reused a", "evicted a ttl"]);
    expect(manager.getStats().totalAgents).toBe(0);
  });

  it("makes getAgent and runs close an expired agent first, once, and take a fresh one", async () => {
    const { clock, factory, get, say, events } = setUp({ agentTtlMs: 1_000 });
    const first = await get("a");
    await clock.advance(1_001);
    expect(await get("a")).not.toBe(first);
    await clock.advance(1_001);
    await say("a");
    expect(factory.made.map(({ closes }) => closes)).toEqual([1, 1, 0]);
    expect(events).toEqual(["created a", "evicted a ttl", "created a", "evicted a ttl", "created a"]);
  });

  it("is looked at every cleanupIntervalMs, without any service, and no more after close", async () => {
    const clock = new ManualClock();
    const manager = new AgentManager<FakeConfig>({
      factory: new FakeFactory(),
      clock,
      agentTtlMs: 1_000,
      cleanupIntervalMs: 5_000,
    });
    const events = recordEvents(manager);
    for (const sessionId of ["a", "b"]) {
      await manager.getAgent({ sessionId });
      await clock.advance(5_000);
    }
    expect(events).toEqual(["created a", "evicted a ttl", "created b", "evicted b ttl"]);
    await manager.close();
    expect(clock.pending).toBe(0);
  });

  it("leaves no timer behind when a listener closes the manager during a cleanup", async () => {
    const clock = new ManualClock();
    const manager = new AgentManager({
      factory: new FakeFactory(),
      clock,
      agentTtlMs: 10,
      cleanupIntervalMs: 100,
    });
    manager.on("agent:evicted", () => void manager.close());
    await manager.getAgent({ sessionId: "a" });
    await clock.advance(100);
    await manager.close();
    expect(clock.pending).toBe(0);
  });

  it("does not wait in cleanup for agents that began to close elsewhere", async () => {
    const { clock, factory, get, manager } = setUp({ agentTtlMs: 1_000 });
    factory.onClose = ({ context }) => (context.sessionId === "a" ? never : undefined);
    await get("a");
    void manager.removeAgent({ sessionId: "a" });
    await get("b");
    await clock.advance(1_001);
    expect(await stateOf(manager.cleanupExpiredAgents())).toBe("fulfilled");
  });
});

describe("close of an agent", () => {
  it.each([
    ["throws", () => Promise.reject(new Error("broken")), "failed a close AGENT_FAILED"],
    ["hangs", () => never, "failed a close AGENT_FAILED"],
  ])("that %s is reported and blocks no other session", async (_, onClose, failure) => {
    const { factory, clock, get, say, events, manager } = setUp({ closeTimeoutMs: 1_000 });
    factory.onClose = ({ context }) => (context.sessionId === "a" ? onClose() : undefined);
    await get("a");
    const removing = manager.removeAgent({ sessionId: "a" });
    await say("b");
    await clock.advance(1_000);
    expect(await removing).toBe(true);
    expect(events).toContain(failure);
    expect(manager.getStats()).toMatchObject({ totalAgents: 1, closingAgents: 0 });
  });

  it("makes a message of its session wait at most closeTimeoutMs for a fresh one", async () => {
    const { factory, clock, get, say, manager } = setUp({ closeTimeoutMs: 1_000 });
    factory.onClose = () => never;
    await get("a");
    void manager.removeAgent({ sessionId: "a" });
    const run = say("a");
    await clock.advance(999);
    expect(await stateOf(run)).toBe("pending");
    expect(factory.calls).toBe(1);
    await clock.advance(1);
    expect((await run).outcome).toBe("completed");
    expect(factory.calls).toBe(2);
  });

  it("may be missing", async () => {
    const { get, manager, events } = setUp({
      maxAgents: 1,
      factory: () => ({ stream: async function* () {} }),
    });
    await get("a");
    await get("b");
    await manager.close();
    expect(events).toEqual(["created a", "evicted a capacity", "created b", "evicted b closed"]);
  });
});

describe("a change of config", () => {
  it("rebuilds the agent of that session alone", async () => {
    const { factory, say, events, get } = setUp();
    await say("a");
    await say("b");
    const b = await get("b");
    await say("a", { tone: "dry" });
    expect(factory.made.map(({ context }) => context.config)).toEqual([{}, {}, { tone: "dry" }]);
    expect(await get("b")).toBe(b);
    expect(events).toEqual(["created a", "created b", "evicted a config", "created a"]);
    // It sticks.
    await say("a");
    expect(factory.calls).toBe(3);
  });

  it("by getAgent goes over what the session has, and is refused during a run", async () => {
    const { factory, get, say } = setUp({ defaultConfig: { model: "m" } });
    await say("a", { tone: "dry" });
    const agent = await get("a");
    expect(await get("a", { tone: "dry" })).toBe(agent);
    const other = await get("a", { tone: "warm" });
    expect(other).not.toBe(agent);
    expect(other.config).toEqual({ model: "m", tone: "warm" });
    const work = gate();
    factory.onStream = () => work.opened;
    const run = say("a");
    expect(await stateOf(run)).toBe("pending");
    await expect(get("a", { tone: "warm" })).rejects.toMatchObject(code("SESSION_BUSY"));
    work.open();
    await run;
  });

  it("by getAgent does not get a run's creation thrown away", async () => {
    const { factory, get, say } = setUp();
    const slow = gate();
    factory.onCreate = () => slow.opened;
    const run = say("a");
    expect(await stateOf(run)).toBe("pending");
    await expect(get("a", { tone: "warm" })).rejects.toMatchObject(code("SESSION_BUSY"));
    slow.open();
    await run;
    expect(factory.calls).toBe(1);
  });

  it("costs the session its agent only when there is a place for the next", async () => {
    const { factory, get, say } = setUp({ maxAgents: 2 });
    const work = gate();
    factory.onStream = () => work.opened;
    const a = await get("a");
    const runs = [say("b"), say("a")];
    expect(await stateOf(Promise.race(runs))).toBe("pending");
    await expect(get("c")).rejects.toMatchObject(code("CAPACITY_EXCEEDED"));
    work.open();
    await Promise.all(runs);
    expect(await get("a")).toBe(a);
  });
});

describe("removeAgent", () => {
  it("closes an idle agent at once and says whether there was one", async () => {
    const { factory, get, manager, events } = setUp();
    await get("a");
    expect(await manager.removeAgent({ sessionId: "a" })).toBe(true);
    expect(factory.alive.size).toBe(0);
    expect(await manager.removeAgent({ sessionId: "a" })).toBe(false);
    expect(events).toEqual(["created a", "evicted a removed"]);
  });

  it("lets a busy one end its run first", async () => {
    const { factory, say, manager, events } = setUp();
    const work = gate();
    factory.onStream = () => work.opened;
    const run = say("a");
    expect(await stateOf(run)).toBe("pending");
    expect(await manager.removeAgent({ sessionId: "a" })).toBe(true);
    expect(factory.alive.size).toBe(1);
    work.open();
    expect((await run).outcome).toBe("completed");
    await expect.poll(() => events.at(-1)).toBe("evicted a removed");
    expect(factory.faults).toEqual([]);
  });

  it("waits for a creation, and lets the run that it is for have it", async () => {
    const { factory, say, manager, events } = setUp();
    const slow = gate();
    factory.onCreate = () => slow.opened;
    const run = say("a");
    expect(await stateOf(run)).toBe("pending");
    const removed = manager.removeAgent({ sessionId: "a" });
    slow.open();
    expect(await removed).toBe(true);
    await run;
    expect(factory.calls).toBe(1);
    await expect.poll(() => events).toEqual(["created a", "evicted a removed"]);
  });

  it("tells users of equal session ids apart", async () => {
    const { manager } = setUp();
    const anna = await manager.getAgent({ sessionId: "s", userId: "anna" });
    const ben = await manager.getAgent({ sessionId: "s", userId: "ben" });
    expect(anna).not.toBe(ben);
    await manager.removeAgent({ sessionId: "s", userId: "anna" });
    expect(await manager.getAgent({ sessionId: "s", userId: "ben" })).toBe(ben);
  });
});

describe("cleanupOldestAgents", () => {
  it("closes so many idle agents, the least recently used first", async () => {
    const { get, say, manager, events } = setUp();
    for (const id of ["a", "b", "c", "d"]) await get(id);
    await say("a");
    expect(await manager.cleanupOldestAgents(2)).toBe(2);
    expect(events.slice(-2)).toEqual(["evicted b removed", "evicted c removed"]);
    expect(await manager.cleanupOldestAgents(10)).toBe(2);
    expect(await manager.cleanupOldestAgents(0)).toBe(0);
    await expect(manager.cleanupOldestAgents(-1)).rejects.toThrow(
      "Expected `count` to be an integer from 0 up",
    );
  });
});

describe("events", () => {
  it("of listeners that throw or reject harm neither the pool nor each other", async () => {
    const { manager, get, say } = setUp({ maxAgents: 1 });
    const told: unknown[] = [];
    for (const event of ["agent:created", "agent:evicted", "agent:reused", "agent:failed"] as const) {
      manager.on(event, () => {
        throw new Error(event);
      });
      // eslint-disable-next-line @typescript-eslint/no-misused-promises -- what hosts do
      manager.on(event, () => Promise.reject(new Error(event)));
    }
    manager.on("listener:failed", ({ event }) => {
      told.push(event);
      throw new Error("again");
    });
    await get("a");
    await say("a");
    await say("b");
    await manager.close();
    expect(new Set(told)).toEqual(new Set(["agent:created", "agent:reused", "agent:evicted"]));
  });

  it("may be answered by calls to the manager at once, and the cap and the one agent per session still hold", async () => {
    const { manager, factory, get, clock } = setUp({ maxAgents: 2, agentTtlMs: 100 });
    const asked: Promise<unknown>[] = [];
    const ask = (sessionId: string): void => {
      if (asked.length < 40) asked.push(get(sessionId).catch(() => undefined));
    };
    manager.on("agent:evicted", ({ session }) => {
      ask(session.sessionId);
      ask("other");
      manager.getStats();
    });
    manager.on("agent:created", ({ session }) => {
      ask(session.sessionId);
      if (asked.length % 5 === 0) asked.push(manager.removeAgent(session));
      expect(factory.alive.size).toBeLessThanOrEqual(2);
    });
    for (const id of ["a", "b", "c", "d"]) await get(id).catch(() => undefined);
    await clock.advance(101);
    await manager.cleanupExpiredAgents();
    await Promise.all(asked);
    const perSession = new Map<string, number>();
    for (const { context } of factory.alive) {
      perSession.set(context.sessionId, (perSession.get(context.sessionId) ?? 0) + 1);
    }
    expect(factory.peak).toBeLessThanOrEqual(2);
    expect(Math.max(0, ...perSession.values())).toBeLessThanOrEqual(1);
    expect(factory.faults).toEqual([]);
  });
});

describe("stats", () => {
  it("count what is being created, busy, idle and closing, and never over the cap", async () => {
    const { factory, get, say, manager, clock } = setUp({ maxAgents: 4, agentTtlMs: 7_000 });
    const slow = gate();
    factory.onCreate = ({ sessionId }) => (sessionId === "slow" ? slow.opened : undefined);
    factory.onStream = () => slow.opened;
    factory.onClose = ({ context }) => (context.sessionId === "gone" ? slow.opened : undefined);
    await get("gone");
    await get("idle");
    void manager.removeAgent({ sessionId: "gone" });
    const busy = say("busy");
    const creating = get("slow");
    const waiting = get("one more");
    await clock.advance(0);
    expect(manager.getStats()).toEqual({
      totalAgents: 4,
      activeAgents: 2,
      idleAgents: 1,
      closingAgents: 1,
      maxAgents: 4,
      agentTtlMs: 7_000,
    });
    slow.open();
    await Promise.all([busy, creating, waiting]);
  });
});

describe("close of the manager", () => {
  it("ends every waiter, closes every agent, refuses what comes later, and does it once", async () => {
    const { factory, get, manager, events } = setUp({ maxAgents: 3 });
    factory.onCreate = ({ sessionId }) => (sessionId.startsWith("slow") ? never : undefined);
    await get("a");
    await get("b");
    const waiting = Promise.allSettled(["slow1", "slow2", "slow3", "slow4"].map((id) => get(id)));
    await stateOf(waiting);
    const closing = manager.close();
    expect(manager.close()).toBe(closing);
    for (const one of await waiting) expect(one).toMatchObject({ reason: code("CLOSED") });
    await expect(get("c")).rejects.toMatchObject(code("CLOSED"));
    await expect(manager.ready()).rejects.toMatchObject(code("CLOSED"));
    expect(factory.alive.size).toBe(0);
    expect(events.filter((event) => event.startsWith("created"))).toHaveLength(2);
    expect(events.filter((event) => event.startsWith("evicted"))).toHaveLength(2);
  });

  it("waits for busy agents up to drainMs, and no longer", async () => {
    const { factory, clock, say, manager } = setUp();
    const work = gate();
    factory.onStream = ({ context }) => (context.sessionId === "quick" ? work.opened : never);
    void say("quick").catch(() => undefined);
    void say("stuck").catch(() => undefined);
    await clock.advance(0);
    const closing = manager.close({ drainMs: 1_000 });
    await clock.advance(500);
    expect(factory.alive.size).toBe(2);
    work.open();
    await clock.advance(0);
    expect([...factory.alive].map(({ context }) => context.sessionId)).toEqual(["stuck"]);
    expect(await stateOf(closing)).toBe("pending");
    await clock.advance(500);
    await closing;
    expect(factory.alive.size).toBe(0);
  });

  it("closes an agent whose creation ends in the same moment", async () => {
    for (let hops = 0; hops < 12; hops++) {
      const factory = new FakeFactory();
      const manager = new AgentManager<FakeConfig>({ factory, cleanupIntervalMs: 0 });
      const events = recordEvents(manager);
      const asked = manager.getAgent({ sessionId: "a" });
      asked.catch(() => undefined);
      for (let hop = 0; hop < hops; hop++) await Promise.resolve();
      await manager.close();
      expect(factory.alive.size).toBe(0);
      expect(factory.faults).toEqual([]);
      const pairs = ["created", "evicted"].map(
        (word) => events.filter((event) => event.startsWith(word)).length,
      );
      expect(pairs[0]).toBe(pairs[1]);
    }
  });

  it("rejects with what agents threw in their close, after closing all", async () => {
    const { factory, get, manager } = setUp();
    factory.onClose = ({ context }) => {
      if (context.sessionId !== "b") throw new Error("broken");
    };
    for (const id of ["a", "b", "c"]) await get(id);
    const error: unknown = await manager.close().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(AggregateError);
    const { errors } = error as AggregateError;
    expect(errors).toHaveLength(2);
    expect(errors.every((one) => isAgentError(one) && one.code === "AGENT_FAILED")).toBe(true);
    expect(factory.alive.size).toBe(0);
  });

  it("is what `await using` does", async () => {
    const { factory, get, manager } = setUp();
    await get("a");
    await manager[Symbol.asyncDispose]();
    expect(factory.alive.size).toBe(0);
  });
});

import { describe, expect, test } from "vitest";
import { memoryStore } from "../../../src/store/memory/memory-store.js";
import { ManualClock } from "../../../src/testing/index.js";
import {
  agents,
  codeOf,
  customChat,
  eventsOf,
  eventually,
  say,
  settle,
  textOfInput,
  untilAbort,
} from "../../support/chat.js";

/** Agents whose runs last until the test lets them go on; tells who runs. */
function held(options: Parameters<typeof customChat>[1] = {}) {
  const running = new Map<string, () => void>();
  const order: string[] = [];
  let most = 0;
  const parts = customChat(
    agents(async function* (input, { signal }, { sessionId, userId }) {
      const name = `${userId ?? ""}/${sessionId}`;
      order.push(name);
      await Promise.race([
        untilAbort(signal),
        new Promise<void>((resolve) => {
          running.set(name, resolve);
          most = Math.max(most, running.size);
        }),
      ]).finally(() => running.delete(name));
      yield* say(input.kind);
    }),
    options,
  );
  const letGo = (name: string): void => {
    running.get(name)?.();
  };
  /** Lets one after another go until nothing runs. */
  const drain = async (): Promise<void> => {
    for (let quiet = 0; quiet < 3;) {
      await settle(10);
      const [name] = running.keys();
      if (name === undefined) quiet += 1;
      else {
        quiet = 0;
        letGo(name);
      }
    }
  };
  return { ...parts, running, order, letGo, drain, most: () => most };
}

describe("limits on runs", () => {
  test("maxConcurrentRuns: never more at once, and all are worked off", async () => {
    const { chat, most, drain, running } = held({ maxConcurrentRuns: 3 });
    const runs = Array.from({ length: 20 }, (_, index) =>
      chat.chat({ sessionId: String(index), message: "x" }),
    );
    await settle(60);
    expect(running.size).toBe(3);
    await drain();
    for (const run of runs) expect((await run.result).outcome).toBe("completed");
    expect(most()).toBe(3);
  });

  test("maxConcurrentRunsPerUser holds for each user alone", async () => {
    const { chat, drain, running } = held({ maxConcurrentRunsPerUser: 2 });
    const runs = ["a", "b"].flatMap((userId) =>
      Array.from({ length: 5 }, (_, index) => chat.chat({ userId, sessionId: String(index), message: "x" })),
    );
    await settle(60);
    expect([...running.keys()].sort()).toEqual(["a/0", "a/1", "b/0", "b/1"]);
    await drain();
    for (const run of runs) expect((await run.result).outcome).toBe("completed");
  });

  test("among users that wait turns go round, however much one of them has waiting", async () => {
    const { chat, drain, order } = held({ maxConcurrentRuns: 1 });
    const busy = chat.chat({ userId: "first", sessionId: "0", message: "x" });
    await settle(20);
    const runs = [
      ...Array.from({ length: 6 }, (_, index) => ({ userId: "greedy", sessionId: String(index) })),
      { userId: "b", sessionId: "0" },
      { userId: "c", sessionId: "0" },
    ].map((ref) => chat.chat({ ...ref, message: "x" }));
    await Promise.all(runs.map((run) => run.accepted));
    await drain();
    await Promise.all([busy, ...runs].map((run) => run.result));
    expect(order.indexOf("b/0")).toBeLessThanOrEqual(3);
    expect(order.indexOf("c/0")).toBeLessThanOrEqual(3);
  });

  test("a full agent cap queues runs and fails none", async () => {
    const { chat, manager, drain, running } = held({ maxAgents: 2 });
    const runs = Array.from({ length: 12 }, (_, index) =>
      chat.chat({ sessionId: String(index), message: "x" }),
    );
    await settle(60);
    expect(running.size).toBe(2);
    expect(manager.getStats().totalAgents).toBe(2);
    expect(await codeOf(manager.getAgent({ sessionId: "direct" }))).toBe("CAPACITY_EXCEEDED");
    await drain();
    for (const run of runs) expect((await run.result).outcome).toBe("completed");
    expect(manager.getStats().totalAgents).toBeLessThanOrEqual(2);
  });

  test("QUEUE_FULL beyond queueLimit in a session and totalQueueLimit in all, which stores nothing", async () => {
    const { chat, drain } = held({ queueLimit: 2, totalQueueLimit: 3, maxConcurrentRuns: 1 });
    const send = (sessionId: string) => chat.chat({ sessionId, message: "x" });
    const taken = [send("a")];
    await settle(20);
    taken.push(send("a"), send("a"));
    expect(await codeOf(send("a").accepted)).toBe("QUEUE_FULL");
    taken.push(send("b"));
    const refused = send("c");
    await expect(refused.accepted).rejects.toMatchObject({ code: "QUEUE_FULL", retryable: true });
    expect(await chat.getRun({ sessionId: "c" })).toBeUndefined();
    await drain();
    for (const run of taken) expect((await run.result).outcome).toBe("completed");
    const again = send("c");
    await drain();
    expect((await again.result).outcome).toBe("completed");
  });

  test("runTimeoutMs fails the run as RUN_TIMEOUT, and the session goes on", async () => {
    const clock = new ManualClock();
    const { chat, drain } = held({ clock, runTimeoutMs: 1000 });
    const run = chat.chat({ sessionId: "s", message: "x" });
    await clock.advance(999);
    expect((await chat.getRun({ sessionId: "s" }))?.status).toBe("running");
    await clock.advance(1);
    await expect(run.result).rejects.toMatchObject({ code: "RUN_TIMEOUT", retryable: true });
    const next = chat.chat({ sessionId: "s", message: "x" });
    await drain();
    expect((await next.result).outcome).toBe("completed");
    await chat.close();
    expect(clock.pending).toBe(0);
  });
});

describe("withAgent", () => {
  test("what still waits when its service closes does not hold the session up in a store that lives on", async () => {
    const store = memoryStore();
    const waiting = agents(async function* (input, { signal }) {
      const text = textOfInput(input);
      if (text === "wait") await untilAbort(signal);
      yield* say(text);
    });
    const first = customChat(waiting, { store });
    const running = first.chat.chat({ sessionId: "s", message: "wait" });
    await running.accepted;
    const used = first.chat.withAgent({ sessionId: "s" }, () => "used");
    await eventually(async () => (await store.runs.sessions(["s.s"])).get("s.s")?.queued === 1);
    await first.chat.close({ drainMs: 0 });
    await expect(used).rejects.toMatchObject({ code: "RUN_CANCELLED" });
    const second = customChat(waiting, { store });
    expect((await second.chat.chat({ sessionId: "s", message: "hi" }).result).text).toBe("hi");
  });

  test("holds the session alone, in its turn, and gives what the function gives", async () => {
    const { chat, order, drain, running } = held();
    const before = chat.chat({ sessionId: "s", message: "x" });
    let inside = false;
    const used = chat.withAgent({ sessionId: "s" }, async (agent, options) => {
      inside = true;
      expect(options.lease.threadId).toBe("s.s");
      expect(typeof agent.stream).toBe("function");
      await settle(20);
      expect(running.size).toBe(0);
      inside = false;
      return 42;
    });
    await settle(20);
    const after = chat.chat({ sessionId: "s", message: "x" });
    expect(order).toEqual(["/s"]);
    await drain();
    expect(await used).toBe(42);
    expect(inside).toBe(false);
    await Promise.all([before.result, after.result]);
  });

  test("passes on what the function throws; the session goes on", async () => {
    const { chat, drain } = held();
    await expect(chat.withAgent({ sessionId: "s" }, () => Promise.reject(new Error("mine")))).rejects.toThrow(
      "mine",
    );
    const next = chat.chat({ sessionId: "s", message: "x" });
    await drain();
    expect((await next.result).outcome).toBe("completed");
  });

  test("is stopped by cancel and by its signal", async () => {
    const { chat } = held();
    const stopped = chat.withAgent({ sessionId: "s" }, (_agent, { signal }) => untilAbort(signal));
    const code = codeOf(stopped);
    await eventually(async () => (await chat.getRun({ sessionId: "s" }))?.status === "running");
    await chat.cancel({ sessionId: "s" });
    expect(await code).toBe("RUN_CANCELLED");
    const controller = new AbortController();
    const left = chat.withAgent({ sessionId: "s", signal: controller.signal }, (_agent, { signal }) =>
      untilAbort(signal),
    );
    const reason = expect(left).rejects.toThrow("enough");
    await settle();
    controller.abort(new Error("enough"));
    await reason;
  });
});

describe("close", () => {
  test("waits for runs at work up to drainMs, refuses new ones, and fails the rest as CLOSED", async () => {
    const clock = new ManualClock();
    const { chat, letGo, running } = held({ clock });
    const quick = chat.chat({ sessionId: "quick", message: "x" });
    const slow = chat.chat({ sessionId: "slow", message: "x" });
    const queued = chat.chat({ sessionId: "slow", message: "y" });
    await eventually(() => running.size === 2);
    const closing = chat.close({ drainMs: 1000 });
    expect(await codeOf(chat.chat({ sessionId: "new", message: "x" }).accepted)).toBe("CLOSED");
    expect((await chat.getHealth()).status).toBe("draining");
    letGo("/quick");
    expect((await quick.result).outcome).toBe("completed");
    await clock.advance(999);
    expect(running.size).toBe(1);
    await clock.advance(1);
    await closing;
    expect(await codeOf(slow.result)).toBe("CLOSED");
    expect(await codeOf(queued.result)).toBe("CLOSED");
    expect(await codeOf(eventsOf(queued))).toBe("CLOSED");
    expect((await eventsOf(slow)).at(-1)).toMatchObject({ outcome: "failed", error: { code: "CLOSED" } });
    await chat.close();
    await chat[Symbol.asyncDispose]();
  });
});

describe("what operators see", () => {
  test("states, stats, health and pages", async () => {
    const { chat, drain, manager } = held({ maxConcurrentRuns: 1 });
    const one = chat.chat({ sessionId: "one", userId: "u", message: "x" });
    await drain();
    await one.result;
    const two = chat.chat({ sessionId: "two", message: "x" });
    await eventually(async () => (await chat.getSession({ sessionId: "two" }))?.state === "running");
    const more = chat.chat({ sessionId: "one", userId: "u", message: "x" });
    await more.accepted;
    expect((await chat.getSession({ sessionId: "one", userId: "u" }))?.state).toBe("queued");
    expect(await chat.getSession({ sessionId: "one" })).toBeUndefined();
    expect(await chat.getStats()).toMatchObject({
      totalAgents: 2,
      activeAgents: 1,
      activeRuns: 1,
      sessions: 2,
    });
    expect(await chat.getHealth()).toMatchObject({ status: "ok", ready: true, store: "ok" });
    await drain();
    await Promise.all([two.result, more.result]);
    expect((await chat.getSession({ sessionId: "two" }))?.state).toBe("idle");
    await manager.cleanupOldestAgents(9);
    expect((await chat.getSession({ sessionId: "two" }))?.state).toBe("stored");

    const first = await chat.listSessions({ limit: 1 });
    expect(first.sessions.map(({ sessionId }) => sessionId)).toEqual(["two"]);
    const second = await chat.listSessions({ limit: 1, after: first.next });
    expect(second.sessions.map(({ sessionId, userId }) => [sessionId, userId])).toEqual([["one", "u"]]);
    expect(second.next).toBeUndefined();
    expect((await chat.listSessions({ userId: "u" })).sessions).toHaveLength(1);
  });

  test("a store that does not answer is unavailable, and health never throws", async () => {
    const clock = new ManualClock();
    const { chat, manager } = held({ clock });
    const count = manager.store.sessions.count.bind(manager.store.sessions);
    manager.store.sessions.count = () => new Promise(() => undefined);
    const asked = chat.getHealth();
    await clock.advance(2000);
    expect(await asked).toMatchObject({ status: "unavailable", ready: false, store: "unavailable" });
    manager.store.sessions.count = () => Promise.reject(new Error("down"));
    expect((await chat.getHealth()).store).toBe("unavailable");
    manager.store.sessions.count = count;
  });

  test("cleanup runs by itself every cleanupIntervalMs, and says what it did", async () => {
    const clock = new ManualClock();
    const { chat, manager, drain } = held({ clock, agentTtlMs: 1000, cleanupIntervalMs: 400 });
    const run = chat.chat({ sessionId: "s", message: "x" });
    await drain();
    await run.result;
    await clock.advance(999);
    expect(manager.getStats().totalAgents).toBe(1);
    await clock.advance(201);
    expect(manager.getStats().totalAgents).toBe(0);
    expect(await chat.cleanup()).toEqual({ expiredAgents: 0, expiredRuns: 0, deletedSessions: 0 });
  });
});

describe("agents without LangGraph", () => {
  test("keep their state through eviction and restart of the agent, each session its own", async () => {
    const { chat } = customChat(
      ({ state }) =>
        agents(async function* (input) {
          const known = (await state.get()) as { turns: number } | undefined;
          const turns = (known?.turns ?? 0) + 1;
          await state.set({ turns });
          if (input.kind === "message" && input.message.content === "fail") throw new Error("told");
          yield* say(String(turns));
        })({} as never),
      { maxAgents: 1 },
    );
    const ask = async (sessionId: string): Promise<string> =>
      (await chat.chat({ sessionId, message: "x" }).result).text;
    expect(await ask("a")).toBe("1");
    expect(await ask("b")).toBe("1");
    expect(await ask("a")).toBe("2");
    expect(await codeOf(chat.chat({ sessionId: "a", message: "fail" }).result)).toBe("AGENT_FAILED");
    expect(await ask("a")).toBe("4");
    expect(await ask("b")).toBe("2");
  });

  test("page their history from the newest message back", async () => {
    const all = Array.from({ length: 7 }, (_, index) => ({
      id: `m${String(index)}`,
      role: "user" as const,
      content: String(index),
    }));
    const conversation = {
      history: () => Promise.resolve(all),
      pending: () => Promise.resolve([]),
      head: () => Promise.resolve(undefined),
      turns: () => Promise.resolve([]),
      restore: () => Promise.resolve(),
      repair: () => Promise.resolve(),
    };
    const { chat } = customChat(
      agents(
        async function* () {
          yield* say("x");
          await Promise.resolve();
        },
        { conversation },
      ),
    );
    const ids: string[][] = [];
    let before: string | undefined;
    do {
      const page = await chat.getHistory({ sessionId: "s", limit: 3, before });
      ids.push(page.messages.map(({ id }) => id));
      before = page.before;
    } while (before !== undefined);
    expect(ids).toEqual([["m4", "m5", "m6"], ["m1", "m2", "m3"], ["m0"]]);
    expect(await codeOf(chat.getHistory({ sessionId: "s", before: "none" }))).toBe("MESSAGE_NOT_FOUND");
  });
});

import { describe, expect, test } from "vitest";
import type { AgentContext } from "../../../src/agent.js";
import { AgentError } from "../../../src/errors.js";
import { deferred } from "../../../src/internal/deferred.js";
import { createLangGraphFactory, type LangGraphConfig } from "../../../src/langgraph/index.js";
import { ScriptedChatModel } from "../../../src/testing/index.js";
import { agents, codeOf, eventually, lastUserText, say, settle, untilAbort } from "../../support/chat.js";
import { FakeFactory, recordEvents, type FakeConfig } from "../../support/fake-agent.js";
import { Processes } from "../../support/processes.js";

const session = { sessionId: "s", userId: "u" };
const hanging = agents(async function* (_, { signal }) {
  yield* say("begun");
  await untilAbort(signal);
});

describe("the processes of a store", () => {
  test("each says what it has, and getStats gives all of them and their sum", async () => {
    const processes = new Processes();
    const a = processes.start(hanging, { maxAgents: 10, processInfo: { version: "1" } });
    await processes.clock.advance(10);
    const b = processes.start(hanging, { maxAgents: 20 });
    await processes.clock.advance(10);
    a.chat.chat({ ...session, message: "x" });
    await eventually(async () => (await a.chat.getStats()).activeRuns === 1);
    await processes.clock.advance(5_100);
    const stats = await b.chat.getStats();
    expect(stats.processes).toMatchObject([
      {
        maxAgents: 10,
        activeRuns: 1,
        activeAgents: 1,
        draining: false,
        info: { version: "1" },
        pid: process.pid,
      },
      { maxAgents: 20, activeRuns: 0, info: {} },
    ]);
    expect(stats.cluster).toMatchObject({ processes: 2, maxAgents: 30, activeRuns: 1, totalAgents: 1 });
    const { processId, processes: live } = await a.chat.getHealth();
    expect([processId, live]).toEqual([stats.processes?.[0]?.processId, 2]);
    const [row] = (await b.chat.listSessions()).sessions;
    expect(row).toMatchObject({ state: "running", owner: processId });
  });

  test("one that closes says so at once and then leaves; one that died is forgotten after 20 seconds", async () => {
    const processes = new Processes();
    const [a, b, c] = [processes.start(hanging), processes.start(hanging), processes.start(hanging)];
    await processes.clock.advance(10);
    a.chat.chat({ ...session, message: "x" });
    await eventually(async () => (await b.chat.getRun(session))?.status === "running");
    const closing = a.chat.close({ drainMs: 1_000 });
    await settle();
    expect((await b.chat.getStats()).processes?.map(({ draining }) => draining)).toEqual([
      true,
      false,
      false,
    ]);
    await processes.outcome(closing);
    expect((await b.chat.getStats()).cluster?.processes).toBe(2);
    c.crash();
    await processes.clock.advance(20_000);
    expect((await b.chat.getStats()).cluster?.processes).toBe(1);
  });

  test("info that is no JSON or too long is refused", () => {
    const processes = new Processes();
    expect(() => processes.start(hanging, { processInfo: { date: new Date() as never } })).toThrow(TypeError);
    expect(() => processes.start(hanging, { processInfo: { text: "x".repeat(5_000) } })).toThrow(RangeError);
  });

  test("an entry that another version wrote is shown as far as it is understood", async () => {
    const processes = new Processes();
    const a = processes.start(hanging);
    await processes.clock.advance(10);
    await processes.shared.registry.beat("other", { agents: "many", new: [1] }, 60_000);
    const found = (await a.chat.getStats()).processes?.find(({ processId }) => processId === "other");
    expect(found).toMatchObject({ totalAgents: 0, hostname: "", draining: false });
  });
});

describe("a process that died with uses by withAgent in the queue", () => {
  /** What sweeps of the ledger are asked to end. */
  function sweepsOf(processes: Processes) {
    const asked: (readonly string[])[] = [];
    const { runs } = processes.shared.store;
    const sweep = runs.sweep.bind(runs);
    runs.sweep = (options) => {
      if (options.orphans !== undefined) asked.push(options.orphans.processes);
      return sweep(options);
    };
    return asked;
  }

  async function idOf({ chat }: { chat: { getHealth(): Promise<{ processId: string }> } }) {
    return (await chat.getHealth()).processId;
  }

  test("counts as dead once it was missing for two looks, half a minute apart", async () => {
    const processes = new Processes();
    const asked = sweepsOf(processes);
    const [a, b] = [processes.start(hanging), processes.start(hanging)];
    await processes.clock.advance(1);
    const [idA, idB] = [await idOf(a), await idOf(b)];
    b.crash();
    await processes.clock.advance(59_000);
    expect(asked).toEqual([]);
    // Missing at 30 s and at 60 s.
    await processes.clock.advance(1_000);
    expect(asked).toEqual([[idA]]);
    const c = processes.start(hanging);
    await processes.clock.advance(29_000);
    const idC = await idOf(c);
    // Missing from now on: it counts as live at 90 s, when it is still in the registry, and at 120 s.
    c.crash();
    await processes.clock.advance(31_500);
    expect(asked.slice(1)).toEqual([
      [idA, idC],
      [idA, idC],
    ]);
    await processes.clock.advance(30_000);
    expect(asked.at(-1)).toEqual([idA]);
    expect(asked.flat()).not.toContain(idB);
  });

  test("nobody counts as dead while looks fail, and until two have been good again", async () => {
    const processes = new Processes();
    const asked = sweepsOf(processes);
    const a = processes.start(hanging);
    await processes.clock.advance(61_000);
    expect(asked).toHaveLength(1);
    a.store.before = (call) => {
      if (call === "processes.list") throw new AgentError("STORE_UNAVAILABLE", "down");
    };
    await processes.clock.advance(30_000);
    a.store.before = undefined;
    await processes.clock.advance(30_000);
    expect(asked).toHaveLength(1);
    await processes.clock.advance(30_000);
    expect(asked).toHaveLength(2);
    expect(a.errors).toEqual([]);
  });

  test("cleanup() ends them too, once it is known who lives", async () => {
    const processes = new Processes();
    const asked = sweepsOf(processes);
    const a = processes.start(hanging, { interruptTtlMs: 1_000 });
    await processes.clock.advance(1);
    await a.chat.cleanup();
    expect(asked).toEqual([]);
    await processes.clock.advance(61_000);
    await a.chat.cleanup();
    expect(asked).toEqual([[await idOf(a)], [await idOf(a)]]);
  });

  test("a closed service looks no more", async () => {
    const processes = new Processes();
    const asked = sweepsOf(processes);
    const a = processes.start(hanging);
    await processes.clock.advance(61_000);
    await processes.outcome(a.chat.close({ drainMs: 0 }));
    await processes.clock.advance(120_000);
    expect(asked).toHaveLength(1);
  });
});

describe("from anywhere", () => {
  test("removeAgent closes the agents of the session in all processes", async () => {
    const processes = new Processes();
    const a = processes.start<FakeConfig>(new FakeFactory());
    const b = processes.start<FakeConfig>(new FakeFactory());
    await processes.clock.advance(0);
    await a.manager.getAgent(session);
    await b.manager.getAgent(session);
    await b.manager.getAgent({ sessionId: "other" });
    const seen = recordEvents(b.manager);
    expect(await a.chat.removeAgent(session)).toBe(true);
    await settle();
    expect(seen).toEqual(["evicted s removed"]);
    expect(b.manager.getStats().totalAgents).toBe(1);
  });

  test("deleteSession stops the run of another process, whose writes are refused, and drops its agent", async () => {
    const processes = new Processes();
    const refused: string[] = [];
    const factory = (context: AgentContext) => ({
      async *stream() {
        yield* say("begun");
        await settle(50);
        refused.push(await codeOf(context.state.set("late")));
      },
    });
    const a = processes.start(factory);
    const run = a.chat.chat({ ...session, message: "x" });
    await eventually(async () => (await a.chat.getRun(session))?.status === "running");
    const b = processes.start(factory);
    await processes.clock.advance(0);
    expect(await b.chat.deleteSession(session)).toBe(true);
    expect((await processes.outcome(run.result)).outcome).toBe("cancelled");
    await eventually(() => refused.length > 0);
    expect(refused).toEqual(["LEASE_LOST"]);
    await eventually(() => a.manager.getStats().totalAgents === 0);
    expect(await a.chat.getSession(session)).toBeUndefined();
    expect(await a.chat.deleteSession(session)).toBe(false);
  });

  test.each([
    ["a hint", true, async () => undefined],
    ["a refused write", false, (context: AgentContext) => context.state.set("late")],
    ["its renewal", false, async () => undefined],
  ])(
    "a run whose session is deleted elsewhere, as it learns by %s, ends as cancelled",
    async (_, hints, write) => {
      const processes = new Processes();
      const go = deferred<undefined>();
      const a = processes.start((context) => ({
        async *stream(_input, { signal }) {
          yield* say("begun");
          await Promise.race([go.promise, untilAbort(signal)]);
          await write(context);
          await untilAbort(signal);
        },
      }));
      const ends: string[] = [];
      a.chat.on("run:finished", ({ outcome }) => ends.push(outcome));
      const run = a.chat.chat({ ...session, message: "x" });
      await eventually(async () => (await a.chat.getRun(session))?.status === "running");
      await processes.clock.advance(0);
      const b = processes.start(hanging);
      a.store.hints = hints;
      expect(await b.chat.deleteSession(session)).toBe(true);
      go.resolve(undefined);
      expect((await processes.outcome(run.result)).outcome).toBe("cancelled");
      await processes.clock.advance(10_000);
      await eventually(() => ends.length > 0);
      expect([ends, a.errors]).toEqual([["cancelled"], []]);
    },
  );

  test("two processes that delete at once, and one that begins the session again, get along", async () => {
    const processes = new Processes();
    const factory = createLangGraphFactory({ model: new ScriptedChatModel((m) => `re: ${lastUserText(m)}`) });
    const a = processes.start<LangGraphConfig>(factory);
    const b = processes.start<LangGraphConfig>(factory);
    await a.chat.chat({ ...session, message: "old" }).result;
    // B stops for long between its first step and the rest.
    let go: () => void = () => undefined;
    b.store.before = (call) =>
      call === "runs.tombstones" ? new Promise<void>((resolve) => (go = resolve)) : undefined;
    const slow = b.chat.deleteSession(session);
    await settle();
    expect(await a.chat.deleteSession(session)).toBe(true);
    await a.chat.chat({ ...session, message: "new" }).result;
    go();
    expect(await slow).toBe(true);
    expect((await a.chat.getHistory(session)).messages.map(({ content }) => content)).toEqual([
      "new",
      "re: new",
    ]);
  });

  test("a deletion whose process died is finished by another one's cleanup", async () => {
    const processes = new Processes();
    const factory = createLangGraphFactory({ model: new ScriptedChatModel(() => "hi") });
    const a = processes.start<LangGraphConfig>(factory);
    const b = processes.start<LangGraphConfig>(factory);
    await a.chat.chat({ ...session, message: "old" }).result;
    a.store.before = (call) => {
      if (call === "checkpointer.deleteThread") a.crash();
      return undefined;
    };
    a.store.after = () => new Promise(() => undefined);
    void a.chat.deleteSession(session);
    await settle();
    expect(await codeOf(b.chat.chat({ ...session, message: "x" }).result)).toBe("SESSION_NOT_FOUND");
    expect((await b.chat.cleanup()).deletedSessions).toBe(1);
    expect((await b.chat.chat({ ...session, message: "x" }).result).text).toBe("hi");
    expect((await b.chat.getHistory(session)).messages).toHaveLength(2);
  });
});

describe("a session that moves between processes", () => {
  test("an idle agent here sees what was said elsewhere", async () => {
    const processes = new Processes();
    const model = new ScriptedChatModel((messages) => messages.map(({ text }) => text).join("|"));
    const factory = createLangGraphFactory({ model });
    const [a, b] = [processes.start<LangGraphConfig>(factory), processes.start<LangGraphConfig>(factory)];
    await processes.clock.advance(0);
    expect((await a.chat.chat({ ...session, message: "1" }).result).text).toBe("1");
    expect((await b.chat.chat({ ...session, message: "2" }).result).text).toBe("1|1|2");
    expect((await a.chat.chat({ ...session, message: "3" }).result).text).toBe("1|1|2|1|1|2|3");
  });

  test("an agent's state slot is read anew, not remembered", async () => {
    const processes = new Processes();
    const factory = (context: AgentContext) => ({
      async *stream() {
        const count = ((await context.state.get()) as number | undefined) ?? 0;
        await context.state.set(count + 1);
        yield* say(String(count + 1));
      },
    });
    const [a, b] = [processes.start(factory), processes.start(factory)];
    await processes.clock.advance(0);
    const texts: string[] = [];
    for (const { chat } of [a, b, a, b])
      texts.push((await chat.chat({ ...session, message: "x" }).result).text);
    expect(texts).toEqual(["1", "2", "3", "4"]);
  });

  test("a config that was set elsewhere rebuilds the agent here at the next run", async () => {
    const processes = new Processes();
    const [own, other] = [new FakeFactory(), new FakeFactory()];
    const a = processes.start<FakeConfig>(own);
    const b = processes.start<FakeConfig>(other);
    await processes.clock.advance(0);
    await a.chat.chat({ ...session, message: "x", config: { tone: "dry" } }).result;
    await b.chat.chat({ ...session, message: "x", config: { tone: "warm" } }).result;
    const seen = recordEvents(a.manager);
    await a.chat.chat({ ...session, message: "x" }).result;
    expect(seen).toEqual(["evicted s config", "created s"]);
    expect(own.made.map(({ context }) => context.config.tone)).toEqual(["dry", "warm"]);
  });
});

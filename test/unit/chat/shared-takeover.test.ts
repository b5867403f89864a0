import { interrupt, MessagesAnnotation, START, StateGraph } from "@langchain/langgraph";
import { ToolNode } from "@langchain/langgraph/prebuilt";
import { AIMessage } from "@langchain/core/messages";
import { tool } from "langchain";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import {
  createLangGraphFactory,
  idempotencyKey,
  type LangGraphConfig,
} from "../../../src/langgraph/index.js";
import { ScriptedChatModel } from "../../../src/testing/index.js";
import { codeOf, eventsOf, eventually, lastUserText, openToolCalls, settle } from "../../support/chat.js";
import { Processes, type TestProcess } from "../../support/processes.js";

const session = { sessionId: "s" };
type Process = TestProcess<LangGraphConfig>;

/** Counts what happens outside of the store, over all processes. */
class World {
  readonly keys: string[] = [];
  modelCalls = 0;

  readonly factory = createLangGraphFactory({
    model: new ScriptedChatModel((messages) => {
      this.modelCalls += 1;
      const last = messages.at(-1);
      if (last?.type === "tool") return `used: ${last.text}`;
      const text = lastUserText(messages);
      return text.startsWith("use") ? { toolCalls: [{ name: text.slice(4), args: {} }] } : `re: ${text}`;
    }),
    tools: [
      tool(
        (_, config) => {
          this.keys.push(idempotencyKey(config));
          return "done";
        },
        { name: "act", description: "Acts", schema: z.object({}) },
      ),
      tool(
        (_, config) => {
          this.keys.push(idempotencyKey(config));
          return `told ${String(interrupt("which?"))}`;
        },
        { name: "ask", description: "Asks", schema: z.object({}) },
      ),
      tool(() => `told ${String(interrupt("first?"))} and ${String(interrupt("second?"))}`, {
        name: "ask_twice",
        description: "Asks twice",
        schema: z.object({}),
      }),
    ],
  });

  readonly processes: Processes;

  constructor(limits: ConstructorParameters<typeof Processes>[0] = {}) {
    this.processes = new Processes(limits);
  }

  async start(): Promise<Process> {
    const process = this.processes.start<LangGraphConfig>(this.factory);
    await this.processes.clock.advance(0);
    return process;
  }

  /** Dies at the nth call of this name from now on, before or after its effect. */
  crashAt(process: Process, name: string, nth: number, when: "before" | "after"): void {
    let left = nth;
    process.store[when] = (call) => {
      if (call !== name || --left > 0) return undefined;
      process.crash();
      return when === "after" ? new Promise(() => undefined) : undefined;
    };
  }

  /** Waits for a run's end as another process sees it. */
  async ended(process: Process, runId: string): Promise<{ status: string; text?: string | undefined }> {
    let status = "";
    await this.processes.until(async () => {
      status = (await process.chat.getRun({ ...session, runId }))?.status ?? "";
      return !["", "queued", "running"].includes(status);
    });
    const record = await this.processes.shared.store.runs.get("s.s", runId);
    return { status, text: record?.summary?.text };
  }

  async texts(process: Process): Promise<unknown[]> {
    const { messages } = await process.chat.getHistory(session);
    expect(openToolCalls(messages)).toEqual([]);
    return messages.map(({ role, content }) => `${role}: ${content as string}`);
  }
}

/** Steps of a turn at which its process may die, as calls to the store. */
const POINTS = ["checkpointer.put", "checkpointer.putWrites", "events.append", "runs.finish"].flatMap(
  (call) =>
    (["before", "after"] as const).flatMap((when) => [1, 2, 3, 4].map((nth) => ({ call, nth, when }))),
);

describe("a process that dies in mid-turn", () => {
  test.each(POINTS)("message with a tool, $when the effect of $call $nth", async ({ call, nth, when }) => {
    const world = new World();
    const a = await world.start();
    const before = a.chat.chat({ ...session, message: "earlier" });
    await before.result;
    world.modelCalls = 0;
    world.crashAt(a, call, nth, when);
    const run = a.chat.chat({ ...session, message: "use act" });
    await settle(100);
    const b = await world.start();
    expect(await world.ended(b, run.id)).toEqual({ status: "completed", text: "used: done" });
    expect(await world.texts(b)).toEqual([
      ...["user: earlier", "assistant: re: earlier"],
      ...["user: use act", "assistant: ", "tool: done", "assistant: used: done"],
    ]);
    // At least once, each attempt under the same key, and no step but the one under way is done again.
    expect(new Set(world.keys)).toEqual(new Set([`${run.id}:${world.keys[0]?.split(":").at(-1) ?? ""}`]));
    expect(world.modelCalls).toBeLessThanOrEqual(3);
    expect(world.keys.length).toBeLessThanOrEqual(2);
    expect(world.modelCalls + world.keys.length).toBeLessThanOrEqual(4);
  });

  const rewinds = ["checkpointer.restore", "events.append", "checkpointer.put"].flatMap((call) =>
    (["before", "after"] as const).flatMap((when) => [1, 2, 3].map((nth) => ({ call, nth, when }))),
  );
  test.each(rewinds)("regenerate, $when the effect of $call $nth", async ({ call, nth, when }) => {
    const world = new World();
    const a = await world.start();
    for (const message of ["1", "2"]) await a.chat.chat({ ...session, message }).result;
    world.crashAt(a, call, nth, when);
    const run = a.chat.regenerate(session);
    await settle(100);
    const b = await world.start();
    expect((await world.ended(b, run.id)).status).toBe("completed");
    expect(await world.texts(b)).toEqual(["user: 1", "assistant: re: 1", "user: 2", "assistant: re: 2"]);
  });

  test.each(rewinds)("edit, $when the effect of $call $nth", async ({ call, nth, when }) => {
    const world = new World();
    const a = await world.start();
    const first = a.chat.chat({ ...session, message: "1" });
    await first.result;
    await a.chat.chat({ ...session, message: "2" }).result;
    world.crashAt(a, call, nth, when);
    const run = a.chat.edit({ ...session, messageId: first.id, message: "one" });
    await settle(100);
    const b = await world.start();
    expect((await world.ended(b, run.id)).status).toBe("completed");
    expect(await world.texts(b)).toEqual(["user: one", "assistant: re: one"]);
  });

  const replaced = [
    ...rewinds,
    ...(["before", "after"] as const).map((when) => ({ call: "checkpointer.hasMessage", nth: 1, when })),
  ];
  test.each(replaced)(
    "a message under a known id, $when the effect of $call $nth",
    async ({ call, nth, when }) => {
      const world = new World();
      const a = await world.start();
      for (const id of ["1", "2", "3"])
        await a.chat.chat({ ...session, message: { id, content: id } }).result;
      world.modelCalls = 0;
      world.crashAt(a, call, nth, when);
      const run = a.chat.chat({ ...session, message: { id: "2", content: "two" } });
      await settle(100);
      const b = await world.start();
      expect((await world.ended(b, run.id)).status).toBe("completed");
      expect(await world.texts(b)).toEqual([
        "user: 1",
        "assistant: re: 1",
        "user: two",
        "assistant: re: two",
      ]);
      expect(world.modelCalls).toBeLessThanOrEqual(2);
      const told = (await eventsOf(b.chat.follow({ ...session, runId: run.id }))).map(({ type }) => type);
      expect(told.filter((type) => type === "run-rewound")).toHaveLength(1);
    },
  );

  const answered = ["checkpointer.put", "checkpointer.putWrites", "events.append", "runs.finish"].flatMap(
    (call) => (["before", "after"] as const).flatMap((when) => [1, 2].map((nth) => ({ call, nth, when }))),
  );
  test.each(answered)("answers, $when the effect of $call $nth", async ({ call, nth, when }) => {
    const world = new World();
    const a = await world.start();
    const asked = await a.chat.chat({ ...session, message: "use ask" }).result;
    const [question] = asked.interrupts;
    world.crashAt(a, call, nth, when);
    const run = a.chat.resume({ ...session, answers: { [question?.id ?? ""]: "red" } });
    await settle(100);
    const b = await world.start();
    expect(await world.ended(b, run.id)).toEqual({ status: "completed", text: "used: told red" });
    expect(await world.texts(b)).toEqual([
      ...["user: use ask", "assistant: ", "tool: told red", "assistant: used: told red"],
    ]);
    // The turn's first run names the call in every run and attempt of the turn.
    expect(new Set(world.keys)).toEqual(
      new Set([`${asked.runId}:${world.keys[0]?.split(":").at(-1) ?? ""}`]),
    );
  });

  test("an answer is not given to the next question of the same tool", async () => {
    const world = new World();
    const a = await world.start();
    const asked = await a.chat.chat({ ...session, message: "use ask_twice" }).result;
    const id = asked.interrupts[0]?.id ?? "";
    world.crashAt(a, "runs.finish", 1, "before");
    const run = a.chat.resume({ ...session, answers: { [id]: "one" } });
    await settle(100);
    const b = await world.start();
    expect((await world.ended(b, run.id)).status).toBe("interrupted");
    const [second] = (await b.chat.getRun(session))?.interrupts ?? [];
    expect(second?.value).toBe("second?");
    const end = b.chat.resume({ ...session, answers: { [second?.id ?? ""]: "two" } });
    expect((await world.processes.outcome(end.result)).text).toBe("used: told one and two");
  });

  test.each([1, 2, 3, 4, 6])("text is whole though only the last %i events are kept", async (most) => {
    const world = new World({ maxEventsPerRun: most });
    const a = await world.start();
    world.crashAt(a, "runs.finish", 1, "before");
    const run = a.chat.chat({ ...session, message: "use act" });
    await eventually(() => a.store.reach !== "ok");
    const b = await world.start();
    expect(await world.ended(b, run.id)).toEqual({ status: "completed", text: "used: done" });
  });

  test("answers that no process ends fail, what they answered is over, and the session goes on", async () => {
    const world = new World();
    let process = await world.start();
    const asked = await process.chat.chat({ ...session, message: "use ask" }).result;
    const answers = { [asked.interrupts[0]?.id ?? ""]: "red" };
    const runId = "answers";
    for (let attempt = 1; attempt <= 3; attempt++) {
      const dying = process;
      world.crashAt(process, "checkpointer.putWrites", 1, "before");
      if (attempt === 1) void process.chat.resume({ ...session, runId, answers }).accepted;
      await world.processes.until(() => dying.store.reach !== "ok");
      process = await world.start();
    }
    expect((await world.ended(process, runId)).status).toBe("failed");
    const events = await eventsOf(process.chat.follow({ ...session, runId }));
    expect(events.at(-1)).toMatchObject({ outcome: "failed", error: { code: "RUN_ABANDONED" } });
    expect((await process.chat.getSession(session))?.state).toBe("stored");
    // Asked again it might be done twice: whether the first answer had its effect, nobody knows.
    expect(await codeOf(process.chat.resume({ ...session, answers }).accepted)).toBe("INTERRUPT_STALE");
    expect((await process.chat.chat({ ...session, message: "next" }).result).text).toBe("re: next");
    expect(openToolCalls((await process.chat.getHistory(session)).messages)).toEqual([]);
  });

  const undone = ["checkpointer.restore", "events.append", "checkpointer.put", "runs.finish"].flatMap(
    (call) => (["before", "after"] as const).flatMap((when) => [1, 2].map((nth) => ({ call, nth, when }))),
  );
  test.each(undone)("a rollback, $when the effect of $call $nth", async ({ call, nth, when }) => {
    const world = new World();
    const a = await world.start();
    await a.chat.chat({ ...session, message: "kept" }).result;
    const asked = await a.chat.chat({ ...session, message: "use ask" }).result;
    expect(asked.outcome).toBe("interrupted");
    world.crashAt(a, call, nth, when);
    const run = a.chat.chat({ ...session, message: "instead", onBusy: "rollback" });
    await settle(100);
    const b = await world.start();
    expect(await world.ended(b, run.id)).toEqual({ status: "completed", text: "re: instead" });
    expect(await world.texts(b)).toEqual([
      ...["user: kept", "assistant: re: kept", "user: instead", "assistant: re: instead"],
    ]);
  });

  test("a parked question is left alone, and answered on another process", async () => {
    const world = new World();
    const a = await world.start();
    const asked = await a.chat.chat({ ...session, message: "use ask" }).result;
    a.crash();
    const b = await world.start();
    await world.processes.clock.advance(30_000);
    expect((await b.chat.getRun(session))?.status).toBe("interrupted");
    const end = b.chat.resume({ ...session, answers: { [asked.interrupts[0]?.id ?? ""]: "blue" } });
    expect((await world.processes.outcome(end.result)).text).toBe("used: told blue");
  });

  test("a dead owner that wakes up writes nothing", async () => {
    const world = new World();
    const a = await world.start();
    world.crashAt(a, "checkpointer.put", 2, "before");
    const run = a.chat.chat({ ...session, message: "use act" });
    await settle(100);
    const b = await world.start();
    expect((await world.ended(b, run.id)).status).toBe("completed");
    const texts = await world.texts(b);
    a.store.before = undefined;
    a.store.reach = "ok";
    await settle(200);
    expect(await world.texts(b)).toEqual(texts);
    expect(a.errors).toContain("LEASE_LOST");
    expect((await world.processes.outcome(run.result)).text).toBe("used: done");
  });
});

describe("the key of a tool call", () => {
  test("reaches tools of a graph of one's own as well", async () => {
    const keys: string[] = [];
    const act = tool(
      (_, config) => {
        keys.push(idempotencyKey(config));
        return "done";
      },
      { name: "act", description: "Acts", schema: z.object({}) },
    );
    const graph = new StateGraph(MessagesAnnotation)
      .addNode("model", () => ({
        messages: [new AIMessage({ content: "", tool_calls: [{ id: "call-1", name: "act", args: {} }] })],
      }))
      .addNode("tools", new ToolNode([act]))
      .addEdge(START, "model")
      .addEdge("model", "tools")
      .compile();
    const processes = new Processes();
    const { chat } = processes.start<LangGraphConfig>(createLangGraphFactory({ graph }));
    const run = chat.chat({ ...session, message: "x" });
    await processes.outcome(run.result);
    expect(keys).toEqual([`${run.id}:call-1`]);
  });

  test("is refused outside of a run", () => {
    expect(() => idempotencyKey({})).toThrow(TypeError);
    expect(() => idempotencyKey({ toolCallId: "1", configurable: {} })).toThrow(TypeError);
  });
});

import { tool } from "langchain";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { LangGraphConfig } from "../../../src/langgraph/index.js";
import { createLangGraphFactory } from "../../../src/langgraph/index.js";
import { ScriptedChatModel } from "../../../src/testing/index.js";
import { agents, codeOf, eventsOf, eventually, say, settle, untilAbort } from "../../support/chat.js";
import { gate } from "../../support/fake-agent.js";
import { Processes } from "../../support/processes.js";

const session = { sessionId: "s" };
const running = (chat: { getRun(of: typeof session): Promise<{ status: string } | undefined> }) =>
  eventually(async () => (await chat.getRun(session))?.status === "running");

describe("closing a process of a shared store", () => {
  test("a graph stops at the end of its step, and goes on elsewhere without repeating it", async () => {
    const processes = new Processes();
    const entered = gate();
    const leave = gate();
    const done: string[] = [];
    const work = tool(
      async () => {
        entered.open();
        await leave.opened;
        done.push("work");
        return "worked";
      },
      { name: "work", description: "Works", schema: z.object({}) },
    );
    const prompts: string[] = [];
    const model = new ScriptedChatModel((messages) => {
      const last = messages.at(-1);
      prompts.push(last?.type ?? "");
      return last?.type === "tool" ? "all done" : { toolCalls: [{ name: "work", args: {} }] };
    });
    const factory = createLangGraphFactory({ model, tools: [work] });
    const a = processes.start<LangGraphConfig>(factory);
    const b = processes.start<LangGraphConfig>(factory);
    const run = a.chat.chat({ ...session, message: "go" });
    await entered.opened;
    const seen = eventsOf(b.chat.follow({ ...session, runId: run.id }));
    const closing = a.chat.close({ drainMs: 60_000 });
    await settle();
    leave.open();
    await closing;
    expect((await processes.outcome(seen)).at(-1)).toMatchObject({
      type: "run-finished",
      outcome: "completed",
    });
    // Given back, not left to its lease: no time has to pass for that.
    expect(processes.clock.monotonic()).toBeLessThan(1_000);
    expect(prompts).toEqual(["human", "tool"]);
    expect(done).toEqual(["work"]);
    const { messages } = await b.chat.getHistory(session);
    expect(messages.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "assistant"]);
  });

  test("an agent that does not stop is aborted at the end of the time, and begun again elsewhere", async () => {
    const processes = new Processes();
    const factory = agents(async function* (_, { attempt, signal }) {
      yield* say(`attempt ${String(attempt)}`);
      if (attempt === 1) await untilAbort(signal);
    });
    const a = processes.start(factory);
    const b = processes.start(factory);
    const run = a.chat.chat({ ...session, message: "go" });
    await running(a.chat);
    const closing = a.chat.close({ drainMs: 3_000 });
    await processes.clock.advance(2_900);
    expect((await b.chat.getRun(session))?.status).toBe("running");
    await processes.outcome(closing, 400);
    await processes.until(
      async () => (await b.chat.getRun({ ...session, runId: run.id }))?.status === "completed",
    );
  });

  test("it claims nothing more at once, and what waits goes to the others", async () => {
    const processes = new Processes();
    const held = gate();
    const factory = agents(async function* () {
      yield* say("x");
      await held.opened;
    });
    const a = processes.start(factory);
    const first = a.chat.chat({ ...session, message: "1" });
    await running(a.chat);
    const second = a.chat.chat({ ...session, message: "2" });
    await second.accepted;
    const closing = a.chat.close({ drainMs: 5_000 });
    await settle();
    a.store.calls.length = 0;
    const b = processes.start(factory);
    held.open();
    await processes.outcome(closing);
    expect(a.store.calls).not.toContain("runs.claim");
    await processes.until(
      async () => (await b.chat.getRun({ ...session, runId: second.id }))?.status === "completed",
    );
    expect((await b.chat.getRun({ ...session, runId: first.id }))?.status).toBe("completed");
  });

  test("it ends in time when the engine does not answer, and when the agent does not stop either", async () => {
    for (const deaf of [false, true]) {
      const processes = new Processes();
      const factory = agents(async function* (_, { signal }) {
        yield* say("x");
        await (deaf ? new Promise(() => undefined) : untilAbort(signal));
      });
      const a = processes.start(factory, { abortGraceMs: 500, leaseMs: 60_000 });
      a.chat.chat({ ...session, message: "1" });
      await running(a.chat);
      a.store.reach = "hangs";
      const began = processes.clock.monotonic();
      await processes.outcome(a.chat.close({ drainMs: 1_000 }), 10_000);
      expect(processes.clock.monotonic() - began).toBeLessThanOrEqual(1_000 + 500 + 3_000);
    }
  });

  test("uses of the agent that wait are cancelled: nobody else can do them", async () => {
    const processes = new Processes();
    const held = gate();
    const factory = agents(async function* () {
      yield* say("x");
      await held.opened;
    });
    const a = processes.start(factory);
    const b = processes.start(factory);
    a.chat.chat({ ...session, message: "1" });
    await running(a.chat);
    const used = codeOf(a.chat.withAgent(session, () => "never"));
    await settle();
    const closing = a.chat.close({ drainMs: 5_000 });
    await settle();
    held.open();
    await closing;
    expect(await processes.outcome(used)).toBe("RUN_CANCELLED");
    const next = b.chat.chat({ ...session, message: "2" });
    expect((await processes.outcome(next.result)).outcome).toBe("completed");
  });

  test("a use by withAgent that is accepted while it closes does not hold up its session", async () => {
    const processes = new Processes();
    const factory = agents(async function* () {
      yield* say("x");
    });
    const accepting = gate();
    const a = processes.start(factory);
    const b = processes.start(factory);
    a.store.before = (call) => (call === "runs.submit" ? accepting.opened : undefined);
    const used = codeOf(a.chat.withAgent(session, () => "never"));
    await settle();
    await processes.outcome(a.chat.close({ drainMs: 0 }));
    accepting.open();
    expect(["CLOSED", "RUN_CANCELLED"]).toContain(await processes.outcome(used));
    const next = b.chat.chat({ ...session, message: "2" });
    expect((await processes.outcome(next.result)).outcome).toBe("completed");
  });

  test("a run at work is not failed, and its waiter here is told CLOSED", async () => {
    const processes = new Processes();
    const factory = agents(async function* (_, { drain }) {
      yield* say("x");
      await untilAbort(drain as AbortSignal);
    });
    const a = processes.start(factory);
    const run = a.chat.chat({ ...session, message: "1" });
    await running(a.chat);
    await a.chat.close({ drainMs: 5_000 });
    expect(await codeOf(run.result)).toBe("CLOSED");
    expect((await processes.shared.store.runs.current("s.s"))?.status).toBe("queued");
  });
});

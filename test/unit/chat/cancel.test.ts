import { AIMessage } from "@langchain/core/messages";
import { interrupt } from "@langchain/langgraph";
import { tool } from "langchain";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { RunEvent } from "../../../src/run-event.js";
import { createLangGraphFactory } from "../../../src/langgraph/index.js";
import { ScriptedChatModel } from "../../../src/testing/index.js";
import {
  codeOf,
  createChat,
  customChat,
  eventsOf,
  eventually,
  lastUserText,
  openToolCalls,
  random,
  settle,
} from "../../support/chat.js";

const turns = async (count: number): Promise<void> => settle(count);

/** A model and tools that do what the message says: `text`, `tool`, `deaf` (ignores the signal), `ask`, `fail`. */
function obedient(pause: () => number) {
  const model = new ScriptedChatModel(async (messages) => {
    await turns(pause());
    const last = messages.at(-1);
    // Providers refuse a history with tool calls that nothing answers.
    const calls = messages.flatMap((message) =>
      AIMessage.isInstance(message) ? (message.tool_calls ?? []) : [],
    );
    const answers = new Set(messages.map((message) => (message as { tool_call_id?: string }).tool_call_id));
    const open = calls.filter(({ id }) => !answers.has(id));
    if (open.length > 0) throw new Error(`Tool calls without answer: ${String(open.length)}`);
    const what = lastUserText(messages);
    if (what === "fail") throw new Error("as told");
    if (last?.type === "tool" || what === "text") return { text: ["one ", "two ", "three"] };
    return {
      toolCalls: [
        { name: what, args: {} },
        { name: what, args: {} },
      ],
    };
  });
  const make = (name: string, work: (signal: AbortSignal | undefined) => unknown) =>
    tool((_input, config: { signal?: AbortSignal }) => work(config.signal), {
      name,
      description: name,
      schema: z.object({}),
    });
  const tools = [
    make("tool", async (signal) => {
      for (let left = pause(); left > 0; left--) {
        signal?.throwIfAborted();
        await turns(1);
      }
      return "done";
    }),
    make("deaf", async () => {
      await turns(pause() * 2);
      return "done";
    }),
    make("ask", () => `told ${String(interrupt("well?"))}`),
  ];
  return { model, tools };
}

test("500 random cancels: one end each, the session free, the next message fine, every tool call answered", async () => {
  const next = random(20_260_101);
  const pick = (limit: number): number => Math.floor(next() * limit);
  const { model, tools } = obedient(() => pick(12));
  const factory = createLangGraphFactory({ model, tools });
  const { chat } = customChat(
    {
      ...factory,
      configKeys: ["modelOptions"],
      create: async (context) => {
        await turns(pick(10));
        return factory.create(context);
      },
    },
    { maxAgents: 30 },
  );
  const kinds = ["text", "tool", "deaf", "ask", "fail"];
  const ends = new Map<string, number>();
  const finished = new Map<string, number>();
  chat.on("run:finished", ({ runId }) => finished.set(runId, (finished.get(runId) ?? 0) + 1));
  const one = async (index: number): Promise<void> => {
    // Several use the same session, so that agents are warm, being created, or evicted.
    const session = { sessionId: `s${String(index)}` };
    if (next() < 0.5) await chat.chat({ ...session, message: "text" }).result;
    const runs = Array.from({ length: 1 + pick(3) }, () =>
      chat.chat({ ...session, message: kinds[pick(kinds.length)] ?? "text" }),
    );
    const reading = runs.map((run) => eventsOf(run).catch(() => []));
    await turns(pick(60));
    const how = pick(4);
    if (how === 0) await chat.cancel(session).catch(() => undefined);
    else for (const run of runs) if (how < 3 || next() < 0.5) await run.cancel();
    // What was not cancelled may now wait for an answer, and others behind it.
    const last = chat.chat({ ...session, message: "text", onBusy: "interrupt" });
    const { outcome, text } = await last.result;
    expect([outcome, text]).toEqual(["completed", "one two three"]);
    for (const [position, events] of (await Promise.all(reading)).entries()) {
      const run = runs[position];
      if (run === undefined) continue;
      const terminal = events.flatMap((event) => (event.type === "run-finished" ? [event] : []));
      expect(terminal).toHaveLength(1);
      expect(events.at(-1)).toBe(terminal[0]);
      expect(events.map(({ seq }) => seq)).toEqual(events.map((_, at) => at + 1));
      partsAreClosed(events);
      const end = terminal[0]?.outcome ?? "none";
      ends.set(end, (ends.get(end) ?? 0) + 1);
      expect(finished.get(run.id) ?? 0).toBeLessThanOrEqual(1);
    }
    const { messages } = await chat.getHistory({ ...session, limit: 1000 });
    expect(openToolCalls(messages)).toEqual([]);
    expect((await chat.getSession(session))?.state).toMatch(/idle|stored/);
  };
  const waiting = Array.from({ length: 500 }, (_, index) => index);
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      for (let index = waiting.pop(); index !== undefined; index = waiting.pop()) await one(index);
    }),
  );
  // It really went through these ends; how many come to ask something before they are cancelled is chance.
  expect([...ends.keys()]).toEqual(expect.arrayContaining(["cancelled", "completed", "failed"]));
  const asked = { sessionId: "asked" };
  expect((await chat.chat({ ...asked, message: "ask" }).result).outcome).toBe("interrupted");
  await chat.cancel(asked);
  expect((await chat.chat({ ...asked, message: "text" }).result).text).toBe("one two three");
  expect((await chat.getStats()).activeRuns).toBe(0);
}, 240_000);

function partsAreClosed(events: readonly RunEvent[]): void {
  const open = new Set<string>();
  for (const event of events) {
    if (event.type === "text-start") open.add(event.id);
    if (event.type === "text-end") open.delete(event.id);
  }
  expect([...open]).toEqual([]);
}

describe("cancel", () => {
  const session = { sessionId: "s" };

  test("of nothing is RUN_NOT_FOUND", async () => {
    const chat = await createChat({ model: new ScriptedChatModel(() => "hi") });
    expect(await codeOf(chat.cancel(session))).toBe("RUN_NOT_FOUND");
    expect(await codeOf(chat.cancel({ ...session, runId: "none" }))).toBe("RUN_NOT_FOUND");
    await chat.chat({ ...session, message: "hi", runId: "r" }).result;
    expect(await codeOf(chat.cancel(session))).toBe("RUN_NOT_FOUND");
    expect((await chat.cancel({ ...session, runId: "r" })).status).toBe("completed");
  });

  test("at every single step from the call on", async () => {
    // Each step is one microtask later: the windows between submit, claim, creation and stream are that small.
    for (let step = 0; step < 120; step++) {
      const { chat, manager } = customChat(() => ({
        async *stream(_input, { signal }) {
          yield { type: "text-start", id: "1" };
          await new Promise((_resolve, reject) => {
            const abort = (): void => {
              reject(new Error("stopped"));
            };
            if (signal.aborted) abort();
            signal.addEventListener("abort", abort);
          });
        },
      }));
      const run = chat.chat({ ...session, message: "x" });
      for (let waited = 0; waited < step; waited++) await Promise.resolve();
      const cancelled = run.cancel();
      const rivals = [chat.cancel(session).catch(() => undefined), run.cancel()];
      await cancelled;
      await Promise.all(rivals);
      expect((await run.result).outcome).toBe("cancelled");
      expect((await eventsOf(run)).filter(({ type }) => type === "run-finished")).toHaveLength(1);
      await chat.close({ drainMs: 0 });
      await manager.close();
    }
  });

  test("a stop that falls between the claim and the start is seen", async () => {
    const { chat, manager } = customChat(() => ({
      async *stream(_input, { signal }) {
        yield { type: "text-start", id: "1" };
        await eventually(() => signal.aborted);
        signal.throwIfAborted();
      },
    }));
    const { runs } = manager.store;
    const claim = runs.claim.bind(runs);
    runs.claim = async (request) => {
      const claimed = await claim(request);
      if (claimed !== undefined) await runs.cancel(claimed.run.threadId, claimed.run.runId);
      return claimed;
    };
    expect((await chat.chat({ ...session, message: "x" }).result).outcome).toBe("cancelled");
  });
});

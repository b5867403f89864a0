import { tool } from "@langchain/core/tools";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { RunEvent } from "../../../src/run-event.js";
import { ScriptedChatModel } from "../../../src/testing/index.js";
import {
  agents,
  codeOf,
  createChat,
  customChat,
  eventsOf,
  eventually,
  lastUserText,
  say,
  textOfInput,
  untilAbort,
} from "../../support/chat.js";

const session = { sessionId: "s" };

function echo(): ScriptedChatModel {
  return new ScriptedChatModel((messages) => `echo ${lastUserText(messages)}`);
}

describe("50 messages at once to one session", () => {
  const texts = Array.from({ length: 50 }, (_, index) => `message ${String(index)}`);

  test("enqueue answers all, in the order of the calls", async () => {
    const chat = await createChat({ model: echo() });
    const runs = texts.map((message) => chat.chat({ ...session, message }));
    const results = await Promise.all(runs.map((run) => run.result));
    expect(results.map(({ text }) => text)).toEqual(texts.map((text) => `echo ${text}`));
    const { messages } = await chat.getHistory({ ...session, limit: 1000 });
    expect(messages.map(({ role, content }) => [role, content])).toEqual(
      texts.flatMap((text) => [
        ["user", text],
        ["assistant", `echo ${text}`],
      ]),
    );
  });

  test("reject takes exactly one, the first", async () => {
    let refused = 0;
    const chat = await createChat({
      model: new ScriptedChatModel(async () => {
        // As any real model, it is slower than the submissions.
        await eventually(() => refused === 49);
        return "done";
      }),
    });
    const runs = texts.map((message) => chat.chat({ ...session, message, onBusy: "reject" }));
    const codes = await Promise.all(
      runs.map(async (run) => {
        const code = await codeOf(run.accepted);
        if (code !== "none") refused += 1;
        return code;
      }),
    );
    expect(codes).toEqual(["none", ...texts.slice(1).map(() => "SESSION_BUSY")]);
    await runs[0]?.result;
    const { messages } = await chat.getHistory(session);
    expect(messages.map(({ content }) => content)).toEqual(["message 0", "done"]);
  });

  test("they never overlap, and start in the order of the calls", async () => {
    const log: string[] = [];
    let working = 0;
    const { chat } = customChat(
      agents(async function* (input) {
        working += 1;
        expect(working).toBe(1);
        log.push(textOfInput(input));
        await new Promise((resolve) => setImmediate(resolve));
        yield* say("done");
        working -= 1;
      }),
    );
    await Promise.all(texts.map((message) => chat.chat({ ...session, message }).result));
    expect(log).toEqual(texts);
  });
});

describe.each(["interrupt", "rollback"] as const)("%s", (onBusy) => {
  test("ends the running one before the new one starts, and cancels what is queued", async () => {
    const chat = await createChat({
      model: new ScriptedChatModel(async (messages, { options }) => {
        const text = lastUserText(messages);
        return text === "slow" && options.signal !== undefined ? untilAbort(options.signal) : `echo ${text}`;
      }),
    });
    await chat.chat({ ...session, message: "before" }).result;
    const order: string[] = [];
    chat.on("run:started", ({ runId }) => order.push(`start ${runId}`));
    chat.on("run:finished", ({ runId, outcome }) => order.push(`${outcome} ${runId}`));
    const slow = chat.chat({ ...session, message: "slow", runId: "slow" });
    await eventually(() => order.includes("start slow"));
    const queued = chat.chat({ ...session, message: "queued", runId: "queued" });
    await queued.accepted;
    const next = chat.chat({ ...session, message: "next", runId: "next", onBusy });
    expect((await next.result).outcome).toBe("completed");
    expect((await slow.result).outcome).toBe("cancelled");
    expect((await queued.result).outcome).toBe("cancelled");
    expect((await eventsOf(queued)).map(({ type }) => type)).toEqual(["run-finished"]);
    expect(order).toEqual(["start slow", "cancelled slow", "start next", "completed next"]);
    const { messages } = await chat.getHistory(session);
    expect(messages.map(({ content }) => content)).toEqual([
      "before",
      "echo before",
      ...(onBusy === "interrupt" ? ["slow"] : []),
      "next",
      "echo next",
    ]);
  });

  test("50 of them at once: every one ends, the last wins", async () => {
    const chat = await createChat({ model: echo() });
    const runs = Array.from({ length: 50 }, (_, index) =>
      chat.chat({ ...session, message: `message ${String(index)}`, onBusy }),
    );
    const outcomes = await Promise.all(runs.map(async (run) => (await run.result).outcome));
    expect(outcomes.at(-1)).toBe("completed");
    const { messages } = await chat.getHistory({ ...session, limit: 1000 });
    expect(messages.slice(-2).map(({ content }) => content)).toEqual(["message 49", "echo message 49"]);
  });
});

test("rollback undoes what the stopped turn had already stored", async () => {
  const chat = await createChat({
    model: new ScriptedChatModel(async (messages, { options }) => {
      const last = messages.at(-1);
      if (last?.type === "tool" && options.signal !== undefined) return untilAbort(options.signal);
      return lastUserText(messages) === "use it" ? { toolCalls: [{ name: "look", args: {} }] } : "fine";
    }),
    tools: [tool(() => "seen", { name: "look", description: "", schema: z.object({}) })],
  });
  await chat.chat({ ...session, message: "first" }).result;
  const slow = chat.chat({ ...session, message: "use it" });
  const seen: RunEvent[] = [];
  for await (const event of slow) {
    seen.push(event);
    if (event.type === "tool-output-available") break;
  }
  await chat.chat({ ...session, message: "instead", onBusy: "rollback" }).result;
  const { messages } = await chat.getHistory(session);
  expect(messages.map(({ content }) => content)).toEqual(["first", "fine", "instead", "fine"]);
});

test("an unknown policy is refused and stores nothing", async () => {
  const chat = await createChat({ model: echo() });
  const run = chat.chat({ ...session, message: "hi", onBusy: "wait" as never });
  expect(await codeOf(run.accepted)).toBe("INVALID_INPUT");
  expect((await chat.listSessions()).sessions).toEqual([]);
});

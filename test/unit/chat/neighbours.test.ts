import { BaseCallbackHandler } from "@langchain/core/callbacks/base";
import { tool } from "langchain";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { memoryStore } from "../../../src/store/memory/memory-store.js";
import type { EventLog } from "../../../src/store/store.js";
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
  settle,
  textOfInput,
  untilAbort,
} from "../../support/chat.js";

/** A promise that the test settles. */
function gate(): { readonly open: () => void; readonly opened: Promise<void> } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, opened };
}

const parts = Array.from({ length: 50 }, (_, index) => `${String(index)} `);
const whole = parts.join("");

describe("one session's slowness is its own", () => {
  test("a tool that hangs", async () => {
    const { open, opened } = gate();
    const chat = await createChat({
      model: new ScriptedChatModel((messages) =>
        lastUserText(messages) === "hang" && messages.at(-1)?.type !== "tool"
          ? { toolCalls: [{ name: "hang", args: {} }] }
          : { text: parts },
      ),
      tools: [tool(() => opened.then(() => "free"), { name: "hang", description: "", schema: z.object({}) })],
    });
    const hanging = chat.chat({ sessionId: "slow", message: "hang" });
    await hanging.accepted;
    for (let index = 0; index < 10; index++) {
      expect((await chat.chat({ sessionId: String(index), message: "hi" }).result).text).toBe(whole);
    }
    expect((await chat.getRun({ sessionId: "slow" }))?.status).toBe("running");
    open();
    expect((await hanging.result).text).toBe(whole);
  });

  test("a host's callback that hangs, on a model that all share", async () => {
    const { open, opened } = gate();
    const held = new Set<string>();
    class Slow extends BaseCallbackHandler {
      readonly name = "slow";
      override awaitHandlers = true;
      override async handleLLMNewToken(token: string): Promise<void> {
        // The first token of the slow session's answer alone.
        if (token !== "slow") return;
        held.add(token);
        await opened;
      }
    }
    const chat = await createChat({
      model: new ScriptedChatModel(
        (messages) => (lastUserText(messages) === "slow" ? { text: ["slow", ...parts] } : { text: parts }),
        { callbacks: [new Slow()] },
      ),
    });
    const slow = chat.chat({ sessionId: "slow", message: "slow" });
    await eventually(() => held.size > 0);
    const texts = await Promise.all(
      ["a", "b", "c"].map(async (sessionId) => (await chat.chat({ sessionId, message: "hi" }).result).text),
    );
    expect(texts).toEqual([whole, whole, whole]);
    open();
    expect((await slow.result).text).toBe(`slow${whole}`);
  });

  test("a host's callback that throws, loses nothing", async () => {
    class Thrower extends BaseCallbackHandler {
      readonly name = "thrower";
      override awaitHandlers = true;
      override handleLLMNewToken(token: string): Promise<void> {
        return token === "3 " ? Promise.reject(new Error("a callback's own trouble")) : Promise.resolve();
      }
    }
    const chat = await createChat({
      model: new ScriptedChatModel(() => ({ text: parts }), { callbacks: [new Thrower()] }),
    });
    expect((await chat.chat({ sessionId: "s", message: "hi" }).result).text).toBe(whole);
  });

  test("a reader that does not read, and loses none of its own", async () => {
    const chat = await createChat({ model: new ScriptedChatModel(() => ({ text: parts })) });
    const slow = chat.chat({ sessionId: "slow", message: "hi" });
    const iterator = slow.textStream[Symbol.asyncIterator]();
    const texts = [(await iterator.next()).value];
    // Its own run goes on without it, as do all others.
    expect((await slow.result).text).toBe(whole);
    expect((await chat.chat({ sessionId: "other", message: "hi" }).result).text).toBe(whole);
    for (let step = await iterator.next(); step.done !== true; step = await iterator.next())
      texts.push(step.value);
    expect(texts.join("")).toBe(whole);
  });

  test("a store call that hangs", async () => {
    const { open, opened } = gate();
    const store = memoryStore();
    const { events } = store;
    const log: EventLog = {
      append: async (lease, runId, list) => {
        if (lease.threadId === "s.slow" && list.some(({ type }) => type === "text-start")) await opened;
        await events.append(lease, runId, list);
      },
      read: (...args) => events.read(...args),
      watch: (...args) => events.watch(...args),
      delete: (threadId) => events.delete(threadId),
    };
    const chat = await createChat({
      model: new ScriptedChatModel(() => ({ text: parts })),
      store: { ...store, events: log },
    });
    const slow = chat.chat({ sessionId: "slow", message: "hi" });
    await slow.accepted;
    expect((await chat.chat({ sessionId: "other", message: "hi" }).result).text).toBe(whole);
    open();
    expect((await slow.result).text).toBe(whole);
    expect((await eventsOf(slow)).length).toBe(parts.length + 5);
  });

  test("an agent that never lets go of the event loop is stopped for others, and by a cancel", async () => {
    const { chat } = customChat(
      agents(async function* (input, { signal }) {
        if (textOfInput(input) === "hog") {
          while (!signal.aborted) yield { type: "data", name: "n", data: 1 };
          signal.throwIfAborted();
        }
        for (let turn = 0; turn < 20; turn++) await settle(1);
        yield* say("hi");
      }),
      { store: memoryStore({ maxEventsPerRun: 10 }) },
    );
    const hog = chat.chat({ sessionId: "hog", message: "hog" });
    await hog.accepted;
    expect((await chat.chat({ sessionId: "other", message: "x" }).result).text).toBe("hi");
    await hog.cancel();
    expect((await hog.result).outcome).toBe("cancelled");
  });

  test("an agent that takes its time to be created, and one that cannot be", async () => {
    const { open, opened } = gate();
    const { chat } = customChat(async ({ sessionId }) => {
      if (sessionId === "slow") await opened;
      if (sessionId === "broken") throw new Error("no such server");
      return agents(async function* () {
        yield* say("hi");
        await Promise.resolve();
      })({} as never);
    });
    const slow = chat.chat({ sessionId: "slow", message: "x" });
    await expect(chat.chat({ sessionId: "broken", message: "x" }).result).rejects.toMatchObject({
      code: "AGENT_CREATE_FAILED",
      cause: { message: "no such server" },
    });
    expect((await chat.chat({ sessionId: "other", message: "x" }).result).text).toBe("hi");
    open();
    expect((await slow.result).text).toBe("hi");
  });

  test("listeners of the host that throw, or whose promises reject", async () => {
    const { chat, manager } = customChat(
      agents(async function* () {
        yield* say("hi");
        await Promise.resolve();
      }),
    );
    const told: string[] = [];
    for (const event of ["run:started", "run:finished"] as const) {
      chat.on(event, () => {
        throw new Error("listener");
      });
      const rejecting: () => unknown = () => Promise.reject(new Error("async listener"));
      chat.on(event, rejecting);
    }
    manager.on("agent:created", () => {
      throw new Error("listener");
    });
    chat.on("listener:failed", ({ event }) => told.push(event));
    expect((await chat.chat({ sessionId: "s", message: "x" }).result).text).toBe("hi");
    await eventually(() => told.length === 4);
    expect(told.sort()).toEqual(["run:finished", "run:finished", "run:started", "run:started"]);
  });
});

describe("a part of the store that fails", () => {
  test.each(["run-started", "text-delta"])(
    "an event log that fails at %s fails the run, and frees the session",
    async (type) => {
      const store = memoryStore();
      let broken = true;
      const { events } = store;
      const log: EventLog = {
        append: (lease, runId, list) => {
          if (broken && list.some((event) => event.type === type)) throw new Error("disk full");
          return events.append(lease, runId, list);
        },
        read: (...args) => events.read(...args),
        watch: (...args) => events.watch(...args),
        delete: (threadId) => events.delete(threadId),
      };
      const { chat, manager } = customChat(
        agents(async function* () {
          yield* say("hi");
          await Promise.resolve();
        }),
        { store: { ...store, events: log } },
      );
      const run = chat.chat({ sessionId: "s", message: "x" });
      await expect(run.result).rejects.toMatchObject({
        code: "STORE_UNAVAILABLE",
        cause: { message: "disk full" },
      });
      expect((await eventsOf(run)).at(-1)).toMatchObject({ type: "run-finished", outcome: "failed" });
      broken = false;
      expect((await chat.chat({ sessionId: "s", message: "x" }).result).text).toBe("hi");
      expect(manager.getStats().activeAgents).toBe(0);
    },
  );

  test("a directory that fails fails the run, frees the session and its place", async () => {
    const store = memoryStore();
    const save = store.sessions.save.bind(store.sessions);
    const { chat, manager } = customChat(
      agents(async function* () {
        yield* say("hi");
        await Promise.resolve();
      }),
      { store, maxAgents: 1 },
    );
    store.sessions.save = () => Promise.reject(new Error("down"));
    for (let time = 0; time < 3; time++) {
      expect(await codeOf(chat.chat({ sessionId: "s", message: "x" }).result)).toBe("STORE_UNAVAILABLE");
    }
    store.sessions.save = save;
    expect((await chat.chat({ sessionId: "s", message: "x" }).result).text).toBe("hi");
    expect(manager.getStats()).toMatchObject({ totalAgents: 1, activeAgents: 0 });
  });

  test("events that are none, or that would end the run, fail it", async () => {
    const wrong: unknown[] = [
      undefined,
      null,
      7,
      {},
      { type: 1 },
      { type: "run-finished", outcome: "completed" },
    ];
    const { chat } = customChat(
      agents(async function* (input) {
        yield wrong[Number(textOfInput(input))] as never;
        await Promise.resolve();
      }),
    );
    for (const index of wrong.keys()) {
      const run = chat.chat({ sessionId: "s", message: String(index) });
      expect(await codeOf(run.result)).toBe("AGENT_FAILED");
      expect((await eventsOf(run)).map(({ type }) => type)).toEqual(["run-started", "run-finished"]);
    }
  });
});

test("an agent that ignores its signal is left behind after the grace, discarded, and writes no more", async () => {
  let late: (() => Promise<string>) | undefined;
  let built = 0;
  const { chat, manager } = customChat(
    ({ state }) => {
      built += 1;
      return agents(async function* (input, { signal }) {
        if (textOfInput(input) === "deaf") {
          late = () => codeOf(state.set("late"));
          await untilAbort(signal).catch(() => undefined);
          await new Promise(() => undefined);
        }
        yield* say("hi");
      })({} as never);
    },
    { abortGraceMs: 10 },
  );
  const reasons: string[] = [];
  manager.on("agent:evicted", ({ reason }) => reasons.push(reason));
  const deaf = chat.chat({ sessionId: "s", message: "deaf" });
  await eventually(() => late !== undefined);
  await deaf.cancel();
  expect((await deaf.result).outcome).toBe("cancelled");
  expect(reasons).toEqual(["unresponsive"]);
  expect(await late?.()).toBe("LEASE_LOST");
  expect((await chat.chat({ sessionId: "s", message: "x" }).result).text).toBe("hi");
  expect(built).toBe(2);
});

import { interrupt } from "@langchain/langgraph";
import { tool } from "langchain";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { createLangGraphFactory } from "../../../src/langgraph/index.js";
import { memoryStore } from "../../../src/store/memory/memory-store.js";
import { ScriptedChatModel } from "../../../src/testing/index.js";
import {
  agents,
  codeOf,
  createChat,
  customChat,
  eventsOf,
  eventually,
  lastUserText,
  random,
  say,
  settle,
  textOfInput,
} from "../../support/chat.js";

const session = { sessionId: "s" };

/** Nothing of a deleted session may be anywhere in its store. */
async function expectGone(store: ReturnType<typeof memoryStore>, sessionId: string): Promise<void> {
  const threadId = `s.${sessionId}`;
  expect(await store.sessions.get(threadId)).toBeUndefined();
  expect((await store.runs.sessions([threadId])).get(threadId)).toBeUndefined();
  expect(await store.runs.current(threadId)).toBeUndefined();
  expect(await store.runs.readState(threadId)).toBeUndefined();
  expect(await store.checkpointer.getTuple({ configurable: { thread_id: threadId } })).toBeUndefined();
}

test("300 random races of a delete with submit, run, resume, follow and evict: nothing comes back, all ends", async () => {
  const next = random(7);
  const pick = (limit: number): number => Math.floor(next() * limit);
  const ask = tool(() => `told ${String(interrupt("well?"))}`, {
    name: "ask",
    description: "Asks",
    schema: z.object({}),
  });
  const model = new ScriptedChatModel(async (messages) => {
    await settle(pick(8));
    if (messages.at(-1)?.type !== "tool" && lastUserText(messages) === "ask")
      return { toolCalls: [{ name: "ask", args: {} }] };
    return { text: ["a", "b", "c"] };
  });
  const store = memoryStore();
  const factory = createLangGraphFactory({ model, tools: [ask] });
  const { chat, manager } = customChat(factory, { store, maxAgents: 8 });
  const problems: unknown[] = [];
  chat.on("error", ({ error }) => problems.push(error.code));

  const one = async (index: number): Promise<void> => {
    const ref = { sessionId: `s${String(index)}` };
    if (pick(3) > 0) await chat.chat({ ...ref, message: "ask" }).result;
    const parked = await chat.getRun(ref);
    const answers = { [parked?.interrupts[0]?.id ?? "none"]: "fine" };
    const acts: (() => Promise<unknown>)[] = [
      () => chat.chat({ ...ref, message: "text", onBusy: "interrupt" }).result,
      () => chat.chat({ ...ref, message: "ask" }).result,
      () => chat.resume({ ...ref, answers }).result,
      () => eventsOf(chat.follow(ref)),
      () => chat.removeAgent(ref),
      () => chat.regenerate(ref).result,
      () => chat.getHistory(ref),
      () => chat.cleanup(),
      () => chat.deleteSession(ref),
      () => chat.withAgent(ref, () => settle(2)),
    ];
    const racing: Promise<unknown>[] = [];
    for (let count = 0; count < 4; count++) {
      racing.push(acts[pick(acts.length)]?.().catch(() => undefined) ?? Promise.resolve());
      await settle(pick(4));
    }
    await chat.deleteSession(ref);
    // What was under way ends; what came after the deletion, as a new session, goes with the second one.
    await Promise.all(racing);
    await chat.deleteSession(ref);
    await settle(5);
    await expectGone(store, ref.sessionId);
    expect((await chat.getHistory(ref)).messages).toEqual([]);
    expect(await chat.getSession(ref)).toBeUndefined();
    expect(await codeOf(eventsOf(chat.follow(ref)))).toBe("RUN_NOT_FOUND");
    expect((await chat.chat({ ...ref, message: "text" }).result).outcome).toBe("completed");
    expect((await chat.getHistory(ref)).messages).toHaveLength(2);
    await chat.deleteSession(ref);
  };
  const waiting = Array.from({ length: 300 }, (_, index) => index);
  await Promise.all(
    Array.from({ length: 12 }, async () => {
      for (let index = waiting.pop(); index !== undefined; index = waiting.pop()) await one(index);
    }),
  );
  await manager.cleanupOldestAgents(100);
  expect(store.usage).toMatchObject({ sessions: 0, bytes: 0, eventBytes: 0 });
  expect(manager.getStats().totalAgents).toBe(0);
  expect(problems).not.toContain("LEASE_LOST");
}, 240_000);

describe("deleteSession", () => {
  test("stops the running run, cancels the queued ones and ends their readers", async () => {
    const chat = await createChat({
      model: new ScriptedChatModel(() => ({ text: ["a", "b"], delayMs: 1_000 })),
    });
    const runs = ["one", "two", "three"].map((message) => chat.chat({ ...session, message }));
    const reading = runs.map((run) => eventsOf(run));
    await eventually(async () => (await chat.getRun(session))?.status === "running");
    expect(await chat.deleteSession(session)).toBe(true);
    for (const run of runs) expect((await run.result).outcome).toBe("cancelled");
    for (const events of await Promise.all(reading)) {
      expect(events.at(-1)).toMatchObject({ type: "run-finished", outcome: "cancelled" });
    }
    expect(await chat.deleteSession(session)).toBe(false);
  });

  test("deletes one user's session and not another's of the same id", async () => {
    const chat = await createChat({ model: new ScriptedChatModel(() => "hi") });
    for (const userId of ["a", "b"]) await chat.chat({ ...session, userId, message: "x" }).result;
    expect(await chat.deleteSession({ ...session, userId: "a" })).toBe(true);
    expect(await chat.deleteSession(session)).toBe(false);
    expect((await chat.getHistory({ ...session, userId: "b" })).messages).toHaveLength(2);
    expect((await chat.listSessions()).sessions.map(({ userId }) => userId)).toEqual(["b"]);
  });

  test("refuses a message while it works, and takes it as a new session's afterwards", async () => {
    const store = memoryStore();
    const { chat } = customChat(
      agents(async function* () {
        yield* say("hi");
        await Promise.resolve();
      }),
      { store },
    );
    await chat.chat({ ...session, message: "x" }).result;
    const during: Promise<string>[] = [];
    const deleteThread = store.checkpointer.deleteThread.bind(store.checkpointer);
    store.checkpointer.deleteThread = async (threadId) => {
      during.push(codeOf(chat.chat({ ...session, message: "y" }).accepted));
      await settle();
      await deleteThread(threadId);
    };
    await chat.deleteSession(session);
    expect(await Promise.all(during)).toEqual(["SESSION_NOT_FOUND"]);
    expect((await chat.chat({ ...session, message: "z" }).result).text).toBe("hi");
  });

  test("of a session that is just beginning does not leave its first run without a home", async () => {
    for (let step = 0; step < 60; step++) {
      const { chat, manager } = customChat(
        agents(async function* (input) {
          for (let part = 0; part < 4; part++) {
            await Promise.resolve();
            yield* say(textOfInput(input), String(part));
          }
        }),
      );
      const deleting = chat.deleteSession(session);
      for (let waited = 0; waited < step; waited++) await Promise.resolve();
      const first = chat.chat({ ...session, message: "x" });
      const codes = await codeOf(first.result);
      await deleting;
      expect(["none", "SESSION_NOT_FOUND"]).toContain(codes);
      expect((await chat.chat({ ...session, message: "y", onBusy: "reject" }).result).outcome).toBe(
        "completed",
      );
      await chat.close();
      await manager.close();
    }
  });

  test("that failed half way is finished by cleanup()", async () => {
    const store = memoryStore();
    const chat = await createChat({ model: new ScriptedChatModel(() => "hi"), store });
    await chat.chat({ ...session, message: "x" }).result;
    const deleteThread = store.checkpointer.deleteThread.bind(store.checkpointer);
    store.checkpointer.deleteThread = () => Promise.reject(new Error("down"));
    await expect(chat.deleteSession(session)).rejects.toThrow("down");
    expect(await codeOf(chat.chat({ ...session, message: "y" }).accepted)).toBe("SESSION_NOT_FOUND");
    store.checkpointer.deleteThread = deleteThread;
    expect((await chat.cleanup()).deletedSessions).toBe(1);
    await expectGone(store, "s");
  });
});

import { AIMessage, type BaseMessage } from "@langchain/core/messages";
import {
  Annotation,
  DeltaChannel,
  END,
  MemorySaver,
  MessagesAnnotation,
  messagesDeltaReducer,
  START,
  StateGraph,
} from "@langchain/langgraph";
import { summarizationMiddleware } from "langchain";
import { describe, expect, test } from "vitest";
import type { CompiledGraph } from "../../../src/langgraph/graph.js";
import { memoryStore } from "../../../src/store/memory/memory-store.js";
import { ScriptedChatModel } from "../../../src/testing/index.js";
import {
  agents,
  codeOf,
  createChat,
  customChat,
  eventually,
  lastUserText,
  say,
  untilAbort,
} from "../../support/chat.js";

const session = { sessionId: "s" };
type Chat = Awaited<ReturnType<typeof createChat>>;

/** Answers with how often it was asked, and stops at "wait" until it is told to. */
function counting(): ScriptedChatModel {
  return new ScriptedChatModel((messages, { index, options }) => {
    const text = lastUserText(messages);
    return text === "wait" && options.signal !== undefined
      ? untilAbort(options.signal)
      : `${text} #${String(index)}`;
  });
}

async function texts(chat: Chat): Promise<unknown[]> {
  return (await chat.getHistory({ ...session, limit: 1000 })).messages.map(({ content }) => content);
}

/** Says something in turn and gives the id of each message. */
async function talk(chat: Chat, ...messages: readonly string[]): Promise<string[]> {
  const ids: string[] = [];
  for (const message of messages) {
    const run = chat.chat({ ...session, message });
    expect((await run.result).outcome).toBe("completed");
    ids.push(run.id);
  }
  return ids;
}

describe("plain messages", () => {
  test("regenerate begins the last turn again", async () => {
    const chat = await createChat({ model: counting() });
    await talk(chat, "a", "b");
    expect((await chat.regenerate(session).result).text).toBe("b #2");
    expect((await chat.regenerate(session).result).text).toBe("b #3");
    expect(await texts(chat)).toEqual(["a", "a #0", "b", "b #3"]);
  });

  test("regenerate of an earlier turn, by its question or its answer, forgets the later ones", async () => {
    const chat = await createChat({ model: counting() });
    const [, b] = await talk(chat, "a", "b", "c");
    await chat.regenerate({ ...session, messageId: b }).result;
    expect(await texts(chat)).toEqual(["a", "a #0", "b", "b #3"]);
    const answer = (await chat.getHistory(session)).messages[1]?.id;
    await chat.regenerate({ ...session, messageId: answer }).result;
    expect(await texts(chat)).toEqual(["a", "a #4"]);
  });

  test("edit says something else instead, and goes on from there", async () => {
    const chat = await createChat({ model: counting() });
    const [, b] = await talk(chat, "a", "b", "c");
    expect((await chat.edit({ ...session, messageId: b ?? "", message: "B" }).result).text).toBe("B #3");
    await talk(chat, "d");
    expect(await texts(chat)).toEqual(["a", "a #0", "B", "B #3", "d", "d #4"]);
  });

  test("a message under an id of the caller's own is found by it, and regenerated under it", async () => {
    const chat = await createChat({ model: counting() });
    await chat.chat({ ...session, message: { id: "mine", content: "a" } }).result;
    await talk(chat, "b");
    await chat.regenerate({ ...session, messageId: "mine" }).result;
    await chat.regenerate({ ...session, messageId: "mine" }).result;
    const { messages } = await chat.getHistory(session);
    expect(messages.map(({ id, content }) => [id === "mine", content])).toEqual([
      [true, "a"],
      [false, "a #3"],
    ]);
  });

  test("what is not there is MESSAGE_NOT_FOUND, and changes nothing", async () => {
    const chat = await createChat({ model: counting() });
    expect(await codeOf(chat.regenerate(session).result)).toBe("MESSAGE_NOT_FOUND");
    await talk(chat, "a");
    expect(await codeOf(chat.regenerate({ ...session, messageId: "none" }).result)).toBe("MESSAGE_NOT_FOUND");
    expect(await codeOf(chat.edit({ ...session, messageId: "none", message: "x" }).result)).toBe(
      "MESSAGE_NOT_FOUND",
    );
    expect(await codeOf(chat.edit({ ...session, messageId: "", message: "x" }).result)).toBe("INVALID_INPUT");
    expect(await codeOf(chat.edit({ ...session, messageId: "none", message: "" }).result)).toBe(
      "INVALID_INPUT",
    );
    expect(await texts(chat)).toEqual(["a", "a #0"]);
  });

  test("a turn older than forkableRuns is FORK_POINT_GONE, the oldest kept one is not", async () => {
    const chat = await createChat({ model: counting(), store: memoryStore({ forkableRuns: 2 }) });
    // The last one, which might be unfinished, and two before it.
    const [a, b] = await talk(chat, "a", "b", "c", "d");
    expect(await codeOf(chat.regenerate({ ...session, messageId: a }).result)).toBe("FORK_POINT_GONE");
    expect(await codeOf(chat.edit({ ...session, messageId: a ?? "", message: "A" }).result)).toBe(
      "FORK_POINT_GONE",
    );
    expect((await texts(chat)).length).toBe(8);
    await chat.edit({ ...session, messageId: b ?? "", message: "B" }).result;
    expect(await texts(chat)).toEqual(["a", "a #0", "B", "B #4"]);
  });

  test("it works after the agent was evicted", async () => {
    const chat = await createChat({ model: counting(), maxAgents: 1 });
    const [a] = await talk(chat, "a", "b");
    await chat.chat({ sessionId: "other", message: "x" }).result;
    await chat.edit({ ...session, messageId: a ?? "", message: "A" }).result;
    expect(await texts(chat)).toEqual(["A", "A #3"]);
  });

  test("a cancelled regenerate leaves a history that the next message can use", async () => {
    const chat = await createChat({ model: counting() });
    const [, b] = await talk(chat, "a", "b");
    const edit = chat.edit({ ...session, messageId: b ?? "", message: "wait" });
    await eventually(async () => (await chat.getHistory(session)).messages.length === 3);
    await edit.cancel();
    await talk(chat, "c");
    expect(await texts(chat)).toEqual(["a", "a #0", "wait", "c", "c #3"]);
  });
});

describe("summarisation that rewrites the list", () => {
  async function summarising(): Promise<Chat> {
    return createChat({
      model: counting(),
      middleware: [
        summarizationMiddleware({
          model: new ScriptedChatModel(() => "SUMMARY"),
          trigger: { messages: 6 },
          keep: { messages: 3 },
        }),
      ],
    });
  }

  test("regenerate gives the user's message again", async () => {
    const chat = await summarising();
    await talk(chat, "a", "b", "c");
    const before = await texts(chat);
    await talk(chat, "d");
    const rewritten = await texts(chat);
    expect(rewritten.some((text) => String(text).includes("SUMMARY"))).toBe(true);
    expect(rewritten).not.toContain("a");
    const run = chat.regenerate(session);
    expect((await run.result).text).toMatch(/^d #/);
    expect((await texts(chat)).slice(-2)[0]).toBe("d");
    // Under an id of the caller's own too.
    const { messages } = await chat.getHistory(session);
    await chat.regenerate({ ...session, messageId: messages.at(-1)?.id }).result;
    expect((await chat.getHistory(session)).messages.at(-1)?.content).toMatch(/^d #/);
    const wait = chat.edit({ ...session, messageId: messages.at(-2)?.id ?? "", message: "wait" });
    await wait.accepted;
    await chat.chat({ ...session, message: "x", onBusy: "rollback" }).result;
    expect(before).toContain("a");
  });

  test("the summary is nobody's words: not shown as the user's, not given again", async () => {
    const chat = await summarising();
    await talk(chat, "a", "b", "c", "d");
    const { messages } = await chat.getHistory(session);
    const [summary] = messages;
    expect(summary).toMatchObject({ role: "system" });
    expect(messages.filter(({ role }) => role === "user").map(({ content }) => content)).not.toContain("a");
    const again = chat.regenerate({ ...session, messageId: summary?.id });
    await expect(again.result).rejects.toMatchObject({ code: "FORK_POINT_GONE" });
    expect((await chat.getHistory(session)).messages).toEqual(messages);
  });

  test("edit of the turn that summarised brings back what it had summarised", async () => {
    const chat = await summarising();
    await talk(chat, "a", "b", "c");
    const whole = await texts(chat);
    const [d] = await talk(chat, "d");
    expect(await texts(chat)).not.toContain("a");
    const edit = chat.edit({ ...session, messageId: d ?? "", message: "D" });
    await edit.result;
    const now = await texts(chat);
    expect(now.slice(-2)[0]).toBe("D");
    expect(now.filter((text) => String(text).includes("SUMMARY"))).toHaveLength(1);
    expect(whole).toHaveLength(6);
  });
});

test("a subgraph with a memory of its own goes back with the conversation", async () => {
  const Memory = Annotation.Root({
    messages: MessagesAnnotation.spec.messages,
    seen: Annotation<string[]>({ reducer: (a, b) => [...a, ...b], default: () => [] }),
  });
  const inner = new StateGraph(Memory)
    .addNode("note", ({ messages }) => ({ seen: [lastUserText(messages)] }))
    .addNode("tell", ({ seen }) => ({ messages: [new AIMessage(`seen ${seen.join(",")}`)] }))
    .addEdge(START, "note")
    .addEdge("note", "tell")
    .addEdge("tell", END)
    .compile({ checkpointer: true });
  const graph = new StateGraph(MessagesAnnotation)
    .addNode("inner", inner)
    .addEdge(START, "inner")
    .addEdge("inner", END)
    .compile();
  const chat = await createChat({ graph: graph as unknown as CompiledGraph });
  const [, b] = await talk(chat, "a", "b", "c");
  expect((await texts(chat)).at(-1)).toBe("seen a,b,c");
  await chat.edit({ ...session, messageId: b ?? "", message: "B" }).result;
  expect(await texts(chat)).toEqual(["a", "seen a", "B", "seen a,B"]);
  await chat.regenerate(session).result;
  await talk(chat, "d");
  expect((await texts(chat)).at(-1)).toBe("seen a,B,d");
});

test("a graph whose messages are a delta channel goes back, and forward again", async () => {
  const messages = new DeltaChannel<BaseMessage[], BaseMessage[]>(messagesDeltaReducer, {
    snapshotFrequency: 4,
  });
  const answer = (state: { messages: BaseMessage[] }, { signal }: { signal?: AbortSignal }) =>
    lastUserText(state.messages) === "wait" && signal !== undefined
      ? untilAbort(signal)
      : { messages: [new AIMessage(`${String(state.messages.length)} before`)] };
  // The builder's types know no bare channels.
  const graph = new StateGraph({ messages } as never)
    .addNode("answer", answer as never)
    .addEdge(START, "answer")
    .addEdge("answer", END)
    .compile();
  const chat = await createChat({ graph: graph as unknown as CompiledGraph });
  const [, , c] = await talk(chat, "a", "b", "c", "d");
  const whole = ["a", "1 before", "b", "3 before", "c", "5 before", "d", "7 before"];
  expect(await texts(chat)).toEqual(whole);
  await chat.regenerate(session).result;
  expect(await texts(chat)).toEqual(whole);
  await chat.edit({ ...session, messageId: c ?? "", message: "C" }).result;
  expect(await texts(chat)).toEqual([...whole.slice(0, 4), "C", "5 before"]);
  const waiting = chat.chat({ ...session, message: "wait" });
  await eventually(async () => (await chat.getHistory(session)).messages.length === 7);
  await chat.chat({ ...session, message: "e", onBusy: "rollback" }).result;
  expect((await waiting.result).outcome).toBe("cancelled");
  expect(await texts(chat)).toEqual([...whole.slice(0, 4), "C", "5 before", "e", "7 before"]);
  await talk(chat, "f");
  expect((await texts(chat)).slice(-2)).toEqual(["f", "9 before"]);
});

describe("UNSUPPORTED", () => {
  test("over a saver without fork points: regenerate, edit and rollback are refused, the rest works", async () => {
    const chat = await createChat({ model: counting(), store: { checkpointer: new MemorySaver() } });
    const [a] = await talk(chat, "a", "b");
    expect(await codeOf(chat.regenerate(session).result)).toBe("UNSUPPORTED");
    expect(await codeOf(chat.edit({ ...session, messageId: a ?? "", message: "A" }).result)).toBe(
      "UNSUPPORTED",
    );
    const waiting = chat.chat({ ...session, message: "wait" });
    await eventually(async () => (await chat.getHistory(session)).messages.length === 5);
    expect(await codeOf(chat.chat({ ...session, message: "x", onBusy: "rollback" }).result)).toBe(
      "UNSUPPORTED",
    );
    expect((await waiting.result).outcome).toBe("cancelled");
    await talk(chat, "c");
    expect(await texts(chat)).toEqual(["a", "a #0", "b", "b #1", "wait", "c", "c #3"]);
  });

  test("over a custom agent without a conversation: regenerate, edit, rollback, answers and history", async () => {
    const { chat } = customChat(
      agents(async function* (input, { signal }) {
        if (input.kind === "message" && input.message.content === "wait") await untilAbort(signal);
        yield* say("hi");
      }),
    );
    await chat.chat({ ...session, message: "a" }).result;
    expect(await codeOf(chat.regenerate(session).result)).toBe("UNSUPPORTED");
    expect(await codeOf(chat.edit({ ...session, messageId: "a", message: "A" }).result)).toBe("UNSUPPORTED");
    expect(await codeOf(chat.getHistory(session))).toBe("UNSUPPORTED");
    const waiting = chat.chat({ ...session, message: "wait" });
    await eventually(async () => (await chat.getRun(session))?.status === "running");
    expect(await codeOf(chat.chat({ ...session, message: "b", onBusy: "rollback" }).result)).toBe(
      "UNSUPPORTED",
    );
    expect((await waiting.result).outcome).toBe("cancelled");
    expect((await chat.chat({ ...session, message: "c" }).result).text).toBe("hi");
  });
});

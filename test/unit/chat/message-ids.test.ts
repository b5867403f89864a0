/* A message under an id that the history has already: what `edit` of that message would do. */
import { AIMessage, type BaseMessage } from "@langchain/core/messages";
import {
  DeltaChannel,
  END,
  MemorySaver,
  messagesDeltaReducer,
  START,
  StateGraph,
} from "@langchain/langgraph";
import { summarizationMiddleware, tool, humanInTheLoopMiddleware } from "langchain";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { AgentInput, Conversation, Turn } from "../../../src/agent.js";
import type { CreateChatOptions } from "../../../src/create-chat-service.js";
import type { CompiledGraph } from "../../../src/langgraph/graph.js";
import { memoryStore } from "../../../src/store/memory/memory-store.js";
import { ScriptedChatModel } from "../../../src/testing/index.js";
import { agents, codeOf, createChat, customChat, eventsOf, lastUserText, say } from "../../support/chat.js";

const session = { sessionId: "s" };
type Chat = Awaited<ReturnType<typeof createChat>>;

/** A service whose model answers with how often it was asked, and what it was given each time. */
async function counting(
  options: Partial<CreateChatOptions> = {},
): Promise<{ chat: Chat; asked: string[][] }> {
  const asked: string[][] = [];
  const model = new ScriptedChatModel((messages, { index }) => {
    asked.push(messages.map(({ text }) => text));
    const text = lastUserText(messages);
    if (text === "fail") throw new Error("no answer");
    return text === "act" ? { toolCalls: [{ name: "act", args: {} }] } : `${text} #${String(index)}`;
  });
  return { chat: await createChat({ ...options, model }), asked };
}

async function history(chat: Chat): Promise<(readonly [id: string, content: unknown])[]> {
  return (await chat.getHistory({ ...session, limit: 1000 })).messages.map(({ id, content }) => [
    id,
    content,
  ]);
}

async function texts(chat: Chat): Promise<unknown[]> {
  return (await history(chat)).map(([, content]) => content);
}

/** Says words in turn, each under an id that is the word itself. */
async function talk(chat: Chat, ...words: readonly string[]): Promise<void> {
  for (const word of words) await chat.chat({ ...session, message: { id: word, content: word } }).result;
}

test("the same again: the turn begins anew, and the model sees no answer after it", async () => {
  const { chat, asked } = await counting();
  await talk(chat, "a", "b");
  const run = chat.chat({ ...session, message: { id: "b", content: "b" } });
  expect((await run.result).text).toBe("b #2");
  expect(asked[2]).toEqual(["a", "a #0", "b"]);
  expect(await texts(chat)).toEqual(["a", "a #0", "b", "b #2"]);
  const rewound = (await eventsOf(run)).filter(({ type }) => type === "run-rewound");
  expect(rewound).toMatchObject([{ message: { id: "b", content: "b" } }]);
});

test("other words: the later turns go too", async () => {
  const { chat, asked } = await counting();
  await talk(chat, "a", "b", "c");
  await chat.chat({ ...session, message: { id: "b", content: "B" } }).result;
  expect(asked[3]).toEqual(["a", "a #0", "B"]);
  expect(await texts(chat)).toEqual(["a", "a #0", "B", "B #3"]);
  await talk(chat, "d");
  await chat.chat({ ...session, message: { id: "a", content: "A" } }).result;
  expect(await texts(chat)).toEqual(["A", "A #5"]);
});

test("a message whose id a run gave it", async () => {
  const { chat } = await counting();
  const first = chat.chat({ ...session, message: "a" });
  await first.result;
  await talk(chat, "b");
  await chat.chat({ ...session, message: { id: first.id, content: "A" } }).result;
  expect(await texts(chat)).toEqual(["A", "A #2"]);
});

test("the id of an answer: its turn goes, as with edit", async () => {
  const { chat, asked } = await counting();
  await talk(chat, "a", "b", "c");
  const [id] = (await history(chat))[3] ?? [""];
  await chat.chat({ ...session, message: { id, content: "B" } }).result;
  expect(asked[3]).toEqual(["a", "a #0", "B"]);
  expect((await history(chat))[2]).toEqual([id, "B"]);
});

test("a new id and one that was only ever refused or cancelled are nothing to go back to", async () => {
  const { chat } = await counting();
  await talk(chat, "a");
  const waits = [
    chat.chat({ ...session, message: { id: "b", content: "b" } }),
    chat.chat({ ...session, message: { id: "c", content: "c" } }),
  ];
  await waits[1]?.cancel();
  await waits[0]?.result;
  const run = chat.chat({ ...session, message: { id: "c", content: "c" } });
  expect((await eventsOf(run)).map(({ type }) => type)).not.toContain("run-rewound");
  expect(await texts(chat)).toEqual(["a", "a #0", "b", "b #1", "c", "c #2"]);
});

test("while the first is still at work: in order, and one answer is left", async () => {
  const { chat, asked } = await counting();
  const message = { id: "a", content: "a" };
  const runs = [chat.chat({ ...session, message }), chat.chat({ ...session, message })];
  const results = await Promise.all(runs.map(({ result }) => result));
  expect(results.map(({ text }) => text)).toEqual(["a #0", "a #1"]);
  expect(asked).toEqual([["a"], ["a"]]);
  expect(await texts(chat)).toEqual(["a", "a #1"]);
});

test("with a run id the request sent again follows the first, and undoes nothing", async () => {
  const { chat, asked } = await counting();
  const request = { ...session, runId: "r", message: { id: "a", content: "a" } };
  await chat.chat(request).result;
  await talk(chat, "b");
  expect((await chat.chat(request).result).text).toBe("a #0");
  expect(asked).toHaveLength(2);
  expect(await texts(chat)).toEqual(["a", "a #0", "b", "b #1"]);
});

test("after a run that failed, its message is there once", async () => {
  const { chat, asked } = await counting();
  await talk(chat, "a");
  expect(await codeOf(chat.chat({ ...session, message: { id: "b", content: "fail" } }).result)).not.toBe(
    "none",
  );
  await chat.chat({ ...session, message: { id: "b", content: "b" } }).result;
  expect(asked.at(-1)).toEqual(["a", "a #0", "b"]);
  expect((await texts(chat)).slice(2)).toHaveLength(2);
});

test("a turn that is older than those kept is FORK_POINT_GONE, and nothing changes", async () => {
  const { chat, asked } = await counting({ store: memoryStore({ forkableRuns: 2 }) });
  await talk(chat, "a", "b", "c", "d");
  const before = await history(chat);
  expect(await codeOf(chat.chat({ ...session, message: { id: "a", content: "A" } }).result)).toBe(
    "FORK_POINT_GONE",
  );
  expect(await history(chat)).toEqual(before);
  expect(asked).toHaveLength(4);
  await chat.chat({ ...session, message: { id: "b", content: "B" } }).result;
  expect(await texts(chat)).toEqual(["a", "a #0", "B", "B #4"]);
});

test("after the agent was evicted, and where the whole history is kept", async () => {
  const { chat } = await counting({ maxAgents: 1, store: memoryStore({ history: "all" }) });
  await talk(chat, "a", "b", "c");
  await chat.chat({ sessionId: "other", message: "x" }).result;
  await chat.chat({ ...session, message: { id: "b", content: "B" } }).result;
  expect(await texts(chat)).toEqual(["a", "a #0", "B", "B #4"]);
});

test("a question that waits is closed by a policy, and its turn given anew", async () => {
  const act = tool(() => "done", { name: "act", description: "Acts", schema: z.object({}) });
  const { chat } = await counting({
    tools: [act],
    middleware: [humanInTheLoopMiddleware({ interruptOn: { act: true } })],
  });
  await talk(chat, "a");
  const asked = chat.chat({ ...session, message: { id: "m", content: "act" } });
  expect((await asked.result).outcome).toBe("interrupted");
  const message = { id: "m", content: "b" };
  expect(await codeOf(chat.chat({ ...session, message }).accepted)).toBe("INTERRUPT_PENDING");
  for (const onBusy of ["interrupt", "rollback"] as const) {
    await chat.chat({ ...session, message, onBusy }).result;
    expect((await texts(chat)).slice(0, 3)).toEqual(["a", "a #0", "b"]);
    expect(await texts(chat)).toHaveLength(4);
  }
});

test("what was summarised away is no longer in the history", async () => {
  const { chat } = await counting({
    middleware: [
      summarizationMiddleware({
        model: new ScriptedChatModel(() => "SUMMARY"),
        trigger: { messages: 6 },
        keep: { messages: 3 },
      }),
    ],
  });
  await talk(chat, "a", "b", "c", "d");
  const ids = async (): Promise<string[]> => (await history(chat)).map(([id]) => id);
  expect(await ids()).not.toContain("b");
  await talk(chat, "b");
  expect((await history(chat)).at(-2)).toEqual(["b", "b"]);
  expect(await ids()).toContain("d");
  // The summary stands under the id of the first message: going back to before that brings back what was summarised.
  expect((await ids())[0]).toBe("a");
  await talk(chat, "a");
  expect(await texts(chat)).toEqual(["a", "a #5"]);
});

test("a graph whose messages are a delta channel", async () => {
  const messages = new DeltaChannel<BaseMessage[], BaseMessage[]>(messagesDeltaReducer, {
    snapshotFrequency: 4,
  });
  const answer = (state: { messages: BaseMessage[] }) => ({
    messages: [new AIMessage(`${String(state.messages.length)} before`)],
  });
  // The builder's types know no bare channels.
  const graph = new StateGraph({ messages } as never)
    .addNode("answer", answer as never)
    .addEdge(START, "answer")
    .addEdge("answer", END)
    .compile();
  const chat = await createChat({ graph: graph as unknown as CompiledGraph });
  await talk(chat, "a", "b", "c", "d");
  await talk(chat, "d");
  expect((await texts(chat)).slice(-4)).toEqual(["c", "5 before", "d", "7 before"]);
  await chat.chat({ ...session, message: { id: "b", content: "B" } }).result;
  expect(await texts(chat)).toEqual(["a", "1 before", "B", "3 before"]);
});

describe("where nothing can be gone back to, it is as it was", () => {
  test("over a saver without fork points LangGraph replaces the message", async () => {
    const { chat } = await counting({ store: { checkpointer: new MemorySaver() } });
    await talk(chat, "a", "b");
    expect((await chat.chat({ ...session, message: { id: "a", content: "A" } }).result).outcome).toBe(
      "completed",
    );
    expect((await texts(chat)).slice(0, 2)).toEqual(["A", "a #0"]);
  });

  /** Agents of one's own that are told what they are given. */
  function own(conversation?: Conversation): { chat: Chat; given: AgentInput[] } {
    const given: AgentInput[] = [];
    const stream = async function* (input: AgentInput) {
      given.push(input);
      yield* say("hi");
      await Promise.resolve();
    };
    const { chat } = customChat(agents(stream, { conversation }));
    return { chat: chat, given };
  }

  function conversationOf(turns: readonly Turn[], restored: string[] = []): Conversation {
    return {
      head: () => Promise.resolve(undefined),
      pending: () => Promise.resolve([]),
      history: () => Promise.resolve([{ id: "a", role: "user", content: "a" }]),
      turns: () => Promise.resolve(turns),
      restore: (before) => {
        restored.push(before);
        return Promise.resolve();
      },
      repair: () => Promise.resolve(),
    };
  }

  test.each([
    ["without a conversation", undefined],
    ["with one that keeps no turns", conversationOf([])],
  ])("an agent of one's own %s is given the message", async (_, conversation) => {
    const { chat, given } = own(conversation);
    await talk(chat, "a", "a");
    const input = { kind: "message", message: { id: "a", content: "a" } };
    expect(given).toEqual([input, input]);
  });

  test("one that keeps turns goes back, also without `has`, and is not asked for an id of the run's own", async () => {
    const restored: string[] = [];
    const conversation = conversationOf([{ turnId: "t", before: "before t", messageIds: ["a"] }], restored);
    const { chat, given } = own(conversation);
    await talk(chat, "b");
    expect(restored).toEqual([]);
    await talk(chat, "a");
    expect(restored).toEqual(["before t"]);
    expect(given.at(-1)).toEqual({ kind: "message", message: { id: "a", content: "a" } });
    const looked: string[] = [];
    const having = own({
      ...conversation,
      has: (id) => {
        looked.push(id);
        return Promise.resolve(false);
      },
    });
    await having.chat.chat({ ...session, message: "c" }).result;
    await talk(having.chat, "a");
    expect(looked).toEqual(["a"]);
    expect(restored).toHaveLength(1);
  });
});

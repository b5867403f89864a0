import { AIMessage, type BaseMessage, HumanMessage } from "@langchain/core/messages";
import {
  Annotation,
  Command,
  DeltaChannel,
  END,
  MessagesAnnotation,
  START,
  StateGraph,
  interrupt,
  messagesDeltaReducer,
} from "@langchain/langgraph";
import { uuid6, type BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import { type AgentMiddleware, createAgent, tool } from "langchain";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { MemoryConversationSaver } from "../../src/store/conversation/memory-saver.js";
import { RUN_KEY } from "../../src/store/store.js";
import { homes, houseSaver } from "../support/conversation-savers.js";
import { ReplyingModel, approvals, seen, summaries } from "../support/saver-model.js";

const lease = { threadId: "thread", epoch: 1, owner: "me" };

function configOf(turn: number, durability: string): { configurable: Record<string, unknown> } {
  const configurable = { thread_id: "thread", [RUN_KEY]: { lease, turnId: `turn-${String(turn)}` } };
  return { configurable, durability } as { configurable: Record<string, unknown> };
}

/** What the tests need of a compiled graph. */
interface Graph {
  invoke(input: unknown, config: object): Promise<unknown>;
  getState(
    config: object,
  ): Promise<{ values: unknown; next: readonly unknown[]; tasks: readonly { interrupts: unknown[] }[] }>;
}

/** How one kind of graph is built, and what a turn of it is. */
interface Kind {
  build(saver: BaseCheckpointSaver): Graph;
  turn?(graph: Graph, turn: number, config: object): Promise<void>;
}

const echo = tool(({ text }: { text: string }) => text, {
  name: "echo",
  description: "echoes",
  schema: z.object({ text: z.string() }),
});

function reply(messages: readonly BaseMessage[]) {
  const last = messages.at(-1);
  const n = String(messages.length);
  if (last?.type !== "human") return `done ${n}`;
  return { calls: [{ id: `call-${n}`, name: "echo", args: { text: `echo ${n}` } }] };
}

function agent(saver: BaseCheckpointSaver, middleware: AgentMiddleware[] = []): Graph {
  const built = createAgent({
    model: new ReplyingModel(reply),
    tools: [echo],
    middleware,
    checkpointer: saver,
  });
  return built.graph;
}

const kinds: Record<string, Kind> = {
  "plain messages": { build: (saver) => agent(saver) },
  summarisation: {
    build: (saver) => agent(saver, [summaries(new ReplyingModel(() => "summary"), 7, 2)]),
  },
  "approvals, every third left open": {
    build: (saver) => agent(saver, [approvals("echo")]),
    async turn(graph, turn, config) {
      await graph.invoke({ messages: [new HumanMessage(`question ${String(turn)}`)] }, config);
      const decision = {
        type: "edit",
        editedAction: { name: "echo", args: { text: `edited ${String(turn)}` } },
      };
      if (turn % 3 !== 2) await graph.invoke(new Command({ resume: { decisions: [decision] } }), config);
    },
  },
  "a subgraph per task": {
    build(saver) {
      const inner = new StateGraph(MessagesAnnotation)
        .addNode("ask", ({ messages }) => {
          const answer = String(interrupt("sure?"));
          return { messages: [new AIMessage(`${answer} ${String(messages.length)}`)] };
        })
        .addEdge(START, "ask")
        .addEdge("ask", END)
        .compile();
      return new StateGraph(MessagesAnnotation)
        .addNode("inner", inner)
        .addEdge(START, "inner")
        .addEdge("inner", END)
        .compile({ checkpointer: saver });
    },
    async turn(graph, turn, config) {
      await graph.invoke({ messages: [new HumanMessage(`question ${String(turn)}`)] }, config);
      await graph.invoke(new Command({ resume: "yes" }), config);
    },
  },
  "a subgraph with a memory of its own": {
    build(saver) {
      const State = Annotation.Root({
        messages: MessagesAnnotation.spec.messages,
        visits: Annotation<number>({ reducer: (a, b) => a + b, default: () => 0 }),
      });
      const inner = new StateGraph(State)
        .addNode("count", ({ visits }) => ({
          visits: 1,
          messages: [new AIMessage(`visit ${String(visits + 1)}`)],
        }))
        .addEdge(START, "count")
        .addEdge("count", END)
        .compile({ checkpointer: true });
      return new StateGraph(MessagesAnnotation)
        .addNode("inner", inner)
        .addEdge(START, "inner")
        .addEdge("inner", END)
        .compile({ checkpointer: saver });
    },
  },
  "a delta channel": {
    build(saver) {
      const channels = {
        messages: new DeltaChannel<BaseMessage[], BaseMessage[]>(messagesDeltaReducer, {
          snapshotFrequency: 5,
        }),
      };
      return new StateGraph(channels as never)
        .addNode("answer", ((state: { messages: BaseMessage[] }) => ({
          messages: [new AIMessage(`answer ${String(state.messages.length)}`)],
        })) as never)
        .addEdge(START, "answer")
        .addEdge("answer", END)
        .compile({ checkpointer: saver });
    },
  },
};

async function take(kind: Kind, saver: BaseCheckpointSaver, turn: number, durability: string): Promise<void> {
  const graph = kind.build(saver);
  const config = configOf(turn, durability);
  if (kind.turn) return kind.turn(graph, turn, config);
  await graph.invoke(
    { messages: [new HumanMessage({ id: `h${String(turn)}`, content: `question ${String(turn)}` })] },
    config,
  );
}

async function look(kind: Kind, saver: BaseCheckpointSaver): Promise<unknown> {
  const { values, next, tasks } = await kind.build(saver).getState({ configurable: { thread_id: "thread" } });
  return seen({ values, next, interrupts: tasks.map((task) => task.interrupts.length) });
}

async function ids(kind: Kind, saver: BaseCheckpointSaver): Promise<string[]> {
  const { values } = await kind.build(saver).getState({ configurable: { thread_id: "thread" } });
  return ((values as { messages?: BaseMessage[] }).messages ?? []).map((message) => message.id ?? "");
}

const TURNS = 12;

describe.each(Object.entries(kinds))("restoring with %s", (_name, kind) => {
  describe.each(["sync", "async", "exit"])("and durability %s", (durability) => {
    it.each([
      ["forks", "memory", 64_000_000],
      ["forks", "memory", 0],
      ["all", "memory", 64_000_000],
      ["forks", "records", 64_000_000],
      ["forks", "records, uncached", 0],
    ] as const)(
      "goes back to any kept turn and on from there (%s in %s, %s bytes alive)",
      async (history, home, liveBytes) => {
        const housed = houseSaver(home, { history, liveBytes, forkableRuns: TURNS });
        const { saver } = housed;
        const states: unknown[] = [];
        for (let turn = 0; turn < TURNS; turn += 1) {
          states.push(await look(kind, saver));
          await take(kind, saver, turn, durability);
        }
        const end = await look(kind, saver);
        const bytes = housed.bytes("thread");
        // Backwards in jumps, each time playing the turns again up to the end.
        for (const target of [11, 8, 5, 5, 0]) {
          await expect(saver.restore(lease, `turn-${String(target)}`)).resolves.toBe(true);
          expect(await look(kind, saver)).toEqual(states[target]);
          for (let turn = target; turn < TURNS; turn += 1) {
            expect(await look(kind, saver), `before turn ${String(turn)}`).toEqual(states[turn]);
            await take(kind, saver, turn, durability);
          }
          expect(await look(kind, saver)).toEqual(end);
        }
        // What was undone has left nothing behind.
        expect(housed.bytes("thread")).toBeGreaterThan(bytes * 0.9);
        expect(housed.bytes("thread")).toBeLessThan(bytes * 1.1);
        await saver.restore(lease, "turn-0");
        expect(housed.bytes("thread")).toBeLessThan(500);
        expect(await saver.getTuple({ configurable: { thread_id: "thread" } })).toBeUndefined();
      },
    );

    it.each(homes)(
      "names the messages that each turn added and that are still there, in %s",
      async (home) => {
        const { saver } = houseSaver(home, { forkableRuns: TURNS });
        const added: string[][] = [];
        for (let turn = 0; turn < TURNS; turn += 1) {
          const before = new Set(await ids(kind, saver));
          await take(kind, saver, turn, durability);
          added.push((await ids(kind, saver)).filter((id) => !before.has(id)));
        }
        const present = new Set(await ids(kind, saver));
        expect(await saver.forkPoints("thread")).toEqual(
          added.map((turnIds, turn) => ({
            turnId: `turn-${String(turn)}`,
            messageIds: turnIds.filter((id) => present.has(id)),
          })),
        );
      },
    );
  });
});

describe("fork points", () => {
  const plain = kinds["plain messages"]!;

  it("are kept for the turn that has begun and the last finished ones", async () => {
    const saver = new MemoryConversationSaver({ forkableRuns: 3 });
    for (let turn = 0; turn < 9; turn += 1) await take(plain, saver, turn, "sync");
    expect((await saver.forkPoints("thread")).map(({ turnId }) => turnId)).toEqual([
      "turn-5",
      "turn-6",
      "turn-7",
      "turn-8",
    ]);
    await expect(saver.restore(lease, "turn-4")).resolves.toBe(false);
    await expect(saver.restore({ ...lease, threadId: "unknown" }, "turn-5")).resolves.toBe(false);
    expect(await look(plain, saver)).toMatchObject({ values: { messages: { length: 36 } } });
  });

  it("are gone with the turns that a restore undoes", async () => {
    const saver = new MemoryConversationSaver();
    for (let turn = 0; turn < 5; turn += 1) await take(plain, saver, turn, "sync");
    await saver.restore(lease, "turn-2");
    expect((await saver.forkPoints("thread")).map(({ turnId }) => turnId)).toEqual(["turn-0", "turn-1"]);
    await expect(saver.restore(lease, "turn-3")).resolves.toBe(false);
  });

  it.each(homes)("are not made by a turn that stored no checkpoint: %s", async (home) => {
    const housed = houseSaver(home);
    const { saver } = housed;
    await take(plain, saver, 0, "sync");
    const head = await saver.getTuple({ configurable: { thread_id: "thread", checkpoint_ns: "" } });
    const { configurable } = configOf(1, "sync");
    const checkpoint_id = uuid6(Number.MAX_SAFE_INTEGER);
    const write = { configurable: { ...configurable, checkpoint_ns: "", checkpoint_id } };
    await saver.putWrites(write, [["messages", [new HumanMessage("early")]]], "task");
    const later = housed.restart("thread");
    expect((await later.forkPoints("thread")).map(({ turnId }) => turnId)).toEqual(["turn-0"]);
    await take(plain, later, 1, "sync");
    expect((await later.forkPoints("thread")).map(({ turnId }) => turnId)).toEqual(["turn-0", "turn-1"]);
    expect(await later.restore(lease, "turn-1")).toBe(true);
    const back = await later.getTuple({ configurable: { thread_id: "thread", checkpoint_ns: "" } });
    expect(back?.checkpoint).toEqual(head?.checkpoint);
  });

  it("are not made by writes without a turn", async () => {
    const saver = new MemoryConversationSaver();
    const graph = plain.build(saver);
    const bare = { configurable: { thread_id: "thread" } };
    await graph.invoke({ messages: [new HumanMessage("one")] }, bare);
    await take(plain, saver, 1, "sync");
    const state = await look(plain, saver);
    await graph.invoke({ messages: [new HumanMessage("two")] }, bare);
    expect(await saver.forkPoints("thread")).toHaveLength(1);
    await saver.restore(lease, "turn-1");
    expect(await look(plain, saver)).not.toEqual(state);
    expect(await ids(plain, saver)).toHaveLength(4);
  });

  it("leave one checkpoint per namespace beside them", async () => {
    const saver = new MemoryConversationSaver({ forkableRuns: 2 });
    const stable = kinds["a subgraph with a memory of its own"]!;
    for (let turn = 0; turn < 8; turn += 1) await take(stable, saver, turn, "sync");
    const kept = new Map<string, number>();
    for await (const { config } of saver.list({ configurable: { thread_id: "thread" } })) {
      const namespace = String(config.configurable?.["checkpoint_ns"]);
      kept.set(namespace, (kept.get(namespace) ?? 0) + 1);
    }
    expect(Object.fromEntries(kept)).toEqual({ "": 4, inner: 4 });
  });

  it("do not keep the namespaces of finished tasks", async () => {
    const saver = new MemoryConversationSaver();
    const perTask = kinds["a subgraph per task"]!;
    for (let turn = 0; turn < 4; turn += 1) await take(perTask, saver, turn, "sync");
    const namespaces = new Set<unknown>();
    for await (const { config } of saver.list({ configurable: { thread_id: "thread" } })) {
      namespaces.add(config.configurable?.["checkpoint_ns"]);
    }
    expect([...namespaces]).toEqual([""]);
  });

  it("bound what a delta channel that is seldom written keeps", async () => {
    const saver = new MemoryConversationSaver({ forkableRuns: 2 });
    const build = () =>
      new StateGraph({
        rare: new DeltaChannel<string[], string[]>((a, b) => a.concat(...b)),
        never: new DeltaChannel<string[], string[]>((a, b) => a.concat(...b)),
        turn: Annotation<number>({ reducer: (_, b) => b, default: () => 0 }),
      } as never)
        .addNode("step", ((state: { turn: number }) => (state.turn === 1 ? { rare: ["once"] } : {})) as never)
        .addEdge(START, "step")
        .addEdge("step", END)
        .compile({ checkpointer: saver }) as unknown as Graph;
    const sizes: number[] = [];
    for (let turn = 0; turn < 60; turn += 1) {
      await build().invoke({ turn }, configOf(turn, "sync"));
      sizes.push(saver.bytes("thread"));
    }
    const { values } = await build().getState({ configurable: { thread_id: "thread" } });
    expect(values).toMatchObject({ rare: ["once"], turn: 59 });
    expect(sizes[59]!).toBeLessThan(sizes[9]! * 1.1);
  });
});

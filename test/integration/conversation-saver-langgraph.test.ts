import {
  AIMessage,
  AIMessageChunk,
  type BaseMessage,
  ChatMessage,
  HumanMessage,
  RemoveMessage,
  ToolMessage,
} from "@langchain/core/messages";
import {
  Annotation,
  Command,
  DeltaChannel,
  END,
  MessagesAnnotation,
  START,
  Send,
  StateGraph,
  interrupt,
  messagesDeltaReducer,
} from "@langchain/langgraph";
import { type BaseCheckpointSaver, MemorySaver } from "@langchain/langgraph-checkpoint";
import { createAgent, createMiddleware, tool } from "langchain";
import { beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { MemoryConversationSaver } from "../../src/store/conversation/memory-saver.js";
import { RUN_KEY } from "../../src/store/store.js";
import { houseSaver } from "../support/conversation-savers.js";
import { ReplyingModel, type Reply, approvals, seen, summaries } from "../support/saver-model.js";

type Durability = "sync" | "async" | "exit";

interface World {
  readonly saver: BaseCheckpointSaver;
  /** The config of one turn. */
  readonly turn: (id: number) => { configurable: Record<string, unknown>; durability: Durability };
}

/** What a conversation lets its users see, step by step. */
type Scenario = (world: World) => Promise<unknown[]>;

function world(saver: BaseCheckpointSaver, durability: Durability): World {
  const lease = { threadId: "thread", epoch: 1, owner: "me" };
  return {
    saver,
    turn: (id) => ({
      configurable: { thread_id: "thread", [RUN_KEY]: { lease, turnId: `turn-${String(id)}` } },
      durability,
    }),
  };
}

interface Inspectable {
  getState(
    config: object,
    options?: { subgraphs?: boolean },
  ): Promise<{ values: unknown; next: readonly unknown[]; tasks: readonly unknown[]; metadata?: unknown }>;
}

/** The state at rest, without ids of checkpoints and tasks. */
async function look(graph: Inspectable, config: object): Promise<unknown> {
  const { values, next, tasks, metadata } = await graph.getState(config, { subgraphs: true });
  const { source, step } = (metadata ?? {}) as { source?: string; step?: number };
  return seen({
    values,
    next,
    source,
    step,
    tasks: (tasks as { name: string; interrupts: { value: unknown }[]; state?: { values?: unknown } }[]).map(
      (task) => ({
        name: task.name,
        interrupts: task.interrupts.map(({ value }) => value),
        state: task.state?.values,
      }),
    ),
  });
}

function lastText(messages: readonly BaseMessage[]): string {
  const last = messages.at(-1);
  return typeof last?.content === "string" ? last.content : "";
}

/** Calls two tools on each human message that asks for it, then says how much it has seen. */
function toolReply(messages: readonly BaseMessage[]): Reply {
  const last = messages.at(-1);
  if (last?.type !== "human") return `seen ${String(messages.length)}`;
  const n = messages.length;
  if (lastText(messages).startsWith("plain")) return `plain answer ${String(n)}`;
  return {
    text: "let me look",
    calls: [
      { id: `a${String(n)}`, name: "look_up", args: { key: "first", n } },
      { id: `b${String(n)}`, name: "look_up", args: { key: "second", n } },
    ],
  };
}

const lookUp = tool(({ key, n }: { key: string; n: number }) => [`${key} of ${String(n)}`, { rows: [n] }], {
  name: "look_up",
  description: "looks up",
  schema: z.object({ key: z.string(), n: z.number() }),
  responseFormat: "content_and_artifact",
});

const scenarios: Record<string, Scenario> = {
  "an agent with parallel tools over many turns": async ({ saver, turn }) => {
    const observed: unknown[] = [];
    for (let i = 0; i < 12; i += 1) {
      // A fresh graph each turn: nothing may live in it.
      const agent = createAgent({
        model: new ReplyingModel(toolReply),
        tools: [lookUp],
        checkpointer: saver,
      });
      const text = i % 3 === 0 ? `plain ${String(i)}` : `look ${String(i)}`;
      const result = await agent.invoke(
        { messages: [new HumanMessage({ content: text, id: `h${String(i)}` })] },
        turn(i),
      );
      observed.push(seen(result.messages), await look(agent.graph as Inspectable, turn(i)));
    }
    return observed;
  },

  "approve, edit and reject, each from a fresh graph": async ({ saver, turn }) => {
    const observed: unknown[] = [];
    const build = () =>
      createAgent({
        model: new ReplyingModel(toolReply),
        tools: [lookUp],
        middleware: [approvals("look_up")],
        checkpointer: saver,
      });
    const approve = { type: "approve" } as const;
    const edit = { type: "edit", editedAction: { name: "look_up", args: { key: "edited", n: 99 } } } as const;
    const reject = { type: "reject", message: "not now" } as const;
    const rounds = [
      [approve, approve],
      [edit, approve],
      [approve, edit],
      [reject, reject],
    ];
    for (const [i, decisions] of rounds.entries()) {
      const asked = await build().invoke({ messages: [new HumanMessage(`look ${String(i)}`)] }, turn(i));
      observed.push(seen(asked.messages), await look(build().graph as Inspectable, turn(i)));
      const answered = await build().invoke(new Command({ resume: { decisions } }), turn(i));
      observed.push(seen(answered.messages), await look(build().graph as Inspectable, turn(i)));
    }
    return observed;
  },

  "several interrupts at once, answered by id": async ({ saver, turn }) => {
    const State = Annotation.Root({
      words: Annotation<string[]>({ reducer: (a, b) => a.concat(b), default: () => [] }),
    });
    const ask = (name: string) => () => ({ words: [`${name}:${String(interrupt({ ask: name }))}`] });
    const build = () =>
      new StateGraph(State)
        .addNode("one", ask("one"))
        .addNode("two", ask("two"))
        .addNode("end", (state) => ({ words: [`end ${String(state.words.length)}`] }))
        .addEdge(START, "one")
        .addEdge(START, "two")
        .addEdge(["one", "two"], "end")
        .addEdge("end", END)
        .compile({ checkpointer: saver });
    const observed: unknown[] = [];
    for (let i = 0; i < 3; i += 1) {
      await build().invoke({ words: [`start ${String(i)}`] }, turn(i));
      observed.push(await look(build(), turn(i)));
      const { tasks } = await build().getState(turn(i));
      const [first, second] = tasks.flatMap((task) => task.interrupts).map(({ id }) => id ?? "");
      await build().invoke(new Command({ resume: { [first!]: "yes" } }), turn(i));
      observed.push(await look(build(), turn(i)));
      await build().invoke(new Command({ resume: { [second!]: "no" } }), turn(i));
      observed.push(await look(build(), turn(i)));
    }
    return observed;
  },

  "summaries that rewrite the list": async ({ saver, turn }) => {
    const observed: unknown[] = [];
    for (let i = 0; i < 12; i += 1) {
      const agent = createAgent({
        model: new ReplyingModel(toolReply),
        tools: [lookUp],
        middleware: [
          summaries(
            new ReplyingModel((messages) => `summary of ${String(lastText(messages).length > 0)}`),
            8,
            3,
          ),
        ],
        checkpointer: saver,
      });
      const result = await agent.invoke({ messages: [new HumanMessage(`look ${String(i)}`)] }, turn(i));
      observed.push(seen(result.messages), await look(agent.graph as Inspectable, turn(i)));
    }
    return observed;
  },

  "messages replaced, removed, inserted in front and edited in place": async ({ saver, turn }) => {
    const observed: unknown[] = [];
    const build = () =>
      new StateGraph(MessagesAnnotation)
        .addNode("edit", ({ messages }) => {
          const last = messages.at(-1);
          const first = messages[0];
          if (last === undefined || first === undefined) return {};
          switch (messages.length % 5) {
            case 0:
              return { messages: [new RemoveMessage({ id: first.id! }), new AIMessage("removed the first")] };
            case 1:
              return { messages: [new HumanMessage({ id: first.id!, content: "first again" })] };
            case 2:
              first.content = "edited in place";
              return { messages: [new AIMessage("edited one")] };
            case 3:
              last.additional_kwargs = { edited: true };
              return { messages: [last, new ToolMessage({ content: "t", tool_call_id: "c" })] };
            default:
              return { messages: [new ChatMessage("told", "narrator"), new AIMessageChunk("chunk")] };
          }
        })
        .addEdge(START, "edit")
        .addEdge("edit", END)
        .compile({ checkpointer: saver });
    for (let i = 0; i < 20; i += 1) {
      const content = i % 2 ? `text ${String(i)}` : [{ type: "text" as const, text: "块" }];
      const result = await build().invoke({ messages: [new HumanMessage({ content })] }, turn(i));
      observed.push(seen(result), await look(build(), turn(i)));
    }
    return observed;
  },

  "a subgraph per task, with an interrupt inside": async ({ saver, turn }) => {
    const inner = new StateGraph(MessagesAnnotation)
      .addNode("think", () => ({ messages: [new AIMessage("thinking")] }))
      .addNode("ask", () => ({ messages: [new AIMessage(`answer ${String(interrupt("sure?"))}`)] }))
      .addEdge(START, "think")
      .addEdge("think", "ask")
      .addEdge("ask", END)
      .compile();
    const build = () =>
      new StateGraph(MessagesAnnotation)
        .addNode("inner", inner)
        .addNode("after", ({ messages }) => ({
          messages: [new AIMessage(`after ${String(messages.length)}`)],
        }))
        .addEdge(START, "inner")
        .addEdge("inner", "after")
        .addEdge("after", END)
        .compile({ checkpointer: saver });
    const observed: unknown[] = [];
    for (let i = 0; i < 4; i += 1) {
      await build().invoke({ messages: [new HumanMessage(`q ${String(i)}`)] }, turn(i));
      observed.push(await look(build(), turn(i)));
      const result = await build().invoke(new Command({ resume: `yes ${String(i)}` }), turn(i));
      observed.push(seen(result), await look(build(), turn(i)));
    }
    return observed;
  },

  "a subgraph with a memory of its own": async ({ saver, turn }) => {
    const Counter = Annotation.Root({
      messages: MessagesAnnotation.spec.messages,
      visits: Annotation<number>({ reducer: (a, b) => a + b, default: () => 0 }),
    });
    const inner = new StateGraph(Counter)
      .addNode("count", ({ visits }) => ({
        visits: 1,
        messages: [new AIMessage(`visit ${String(visits + 1)}`)],
      }))
      .addEdge(START, "count")
      .addEdge("count", END)
      .compile({ checkpointer: true });
    const build = () =>
      new StateGraph(MessagesAnnotation)
        .addNode("inner", inner)
        .addEdge(START, "inner")
        .addEdge("inner", END)
        .compile({ checkpointer: saver });
    const observed: unknown[] = [];
    for (let i = 0; i < 6; i += 1) {
      const result = await build().invoke({ messages: [new HumanMessage(`q ${String(i)}`)] }, turn(i));
      observed.push(seen(result), await look(build(), turn(i)));
    }
    return observed;
  },

  "state updated by hand between and within turns": async ({ saver, turn }) => {
    const observed: unknown[] = [];
    const build = () =>
      createAgent({
        model: new ReplyingModel(toolReply),
        tools: [lookUp],
        middleware: [approvals("look_up")],
        checkpointer: saver,
      });
    await build().invoke({ messages: [new HumanMessage("plain")] }, turn(0));
    await build().graph.updateState(turn(0), {
      messages: [new AIMessage({ id: "extra", content: "by hand" })],
    });
    observed.push(await look(build().graph as Inspectable, turn(0)));
    await build().invoke({ messages: [new HumanMessage("look")] }, turn(1));
    await build().graph.updateState(turn(1), { messages: [new RemoveMessage({ id: "extra" })] });
    observed.push(await look(build().graph as Inspectable, turn(1)));
    await build().invoke({ messages: [new HumanMessage("plain again")] }, turn(2));
    observed.push(await look(build().graph as Inspectable, turn(2)));
    return observed;
  },

  "sends that carry the history, into tasks that interrupt": async ({ saver, turn }) => {
    const build = () =>
      new StateGraph(MessagesAnnotation)
        .addNode("plan", () => ({ messages: [new AIMessage("plan")] }))
        .addNode("work", ({ messages, part }: { messages: BaseMessage[]; part?: number }) => ({
          messages: [
            new AIMessage(
              `part ${String(part)} of ${String(messages.length)}: ${String(interrupt({ part }))}`,
            ),
          ],
        }))
        .addEdge(START, "plan")
        .addConditionalEdges("plan", (state) => [1, 2].map((part) => new Send("work", { ...state, part })))
        .addEdge("work", END)
        .compile({ checkpointer: saver });
    const observed: unknown[] = [];
    for (let i = 0; i < 3; i += 1) {
      await build().invoke({ messages: [new HumanMessage(`q ${String(i)}`)] }, turn(i));
      observed.push(await look(build(), turn(i)));
      const { tasks } = await build().getState(turn(i));
      for (const { id } of tasks.flatMap((task) => task.interrupts)) {
        await build().invoke(new Command({ resume: { [id!]: `done ${String(i)}` } }), turn(i));
        observed.push(await look(build(), turn(i)));
      }
    }
    return observed;
  },

  "a delta channel": async ({ saver, turn }) => {
    const build = () =>
      new StateGraph({
        messages: new DeltaChannel<BaseMessage[], BaseMessage[]>(messagesDeltaReducer as never, {
          snapshotFrequency: 7,
        }),
        rare: new DeltaChannel<string[], string[]>((a, b) => a.concat(...b), {
          snapshotFrequency: 50,
        }),
        plain: Annotation<number>({ reducer: (_, b) => b, default: () => 0 }),
      } as never)
        .addNode("answer", ((state: { messages: BaseMessage[]; rare?: string[] }) => ({
          messages: [new AIMessage(`answer ${String(state.messages.length)} ${String(state.rare?.length)}`)],
          plain: state.messages.length,
          ...(state.messages.length % 9 === 1 ? { rare: [`r${String(state.messages.length)}`] } : {}),
        })) as never)
        .addEdge(START, "answer")
        .addEdge("answer", END)
        .compile({ checkpointer: saver });
    const observed: unknown[] = [];
    for (let i = 0; i < 30; i += 1) {
      const input = { messages: [new HumanMessage({ id: `h${String(i)}`, content: `q ${String(i)}` })] };
      observed.push(seen(await build().invoke(input as never, turn(i))));
      if (i % 10 === 9) {
        const update = { messages: [new RemoveMessage({ id: `h${String(i)}` })] };
        await build().updateState(turn(i), update, "answer");
      }
      observed.push(await look(build(), turn(i)));
    }
    return observed;
  },

  "an agent that fails, and goes on": async ({ saver, turn }) => {
    const observed: unknown[] = [];
    let fails = true;
    const build = () =>
      createAgent({
        model: new ReplyingModel((messages) => {
          if (lastText(messages).includes("of") && fails) throw new Error("model down");
          return toolReply(messages);
        }),
        tools: [lookUp],
        middleware: [createMiddleware({ name: "Idle" })],
        checkpointer: saver,
      });
    for (let i = 0; i < 4; i += 1) {
      fails = true;
      await build()
        .invoke({ messages: [new HumanMessage(`look ${String(i)}`)] }, turn(i))
        .catch((error: unknown) => observed.push(String(error)));
      observed.push(await look(build().graph as Inspectable, turn(i)));
      fails = false;
      // LangGraph takes `null` as "go on where you stopped".
      await build().invoke(null as never, turn(i));
      observed.push(await look(build().graph as Inspectable, turn(i)));
    }
    return observed;
  },
};

describe.each(Object.entries(scenarios))("%s", (_name, scenario) => {
  const everywhere = ["live messages", "no live messages"];
  const savers: Record<string, () => BaseCheckpointSaver> = {
    "live messages": () => new MemoryConversationSaver(),
    "no live messages": () => new MemoryConversationSaver({ liveBytes: 0 }),
    "a cache too small": () => new MemoryConversationSaver({ liveBytes: 5_000 }),
    "no fork points": () => new MemoryConversationSaver({ forkableRuns: 0 }),
    "all history": () => new MemoryConversationSaver({ history: "all" }),
    "an engine": () => houseSaver("records").saver,
    "an engine and no cache": () => houseSaver("records, uncached").saver,
    "an engine that keeps all history": () => houseSaver("records, uncached", { history: "all" }).saver,
  };
  describe.each(["sync", "async", "exit"] as const)("with durability %s", (durability) => {
    let expected: unknown[] = [];
    beforeAll(async () => {
      expected = await scenario(world(new MemorySaver(), durability));
    });
    const modes = Object.entries(savers).filter(
      ([mode]) => durability === "sync" || everywhere.includes(mode),
    );
    it.each(modes)("shows what MemorySaver shows, with %s", async (_mode, create) => {
      const actual = await scenario(world(create(), durability));
      expect(actual.length).toBe(expected.length);
      for (const [i, observation] of expected.entries())
        expect(actual[i], `step ${String(i)}`).toEqual(observation);
    });
  });
});

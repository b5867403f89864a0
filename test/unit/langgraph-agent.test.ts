import { BaseCallbackHandler } from "@langchain/core/callbacks/base";
import { awaitAllCallbacks } from "@langchain/core/callbacks/promises";
import { AIMessage, HumanMessage, type BaseMessage } from "@langchain/core/messages";
import {
  Annotation,
  Command,
  END,
  interrupt,
  MemorySaver,
  MessagesAnnotation,
  START,
  StateGraph,
} from "@langchain/langgraph";
import { createAgent, createMiddleware, humanInTheLoopMiddleware, tool } from "langchain";
import { beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { AgentError } from "../../src/errors.js";
import type { AgentEvent } from "../../src/run-event.js";
import { RecordsConversationSaver } from "../../src/store/conversation/records-saver.js";
import { createLangGraphFactory } from "../../src/langgraph/index.js";
import { ManualClock, ScriptedChatModel } from "../../src/testing/index.js";
import { InMemoryRecords } from "../support/in-memory-records.js";
import { agentOf, collect, contextFor, message, runOptions, textOf } from "../support/langgraph-agent.js";

const add = tool(({ a, b }: { a: number; b: number }) => String(a + b), {
  name: "add",
  description: "adds",
  schema: z.object({ a: z.number(), b: z.number() }),
});

type AgentUnderTest = Awaited<ReturnType<typeof agentOf>>;

function types(events: readonly AgentEvent[]): string[] {
  return events.map((event) => event.type);
}

function callsAdd(id = "call-1"): { toolCalls: { name: string; args: object; id: string }[] } {
  return { toolCalls: [{ name: "add", args: { a: 1, b: 2 }, id }] };
}

/** A handler of a host's. */
class Listener extends BaseCallbackHandler {
  readonly name = "listener";

  constructor(
    private readonly heard: string[],
    private readonly nodes: unknown[],
  ) {
    super();
  }

  override handleChatModelStart(
    ...args: Parameters<Required<BaseCallbackHandler>["handleChatModelStart"]>
  ): void {
    this.nodes.push(args[6]?.["langgraph_node"]);
  }

  override handleLLMNewToken(token: string): void {
    this.heard.push(token);
  }
}

async function failure(run: Promise<unknown>): Promise<unknown> {
  return run.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe("events", () => {
  test("are the same beside handlers of the host's, which see what LangChain tells them", async () => {
    const script = () => [
      { text: ["I ", "add"], ...callsAdd(), usage: { inputTokens: 5, outputTokens: 7 } },
      { text: ["It ", "is ", "3."], usage: { inputTokens: 9, outputTokens: 2 } },
    ];
    const told = async (model: ScriptedChatModel): Promise<AgentEvent[]> => {
      const agent = await agentOf(createLangGraphFactory({ model, tools: [add] }), {});
      const events = await collect(agent, message("1 + 2?"));
      // Parts are named after their message, which has an id of its own.
      return events.map((event) => ("id" in event ? { ...event, id: "" } : event));
    };
    const alone = await told(new ScriptedChatModel(script()));
    const heard: string[] = [];
    const nodes: unknown[] = [];
    const model = new ScriptedChatModel(script());
    model.callbacks = [new Listener(heard, nodes)];
    expect(await told(model)).toEqual(alone);
    await awaitAllCallbacks();
    expect(heard.join("")).toBe("I addIt is 3.");
    expect(nodes).toEqual(["model_request", "model_request"]);
  });

  test("what a run has said before it fails is told, however slowly it is read", async () => {
    const words = Array.from({ length: 150 }, (_, index) => `w${String(index)} `);
    const model = new ScriptedChatModel([
      { text: words, error: new Error("boom"), errorAfter: words.length },
    ]);
    const agent = await agentOf(createLangGraphFactory({ model }), {});
    const read: AgentEvent[] = [];
    const reading = async (): Promise<void> => {
      for await (const event of agent.stream(message("Hi"), runOptions())) {
        read.push(event);
        if (read.length % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await expect(reading()).rejects.toMatchObject({ code: "AGENT_FAILED" });
    expect(textOf(read)).toBe(words.join(""));
  });

  test("a turn with reasoning, text, a tool and usage, in order", async () => {
    const model = new ScriptedChatModel([
      { reasoning: ["hm"], text: ["I ", "add"], ...callsAdd(), usage: { inputTokens: 5, outputTokens: 7 } },
      { text: "It is 3.", usage: { inputTokens: 9, outputTokens: 2 } },
    ]);
    const agent = await agentOf(createLangGraphFactory({ model, tools: [add] }), {});
    const events = await collect(agent, message("1 + 2?"));
    expect(types(events)).toEqual([
      "step-started",
      "reasoning-start",
      "reasoning-delta",
      "reasoning-end",
      "text-start",
      "text-delta",
      "text-delta",
      "text-end",
      "tool-input-start",
      "tool-input-delta",
      "tool-input-delta",
      "tool-input-available",
      "usage",
      "tool-output-available",
      "step-started",
      "text-start",
      "text-delta",
      "text-end",
      "usage",
    ]);
    expect(events).toContainEqual({
      type: "tool-input-available",
      toolCallId: "call-1",
      toolName: "add",
      input: { a: 1, b: 2 },
    });
    expect(events).toContainEqual({
      type: "tool-output-available",
      toolCallId: "call-1",
      toolName: "add",
      output: "3",
    });
    expect(events).toContainEqual({
      type: "usage",
      usage: { inputTokens: 5, outputTokens: 7, totalTokens: 12 },
    });
    const text = events.find((event) => event.type === "text-start");
    const history = await agent.conversation?.history();
    expect(history?.map(({ id }) => id)).toContain(text?.id);
  });

  test("a model that does not stream gives its message as one delta", async () => {
    const model = new ScriptedChatModel([{ text: ["a", "b"], ...callsAdd() }, "done"]);
    model.disableStreaming = true;
    const agent = await agentOf(createLangGraphFactory({ model, tools: [add] }), {});
    const events = await collect(agent, message("hi"));
    expect(events.flatMap((event) => (event.type === "text-delta" ? [event.delta] : []))).toEqual([
      "ab",
      "done",
    ]);
    expect(types(events).filter((type) => type.startsWith("tool"))).toEqual([
      "tool-input-available",
      "tool-output-available",
    ]);
  });

  test("models and agents inside a tool are not shown, but their tokens are counted", async () => {
    const inner = new ScriptedChatModel(() => ({
      text: "secret",
      usage: { inputTokens: 100, outputTokens: 1 },
    }));
    const nested = createAgent({
      model: new ScriptedChatModel((messages) =>
        messages.at(-1)?.type === "human" ? { text: "secret", ...callsAdd("inner") } : "secret",
      ),
      tools: [add],
    });
    const ask = tool(
      async () => {
        await inner.invoke("hi");
        await nested.invoke({ messages: [new HumanMessage("hi")] });
        return "asked";
      },
      { name: "ask", description: "asks", schema: z.object({}) },
    );
    const model = new ScriptedChatModel([{ toolCalls: [{ name: "ask", args: {}, id: "outer" }] }, "done"]);
    const agent = await agentOf(createLangGraphFactory({ model, tools: [ask] }), {});
    const events = await collect(agent, message("hi"));
    expect(JSON.stringify(events)).not.toContain("secret");
    expect(JSON.stringify(events)).not.toContain("inner");
    expect(events).toContainEqual({
      type: "usage",
      usage: { inputTokens: 100, outputTokens: 1, totalTokens: 101 },
    });
    expect(textOf(events)).toBe("done");
  });

  test("models tagged nostream are not shown", async () => {
    for (const tag of ["nostream", "langsmith:nostream"]) {
      const quiet = new ScriptedChatModel(() => "quiet").withConfig({ tags: [tag] });
      const loud = new ScriptedChatModel(() => "loud");
      const graph = new StateGraph(MessagesAnnotation)
        .addNode("a", async ({ messages }) => ({ messages: [await quiet.invoke(messages)] }))
        .addNode("b", async ({ messages }) => ({ messages: [await loud.invoke(messages)] }))
        .addEdge(START, "a")
        .addEdge("a", "b")
        .addEdge("b", END)
        .compile();
      const agent = await agentOf(createLangGraphFactory({ graph }), {});
      expect(textOf(await collect(agent, message("hi")))).toBe("loud");
    }
  });

  test("a sub-agent that is a node is shown, tools and all", async () => {
    const sub = createAgent({ model: new ScriptedChatModel([callsAdd(), "three"]), tools: [add] });
    const graph = new StateGraph(MessagesAnnotation)
      .addNode("sub", sub.graph)
      .addEdge(START, "sub")
      .addEdge("sub", END)
      .compile();
    const agent = await agentOf(createLangGraphFactory({ graph }), {});
    const events = await collect(agent, message("hi"));
    expect(textOf(events)).toBe("three");
    expect(types(events).filter((type) => type === "tool-output-available")).toHaveLength(1);
  });

  test("messages that nodes write themselves are shown once, and old ones never again", async () => {
    const graph = new StateGraph(MessagesAnnotation)
      .addNode("canned", ({ messages }) => ({
        messages: [
          ...messages,
          new AIMessage({ id: `canned-${String(messages.length)}`, content: "Closed today." }),
        ],
      }))
      .addEdge(START, "canned")
      .addEdge("canned", END)
      .compile();
    const agent = await agentOf(createLangGraphFactory({ graph }), {});
    expect(textOf(await collect(agent, message("hi")))).toBe("Closed today.");
    expect(textOf(await collect(agent, message("hi")))).toBe("Closed today.");
  });

  test("data written by tools and nodes, with and without a name", async () => {
    const graph = new StateGraph(MessagesAnnotation)
      .addNode("write", (_state, config) => {
        config.writer({ name: "progress", id: "p", data: { done: 1 } });
        config.writer({ type: "note", text: "x" });
        config.writer("plain");
        return {};
      })
      .addEdge(START, "write")
      .addEdge("write", END)
      .compile();
    const agent = await agentOf(createLangGraphFactory({ graph }), {});
    expect(await collect(agent, message("hi"))).toEqual([
      { type: "data", name: "progress", id: "p", data: { done: 1 } },
      { type: "data", name: "note", data: { type: "note", text: "x" } },
      { type: "data", name: "custom", data: "plain" },
    ]);
  });

  test("a failing tool gives an error, an unknown one too, and artifacts stay inside", async () => {
    const broken = tool(
      () => {
        throw new Error("no disk");
      },
      { name: "broken", description: "fails", schema: z.object({}) },
    );
    const artful = tool(() => ["shown", { hidden: true }], {
      name: "artful",
      description: "has an artifact",
      schema: z.object({}),
      responseFormat: "content_and_artifact",
    });
    const call = (name: string): { name: string; args: object; id: string } => ({ name, args: {}, id: name });
    const model = new ScriptedChatModel([
      { toolCalls: [call("broken"), call("unknown"), call("artful")] },
      "done",
    ]);
    const agent = await agentOf(createLangGraphFactory({ model, tools: [broken, artful] }), {});
    const events = await collect(agent, message("hi"));
    const results = events.filter(
      (event) => event.type === "tool-output-error" || event.type === "tool-output-available",
    );
    expect(results.map((event) => [event.type, event.toolCallId]).sort()).toEqual([
      ["tool-output-available", "artful"],
      ["tool-output-error", "broken"],
      ["tool-output-error", "unknown"],
    ]);
    expect(results).toContainEqual({
      type: "tool-output-available",
      toolCallId: "artful",
      toolName: "artful",
      output: "shown",
    });
  });

  test("one session's slow reader keeps no other session's tokens, and loses none of its own", async () => {
    const tokens = Array.from({ length: 3000 }, (_, index) => `${String(index)} `);
    const model = new ScriptedChatModel(() => ({ text: tokens }));
    const factory = createLangGraphFactory({ model });
    const slow = await agentOf(factory, {}, { sessionId: "slow" });
    const quick = await agentOf(factory, {}, { sessionId: "quick" });
    const iterator = slow.stream(message("hi"), runOptions())[Symbol.asyncIterator]();
    const events: AgentEvent[] = [];
    const first = await iterator.next();
    if (first.done !== true) events.push(first.value);
    expect(textOf(await collect(quick, message("hi")))).toBe(tokens.join(""));
    // The model was held back meanwhile: the queue took what it may and no more.
    expect(model.calls.map(({ outcome }) => outcome)).toEqual(["pending", "completed"]);
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next())
      events.push(next.value);
    expect(textOf(events)).toBe(tokens.join(""));
  });

  test("a run started inside another graph's tool is no part of that graph", async () => {
    const inner = await agentOf(
      createLangGraphFactory({ model: new ScriptedChatModel(() => "inner") }),
      {},
      { sessionId: "inner" },
    );
    const delegate = tool(async () => textOf(await collect(inner, message("hi"))), {
      name: "delegate",
      description: "",
      schema: z.object({}),
    });
    const model = new ScriptedChatModel([{ toolCalls: [{ name: "delegate", args: {} }] }, "outer"]);
    const outer = await agentOf(
      createLangGraphFactory({ model, tools: [delegate] }),
      {},
      { sessionId: "outer" },
    );
    expect(textOf(await collect(outer, message("hi")))).toBe("outer");
    expect((await inner.conversation?.history())?.map(({ role }) => role)).toEqual(["user", "assistant"]);
  });
});

describe("cancel", () => {
  let controller = new AbortController();
  beforeEach(() => {
    controller = new AbortController();
  });
  const reason = new Error("stop");
  /** Asks for the cancel itself, and then never returns. */
  const never = tool(
    async () => {
      await settled();
      controller.abort(reason);
      return new Promise<string>(() => {});
    },
    { name: "never", description: "hangs", schema: z.object({}) },
  );

  /** Lets what is under way come to rest: no timer is involved. */
  async function settled(): Promise<void> {
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  async function cancelled(model: ScriptedChatModel, tools: object[]): Promise<AgentUnderTest> {
    const agent = await agentOf(createLangGraphFactory({ model, tools }), {});
    expect(await failure(collect(agent, message("hi", "m1"), { signal: controller.signal }))).toBe(reason);
    return agent;
  }

  test("in a model call: the reason is thrown and the next message works", async () => {
    const model = new ScriptedChatModel([{ text: ["a", "b", "c"], delayMs: 5 }, "again"]);
    const agent = await agentOf(createLangGraphFactory({ model }), {});
    const run = (async () => {
      for await (const event of agent.stream(message("hi"), runOptions({ signal: controller.signal }))) {
        if (event.type === "text-delta") controller.abort(reason);
      }
    })();
    expect(await failure(run)).toBe(reason);
    expect(model.calls[0]?.outcome).toBe("aborted");
    expect(textOf(await collect(agent, message("hi")))).toBe("again");
  });

  test("in a tool that ignores the signal: the call is answered before the next message", async () => {
    const model = new ScriptedChatModel([{ toolCalls: [{ name: "never", args: {}, id: "c1" }] }, "again"]);
    const agent = await cancelled(model, [never]);
    expect(textOf(await collect(agent, message("next", "m2")))).toBe("again");
    const history = await agent.conversation?.history();
    expect(history?.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "user", "assistant"]);
    expect(history?.[2]).toMatchObject({ toolCallId: "c1", content: "[cancelled]", isError: true });
    expect(model.calls[1]?.messages.map((sent: BaseMessage) => sent.type)).toEqual([
      "human",
      "ai",
      "tool",
      "human",
    ]);
  });

  test("what a tool beside the hanging one had delivered is kept", async () => {
    const model = new ScriptedChatModel([
      {
        toolCalls: [
          { name: "add", args: { a: 1, b: 2 }, id: "done" },
          { name: "never", args: {}, id: "hangs" },
        ],
      },
      "again",
    ]);
    const agent = await cancelled(model, [add, never]);
    await collect(agent, message("next"));
    const tools = (await agent.conversation?.history())?.filter(({ role }) => role === "tool");
    expect(tools?.map(({ toolCallId, content }) => [toolCallId, content])).toEqual([
      ["done", "3"],
      ["hangs", "[cancelled]"],
    ]);
  });

  test("tokens that wait for the reader are dropped", async () => {
    const model = new ScriptedChatModel([{ text: Array.from({ length: 100 }, () => "x") }]);
    const factory = createLangGraphFactory({
      model,
      // Keeps the run open after the model's last token.
      middleware: [createMiddleware({ name: "open", afterModel: () => new Promise(() => {}) })],
    });
    const agent = await agentOf(factory, {});
    const events = agent.stream(message("hi"), runOptions({ signal: controller.signal }));
    const iterator = events[Symbol.asyncIterator]();
    await iterator.next();
    await expect.poll(() => model.calls[0]?.outcome).toBe("completed");
    controller.abort(reason);
    expect(await failure(iterator.next())).toBe(reason);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });

  test("before it starts, and by leaving the iteration", async () => {
    const model = new ScriptedChatModel([{ text: ["a", "b"], delayMs: 5 }, "again"]);
    const agent = await agentOf(createLangGraphFactory({ model }), {});
    expect(await failure(collect(agent, message("hi"), { signal: AbortSignal.abort(reason) }))).toBe(reason);
    expect(model.calls).toHaveLength(0);
    for await (const event of agent.stream(message("hi"), runOptions()))
      if (event.type === "text-delta") break;
    expect(model.calls[0]?.outcome).toBe("aborted");
    expect(textOf(await collect(agent, message("hi")))).toBe("again");
  });

  test("before the engine has its message: the message stays, though the lease ends with the run", async () => {
    let isOver = false;
    const records = new InMemoryRecords({
      fence: () => {
        if (isOver) throw new AgentError("LEASE_LOST", "over");
      },
    });
    records.onStep = async (step) => {
      if (step !== "commit") return;
      // Stopped while the engine is at it, which takes longer than the graph to stop.
      controller.abort(reason);
      for (let n = 0; n < 10; n += 1) await settled();
    };
    const model = new ScriptedChatModel(() => "x");
    const context = contextFor("s", {}, { checkpointer: new RecordsConversationSaver(records) });
    const agent = await createLangGraphFactory({ model }).create(context);
    const { threadId } = context;
    const options = { signal: controller.signal, lease: { threadId, epoch: 1, owner: "o" } };
    expect(await failure(collect(agent, message("hi", "m1"), options))).toBe(reason);
    isOver = true;
    for (let n = 0; n < 20; n += 1) await settled();
    const other = contextFor("s", {}, { checkpointer: new RecordsConversationSaver(records) });
    const history = await (await createLangGraphFactory({ model }).create(other)).conversation?.history();
    expect(history).toMatchObject([{ id: "m1", role: "user", content: "hi" }]);
  });

  test("a checkpointer that hangs does not hold a cancelled run for more than a second", async () => {
    const clock = new ManualClock();
    class HangingSaver extends MemorySaver {
      override put(): Promise<never> {
        return new Promise(() => {});
      }
    }
    const factory = createLangGraphFactory({ model: new ScriptedChatModel(() => "x"), clock });
    const agent = await agentOf(factory, {}, { checkpointer: new HangingSaver() });
    const run = failure(collect(agent, message("hi"), { signal: controller.signal }));
    await new Promise((resolve) => setImmediate(resolve));
    controller.abort(reason);
    await clock.advance(1000);
    expect(await run).toBe(reason);
  });

  test("repair answers open calls without a message, under the given lease", async () => {
    const model = new ScriptedChatModel([{ toolCalls: [{ name: "never", args: {}, id: "c1" }] }]);
    const agent = await cancelled(model, [never]);
    await agent.conversation?.repair(runOptions().lease);
    await agent.conversation?.repair(runOptions().lease);
    expect((await agent.conversation?.history())?.map(({ role }) => role)).toEqual([
      "user",
      "assistant",
      "tool",
    ]);
  });

  test("the recursion limit fails the run, and the next message works", async () => {
    const model = new ScriptedChatModel((messages) =>
      messages.at(-1)?.text === "stop" ? "ok" : callsAdd(crypto.randomUUID()),
    );
    const agent = await agentOf(createLangGraphFactory({ model, tools: [add], recursionLimit: 3 }), {});
    const error = await failure(collect(agent, message("loop")));
    expect(error).toMatchObject({
      code: "AGENT_FAILED",
      message: expect.stringContaining("recursionLimit") as string,
    });
    expect(textOf(await collect(agent, message("stop")))).toBe("ok");
  });
});

describe("interrupts", () => {
  const approving = {
    interruptOn: { add: { allowedDecisions: ["approve" as const, "edit" as const, "reject" as const] } },
  };

  async function parked(): Promise<{
    agent: AgentUnderTest;
    id: string;
    model: ScriptedChatModel;
  }> {
    const model = new ScriptedChatModel([callsAdd(), "done"]);
    const agent = await agentOf(
      createLangGraphFactory({
        model,
        tools: [add],
        middleware: [humanInTheLoopMiddleware(approving as never)],
      }),
      {},
    );
    const events = await collect(agent, message("hi"));
    const asked = events.find((event) => event.type === "interrupt");
    expect(asked).toMatchObject({ kind: "approval", value: { actionRequests: [{ name: "add" }] } });
    expect(await agent.conversation?.pending()).toEqual([
      { id: asked?.id, kind: "approval", value: asked?.value },
    ]);
    return { agent, id: asked?.id ?? "", model };
  }

  test("an approval runs the tool", async () => {
    const { agent, id } = await parked();
    const events = await collect(agent, {
      kind: "answers",
      answers: { [id]: { decisions: [{ type: "approve" }] } },
    });
    expect(types(events)).toContain("tool-output-available");
    expect(textOf(events)).toBe("done");
    expect(await agent.conversation?.pending()).toEqual([]);
  });

  test("an edited call shows its new input", async () => {
    const { agent, id } = await parked();
    const decision = { type: "edit", editedAction: { name: "add", args: { a: 2, b: 2 } } };
    const events = await collect(agent, { kind: "answers", answers: { [id]: { decisions: [decision] } } });
    expect(events).toContainEqual({
      type: "tool-input-available",
      toolCallId: "call-1",
      toolName: "add",
      input: { a: 2, b: 2 },
    });
    expect(events).toContainEqual({
      type: "tool-output-available",
      toolCallId: "call-1",
      toolName: "add",
      output: "4",
    });
  });

  test("a rejected call is answered as an error", async () => {
    const { agent, id } = await parked();
    const events = await collect(agent, {
      kind: "answers",
      answers: { [id]: { decisions: [{ type: "reject", message: "too dear" }] } },
    });
    expect(events).toContainEqual({
      type: "tool-output-error",
      toolCallId: "call-1",
      toolName: "add",
      message: "too dear",
    });
  });

  test("malformed and stale answers are refused and leave the interrupt answerable", async () => {
    const { agent, id } = await parked();
    const bad = [
      { [id]: { decisions: [] } },
      { [id]: "yes" },
      { [id]: { decisions: [{ type: "accept" }] } },
      { [id]: { decisions: [{ type: "edit" }] } },
      {},
    ];
    for (const answers of bad) {
      expect(await failure(collect(agent, { kind: "answers", answers }))).toMatchObject({
        code: "INVALID_INPUT",
      });
    }
    expect(await failure(collect(agent, { kind: "answers", answers: { other: true } }))).toMatchObject({
      code: "INTERRUPT_STALE",
    });
    const events = await collect(agent, {
      kind: "answers",
      answers: { [id]: { decisions: [{ type: "approve" }] } },
    });
    expect(textOf(events)).toBe("done");
    expect(
      await failure(
        collect(agent, { kind: "answers", answers: { [id]: { decisions: [{ type: "approve" }] } } }),
      ),
    ).toMatchObject({
      code: "INTERRUPT_STALE",
    });
  });

  test("a message instead of an answer closes the interrupt", async () => {
    const { agent, model } = await parked();
    await collect(agent, message("never mind"));
    expect(model.calls[1]?.messages.map((sent) => sent.type)).toEqual(["human", "ai", "tool", "human"]);
    expect(await agent.conversation?.pending()).toEqual([]);
  });

  test("several at once, one of them in a subgraph, answered one by one by id", async () => {
    const State = Annotation.Root({
      ...MessagesAnnotation.spec,
      got: Annotation<string[]>({ reducer: (a, b) => [...a, ...b], default: () => [] }),
    });
    const ask = (question: string) => () => ({ got: [interrupt<string, string>(question)] });
    const sub = new StateGraph(State)
      .addNode("inner", ask("color?"))
      .addEdge(START, "inner")
      .addEdge("inner", END)
      .compile();
    const graph = new StateGraph(State)
      .addNode("name", ask("name?"))
      .addNode("sub", async (state, config) => ({
        got: (await sub.invoke({ ...state, got: [] }, config)).got,
      }))
      .addEdge(START, "name")
      .addEdge(START, "sub")
      .addEdge("name", END)
      .addEdge("sub", END)
      .compile();
    const checkpointer = new MemorySaver();
    const agent = await agentOf(createLangGraphFactory({ graph }), {}, { checkpointer });
    const events = await collect(agent, message("hi"));
    const asked = events.filter((event) => event.type === "interrupt");
    expect(asked.map(({ kind, value }) => [kind, value]).sort()).toEqual([
      ["input", "color?"],
      ["input", "name?"],
    ]);
    const color = asked.find(({ value }) => value === "color?")!;
    const name = asked.find(({ value }) => value === "name?")!;
    const second = await collect(agent, { kind: "answers", answers: { [color.id]: "red" } });
    expect(second.filter((event) => event.type === "interrupt").map(({ id }) => id)).toEqual([name.id]);
    expect((await agent.conversation?.pending())?.map(({ id }) => id)).toEqual([name.id]);
    await collect(agent, { kind: "answers", answers: { [name.id]: "Ann" } });
    const tuple = await checkpointer.getTuple({
      configurable: { thread_id: contextFor("session", {}).threadId },
    });
    expect((tuple?.checkpoint.channel_values["got"] as string[]).sort()).toEqual(["Ann", "red"]);
  });

  test("a tool that interrupts reports no failure", async () => {
    const confirm = tool(() => interrupt<string, string>("sure?"), {
      name: "confirm",
      description: "",
      schema: z.object({}),
    });
    const model = new ScriptedChatModel([{ toolCalls: [{ name: "confirm", args: {}, id: "c1" }] }, "done"]);
    const agent = await agentOf(createLangGraphFactory({ model, tools: [confirm] }), {});
    const events = await collect(agent, message("hi"));
    expect(types(events)).not.toContain("tool-output-error");
    const asked = events.find((event) => event.type === "interrupt");
    const answered = await collect(agent, { kind: "answers", answers: { [asked?.id ?? ""]: "yes" } });
    expect(answered).toContainEqual({
      type: "tool-output-available",
      toolCallId: "c1",
      toolName: "confirm",
      output: "yes",
    });
  });
});

describe("middleware and context", () => {
  test("a host's middleware sees the run's context, and commands from tools are outputs", async () => {
    const seen: unknown[] = [];
    const spy = createMiddleware({
      name: "spy",
      contextSchema: z.object({ tenant: z.string() }),
      wrapModelCall: (request, next) => {
        seen.push(request.runtime.context);
        return next(request);
      },
    });
    const model = new ScriptedChatModel(() => "ok");
    const factory = createLangGraphFactory<{ tenant: string }>({ model, middleware: [spy] });
    const agent = await agentOf(factory, {});
    await collect(agent, message("hi"), { context: { tenant: "acme" } });
    expect(seen).toEqual([{ tenant: "acme" }]);
  });

  test("a tool's command is its output", async () => {
    const { ToolMessage } = await import("@langchain/core/messages");
    const note = tool(
      (_input, config: { toolCall?: { id?: string } }) =>
        new Command({
          update: {
            messages: [new ToolMessage({ content: "noted", tool_call_id: config.toolCall?.id ?? "" })],
          },
        }),
      { name: "note", description: "", schema: z.object({}) },
    );
    const model = new ScriptedChatModel([{ toolCalls: [{ name: "note", args: {}, id: "c1" }] }, "done"]);
    const agent = await agentOf(createLangGraphFactory({ model, tools: [note] }), {});
    const events = await collect(agent, message("hi"));
    expect(events.filter((event) => event.type === "tool-output-available")).toEqual([
      { type: "tool-output-available", toolCallId: "c1", toolName: "note", output: "noted" },
    ]);
  });
});

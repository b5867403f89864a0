import { FakeListChatModel } from "@langchain/core/utils/testing";
import { HumanMessage, type BaseMessage } from "@langchain/core/messages";
import {
  MemorySaver,
  MessagesAnnotation,
  MessagesDeltaValue,
  START,
  StateGraph,
  StateSchema,
} from "@langchain/langgraph";
import { createAgent, createMiddleware, initChatModel, tool } from "langchain";
import { afterEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import type { AgentConfig } from "../../src/agent.js";
import { createLangGraphFactory, type LangGraphConfig } from "../../src/langgraph/index.js";
import { MemoryConversationSaver } from "../../src/store/conversation/memory-saver.js";
import { ScriptedChatModel } from "../../src/testing/index.js";
import { agentOf, collect, contextFor, message, runOptions, textOf } from "../support/langgraph-agent.js";

afterEach(() => {
  vi.unstubAllEnvs();
});

async function failure(run: Promise<unknown> | undefined): Promise<unknown> {
  return Promise.resolve(run).then(
    () => undefined,
    (error: unknown) => error,
  );
}

async function checked(
  options: Parameters<typeof createLangGraphFactory>[0],
  config: AgentConfig<LangGraphConfig>,
): Promise<unknown> {
  return failure(Promise.resolve(createLangGraphFactory(options).check?.(config)));
}

describe("check", () => {
  test.each([
    [{ model: "m" }, /Give `provider`.*openai.*deepseek/],
    [{ provider: "openai" }, /No model is configured/],
    [{ provider: "opnai", model: "m" }, /"opnai" is not known\. Known are openai/],
    [{ provider: "__proto__", model: "m" }, /is not known/],
    [{ provider: "constructor", model: "m" }, /is not known/],
    [{ provider: "openai", model: "gpt-4.1" }, /set OPENAI_API_KEY, or give `resolveCredentials`/],
    [
      { provider: "groq", model: "m", key: "GROQ_API_KEY" },
      /needs the package `@langchain\/groq`\. Run `npm i @langchain\/groq`/,
    ],
  ])(
    "%o is refused with what to do",
    async ({ key, ...config }: { provider?: string; model?: string; key?: string }, text) => {
      vi.stubEnv("OPENAI_API_KEY", "");
      if (key !== undefined) vi.stubEnv(key, "x");
      expect(await checked({}, config)).toMatchObject({
        name: "AgentError",
        code: "MODEL_NOT_CONFIGURED",
        message: expect.stringMatching(text) as string,
      });
    },
  );

  test("a key from the environment or from a resolver will do", async () => {
    vi.stubEnv("OPENAI_API_KEY", "x");
    expect(await checked({}, { provider: "openai", model: "gpt-4.1" })).toBeUndefined();
    vi.stubEnv("OPENAI_API_KEY", "");
    expect(
      await checked(
        { resolveCredentials: () => ({ apiKey: "x" }) },
        { provider: "openai", model: "gpt-4.1" },
      ),
    ).toBeUndefined();
    expect(await checked({}, { model: "ollama:qwen3" })).toBeUndefined();
  });

  test("the factory's model is not sent to another provider", async () => {
    const options = {
      provider: "deepseek",
      model: "deepseek-chat",
      resolveCredentials: () => ({ apiKey: "x" }),
    };
    expect(await checked(options, {})).toBeUndefined();
    expect(await checked(options, { provider: "openai" })).toMatchObject({
      message: expect.stringContaining("No model") as string,
    });
  });

  test.each([
    "apiKey",
    "baseURL",
    "baseUrl",
    "configuration",
    "clientOptions",
    "headers",
    "model",
    "modelKwargs",
    "fetch",
    "__proto__x",
  ])("a session cannot set `modelOptions.%s`", async (option) => {
    const config = { provider: "ollama", model: "m", modelOptions: { [option]: "x" } };
    expect(await checked({}, config)).toMatchObject({ code: "INVALID_INPUT" });
  });

  test("a session can set what tunes its model", async () => {
    const modelOptions = {
      temperature: 0,
      maxTokens: 10,
      topP: 1,
      seed: 3,
      stop: ["x"],
      numCtx: 1,
      keepAlive: "5m",
      reasoningEffort: "low",
    };
    expect(await checked({}, { provider: "ollama", model: "m", modelOptions })).toBeUndefined();
  });
});

test.each([
  [{ modle: "x" }, /Unknown option `modle`/],
  [{ graph: 1 }, /Expected `graph` to be a compiled graph or a function/],
  [{ graph: () => undefined, tools: [] }, /Unknown option `tools`/],
  [{ model: 3 }, /Expected `model` to be/],
  [{ tools: "x" }, /Expected `tools` to be an array or a function/],
  [{ maxModels: 0 }, /Expected `maxModels` to be an integer from 1 up/],
  [{ recursionLimit: 1.5 }, /Expected `recursionLimit` to be an integer/],
])("wrong options %o throw at once", (options, text) => {
  expect(() => createLangGraphFactory(options as never)).toThrow(text);
});

test("what initChatModel gives is refused: it makes clients without end", async () => {
  const model = await initChatModel("ollama:qwen3");
  expect(() => createLangGraphFactory({ model: model as never })).toThrow(/concrete chat model/);
});

test("a model function chooses for each run, by config and context", async () => {
  const models = { a: new ScriptedChatModel(() => "A"), b: new ScriptedChatModel(() => "B") };
  const factory = createLangGraphFactory<{ plan: "a" | "b" }>({
    model: async (config, context) => models[context?.plan ?? (config.model as "a" | "b")],
  });
  const agent = await agentOf(factory, { model: "a" });
  expect(textOf(await collect(agent, message("hi")))).toBe("A");
  expect(textOf(await collect(agent, message("hi"), { context: { plan: "b" } }))).toBe("B");
});

test("runs of one graph at once each keep their own model", async () => {
  const factory = createLangGraphFactory({
    model: (config) =>
      new ScriptedChatModel(() => ({
        text: Array.from({ length: 20 }, () => `${config.model ?? ""} `),
        delayMs: 1,
      })),
  });
  const checkpointer = new MemorySaver();
  const texts = await Promise.all(
    ["x", "y", "z"].map(async (model) => {
      const agent = await agentOf(factory, { model }, { checkpointer, sessionId: model });
      return textOf(await collect(agent, message("hi")));
    }),
  );
  expect(texts).toEqual(["x ".repeat(20), "y ".repeat(20), "z ".repeat(20)]);
});

test("a host's middleware sees the run's model and may replace it", async () => {
  const own = new ScriptedChatModel(() => "own");
  const other = new ScriptedChatModel(() => "other");
  const seen: unknown[] = [];
  const swap = createMiddleware({
    name: "swap",
    wrapModelCall: (request, next) => {
      seen.push(request.model);
      return next({ ...request, model: other });
    },
  });
  const agent = await agentOf(createLangGraphFactory({ model: () => own, middleware: [swap] }), {});
  expect(textOf(await collect(agent, message("hi")))).toBe("other");
  expect(seen).toEqual([own]);
});

describe("graphs", () => {
  test("tools as values are built once for all sessions, as a function once for each agent", async () => {
    const built: string[] = [];
    const factory = createLangGraphFactory({
      model: new ScriptedChatModel((_messages, call) => call.toolNames.join()),
      tools: (_config, context) => {
        built.push(context.sessionId);
        return [tool(() => "", { name: `of_${context.sessionId}`, description: "", schema: z.object({}) })];
      },
    });
    const checkpointer = new MemorySaver();
    const texts: string[] = [];
    for (const sessionId of ["a", "b"]) {
      const agent = await agentOf(factory, {}, { checkpointer, sessionId });
      texts.push(textOf(await collect(agent, message("hi"))), textOf(await collect(agent, message("hi"))));
    }
    expect(texts).toEqual(["of_a", "of_a", "of_b", "of_b"]);
    expect(built).toEqual(["a", "b"]);
  });

  const echo = new StateGraph(MessagesAnnotation)
    .addNode("echo", ({ messages }) => ({
      messages: [{ role: "assistant", content: String(messages.length) }],
    }))
    .addEdge(START, "echo");

  test("one own graph serves sessions of different checkpointers, unchanged", async () => {
    const graph = echo.compile();
    const factory = createLangGraphFactory({ graph });
    const savers = [new MemorySaver(), new MemorySaver()];
    for (const checkpointer of savers) {
      const agent = await agentOf(factory, {}, { checkpointer });
      await collect(agent, message("hi"));
      expect(await agent.conversation?.history()).toHaveLength(2);
    }
    expect(graph.checkpointer).toBeUndefined();
  });

  test("a host may compile with the context's checkpointer, or give an agent of createAgent", async () => {
    const compiled = await agentOf(
      createLangGraphFactory({ graph: (_config, { checkpointer }) => echo.compile({ checkpointer }) }),
      {},
    );
    await collect(compiled, message("hi"));
    expect(await compiled.conversation?.history()).toHaveLength(2);
    const react = createAgent({ model: new ScriptedChatModel(() => "hello"), tools: [] });
    const agent = await agentOf(createLangGraphFactory({ graph: react }), {});
    expect(textOf(await collect(agent, message("hi")))).toBe("hello");
  });

  test("a graph with a checkpointer of its own is refused, as is what is no graph", async () => {
    const stranger = createLangGraphFactory({ graph: echo.compile({ checkpointer: new MemorySaver() }) });
    expect(await failure(agentOf(stranger, {}))).toMatchObject({
      message: expect.stringContaining("without a checkpointer") as string,
    });
    const nothing = createLangGraphFactory({ graph: () => ({}) as never });
    expect(await failure(agentOf(nothing, {}))).toBeInstanceOf(TypeError);
  });

  test("a failed building is not remembered", async () => {
    let fails = true;
    const factory = createLangGraphFactory({
      graph: () => {
        if (fails) throw new Error("not yet");
        return echo.compile();
      },
    });
    expect(await failure(agentOf(factory, {}))).toMatchObject({ message: "not yet" });
    fails = false;
    await collect(await agentOf(factory, {}), message("hi"));
  });

  test("a delta channel: history, repair and the next turn", async () => {
    const hang = tool(() => new Promise<string>(() => {}), {
      name: "hang",
      description: "",
      schema: z.object({}),
    });
    const model = new ScriptedChatModel((messages) =>
      messages.at(-1)?.text === "hang"
        ? { toolCalls: [{ name: "hang", args: {}, id: crypto.randomUUID() }] }
        : "fine",
    );
    const factory = createLangGraphFactory({
      model,
      tools: [hang],
      stateSchema: new StateSchema({ messages: MessagesDeltaValue }),
    });
    const checkpointer = new MemorySaver();
    const agent = await agentOf(factory, {}, { checkpointer });
    await collect(agent, message("one"));
    const controller = new AbortController();
    const run = (async () => {
      for await (const event of agent.stream(message("hang"), runOptions({ signal: controller.signal }))) {
        if (event.type === "usage" || event.type === "tool-input-available")
          setImmediate(() => {
            controller.abort(new Error("stop"));
          });
      }
    })();
    await failure(run);
    await collect(agent, message("two"));
    const tuple = await checkpointer.getTuple({
      configurable: { thread_id: contextFor("session", {}).threadId },
    });
    expect(Array.isArray(tuple?.checkpoint.channel_values["messages"])).toBe(false);
    const roles = ["user", "assistant", "user", "assistant", "tool", "user", "assistant"];
    expect((await agent.conversation?.history())?.map(({ role }) => role)).toEqual(roles);
    // Without an agent, the factory puts the graph together for the reading.
    const conversation = createLangGraphFactory({
      model,
      tools: [hang],
      stateSchema: new StateSchema({ messages: MessagesDeltaValue }),
    }).conversation?.(contextFor("session", {}, { checkpointer }));
    expect((await conversation?.history())?.map(({ role }) => role)).toEqual(roles);
  });
});

describe("conversation", () => {
  test("a checkpointer without fork points has no turns and cannot go back", async () => {
    const agent = await agentOf(createLangGraphFactory({ model: new ScriptedChatModel(() => "x") }), {});
    expect(await agent.conversation?.head()).toBeUndefined();
    expect(await agent.conversation?.history()).toEqual([]);
    await collect(agent, message("hi"));
    expect(await agent.conversation?.head()).toEqual(expect.any(String));
    expect(await agent.conversation?.turns()).toEqual([]);
    expect(await failure(agent.conversation?.restore("x", runOptions().lease))).toMatchObject({
      code: "UNSUPPORTED",
    });
  });

  test("a store of this library knows the turns and goes back to before one", async () => {
    const model = new ScriptedChatModel((messages) => `answer ${String(messages.length)}`);
    const checkpointer = new MemoryConversationSaver();
    const agent = await agentOf(createLangGraphFactory({ model }), {}, { checkpointer });
    const { threadId } = contextFor("session", {});
    const lease = { threadId, epoch: 1, owner: "o" };
    for (const id of ["one", "two", "three"])
      await collect(agent, message(id, id), { runId: id, turnId: id, lease });
    const turns = (await agent.conversation?.turns()) ?? [];
    expect(turns.map(({ turnId, messageIds }) => [turnId, messageIds[0], messageIds.length])).toEqual([
      ["one", "one", 2],
      ["two", "two", 2],
      ["three", "three", 2],
    ]);
    await agent.conversation?.restore(turns[1]?.before ?? "", lease);
    expect((await agent.conversation?.history())?.map(({ content }) => content)).toEqual(["one", "answer 1"]);
    expect(await failure(agent.conversation?.restore(turns[2]?.before ?? "", lease))).toMatchObject({
      code: "FORK_POINT_GONE",
    });
    await collect(agent, message("four", "four"), { runId: "four", turnId: "four", lease });
    expect(model.calls.at(-1)?.messages.map(({ text }) => text)).toEqual(["one", "answer 1", "four"]);
  });

  test("equal message ids are one message: a second attempt adds nothing", async () => {
    const agent = await agentOf(createLangGraphFactory({ model: new ScriptedChatModel(() => "x") }), {});
    await collect(agent, message("hi", "same"));
    await collect(agent, message("hi", "same"));
    expect((await agent.conversation?.history())?.filter(({ role }) => role === "user")).toEqual([
      { id: "same", role: "user", content: "hi" },
    ]);
  });

  test("the lease and the turn reach every write of the checkpointer, and the credentials none", async () => {
    const seen: unknown[] = [];
    class SpySaver extends MemorySaver {
      override async put(...args: Parameters<MemorySaver["put"]>): ReturnType<MemorySaver["put"]> {
        seen.push(args[0].configurable?.["agent_sessions"]);
        expect(JSON.stringify(args)).not.toContain("sk-secret");
        return super.put(...args);
      }
      override async putWrites(...args: Parameters<MemorySaver["putWrites"]>): Promise<void> {
        seen.push(args[0].configurable?.["agent_sessions"]);
        return super.putWrites(...args);
      }
    }
    const factory = createLangGraphFactory({
      model: () => Object.assign(new ScriptedChatModel(() => "x"), { apiKey: "sk-secret" }),
    });
    const agent = await agentOf(factory, {}, { checkpointer: new SpySaver() });
    const options = runOptions();
    await collect(agent, message("hi"), options);
    expect(seen.length).toBeGreaterThan(2);
    expect(new Set(seen.map((value) => JSON.stringify(value)))).toEqual(
      new Set([JSON.stringify({ lease: options.lease, turnId: options.turnId })]),
    );
  });
});

test("a turn left by a dead owner goes on from where it stood", async () => {
  const model = new ScriptedChatModel([{ error: new Error("killed") }, "done"]);
  const checkpointer = new MemorySaver();
  const agent = await agentOf(createLangGraphFactory({ model }), {}, { checkpointer });
  await failure(collect(agent, message("hi", "m1")));
  expect(textOf(await collect(agent, { kind: "continue" }))).toBe("done");
  expect((await agent.conversation?.history())?.map(({ role }) => role)).toEqual(["user", "assistant"]);
});

test("what a model call threw keeps its kind; a node's own error with a status is the agent's failure", async () => {
  const limited = Object.assign(new Error("sk-secret at https://host"), {
    status: 429,
    headers: { "retry-after": "2" },
  });
  const agent = await agentOf(
    createLangGraphFactory({ model: () => new ScriptedChatModel([{ error: limited }]) }),
    {},
  );
  const error = await failure(collect(agent, message("hi")));
  expect(error).toMatchObject({ code: "MODEL_RATE_LIMITED", retryAfterMs: 2000, sessionId: "session" });
  expect((error as Error).message).not.toMatch(/secret|host/);
  const graph = new StateGraph(MessagesAnnotation)
    .addNode("fails", () => {
      throw limited;
    })
    .addEdge(START, "fails")
    .compile();
  const own = await agentOf(createLangGraphFactory({ graph }), {});
  expect(await failure(collect(own, message("hi")))).toMatchObject({
    code: "AGENT_FAILED",
    message: "The agent failed.",
    cause: limited,
  });
});

test("a model of another make works too", async () => {
  const agent = await agentOf(
    createLangGraphFactory({ model: new FakeListChatModel({ responses: ["abc"] }) as never }),
    {},
  );
  expect(textOf(await collect(agent, message("hi")))).toBe("abc");
});

test("messages keep their order and ids through many turns and a tool", async () => {
  const add = tool(({ a }: { a: number }) => String(a + 1), {
    name: "add",
    description: "",
    schema: z.object({ a: z.number() }),
  });
  let step = 0;
  const model = new ScriptedChatModel((messages: readonly BaseMessage[]) => {
    step += 1;
    return messages.at(-1) instanceof HumanMessage
      ? { toolCalls: [{ name: "add", args: { a: step }, id: `call-${String(step)}` }] }
      : `answer ${String(step)}`;
  });
  const agent = await agentOf(createLangGraphFactory({ model, tools: [add] }), {});
  for (let turn = 0; turn < 5; turn += 1)
    await collect(agent, message(`question ${String(turn)}`, `m${String(turn)}`));
  const history = (await agent.conversation?.history()) ?? [];
  expect(history.map(({ role }) => role)).toEqual(
    Array.from({ length: 5 }, () => ["user", "assistant", "tool", "assistant"]).flat(),
  );
  expect(new Set(history.map(({ id }) => id)).size).toBe(history.length);
  expect(model.calls.at(-1)?.messages).toHaveLength(19);
});

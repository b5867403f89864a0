import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  AIMessage,
  AIMessageChunk,
  type AIMessageFields,
  type BaseMessage,
  HumanMessage,
  RemoveMessage,
  ToolMessage,
} from "@langchain/core/messages";
import { MessagesAnnotation, END, START, StateGraph } from "@langchain/langgraph";
import { type Checkpoint, JsonPlusSerializer, emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint";
import { createAgent, tool } from "langchain";
import { describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { AgentError, isAgentError } from "../../src/errors.js";
import { MemoryConversationSaver } from "../../src/store/conversation/memory-saver.js";
import { type Lease, RUN_KEY } from "../../src/store/store.js";
import { ReplyingModel } from "../support/saver-model.js";

type Config = ReturnType<typeof at>;

function at(
  threadId: string,
  run?: { lease?: Lease; turnId?: string },
  checkpointId?: string,
  namespace = "",
) {
  return {
    configurable: {
      thread_id: threadId,
      checkpoint_ns: namespace,
      ...(checkpointId === undefined ? {} : { checkpoint_id: checkpointId }),
      ...(run === undefined ? {} : { [RUN_KEY]: run }),
    },
  };
}

function checkpointWith(values: Record<string, unknown>, version = 1): Checkpoint {
  const versions = Object.fromEntries(Object.keys(values).map((channel) => [channel, version]));
  return { ...emptyCheckpoint(), id: uuid6(1), channel_values: values, channel_versions: versions };
}

const metadata = { source: "loop", step: 0, parents: {} } as const;

function put(saver: MemoryConversationSaver, config: Config, values: Record<string, unknown>) {
  const checkpoint = checkpointWith(values);
  return saver.put(config, checkpoint, metadata, checkpoint.channel_versions);
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "nothing was thrown";
  } catch (error) {
    return isAgentError(error) ? error.code : String(error);
  }
}

describe("a fenced saver", () => {
  /** Leases of the epoch `current` are good. */
  function fenced(options: { serde?: JsonPlusSerializer } = {}) {
    const state = { current: 1 };
    const saver = new MemoryConversationSaver({
      ...options,
      fence(lease) {
        if (lease.epoch !== state.current) throw new AgentError("LEASE_LOST", "The lease is stale.");
      },
    });
    const lease = (threadId: string, epoch = state.current): Lease => ({ threadId, epoch, owner: "me" });
    return { state, saver, lease };
  }

  it("takes writes with the lease of their thread", async () => {
    const { saver, lease } = fenced();
    const run = { lease: lease("t"), turnId: "1" };
    const config = await put(saver, at("t", run), { a: 1 });
    await saver.putWrites({ configurable: { ...config.configurable, [RUN_KEY]: run } }, [["a", 2]], "task");
    const tuple = await saver.getTuple(at("t"));
    expect(tuple?.checkpoint.channel_values).toEqual({ a: 1 });
    expect(tuple?.pendingWrites).toEqual([["task", "a", 2]]);
    await expect(saver.restore(lease("t"), "1")).resolves.toBe(true);
  });

  it("refuses writes without a lease, with a stale one and with one of another thread", async () => {
    const { saver, state, lease } = fenced();
    await put(saver, at("t", { lease: lease("t"), turnId: "1" }), { a: 1 });
    const before = await saver.getTuple(at("t"));
    const stale = lease("t");
    state.current = 2;
    const runs = [
      undefined,
      {},
      { turnId: "2" },
      { lease: stale, turnId: "2" },
      { lease: lease("other"), turnId: "2" },
    ];
    for (const run of runs) {
      const config = at("t", run, before?.checkpoint.id);
      expect(await codeOf(put(saver, config, { a: 2 }))).toBe("LEASE_LOST");
      expect(await codeOf(saver.putWrites(config, [["a", 3]], "task"))).toBe("LEASE_LOST");
    }
    expect(await codeOf(saver.restore(stale, "1"))).toBe("LEASE_LOST");
    expect(await saver.getTuple(at("t"))).toEqual(before);
    expect(await saver.forkPoints("t")).toHaveLength(1);
  });

  it("refuses a write whose lease is lost while it is being serialised", async () => {
    let go = (): void => undefined;
    const gate = new Promise<void>((resolve) => (go = resolve));
    class SlowSerializer extends JsonPlusSerializer {
      override async dumpsTyped(value: unknown): Promise<[string, Uint8Array]> {
        await gate;
        return super.dumpsTyped(value);
      }
    }
    const { saver, state, lease } = fenced({ serde: new SlowSerializer() });
    const config = at("t", { lease: lease("t"), turnId: "1" }, "id");
    const results = [
      codeOf(put(saver, config, { a: 1 })),
      codeOf(saver.putWrites(config, [["a", 1]], "task")),
    ];
    state.current = 2;
    go();
    expect(await Promise.all(results)).toEqual(["LEASE_LOST", "LEASE_LOST"]);
    expect(saver.bytes("t")).toBe(0);
    expect(await saver.getTuple(at("t"))).toBeUndefined();
  });

  it("sees the lease in every write of a graph, of its subgraphs and of updateState", async () => {
    const { saver, lease } = fenced();
    const inner = new StateGraph(MessagesAnnotation)
      .addNode("say", () => ({ messages: [new AIMessage("inner")] }))
      .addEdge(START, "say")
      .addEdge("say", END)
      .compile({ checkpointer: true });
    const graph = new StateGraph(MessagesAnnotation)
      .addNode("inner", inner)
      .addEdge(START, "inner")
      .addEdge("inner", END)
      .compile({ checkpointer: saver });
    const run = { lease: lease("t"), turnId: "1" };
    const config = { configurable: { thread_id: "t", [RUN_KEY]: run } };
    await graph.invoke({ messages: [new HumanMessage("hi")] }, config);
    await graph.updateState(config, { messages: [new AIMessage("by hand")] });
    await expect(
      graph.invoke({ messages: [new HumanMessage("hi")] }, { configurable: { thread_id: "t" } }),
    ).rejects.toMatchObject({ code: "LEASE_LOST" });
    const { values } = (await graph.getState({ configurable: { thread_id: "t" } })) as {
      values: { messages: unknown[] };
    };
    expect(values.messages).toHaveLength(3);
  });
});

describe("stored values", () => {
  it("are what they were when they were put", async () => {
    const saver = new MemoryConversationSaver();
    const message = new AIMessage({
      id: "m",
      content: "then",
      tool_calls: [{ id: "c", name: "t", args: { x: 1 } }],
    });
    const state = { list: [1] };
    const messages = [message];
    const putting = put(saver, at("t"), { messages, state, sent: { node: "n", args: { messages } } });
    message.content = "now";
    message.tool_calls![0]!.args["x"] = 2;
    state.list.push(2);
    messages.length = 0;
    await putting;
    const values = (await saver.getTuple(at("t")))?.checkpoint.channel_values as Record<string, never>;
    expect(values["messages"]).toMatchObject([{ content: "then", tool_calls: [{ args: { x: 1 } }] }]);
    expect(values["sent"]).toMatchObject({ node: "n", args: { messages: [{ content: "then" }] } });
    expect(values["state"]).toEqual({ list: [1] });
  });

  it("do not change through what a read gave", async () => {
    const saver = new MemoryConversationSaver();
    const old = new HumanMessage({ id: "old", content: "old" });
    const last = new HumanMessage({ id: "last", content: "last" });
    await put(saver, at("t"), { messages: [old, new AIMessage({ id: "a", content: "answer" }), last] });
    const read = async () =>
      (await saver.getTuple(at("t")))!.checkpoint.channel_values["messages"] as BaseMessage[];
    const first = await read();
    first[0]!.content = "edited";
    first[2]!.additional_kwargs["edited"] = true;
    first.push(last);
    expect((await read()).map((message) => message.content)).toEqual(["old", "answer", "last"]);
    expect((await read())[2]!.additional_kwargs).toEqual({});
  });

  it("hold messages of every kind and field", async () => {
    const messages = [
      new HumanMessage({
        content: [
          { type: "text", text: "über 块" },
          { type: "image_url", image_url: { url: "data:," } },
        ],
      }),
      new AIMessage({
        content: "",
        // As providers leave it there.
        additional_kwargs: {
          tool_calls: [{ id: "r", type: "function", function: { name: "f", arguments: "{}" } }],
        },
        tool_calls: [],
      }),
      new AIMessage({
        content: [{ type: "text", text: "v1" }],
        response_metadata: { output_version: "v1" },
        tool_calls: [{ id: "c", name: "t", args: {} }],
      }),
      new AIMessage({
        content: "x",
        invalid_tool_calls: [{ type: "invalid_tool_call", id: "i", name: "t", args: "{", error: "bad" }],
        usage_metadata: { input_tokens: 1, output_tokens: 2, total_tokens: 3 },
        // Its type would have the tools declared.
      } as unknown as AIMessageFields),
      new ToolMessage({
        content: "out",
        tool_call_id: "c",
        name: "t",
        status: "error",
        artifact: null,
        metadata: { a: [] },
      }),
      new ToolMessage({ content: "out", tool_call_id: "c", artifact: new Map([[1, { deep: new Date(0) }]]) }),
      new HumanMessage({ content: "odd", additional_kwargs: { when: new Set([1]) } }),
      new RemoveMessage({ id: "gone" }),
    ];
    for (const message of messages) if (message.id === undefined) message._updateId(uuid6(1));
    const saver = new MemoryConversationSaver();
    const serde = new JsonPlusSerializer();
    await put(saver, at("t"), {
      messages,
      one: messages[0],
      mixed: [messages[1], "text", 3],
      none: undefined,
    });
    const values = (await saver.getTuple(at("t")))!.checkpoint.channel_values;
    const expected: unknown = await serde.loadsTyped(
      ...(await serde.dumpsTyped({
        messages,
        one: messages[0],
        mixed: [messages[1], "text", 3],
        none: undefined,
      })),
    );
    expect(JSON.parse(JSON.stringify(values))).toEqual(JSON.parse(JSON.stringify(expected)));
    expect((values["messages"] as BaseMessage[]).map((message) => message.constructor.name)).toEqual(
      messages.map((message) => message.constructor.name),
    );
    expect((values["messages"] as ToolMessage[])[5]!.artifact).toBeInstanceOf(Map);
    expect(Object.hasOwn(values, "none")).toBe(true);
  });

  it("go through the serialiser that was given, but for plain messages", async () => {
    const serde = new JsonPlusSerializer();
    const dumps = vi.spyOn(serde, "dumpsTyped");
    const saver = new MemoryConversationSaver({ serde });
    await put(saver, at("t"), { messages: [new HumanMessage({ id: "h", content: "hi" })], secret: "s" });
    expect(dumps.mock.calls.map(([value]) => value as unknown)).toEqual(["s", metadata]);
    expect((await saver.getTuple(at("t")))?.checkpoint.channel_values).toMatchObject({ secret: "s" });
  });

  it("may bear the names of prototypes", async () => {
    const saver = new MemoryConversationSaver();
    for (const name of ["__proto__", "constructor", "prototype", "toString"]) {
      const value: unknown = Object.fromEntries([
        [name, "value"],
        ["messages", [new HumanMessage("in it")]],
      ]);
      const values = Object.fromEntries([
        [name, name],
        ["nested", value],
      ]);
      const checkpoint = checkpointWith(values);
      const config = await saver.put(
        at(name, undefined, undefined, name),
        checkpoint,
        metadata,
        checkpoint.channel_versions,
      );
      await saver.putWrites(config, [[name, "write"]], name);
      const tuple = await saver.getTuple(at(name, undefined, undefined, name));
      expect(Object.entries(tuple!.checkpoint.channel_values)).toContainEqual([name, name]);
      expect(Object.entries(tuple!.checkpoint.channel_values["nested"] as object)).toContainEqual([
        name,
        "value",
      ]);
      expect(Object.entries(tuple!.checkpoint.channel_versions)).toContainEqual([name, 1]);
      expect(tuple!.pendingWrites).toEqual([[name, name, "write"]]);
      const history = await saver.getDeltaChannelHistory({ config, channels: [name] });
      expect(Object.entries(history)).toEqual([[name, { writes: [] }]]);
      await saver.deleteThread(name);
      expect(await saver.getTuple(config)).toBeUndefined();
    }
    expect(({} as Record<string, unknown>)["value"]).toBeUndefined();
  });
});

describe("writes", () => {
  it("are written once by task and index, but for errors, interrupts and answers", async () => {
    const saver = new MemoryConversationSaver();
    const config = await put(saver, at("t"), {});
    await saver.putWrites(
      config,
      [
        ["a", 1],
        ["__error__", "first"],
      ],
      "task",
    );
    await saver.putWrites(
      config,
      [
        ["a", 2],
        ["__error__", "second"],
      ],
      "task",
    );
    expect((await saver.getTuple(config))?.pendingWrites).toEqual([
      ["task", "__error__", "second"],
      ["task", "a", 1],
    ]);
  });

  it("come in the order of their task paths", async () => {
    const saver = new MemoryConversationSaver();
    const config = await put(saver, at("t"), {});
    await saver.putWrites(config, [["a", "late"]], "1", "~2");
    await saver.putWrites(config, [["a", "early"]], "2", "~1");
    expect((await saver.getTuple(config))?.pendingWrites?.map(([, , value]) => value)).toEqual([
      "early",
      "late",
    ]);
  });

  it("may come before their checkpoint, and are forgotten after it", async () => {
    const saver = new MemoryConversationSaver();
    const first = await put(saver, at("t"), {});
    const coming = checkpointWith({});
    await saver.putWrites(at("t", undefined, coming.id), [["a", "early"]], "task");
    await saver.put(first as Config, coming, metadata, {});
    expect((await saver.getTuple(at("t")))?.pendingWrites).toEqual([["task", "a", "early"]]);
    const bytes = saver.bytes("t");
    await saver.putWrites(first, [["a", "late"]], "task");
    expect(saver.bytes("t")).toBe(bytes);
  });

  it.each([true, false])(
    "that a turn added to its base are undone with it (base had some: %s)",
    async (some) => {
      const saver = new MemoryConversationSaver();
      const lease = { threadId: "t", epoch: 1, owner: "me" };
      const config = await put(saver, at("t", { lease, turnId: "1" }), { a: 1 });
      const id = config.configurable?.["checkpoint_id"] as string;
      if (some) await saver.putWrites(at("t", { lease, turnId: "1" }, id), [["a", "asked"]], "task");
      const bytes = saver.bytes("t");
      const before = await saver.getTuple(at("t"));
      await saver.putWrites(at("t", { lease, turnId: "2" }, id), [["a", "answered"]], "input");
      await put(saver, at("t", { lease, turnId: "2" }, id), { a: 2 });
      await expect(saver.restore(lease, "2")).resolves.toBe(true);
      expect(await saver.getTuple(at("t"))).toEqual(before);
      expect(saver.bytes("t")).toBe(bytes);
    },
  );
});

describe("a value that did not change since the parent", () => {
  it("is the parent's, unless its version says that it is of another branch", async () => {
    const saver = new MemoryConversationSaver();
    const parent = await put(saver, at("t"), { same: 1, other: 1 });
    const copy = { ...checkpointWith({ same: 1, other: 2 }), channel_versions: { same: 1, other: 2 } };
    await saver.put(parent, copy, { ...metadata, source: "fork" }, {});
    expect((await saver.getTuple(at("t")))?.checkpoint.channel_values).toEqual({ same: 1, other: 2 });
  });
});

describe("options and input", () => {
  it.each([
    [{ history: "some" }, 'Expected `history` to be one of forks, all, got `"some"` (string)'],
    [{ forkableRuns: -1 }, "Expected `forkableRuns` to be an integer from 0 up, got `-1` (number)"],
    [{ liveBytes: "1" }, 'Expected `liveBytes` to be an integer from 0 up, got `"1"` (string)'],
    [{ forkablRuns: 1 }, "Unknown option `forkablRuns` of MemoryConversationSaver"],
  ])("are checked: %o", (options, message) => {
    expect(() => new MemoryConversationSaver(options as never)).toThrow(message);
  });

  it("must name a thread, and a checkpoint for writes", async () => {
    const saver = new MemoryConversationSaver();
    for (const thread_id of [undefined, "", 7, null]) {
      const config = { configurable: { thread_id, checkpoint_id: "c" } };
      await expect(saver.put(config, checkpointWith({}), metadata, {})).rejects.toThrow(
        "`configurable.thread_id`",
      );
      await expect(saver.putWrites(config, [], "task")).rejects.toThrow("`configurable.thread_id`");
      expect(await saver.getTuple(config)).toBeUndefined();
    }
    await expect(saver.putWrites(at("t"), [], "task")).rejects.toThrow("`configurable.checkpoint_id`");
  });
});

const shout = tool(({ text }: { text: string }) => text.toUpperCase(), {
  name: "shout",
  description: "shouts",
  schema: z.object({ text: z.string() }),
});

function chat(saver: MemoryConversationSaver, answer = "y".repeat(200)) {
  const model = new ReplyingModel((messages) => {
    const asks = messages.at(-1)?.type === "human" && messages.at(-1)?.text.startsWith("tool");
    return asks ? { calls: [{ id: uuid6(1), name: "shout", args: { text: "a" } }] } : answer;
  });
  const agent = createAgent({ model, tools: [shout], checkpointer: saver });
  return (threadId: string, turn: number, text = "x".repeat(200)) => {
    const run = { lease: { threadId, epoch: 1, owner: "me" }, turnId: String(turn) };
    return agent.invoke({ messages: [new HumanMessage(text)] }, { ...at(threadId, run), durability: "sync" });
  };
}

describe("size", () => {
  it("of 100 turns of 200 and 200 characters is at most 150 KB", async () => {
    const sizes = new Map<string, number>();
    const saver = new MemoryConversationSaver({ onResize: (threadId, bytes) => sizes.set(threadId, bytes) });
    const say = chat(saver);
    for (let turn = 0; turn < 100; turn += 1) await say("t", turn);
    expect(saver.bytes("t")).toBeLessThan(150_000);
    // 40,000 characters were said.
    expect(saver.bytes("t")).toBeGreaterThan(40_000);
    expect(sizes.get("t")).toBe(saver.bytes("t"));
    await saver.deleteThread("t");
    expect(sizes.get("t")).toBe(0);
    expect(saver.bytes("t")).toBe(0);
  });

  it.each(["in use", "at rest"])(
    "is what it takes on the heap, by a third, %s",
    async (how) => {
      setFlagsFromString("--expose-gc");
      const collect = runInNewContext("gc") as () => void;
      const heap = async () => {
        for (let i = 0; i < 3; i += 1) {
          collect();
          await new Promise((resolve) => setImmediate(resolve));
        }
        return process.memoryUsage().heapUsed;
      };
      const saver = new MemoryConversationSaver({ liveBytes: 0 });
      const talk = async (threadId: string): Promise<number> => {
        const messages: BaseMessage[] = [];
        let config: Config | undefined;
        for (let turn = 0; turn < 60; turn += 1) {
          const run = { turnId: `${threadId} ${String(turn)}` };
          for (const Message of [HumanMessage, AIMessage]) {
            messages.push(
              new Message({ id: uuid6(1), content: `${threadId} ${String(turn)}`.padEnd(200, "x") }),
            );
            const next: Config = at(threadId, run, config?.configurable.checkpoint_id);
            config = (await put(saver, next, { messages, turn })) as Config;
          }
        }
        if (how === "at rest") saver.rest(threadId);
        return saver.bytes(threadId);
      };
      await talk("warm-up");
      const before = await heap();
      let counted = 0;
      for (let i = 0; i < 20; i += 1) counted += await talk(`thread ${String(i)}`);
      const taken = (await heap()) - before;
      expect(counted).toBeGreaterThan(20 * 60 * 400);
      expect(taken / counted).toBeGreaterThan(0.66);
      expect(taken / counted).toBeLessThan(1.34);
    },
    240_000,
  );

  it("is less than half at rest, until the next write", async () => {
    const sizes = new Map<string, number>();
    const saver = new MemoryConversationSaver({
      liveBytes: 0,
      onResize: (threadId, bytes) => sizes.set(threadId, bytes),
    });
    const say = chat(saver);
    for (let turn = 0; turn < 20; turn += 1) await say("t", turn);
    const before = saver.bytes("t");
    const [tuple, forks] = [await saver.getTuple(at("t")), await saver.forkPoints("t")];
    saver.rest("t");
    expect(saver.bytes("t")).toBeLessThan(before / 2);
    expect(sizes.get("t")).toBe(saver.bytes("t"));
    expect(await saver.getTuple(at("t"))).toEqual(tuple);
    expect(await saver.forkPoints("t")).toEqual(forks);
    expect(saver.bytes("t")).toBeLessThan(before / 2);
    await say("t", 20);
    expect(saver.bytes("t")).toBeGreaterThan(before);
    expect(sizes.get("t")).toBe(saver.bytes("t"));
    await saver.deleteThread("t");
    expect(sizes.get("t")).toBe(0);
    saver.rest("t");
    expect(saver.bytes("t")).toBe(0);
  });

  it("at rest gives way to what was used later", async () => {
    const saver = new MemoryConversationSaver({ liveBytes: 120_000 });
    const say = chat(saver);
    const full = new Map<string, number>();
    for (const threadId of ["a", "b", "c", "d", "e"]) {
      for (let turn = 0; turn < 10; turn += 1) await say(threadId, turn);
      full.set(threadId, saver.bytes(threadId));
      saver.rest(threadId);
      await saver.getTuple(at("a"));
    }
    const packed = [...full].filter(([threadId, bytes]) => saver.bytes(threadId) < bytes).map(([id]) => id);
    expect(packed).not.toContain("a");
    expect(packed).not.toContain("e");
    expect(packed).toContain("b");
  });

  it("of live messages stays within its bound", async () => {
    const saver = new MemoryConversationSaver({ liveBytes: 60_000 });
    const say = chat(saver);
    for (let turn = 0; turn < 5; turn += 1) for (let i = 0; i < 10; i += 1) await say(`t${String(i)}`, turn);
    const live = (saver as unknown as { live: { bytes: number } }).live;
    expect(live.bytes).toBeGreaterThan(0);
    expect(live.bytes).toBeLessThanOrEqual(60_000);
    for (let i = 0; i < 10; i += 1) await saver.deleteThread(`t${String(i)}`);
    expect(live.bytes).toBe(0);
  });
});

/** How many characters of JSON the saver reads and writes in one turn after `before` messages. */
async function workOfTurn(before: number, text: string): Promise<number> {
  const saver = new MemoryConversationSaver();
  const say = chat(saver, "short");
  const history = Array.from({ length: before }, (_, i) => {
    const fields = { id: `m${String(i)}`, content: "z".repeat(200) };
    return i % 2 ? new AIMessage(fields) : new HumanMessage(fields);
  });
  await put(saver, at("t"), { messages: history });
  // Two turns until all but the last one's messages are known.
  await say("t", 0, text);
  await say("t", 1, text);
  let work = 0;
  const { parse, stringify } = JSON;
  const parses = vi.spyOn(JSON, "parse").mockImplementation((...args) => {
    work += args[0].length;
    return parse(...args) as unknown;
  });
  const stringifies = vi.spyOn(JSON, "stringify").mockImplementation((...args: unknown[]) => {
    const json = stringify(...(args as [unknown]));
    work += (json as string | undefined)?.length ?? 0;
    return json;
  });
  await say("t", 2, text);
  parses.mockRestore();
  stringifies.mockRestore();
  return work;
}

describe("the work of a turn", () => {
  it.each(["plain", "tool call"])("does not grow with the history: %s", async (text) => {
    const short = await workOfTurn(2, text);
    const long = await workOfTurn(1000, text);
    expect(short).toBeGreaterThan(1_000);
    expect(long).toBeLessThan(short * 1.2);
  });
});

describe("a run that looks before its graph reads", () => {
  const lease: Lease = { threadId: "t", epoch: 1, owner: "me" };

  async function conversation() {
    const saver = new MemoryConversationSaver();
    const { configurable } = await put(saver, at("t"), {
      messages: [new HumanMessage({ id: "a", content: "x" })],
    });
    return { saver, id: String(configurable?.["checkpoint_id"]) };
  }

  it("has its graph given the same objects, once", async () => {
    const { saver } = await conversation();
    const config = at("t", { lease, turnId: "turn" });
    const seen = await saver.peekTuple(config);
    const given = await saver.getTuple(config);
    expect(seen?.checkpoint.channel_values["messages"]).toHaveLength(1);
    expect(given).toBe(seen);
    const again = await saver.getTuple(config);
    expect(again).toEqual(seen);
    expect(again).not.toBe(seen);
    const [message] = again?.checkpoint.channel_values["messages"] as BaseMessage[];
    expect(message).not.toBe((seen?.checkpoint.channel_values["messages"] as BaseMessage[])[0]);
  });

  it("leaves another run its own objects", async () => {
    const { saver } = await conversation();
    const seen = await saver.peekTuple(at("t", { lease, turnId: "turn" }));
    const other = await saver.getTuple(at("t", { lease, turnId: "turn" }));
    expect(other).toEqual(seen);
    expect(other).not.toBe(seen);
  });

  it("has its graph read anew what has changed since", async () => {
    const { saver, id } = await conversation();
    const config = at("t", { lease, turnId: "turn" });
    await saver.peekTuple(config);
    await saver.putWrites(at("t", undefined, id), [["messages", "late"]], "task");
    expect((await saver.getTuple(config))?.pendingWrites).toEqual([["task", "messages", "late"]]);
    await saver.peekTuple(config);
    await put(saver, at("t", undefined, id), { messages: [new HumanMessage({ id: "b", content: "y" })] });
    const messages = (await saver.getTuple(config))?.checkpoint.channel_values["messages"] as BaseMessage[];
    expect(messages.map((message) => message.id)).toEqual(["b"]);
  });
});

describe("the chunk of a streamed answer", () => {
  const usage_metadata = { input_tokens: 1, output_tokens: 2, total_tokens: 3 };
  const text = { id: "a", content: "hello", usage_metadata, response_metadata: { finish_reason: "stop" } };
  const call = { type: "tool_call_chunk", index: 0, id: "c", name: "f", args: '{"x":1}' } as const;

  it.each([
    ["text", () => new AIMessageChunk(text).concat(new AIMessageChunk({ id: "a", content: " you" })), 0],
    ["a tool call", () => new AIMessageChunk({ ...text, tool_call_chunks: [call] }), 1],
    [
      "a whole tool call",
      () => new AIMessageChunk({ ...text, tool_calls: [{ id: "c", name: "f", args: {} }] }),
      1,
    ],
  ])("with %s comes back as LangGraph's serialiser gives it back", async (_what, make, dumps) => {
    const serde = new JsonPlusSerializer();
    const expected: unknown = await serde.loadsTyped(...(await serde.dumpsTyped(make())));
    const saver = new MemoryConversationSaver();
    const dump = vi.spyOn(JsonPlusSerializer.prototype, "dumpsTyped");
    const { configurable } = await put(saver, at("t"), { seen: 1 });
    await saver.putWrites({ configurable }, [["messages", [make()]]], "task");
    expect(dump).toHaveBeenCalledTimes(dumps);
    dump.mockRestore();
    const [write] = (await saver.getTuple(at("t")))?.pendingWrites ?? [];
    const [loaded] = write?.[2] as BaseMessage[];
    expect(loaded).toBeInstanceOf(AIMessageChunk);
    expect(loaded).toEqual(expected);
    expect(loaded?.toJSON()).toEqual((expected as BaseMessage).toJSON());
  });
});

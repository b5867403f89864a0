import { AIMessage, HumanMessage, type BaseMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { MemorySaver } from "@langchain/langgraph-checkpoint";
import { createAgent } from "langchain";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { ManualClock, ScriptedChatModel, type Script } from "../../../src/testing/index.js";

const add = tool(({ a, b }: { a: number; b: number }) => String(a + b), {
  name: "add",
  description: "Adds.",
  schema: z.object({ a: z.number(), b: z.number() }),
});

const usage = { inputTokens: 10, outputTokens: 5, cachedInputTokens: 4, reasoningTokens: 2 };

async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of stream) all.push(item);
  return all;
}

/** The last human message, which tells the sessions of a shared model apart. */
function asked(messages: readonly BaseMessage[]): string {
  return messages.findLast((message) => HumanMessage.isInstance(message))?.text ?? "";
}

describe("ScriptedChatModel", () => {
  it("streams reasoning, text, tool calls and usage in chunks of one id", async () => {
    const model = new ScriptedChatModel([
      {
        reasoning: ["h", "m"],
        text: ["One", " two"],
        toolCalls: [{ name: "add", args: { a: 1, b: 2 }, id: "c1" }],
        usage,
      },
    ]);
    const chunks = await collect(await model.stream("hi"));
    expect(chunks.map((chunk) => chunk.text)).toEqual(["", "", "One", " two", "", "", "", ""]);
    expect(
      chunks.flatMap((chunk) => chunk.contentBlocks).filter((block) => block.type === "reasoning"),
    ).toHaveLength(2);
    expect(
      chunks.flatMap((chunk) => chunk.tool_call_chunks ?? []).map(({ id, name, args }) => [id, name, args]),
    ).toEqual([
      ["c1", "add", ""],
      [undefined, undefined, '{"a":1,'],
      [undefined, undefined, '"b":2}'],
    ]);
    expect(new Set(chunks.map((chunk) => chunk.id))).toEqual(new Set([model.calls[0]?.responseId]));
    expect(chunks.at(-1)?.usage_metadata).toEqual({
      input_tokens: 10,
      output_tokens: 5,
      total_tokens: 15,
      input_token_details: { cache_read: 4 },
      output_token_details: { reasoning: 2 },
    });
    model.assertComplete();
  });

  it("gives the same answer to invoke as to stream", async () => {
    const reply = {
      reasoning: "hm",
      text: ["One", " two"],
      toolCalls: [{ name: "add", args: { a: 1, b: 2 }, id: "c1" }],
      usage,
    };
    const model = new ScriptedChatModel([reply, reply]);
    const invoked = await model.invoke("hi");
    const streamed = (await collect(await model.stream("hi"))).reduce((whole, chunk) => whole.concat(chunk));
    expect(AIMessage.isInstance(invoked)).toBe(true);
    for (const key of [
      "content",
      "tool_calls",
      "usage_metadata",
      "additional_kwargs",
      "response_metadata",
      "contentBlocks",
    ] as const) {
      expect(invoked[key], key).toEqual(streamed[key]);
    }
    expect(invoked.contentBlocks).toEqual([
      { type: "reasoning", reasoning: "hm" },
      { type: "text", text: "One two" },
      { type: "tool_call", id: "c1", name: "add", args: { a: 1, b: 2 } },
    ]);
  });

  it("runs a tool loop under createAgent, keeps every answer in history, and records what it was asked", async () => {
    const model = new ScriptedChatModel([
      { toolCalls: [{ name: "add", args: { a: 1, b: 2 } }] },
      "It is 3.",
      "Bye.",
    ]);
    const agent = createAgent({ model, tools: [add], checkpointer: new MemorySaver() });
    const config = { configurable: { thread_id: "t" } };
    await agent.invoke({ messages: [new HumanMessage("1 + 2?")] }, config);
    const { messages } = await agent.invoke({ messages: [new HumanMessage("Thanks")] }, config);
    expect(messages.map((message) => [message.type, message.text])).toEqual([
      ["human", "1 + 2?"],
      ["ai", ""],
      ["tool", "3"],
      ["ai", "It is 3."],
      ["human", "Thanks"],
      ["ai", "Bye."],
    ]);
    expect(
      model.calls.map(({ index, outcome, toolNames, messages: input }) => [
        index,
        outcome,
        toolNames,
        input.length,
      ]),
    ).toEqual([
      [0, "completed", ["add"], 1],
      [1, "completed", ["add"], 3],
      [2, "completed", ["add"], 5],
    ]);
    model.assertComplete();
  });

  it("streams tokens through createAgent's messages mode", async () => {
    const model = new ScriptedChatModel([
      { toolCalls: [{ name: "add", args: { a: 1, b: 2 } }], usage },
      { text: ["a", "b"], usage },
    ]);
    const agent = createAgent({ model, tools: [add] });
    const parts = await collect(
      await agent.stream({ messages: [new HumanMessage("go")] }, { streamMode: "messages" }),
    );
    const chunks = parts.map(([message]) => message);
    expect(
      chunks.filter((chunk) => chunk.type === "ai" && chunk.text !== "").map((chunk) => chunk.text),
    ).toEqual(["a", "b"]);
  });

  it("serves concurrent sessions from a function without mixing them", async () => {
    const model = new ScriptedChatModel(async (messages) => {
      await Promise.resolve();
      const word = asked(messages);
      return messages.at(-1)?.type === "tool"
        ? `${word}!`
        : { toolCalls: [{ name: "add", args: { a: 1, b: 1 } }] };
    });
    const agent = createAgent({ model, tools: [add] });
    const words = Array.from({ length: 50 }, (_, n) => `word-${String(n)}`);
    const answers = await Promise.all(
      words.map(
        async (word) => (await agent.invoke({ messages: [new HumanMessage(word)] })).messages.at(-1)?.text,
      ),
    );
    expect(answers).toEqual(words.map((word) => `${word}!`));
    expect(new Set(model.calls.map((call) => call.responseId)).size).toBe(100);
    model.assertComplete();
  });

  describe.each(["stream", "invoke"] as const)("by %s", (way) => {
    const run = async (model: ScriptedChatModel, signal?: AbortSignal) => {
      const options = signal === undefined ? {} : { signal };
      const got: string[] = [];
      if (way === "invoke") await model.invoke("hi", options);
      else for await (const chunk of await model.stream("hi", options)) got.push(chunk.text);
      return got;
    };

    it("throws an error as it is, instead of the answer or after some chunks", async () => {
      const boom = Object.assign(new Error("boom"), { status: 429 });
      const model = new ScriptedChatModel([
        { error: boom },
        { text: ["a", "b", "c"], error: boom, errorAfter: 2 },
      ]);
      await expect(run(model)).rejects.toBe(boom);
      await expect(run(model)).rejects.toBe(boom);
      expect(model.calls.map((call) => call.outcome)).toEqual(["failed", "failed"]);
      model.assertComplete();
    });

    it("waits on its clock before each chunk, and an abort ends the wait at once with the signal's reason", async () => {
      const clock = new ManualClock();
      const model = new ScriptedChatModel([{ text: ["a", "b", "c"], delayMs: 100 }], { clock });
      const stop = new AbortController();
      const reason = new Error("enough");
      const running = run(model, stop.signal);
      const rejected = expect(running).rejects.toBe(reason);
      await clock.advance(250);
      expect(model.calls[0]?.outcome).toBe("pending");
      expect(clock.pending).toBe(1);
      expect(() => {
        model.assertComplete();
      }).toThrow("1 call still under way (index 0)");
      stop.abort(reason);
      await rejected;
      expect(model.calls[0]?.outcome).toBe("aborted");
      expect(clock.pending).toBe(0);
    });

    it("ends a script function that does not answer when it is aborted", async () => {
      const model = new ScriptedChatModel(() => new Promise<never>(() => undefined));
      const stop = new AbortController();
      const reason = new Error("enough");
      const rejected = expect(run(model, stop.signal)).rejects.toBe(reason);
      await new Promise((resolve) => setImmediate(resolve));
      stop.abort(reason);
      await rejected;
      expect(model.calls[0]?.outcome).toBe("aborted");
    });

    it("refuses a call beyond its script, and assertComplete tells of it and of unused replies", async () => {
      const model = new ScriptedChatModel(["one", "two"]);
      await run(model);
      expect(() => {
        model.assertComplete();
      }).toThrow("The script is not complete: the script has 2 replies, the model was called 1 time.");
      await run(model);
      model.assertComplete();
      await expect(run(model)).rejects.toThrow("The script has 2 replies, and this is call 3 of the model.");
      expect(() => {
        model.assertComplete();
      }).toThrow("the model was called 3 times");
    });
  });

  it("delivers the chunks before a mid-stream error, under createAgent too", async () => {
    const boom = new Error("boom");
    const model = new ScriptedChatModel([{ text: ["a", "b", "c"], error: boom, errorAfter: 2 }]);
    const got: string[] = [];
    const agent = createAgent({ model, tools: [add] });
    const reading = (async () => {
      const stream = await agent.stream({ messages: [new HumanMessage("go")] }, { streamMode: "messages" });
      for await (const [message] of stream) got.push(message.text);
    })();
    await expect(reading).rejects.toBe(boom);
    expect(got).toEqual(["a", "b"]);
  });

  it("counts a reader that leaves as an abort", async () => {
    const model = new ScriptedChatModel([{ text: ["a", "b"] }]);
    for await (const chunk of model._streamResponseChunks([], {})) if (chunk.text === "a") break;
    expect(model.calls[0]?.outcome).toBe("aborted");
    model.assertComplete();
  });

  it("sends malformed arguments as they stand", async () => {
    const model = new ScriptedChatModel([{ toolCalls: [{ name: "add", args: "{oops", id: "c" }] }]);
    const answer = await model.invoke("hi");
    expect(answer.invalid_tool_calls).toMatchObject([{ name: "add", args: "{oops", id: "c" }]);
  });

  it.each<[string, unknown, string]>([
    ["a script that is no script", "hello", "Expected `script` to be an array or a function, got string"],
    ["a reply that is none", [1], "Expected the reply to call 1 to be a string or an object, got number"],
    ["a misspelt key", ["a", { txt: "b" }], "Expected the reply to call 2 to have no key `txt`"],
    [
      "a negative delay",
      [{ delayMs: -1 }],
      "Expected `delayMs` of the reply to call 1 to be a finite number from 0 up, got `-1`",
    ],
    [
      "errorAfter without error",
      [{ errorAfter: 1 }],
      "Expected `errorAfter` of the reply to call 1 to be an integer from 0 up beside an `error`",
    ],
  ])("refuses %s", (_, script, message) => {
    // Deliberately of the wrong type.
    expect(() => new ScriptedChatModel(script as Script)).toThrow(message);
  });
});

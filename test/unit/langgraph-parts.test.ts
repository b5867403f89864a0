import {
  AIMessage,
  AIMessageChunk,
  HumanMessage,
  RemoveMessage,
  ToolMessage,
  type BaseMessage,
} from "@langchain/core/messages";
import { messagesStateReducer } from "@langchain/langgraph";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { toHistoryMessage } from "../../src/langgraph/history.js";
import { reduceMessages } from "../../src/langgraph/messages-reducer.js";
import { ModelCache } from "../../src/langgraph/models.js";
import { toModelError } from "../../src/langgraph/provider-errors.js";
import { HARD_QUEUE_LIMIT, QUEUE_LIMIT, RunQueue } from "../../src/langgraph/run-queue.js";

describe("the messages reducer", () => {
  const id = fc.constantFrom("a", "b", "c", "d", "e", "f", "g", "h");
  const piece = fc.oneof(
    { weight: 6, arbitrary: id.map((id) => () => new HumanMessage({ id, content: `h${id}` })) },
    { weight: 2, arbitrary: id.map((id) => () => new AIMessageChunk({ id, content: `c${id}` })) },
    { weight: 1, arbitrary: id.map((id) => () => new RemoveMessage({ id })) },
    { weight: 1, arbitrary: fc.constant(() => new RemoveMessage({ id: "__remove_all__" })) },
    { weight: 1, arbitrary: id.map((id) => () => ({ role: "user", content: `plain${id}`, id })) },
  );

  function shape(messages: readonly BaseMessage[]): unknown {
    return messages.map((message) => [message.constructor.name, message.id, message.content]);
  }

  function attempt(reduce: () => unknown): unknown {
    try {
      return reduce();
    } catch (error) {
      return String(error);
    }
  }

  test("does what LangGraph's does, whatever comes", () => {
    fc.assert(
      fc.property(fc.array(fc.array(piece, { maxLength: 3 }), { maxLength: 6 }), (steps) => {
        let own: BaseMessage[] = [];
        let official: BaseMessage[] = [];
        for (const step of steps) {
          const made = attempt(() =>
            reduceMessages(
              own,
              step.map((make) => make()),
            ),
          );
          const expected = attempt(() =>
            messagesStateReducer(
              official,
              step.map((make) => make()),
            ),
          );
          if (typeof made === "string" || typeof expected === "string") {
            expect(made).toBe(expected);
            return;
          }
          own = made as BaseMessage[];
          official = expected as BaseMessage[];
          expect(shape(own)).toEqual(shape(official));
        }
      }),
    );
  });

  test("changes neither list", () => {
    const left = [new HumanMessage({ id: "a", content: "x" })];
    const right = [new HumanMessage({ id: "b", content: "y" })];
    const reduced = reduceMessages(left, right);
    expect([left.length, right.length, reduced.length]).toEqual([1, 1, 2]);
  });
});

describe("the model cache", () => {
  const request = { provider: "openai", model: "gpt-4.1", modelOptions: { temperature: 0 } };
  const signal = new AbortController().signal;

  test("one client for equal provider, model, options and credentials; another for each that differs", async () => {
    const cache = new ModelCache(100);
    const first = await cache.get(request, { apiKey: "one", headers: { a: "1", b: "2" } }, signal);
    expect(await cache.get(request, { headers: { b: "2", a: "1" }, apiKey: "one" }, signal)).toBe(first);
    const others = await Promise.all([
      cache.get(request, { apiKey: "two" }, signal),
      cache.get(request, { apiKey: "one", headers: { a: "1" } }, signal),
      cache.get({ ...request, model: "gpt-4.1-mini" }, { apiKey: "one" }, signal),
      cache.get({ ...request, modelOptions: {} }, { apiKey: "one" }, signal),
      cache.get({ ...request, provider: "deepseek" }, { apiKey: "one" }, signal),
    ]);
    expect(new Set([first, ...others]).size).toBe(6);
    expect(cache.size).toBe(6);
  });

  test("runs that ask at once get one client", async () => {
    const cache = new ModelCache(100);
    const clients = await Promise.all(
      Array.from({ length: 20 }, () => cache.get(request, { apiKey: "one" }, signal)),
    );
    expect(new Set(clients).size).toBe(1);
  });

  test("is bounded", async () => {
    const cache = new ModelCache(3);
    for (let user = 0; user < 10; user += 1) await cache.get(request, { apiKey: String(user) }, signal);
    expect(cache.size).toBe(3);
  });

  test("a client that a cancel would stop for all is made for each run", async () => {
    const cache = new ModelCache(100);
    const ollama = { provider: "ollama", model: "qwen3", modelOptions: {} };
    expect(await cache.get(ollama, undefined, signal)).not.toBe(await cache.get(ollama, undefined, signal));
    expect(cache.size).toBe(0);
  });
});

describe("the queue", () => {
  const event = { type: "text-delta", id: "t", delta: "x" } as const;

  test("asks its producer to wait when it is full, and releases it once it is read", async () => {
    const queue = new RunQueue();
    for (let index = 0; index < QUEUE_LIMIT; index += 1) expect(queue.push(event)).toBeUndefined();
    const released = vi.fn();
    const waiting = queue.push(event)?.then(released);
    expect(waiting).toBeDefined();
    await queue.next();
    expect(released).not.toHaveBeenCalled();
    for (let index = 0; index < QUEUE_LIMIT; index += 1) await queue.next();
    await waiting;
    expect(released).toHaveBeenCalledOnce();
  });

  test("a failure comes after what waits, reaches the reader once, and lets producers go on", async () => {
    const queue = new RunQueue();
    for (let index = 0; index < QUEUE_LIMIT; index += 1) void queue.push(event);
    const waiting = queue.push(event);
    const error = new Error("stop");
    queue.fail(error);
    await waiting;
    expect(queue.push(event)).toBeUndefined();
    for (let index = 0; index <= QUEUE_LIMIT; index += 1)
      expect(await queue.next()).toEqual({ done: false, value: event });
    await expect(queue.next()).rejects.toBe(error);
    expect(await queue.next()).toEqual({ done: true, value: undefined });
    await expect(queue.caughtUp()).rejects.toThrow("was stopped");
  });

  test("what is dropped is not read, nor what comes after it", async () => {
    const queue = new RunQueue();
    for (let index = 0; index < QUEUE_LIMIT; index += 1) void queue.push(event);
    const waiting = queue.push(event);
    queue.drop();
    await waiting;
    expect(queue.push(event)).toBeUndefined();
    const error = new Error("stop");
    queue.fail(error);
    await expect(queue.next()).rejects.toBe(error);
  });

  test("gives each event to its taker within the push, and queues while that asks to wait", async () => {
    const queue = new RunQueue();
    const taken: string[] = [];
    let goOn = (): void => undefined;
    const delta = (text: string) => ({ ...event, delta: text });
    void queue.push(delta("before"));
    const ended = queue.each((taking) => {
      taken.push((taking as typeof event).delta);
      return taken.length === 3 ? new Promise<void>((resolve) => (goOn = resolve)) : undefined;
    }, vi.fn());
    await queue.caughtUp();
    expect(queue.push(delta("a"))).toBeUndefined();
    expect(taken).toEqual(["before", "a"]);
    const waiting = queue.push(delta("b"));
    expect(waiting).toBeDefined();
    expect(queue.push(delta("c"))).toBeUndefined();
    const caughtUp = vi.fn();
    const followed = queue.caughtUp().then(caughtUp);
    queue.close();
    await Promise.resolve();
    expect([taken.length, caughtUp.mock.calls.length]).toEqual([3, 0]);
    goOn();
    await Promise.all([waiting, followed, ended]);
    expect(taken).toEqual(["before", "a", "b", "c"]);
  });

  test.each([
    ["throws", () => { throw new Error("full"); }], // prettier-ignore
    ["rejects", () => Promise.reject(new Error("full"))],
  ])("a taker that %s is told to somebody, and has nothing more", async (_, take) => {
    const queue = new RunQueue();
    const errors: unknown[] = [];
    const taking = vi.fn(take);
    const ended = queue.each(taking, (error) => {
      errors.push(error);
      queue.fail(error);
    });
    void queue.push(event);
    void queue.push(event);
    await expect(ended).rejects.toThrow("full");
    expect(queue.push(event)).toBeUndefined();
    expect([taking.mock.calls.length, errors.length]).toEqual([1, 1]);
  });

  test("says when its reader has had everything, and fails when it never will", async () => {
    const queue = new RunQueue();
    void queue.push(event);
    const caughtUp = vi.fn();
    const waiting = queue.caughtUp().then(caughtUp);
    await queue.next();
    await Promise.resolve();
    // It has been taken; what the reader does with it is done when it asks for the next one.
    expect(caughtUp).not.toHaveBeenCalled();
    const next = queue.next();
    await waiting;
    void queue.push(event);
    await next;
    const lost = queue.caughtUp();
    queue.drop();
    await expect(lost).rejects.toThrow("was stopped");
    await expect(queue.caughtUp()).rejects.toThrow("was stopped");
  });

  test("what cannot wait fails at the hard limit", () => {
    const queue = new RunQueue();
    for (let index = 0; index < HARD_QUEUE_LIMIT; index += 1) void queue.push(event);
    expect(() => queue.push(event)).toThrow(RangeError);
  });
});

describe("history", () => {
  test("provider blocks become standard ones, calls stand apart", () => {
    const message = new AIMessage({
      id: "a",
      content: [
        { type: "thinking", thinking: "hm", signature: "s" },
        { type: "text", text: "Let me see." },
        { type: "tool_use", id: "c1", name: "add", input: { a: 1 } },
      ],
      tool_calls: [{ id: "c1", name: "add", args: { a: 1 } }],
      response_metadata: { model_provider: "anthropic" },
    });
    expect(toHistoryMessage(message)).toMatchObject({
      id: "a",
      role: "assistant",
      content: [
        { type: "reasoning", reasoning: "hm" },
        { type: "text", text: "Let me see." },
      ],
      toolCalls: [{ id: "c1", name: "add", input: { a: 1 } }],
    });
  });

  test("a tool's message keeps its artifact to itself", () => {
    const message = new ToolMessage({
      id: "t",
      content: "ok",
      tool_call_id: "c1",
      name: "add",
      artifact: { secret: 1 },
    });
    expect(toHistoryMessage(message)).toEqual({
      id: "t",
      role: "tool",
      content: "ok",
      toolCallId: "c1",
      toolName: "add",
    });
  });
});

describe("model errors", () => {
  class APIConnectionTimeoutError extends Error {}
  class APIConnectionError extends Error {}
  const at = (fields: object): Error => Object.assign(new Error("x"), fields);

  test.each([
    [at({ status: 401 }), "MODEL_AUTH"],
    [at({ status: 403 }), "MODEL_AUTH"],
    [at({ status: 429 }), "MODEL_RATE_LIMITED"],
    [at({ lc_error_code: "MODEL_RATE_LIMIT" }), "MODEL_RATE_LIMITED"],
    [at({ status: 413 }), "MODEL_CONTEXT_LENGTH"],
    [at({ name: "ContextOverflowError" }), "MODEL_CONTEXT_LENGTH"],
    [at({ status: 400, error: { code: "context_length_exceeded" } }), "MODEL_CONTEXT_LENGTH"],
    [at({ status: 400, message: "prompt is too long: 9 > 8" }), "MODEL_CONTEXT_LENGTH"],
    [at({ status: 504 }), "MODEL_TIMEOUT"],
    [at({ name: "TimeoutError" }), "MODEL_TIMEOUT"],
    [new APIConnectionTimeoutError("x"), "MODEL_TIMEOUT"],
    [
      Object.assign(new TypeError("fetch failed"), { cause: at({ code: "UND_ERR_HEADERS_TIMEOUT" }) }),
      "MODEL_TIMEOUT",
    ],
    [at({ status: 503 }), "MODEL_UNAVAILABLE"],
    [at({ status: 529, error: { error: { type: "overloaded_error" } } }), "MODEL_UNAVAILABLE"],
    [new APIConnectionError("x"), "MODEL_UNAVAILABLE"],
    [
      Object.assign(new TypeError("fetch failed"), { cause: at({ code: "ECONNREFUSED" }) }),
      "MODEL_UNAVAILABLE",
    ],
    [new TypeError("terminated"), "MODEL_UNAVAILABLE"],
    [new Error("wrapped", { cause: at({ status: 429 }) }), "MODEL_RATE_LIMITED"],
    [new AggregateError([at({ status: 401 })]), "MODEL_AUTH"],
    [at({ status: 400 }), undefined],
    [new Error("x"), undefined],
  ])("%o is %s", (error, code) => {
    expect(toModelError(error)?.code).toBe(code);
  });

  test("a cause that points back ends", () => {
    const error = new Error("x");
    error.cause = error;
    expect(toModelError(error)).toBeUndefined();
  });

  test("retry-after in milliseconds, seconds and as a date", () => {
    const after = (headers: object): number | undefined =>
      toModelError(at({ status: 429, headers }))?.retryAfterMs;
    expect(after({ "retry-after-ms": "150" })).toBe(150);
    expect(after(new Headers({ "retry-after": "1.5" }))).toBe(1500);
    const ms = after({ "retry-after": new Date(Date.now() + 60_000).toUTCString() });
    expect(ms).toBeGreaterThan(50_000);
    expect(ms).toBeLessThanOrEqual(60_000);
    expect(after({ "retry-after": "soon" })).toBeUndefined();
  });
});

import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { Duplex } from "node:stream";
import { describe, expect, test, vi } from "vitest";
import type { RunEvent } from "../../../src/index.js";
import { sendReply } from "../../../src/http/node-response.js";
import { EventBody, toWebStream } from "../../../src/http/sse.js";
import { ManualClock } from "../../../src/testing/index.js";
import { bearer, handlerFor, until } from "../../support/http-service.js";

/** Events that a test hands out one by one, and a count of what was taken. */
class Source implements AsyncIterator<RunEvent, undefined> {
  taken = 0;
  returned = 0;
  #waiting: (() => void) | undefined;
  readonly #events: (RunEvent | Error | undefined)[] = [];

  give(...events: (RunEvent | Error | undefined)[]): void {
    this.#events.push(...events);
    this.#waiting?.();
  }

  async next(): Promise<IteratorResult<RunEvent, undefined>> {
    while (this.#events.length === 0 && this.returned === 0) {
      await new Promise<void>((resolve) => (this.#waiting = resolve));
    }
    if (this.returned > 0) return { done: true, value: undefined };
    const event = this.#events.shift();
    if (event instanceof Error) throw event;
    if (event === undefined) return { done: true, value: undefined };
    this.taken += 1;
    return { done: false, value: event };
  }

  async return(): Promise<IteratorResult<RunEvent, undefined>> {
    this.returned += 1;
    this.#waiting?.();
    return { done: true, value: undefined };
  }
}

function delta(text: string): RunEvent {
  return { seq: 1, type: "text-delta", id: "t", delta: text };
}

function open(source: Source, heartbeatMs = 0) {
  const clock = new ManualClock();
  const abort = new AbortController();
  const errors: unknown[] = [];
  const events = new EventBody({
    events: source,
    encoder: {
      encode: (event) => ("delta" in event ? event.delta : `<${event.type}>`),
      fail: () => "<failed>",
    },
    clock,
    heartbeatMs,
    onError: (error) => errors.push(error),
  });
  const body = toWebStream(events, abort.signal);
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  return { clock, abort, errors, body, reader };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("opens at once, and puts what comes in one turn into one chunk", async () => {
  const source = new Source();
  const { reader } = open(source);
  expect((await reader.read()).value).toBe(": open\n\n");
  const next = reader.read();
  await turn();
  source.give(delta("a"));
  await Promise.resolve();
  source.give(delta("b"), delta("c"));
  expect((await next).value).toBe("abc");
  source.give(undefined);
  expect((await reader.read()).done).toBe(true);
});

/** One that gives what is at hand in one go, as those of a service do. */
class BatchSource extends Source {
  readonly limits: number[] = [];
  readonly atHand: RunEvent[] = [];

  take(limit: number): readonly RunEvent[] {
    this.limits.push(limit);
    return this.atHand.splice(0, limit);
  }
}

test("what a source has at hand goes into the same chunk, in its order, a bounded number at a time", async () => {
  const source = new BatchSource();
  source.atHand.push(...Array.from({ length: 1_000 }, (_, index) => delta(`${String(index)},`)));
  const { reader } = open(source);
  expect((await reader.read()).value).toBe(": open\n\n");
  const next = reader.read();
  source.give(delta("first,"));
  const texts = (await next).value?.split(",") ?? [];
  expect(texts.slice(0, 3)).toEqual(["first", "0", "1"]);
  const [limit = 0] = source.limits;
  expect(texts).toHaveLength(limit + 2);
  expect(limit).toBeLessThan(256);
});

test("a reader that does not read stops the taking of events at a bound", async () => {
  const source = new Source();
  source.give(...Array.from({ length: 1_000 }, () => delta("x".repeat(1_024))), undefined);
  const clock = new ManualClock();
  const events = new EventBody({
    events: source,
    encoder: { encode: (event) => ("delta" in event ? event.delta : ""), fail: () => "" },
    clock,
    heartbeatMs: 0,
    onError: () => undefined,
  });
  const body = toWebStream(events, new AbortController().signal);
  for (let index = 0; index < 20; index += 1) await turn();
  expect(source.taken).toBeLessThanOrEqual(65);
  const text = await new Response(body).text();
  expect(text).toHaveLength(1_000 * 1_024 + ": open\n\n".length);
});

describe("an answer of which nothing is taken for ten minutes", () => {
  const MINUTES = 60_000;

  /** One with more to come than is kept for a client. */
  function unread() {
    const source = new Source();
    source.give(...Array.from({ length: 100 }, () => delta("x".repeat(1_024))));
    return { source, ...open(source) };
  }

  test("detaches from the run and leaves no timer; who comes later finds it cut off", async () => {
    const { source, clock, errors, reader } = unread();
    for (let index = 0; index < 200; index += 1) await turn();
    expect(clock.pending).toBe(1);
    await clock.advance(10 * MINUTES - 1);
    expect(source.returned).toBe(0);
    await clock.advance(1);
    await turn();
    expect([source.returned, clock.pending, errors]).toEqual([1, 0, []]);
    // A transform reads ahead by one chunk.
    const late = async (): Promise<void> => {
      while (!(await reader.read()).done) continue;
    };
    await expect(late()).rejects.toThrow("not read for too long");
  });

  test("goes on when something is taken before that", async () => {
    const { source, clock, reader } = unread();
    for (let index = 0; index < 200; index += 1) await turn();
    await clock.advance(9 * MINUTES);
    await reader.read();
    await reader.read();
    await turn();
    await clock.advance(9 * MINUTES);
    expect(source.returned).toBe(0);
    source.give(undefined);
    let length = 0;
    for (let part = await reader.read(); !part.done; part = await reader.read()) length += part.value.length;
    expect(length).toBeGreaterThan(0);
    expect(clock.pending).toBe(0);
  });

  test("does so for the log of a service too, of which nobody is left to hear", async () => {
    const clock = new ManualClock();
    const { chat, handler } = await handlerFor(
      [{ text: Array.from({ length: 200 }, () => "x".repeat(1_024)) }],
      {
        clock,
      },
    );
    const { events } = chat.manager.store;
    const watch = events.watch.bind(events);
    let watching = 0;
    vi.spyOn(events, "watch").mockImplementation((...args) => {
      const stop = watch(...args);
      watching += 1;
      return () => {
        watching -= 1;
        stop();
      };
    });
    const answer = await handler(
      new Request("http://host.test/agent_backend/chat", {
        method: "POST",
        headers: { ...bearer("ann"), "content-type": "application/json" },
        body: JSON.stringify({ session_id: "s1", message: "Hi" }),
      }),
    );
    await until(async () => (await chat.getRun({ sessionId: "s1", userId: "ann" }))?.status === "completed");
    await until(() => clock.pending === 1);
    expect(watching).toBe(1);
    await clock.advance(10 * MINUTES);
    expect(watching).toBe(0);
    await expect(answer.text()).rejects.toThrow("not read for too long");
  });
});

test("a comment goes out when nothing else did for a while, and none when something did", async () => {
  const source = new Source();
  const { clock, reader } = open(source, 1_000);
  await reader.read();
  let next = reader.read();
  await turn();
  await clock.advance(1_000);
  await clock.advance(1_000);
  expect((await next).value).toBe(": ping\n\n");
  next = reader.read();
  source.give(delta("a"));
  expect((await next).value).toBe("a");
  next = reader.read();
  await turn();
  await clock.advance(1_000);
  source.give(delta("b"));
  expect((await next).value).toBe("b");
  await reader.cancel();
});

test("cancelling the body detaches the reader and leaves no timer", async () => {
  const source = new Source();
  const { clock, reader } = open(source, 1_000);
  await reader.read();
  const pending = reader.read();
  await turn();
  await reader.cancel();
  await pending;
  await turn();
  expect(source.returned).toBe(1);
  expect(clock.pending).toBe(0);
});

test("no timer runs while text waits for somebody to read it", async () => {
  const source = new Source();
  const clock = new ManualClock();
  const encoder = { encode: () => "", fail: () => "" };
  const body = new EventBody({
    events: source,
    encoder,
    clock,
    heartbeatMs: 1_000,
    onError: () => undefined,
  });
  body.open(() => undefined);
  expect(clock.pending).toBe(0);
  expect(body.take()).toBe(": open\n\n");
  expect(clock.pending).toBe(1);
  await clock.advance(2_000);
  await clock.advance(1_000);
  expect(clock.pending).toBe(0);
  expect(body.take()).toBe(": ping\n\n");
  expect(clock.pending).toBe(1);
  body.cancel();
  expect(clock.pending).toBe(0);
});

test("an aborted request detaches too, though nobody cancels the body", async () => {
  const source = new Source();
  const { clock, abort, reader } = open(source, 1_000);
  await reader.read();
  const pending = reader.read();
  await turn();
  abort.abort();
  expect((await pending).done).toBe(true);
  expect(source.returned).toBe(1);
  expect(clock.pending).toBe(0);
});

test("a reading that fails ends with the protocol's error, and tells the host", async () => {
  const source = new Source();
  const { errors, reader } = open(source);
  await reader.read();
  const failure = new Error("store");
  source.give(delta("a"), failure);
  // In one chunk or two: that is the stream's affair.
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
  expect(text).toBe("a<failed>");
  expect(errors).toEqual([failure]);
});

test("an event that no frame can be made of detaches the reader, and is the end of the answer", async () => {
  const source = new Source();
  const { errors, reader } = open(source);
  await reader.read();
  const failure = new TypeError("no JSON");
  const delta = {
    toString: () => {
      throw failure;
    },
  };
  source.give({ seq: 1, type: "text-delta", id: "t", delta: delta as unknown as string });
  expect(await reader.read()).toEqual({ done: false, value: "<failed>" });
  expect((await reader.read()).done).toBe(true);
  expect(errors).toEqual([failure]);
  expect(source.returned).toBe(1);
});

describe("Node's response", () => {
  /** A response whose client takes what is written only when `read` is called. */
  function answer(source: Source) {
    const clock = new ManualClock();
    let text = "";
    let take: (() => void) | undefined;
    const socket = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _encoding, done) => {
        text += chunk.toString();
        take = done;
      },
    });
    // A response needs no more of its socket than a stream has.
    const res = new ServerResponse(new IncomingMessage(new Socket()));
    // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- see above
    res.assignSocket(socket as Socket);
    // As a server does.
    socket.on("drain", () => res.emit("drain"));
    const body = new EventBody({
      events: source,
      encoder: { encode: (event) => ("delta" in event ? event.delta : ""), fail: () => "" },
      clock,
      heartbeatMs: 1_000,
      onError: () => undefined,
    });
    const sent = sendReply(res, { status: 200, headers: {}, body });
    const read = (): void => {
      const done = take;
      take = undefined;
      done?.();
    };
    return { clock, res, socket, sent, read, text: () => text };
  }

  test("a client that does not read stops the taking of events at a bound; when it reads it gets all", async () => {
    const source = new Source();
    source.give(...Array.from({ length: 1_000 }, () => delta("x".repeat(1_024))), undefined);
    const { res, sent, read, text } = answer(source);
    for (let index = 0; index < 100; index += 1) await turn();
    expect(source.taken).toBeLessThan(300);
    expect(res.writableLength).toBeLessThan(300_000);
    for (let index = 0; index < 10_000 && !res.writableFinished; index += 1) {
      read();
      await turn();
    }
    await sent;
    expect(source.taken).toBe(1_000);
    expect(text().match(/x/g)).toHaveLength(1_000 * 1_024);
  });

  test("a client that takes nothing for ten minutes is cut off, and its reader detached", async () => {
    const source = new Source();
    source.give(...Array.from({ length: 1_000 }, () => delta("x".repeat(1_024))));
    const { clock, res, socket, sent } = answer(source);
    // As Node's server does when a connection closes.
    socket.once("close", () => res.emit("close"));
    for (let index = 0; index < 300; index += 1) await turn();
    expect(source.returned).toBe(0);
    await clock.advance(600_000);
    await sent;
    expect([source.returned, res.destroyed, clock.pending]).toEqual([1, true, 0]);
  });

  test("a client that goes away detaches the reader and leaves no timer", async () => {
    const source = new Source();
    source.give(delta("a"));
    const { clock, res, sent } = answer(source);
    await turn();
    expect(clock.pending).toBe(1);
    // What Node does with the response of a connection that closes.
    res.destroy();
    res.emit("close");
    await sent;
    await turn();
    expect(source.returned).toBe(1);
    expect(clock.pending).toBe(0);
  });
});

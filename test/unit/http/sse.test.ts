import { expect, test } from "vitest";
import type { RunEvent } from "../../../src/index.js";
import { sseBody } from "../../../src/http/sse.js";
import { ManualClock } from "../../../src/testing/index.js";

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
  const body = sseBody({
    events: source,
    encoder: {
      encode: (event) => ("delta" in event ? event.delta : `<${event.type}>`),
      fail: () => "<failed>",
    },
    clock,
    heartbeatMs,
    signal: abort.signal,
    onError: (error) => errors.push(error),
  });
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

test("a reader that does not read stops the taking of events at a bound", async () => {
  const source = new Source();
  source.give(...Array.from({ length: 1_000 }, () => delta("x".repeat(1_024))), undefined);
  const clock = new ManualClock();
  const body = sseBody({
    events: source,
    encoder: { encode: (event) => ("delta" in event ? event.delta : ""), fail: () => "" },
    clock,
    heartbeatMs: 0,
    signal: new AbortController().signal,
    onError: () => undefined,
  });
  for (let index = 0; index < 20; index += 1) await turn();
  expect(source.taken).toBeLessThanOrEqual(65);
  const text = await new Response(body).text();
  expect(text).toHaveLength(1_000 * 1_024 + ": open\n\n".length);
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

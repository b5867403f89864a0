import type { ReadableStreamDefaultController, UnderlyingSource } from "node:stream/web";
import type { Clock, RunEvent, TimerHandle } from "../index.js";
import type { StreamEncoder } from "./protocols/protocol.js";

/** Headers of every stream. `no-transform` keeps compression from holding chunks back, the last one proxies. */
export const streamHeaders: Readonly<Record<string, string>> = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
  "x-content-type-options": "nosniff",
};

export interface SseOptions {
  readonly events: AsyncIterator<RunEvent, undefined>;
  readonly encoder: StreamEncoder;
  readonly clock: Clock;
  readonly heartbeatMs: number;
  /** When the request has gone away; the body may never be read or cancelled then. */
  readonly signal: AbortSignal;
  /** Told of what reading threw. */
  readonly onError: (error: unknown) => void;
}

/** How much text gathers before the reading of events waits for the client. */
const BUFFER_CHARS = 65_536;

/*
 * One reader of a run as the body of a response:
 *
 *   pumping: events are taken one after another and gather as text; when there is more than BUFFER_CHARS of it the
 *     pump rests until the client has taken it. The run's log is what waits for a slow client, not this buffer.
 *   flushing: a `pull` gets all the text of one turn of the event loop as one chunk.
 *   ended: the run has finished, reading failed (the protocol's error goes out before the end), or the client left
 *     (the iterator is returned, and the run goes on).
 */
class SseSource implements UnderlyingSource<Uint8Array> {
  readonly #options: SseOptions;
  readonly #encoder = new TextEncoder();
  #text: string;
  #ended = false;
  #cancelled = false;
  /** Lets the pump go on. */
  #resume: (() => void) | undefined;
  /** Lets a waiting pull look again. */
  #wake: (() => void) | undefined;
  #heartbeat: TimerHandle | undefined;
  #quiet = true;
  #aborted = false;
  readonly #onAbort = (): void => {
    this.#aborted = true;
    this.cancel();
  };

  constructor(options: SseOptions) {
    this.#options = options;
    // At once: several hosts hold the headers back until the first chunk.
    this.#text = `: open\n\n${options.encoder.start?.() ?? ""}`;
  }

  start(): void {
    const { signal } = this.#options;
    if (signal.aborted) {
      this.cancel();
      return;
    }
    signal.addEventListener("abort", this.#onAbort, { once: true });
    this.#schedule();
    void this.#pump();
  }

  async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    while (this.#text === "" && !this.#ended && !this.#cancelled) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
      // Tokens that come in the same turn of the event loop go out in one write.
      await nextTurn();
    }
    if (this.#cancelled) {
      // Who cancelled the body has closed it; after an aborted request it is still open.
      if (this.#aborted) controller.close();
      return;
    }
    const text = this.#text;
    this.#text = "";
    this.#quiet = false;
    if (text !== "") controller.enqueue(this.#encoder.encode(text));
    this.#resume?.();
    if (this.#ended && this.#text === "") {
      controller.close();
      this.#release();
    }
  }

  /** The client left: detaches from the run. Again does nothing. */
  cancel(): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#text = "";
    this.#release();
    this.#resume?.();
    this.#wake?.();
    // Ends a `next` that is waiting; a reader that fails while leaving has nobody left to be told.
    this.#options.events.return?.().catch(() => undefined);
  }

  async #pump(): Promise<void> {
    const { events, encoder, onError } = this.#options;
    try {
      while (!this.#cancelled) {
        const { done, value } = await events.next();
        if (done === true) break;
        this.#add(encoder.encode(value));
        if (this.#text.length >= BUFFER_CHARS) await new Promise<void>((resolve) => (this.#resume = resolve));
      }
    } catch (error) {
      if (!this.#cancelled) {
        onError(error);
        this.#add(encoder.fail(error));
      }
    }
    this.#ended = true;
    this.#options.clock.clearTimeout(this.#heartbeat);
    this.#wake?.();
  }

  #add(text: string): void {
    if (text === "" || this.#cancelled) return;
    this.#text += text;
    this.#wake?.();
  }

  /** One timer for the whole stream: a comment goes out when nothing else did since the last look. */
  #schedule(): void {
    const { clock, heartbeatMs } = this.#options;
    if (heartbeatMs === 0) return;
    this.#heartbeat = clock.setTimeout(() => {
      // With text waiting the client is slow, not idle.
      if (this.#quiet && this.#text === "") this.#add(": ping\n\n");
      this.#quiet = true;
      this.#schedule();
    }, heartbeatMs);
  }

  #release(): void {
    this.#options.clock.clearTimeout(this.#heartbeat);
    this.#options.signal.removeEventListener("abort", this.#onAbort);
  }
}

function nextTurn(): Promise<void> {
  // Hosts that are not Node may lack it.
  const later = (globalThis as { setImmediate?: (callback: () => void) => unknown }).setImmediate;
  return later === undefined ? Promise.resolve() : new Promise((resolve) => later(resolve));
}

/** The body of a stream; see {@link SseSource}. */
export function sseBody(options: SseOptions): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(new SseSource(options), { highWaterMark: 0 });
}

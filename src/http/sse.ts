import type { Clock, RunEvent, TimerHandle } from "../index.js";
import { encodeAll, type StreamEncoder } from "./protocols/protocol.js";

/** Headers of every stream. `no-transform` keeps compression from holding chunks back, the last one proxies. */
export const streamHeaders: Readonly<Record<string, string>> = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
  "x-content-type-options": "nosniff",
};

/** A run's events; those of a service can give what is at hand in one go, at most `limit` of them. */
export interface EventSource extends AsyncIterator<RunEvent, undefined> {
  take?(limit: number): readonly RunEvent[];
}

export interface EventBodyOptions {
  readonly events: EventSource;
  readonly encoder: StreamEncoder;
  readonly clock: Clock;
  readonly heartbeatMs: number;
  /** Told of what reading threw. */
  readonly onError: (error: unknown) => void;
}

/** How much text gathers before the reading of events waits for the client. */
const BUFFER_CHARS = 65_536;

/** After how long in which nothing of it is taken a client is gone, though nobody has said so. */
const UNREAD_MS = 600_000;

/** How many events may go over that together. */
const EVENTS_AT_A_TIME = 64;

/**
 * One reader of a run as the body of an answer, for whatever sends it: a web stream, or Node's response.
 *
 *   opened: events are taken one after another and gather as text; when there is more than BUFFER_CHARS of it that
 *     rests until the sender has taken it. The run's log is what waits for a slow client, not this buffer.
 *     A service gives the events of one turn of the event loop together; their text is added in one step.
 *   ended: the run has finished, or reading failed (the protocol's error goes out before the end).
 *   cancelled: the client left, or took nothing for UNREAD_MS; the iterator is returned, and the run goes on.
 *     Without that bound an answer that a host lost would be waited for, and its log be watched, for ever.
 */
export class EventBody {
  readonly #options: EventBodyOptions;
  #text: string;
  #ended = false;
  #cancelled = false;
  /** Lets the reading of events go on. */
  #resume: (() => void) | undefined;
  #onText: () => void = () => undefined;
  #told = false;
  #heartbeat: TimerHandle | undefined;
  #quiet = true;

  constructor(options: EventBodyOptions) {
    this.#options = options;
    // At once: several hosts hold the headers back until the first chunk.
    this.#text = `: open\n\n${options.encoder.start?.() ?? ""}`;
  }

  /** Whether nothing can follow what has been taken. */
  get isOver(): boolean {
    return this.#cancelled || (this.#ended && this.#text === "");
  }

  get isCancelled(): boolean {
    return this.#cancelled;
  }

  /** Begins to read. `onText` is told when there is text to take, and at any end; the first text is there already. */
  open(onText: () => void): void {
    if (this.#cancelled) return;
    this.#onText = onText;
    void this.#read();
  }

  /** Gives all the text that there is; may be empty. */
  take(): string {
    const text = this.#text;
    if (text === "") return text;
    this.#text = "";
    this.#quiet = false;
    this.#resume?.();
    if (this.#heartbeat === undefined && !this.isOver) this.#schedule();
    return text;
  }

  /** The client left: detaches from the run. Again, or after the end, does nothing. */
  cancel(): void {
    if (this.isOver) return;
    this.#cancelled = true;
    this.#text = "";
    this.#options.clock.clearTimeout(this.#heartbeat);
    this.#resume?.();
    // Ends a `next` that is waiting; a reader that fails while leaving has nobody left to be told.
    this.#options.events.return?.().catch(() => undefined);
  }

  async #read(): Promise<void> {
    const { events, encoder, onError } = this.#options;
    try {
      while (!this.#cancelled) {
        const { done, value } = await events.next();
        if (done === true) break;
        const more = events.take?.(EVENTS_AT_A_TIME);
        this.#add(
          more === undefined || more.length === 0
            ? encoder.encode(value)
            : encodeAll(encoder, [value, ...more]),
        );
        if (this.#text.length >= BUFFER_CHARS) await this.#taken();
      }
    } catch (error) {
      if (!this.#cancelled) {
        onError(error);
        this.#add(encoder.fail(error));
        // It may have been the encoder that failed, on what is no JSON: the reader would be kept for ever.
        events.return?.().catch(() => undefined);
      }
    }
    this.#ended = true;
    this.#options.clock.clearTimeout(this.#heartbeat);
    this.#tell();
  }

  /** Waits until the client has taken what there is, or is gone. */
  async #taken(): Promise<void> {
    const { clock } = this.#options;
    const timer = clock.setTimeout(() => {
      this.cancel();
      this.#onText();
    }, UNREAD_MS);
    await new Promise<void>((resolve) => (this.#resume = resolve));
    clock.clearTimeout(timer);
  }

  #add(text: string): void {
    if (text === "" || this.#cancelled) return;
    this.#text += text;
    this.#tell();
  }

  #tell(): void {
    if (this.#cancelled || this.#told) return;
    if (this.#options.events.take !== undefined || this.#ended) {
      this.#onText();
      return;
    }
    // Events that come one by one in the same turn of the event loop go out in one write.
    this.#told = true;
    nextTurn(() => {
      this.#told = false;
      if (!this.#cancelled) this.#onText();
    });
  }

  /**
   * One timer for the whole stream: a comment goes out when nothing else did since the last look. It rests while text
   * waits, since the client is slow then and not idle, and an answer that nobody reads must not tick for ever.
   */
  #schedule(): void {
    const { clock, heartbeatMs } = this.#options;
    if (heartbeatMs === 0) return;
    this.#heartbeat = clock.setTimeout(() => {
      this.#heartbeat = undefined;
      if (this.#text !== "") return;
      // Before the comment, whose taking would begin another one.
      this.#schedule();
      if (this.#quiet) this.#add(": ping\n\n");
      this.#quiet = true;
    }, heartbeatMs);
  }
}

function nextTurn(callback: () => void): void {
  // Hosts that are not Node may lack it.
  const later = (globalThis as { setImmediate?: (callback: () => void) => unknown }).setImmediate;
  if (later === undefined) queueMicrotask(callback);
  else later(callback);
}

/**
 * A body as a web stream: each `pull` gets all the text that there is as one chunk. `signal` says that the request has
 * gone away; the stream may never be read or cancelled then.
 */
export function toWebStream(body: EventBody, signal: AbortSignal): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  /** Lets a waiting pull look again. */
  let wake: (() => void) | undefined;
  let left: "cancelled" | "aborted" | undefined;
  const leave = (how: typeof left): void => {
    left ??= how;
    signal.removeEventListener("abort", onAbort);
    body.cancel();
    wake?.();
  };
  const onAbort = (): void => {
    leave("aborted");
  };
  return new ReadableStream<Uint8Array>(
    {
      start() {
        if (signal.aborted) {
          onAbort();
          return;
        }
        signal.addEventListener("abort", onAbort, { once: true });
        body.open(() => wake?.());
      },
      async pull(controller) {
        let text = body.take();
        while (text === "" && !body.isOver) {
          await new Promise<void>((resolve) => (wake = resolve));
          text = body.take();
        }
        if (text !== "") controller.enqueue(encoder.encode(text));
        if (!body.isOver) return;
        signal.removeEventListener("abort", onAbort);
        // Who cancelled the stream has closed it; after an aborted request it is still open.
        if (left === "cancelled") return;
        if (body.isCancelled && left === undefined)
          controller.error(new Error("The answer was not read for too long"));
        else controller.close();
      },
      cancel() {
        leave("cancelled");
      },
    },
    { highWaterMark: 0 },
  );
}

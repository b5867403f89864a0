import type { RunEvent } from "../../index.js";
import { maskError, maskErrorInfo, TOOL_ERROR_TEXT, type ClientError } from "../errors.js";
import type { StreamEncoder } from "./protocol.js";

/** A run event as clients get it: errors masked. `stream-error` ends a stream that could not be read to its end. */
export type ClientEvent =
  | RunEvent
  | (Omit<Extract<RunEvent, { type: "run-finished" }>, "error"> & { readonly error?: ClientError })
  | { readonly type: "stream-error"; readonly error: ClientError };

/** What of an event may be shown: the errors of runs and tools lose their own words. */
export function toClientEvent(event: RunEvent, showToolErrors = false): ClientEvent {
  if (event.type === "run-finished" && event.error !== undefined) {
    return { ...event, error: maskErrorInfo(event.error) };
  }
  if (event.type === "tool-output-error" && !showToolErrors) return { ...event, message: TOOL_ERROR_TEXT };
  return event;
}

/** The SSE id of an event. The run id is percent-encoded: ids of SSE may hold no line break. */
export function toEventId(runId: string, seq: number): string {
  return `${encodeURIComponent(runId)}:${String(seq)}`;
}

/** Reads what {@link toEventId} made; undefined if it is none. */
export function parseEventId(id: string): { readonly runId: string; readonly seq: number } | undefined {
  const match = /^([^:]+):(\d{1,15})$/.exec(id);
  if (match?.[1] === undefined || match[2] === undefined) return undefined;
  try {
    return { runId: decodeURIComponent(match[1]), seq: Number(match[2]) };
  } catch {
    return undefined;
  }
}

/** The neutral stream: each event as it is, under an id from which the stream can be taken up again. */
export class EventStreamEncoder implements StreamEncoder {
  readonly #idPrefix: string;
  readonly #showToolErrors: boolean;

  constructor(runId: string, options: { readonly showToolErrors?: boolean | undefined } = {}) {
    this.#idPrefix = `id: ${encodeURIComponent(runId)}:`;
    this.#showToolErrors = options.showToolErrors ?? false;
  }

  encode(event: RunEvent): string {
    const data = JSON.stringify(toClientEvent(event, this.#showToolErrors));
    return `${this.#idPrefix}${String(event.seq)}\ndata: ${data}\n\n`;
  }

  fail(error: unknown): string {
    const event: ClientEvent = { type: "stream-error", error: maskError(error) };
    return `data: ${JSON.stringify(event)}\n\n`;
  }
}

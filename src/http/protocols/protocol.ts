import type { RunEvent } from "../../index.js";

/**
 * Turns the events of one run, in their order, into the frames of one protocol's stream. One per stream; it knows
 * nothing of HTTP, time or the run beyond its events.
 */
export interface StreamEncoder {
  /** What goes before the first event. */
  start?(): string;
  /** The frames of one event, ready to be sent; may be empty. */
  encode(event: RunEvent): string;
  /** The frames that end the stream when reading the run failed (not the run itself). */
  fail(error: unknown): string;
}

/** The text of one server-sent event. */
export function frame(payload: object): string {
  return `data: ${JSON.stringify(payload)}\n\n`;
}

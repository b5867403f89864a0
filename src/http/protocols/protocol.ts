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
  /** Whether pieces of one text may come joined. Not where each event has a number of its own to be told. */
  readonly joins?: boolean;
  /** The frames that end the stream when reading the run failed (not the run itself). */
  fail(error: unknown): string;
}

/** The text of one server-sent event. */
export function frame(payload: object): string {
  return `data: ${JSON.stringify(payload)}\n\n`;
}

/** The frames of events that are there together. What a model wrote meanwhile is one piece of text to those who may join. */
export function encodeAll(encoder: StreamEncoder, events: readonly RunEvent[]): string {
  let text = "";
  for (let index = 0; index < events.length; index += 1) {
    let event = events[index];
    if (event === undefined) break;
    if (encoder.joins === true && (event.type === "text-delta" || event.type === "reasoning-delta")) {
      let { delta } = event;
      let next = events[index + 1];
      while (next?.type === event.type && next.id === event.id) {
        delta += next.delta;
        event = next;
        index += 1;
        next = events[index + 1];
      }
      event = { ...event, delta };
    }
    text += encoder.encode(event);
  }
  return text;
}

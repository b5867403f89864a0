import type { RunEvent } from "../../../src/index.js";

/**
 * The last text that came whole. What was open when another process took the run over is dropped, as a client drops
 * it.
 */
export function lastTextOf(events: readonly RunEvent[]): string {
  let whole = "";
  let open = "";
  for (const event of events) {
    if (event.type === "run-resumed" || event.type === "text-start") open = "";
    else if (event.type === "text-delta") open += event.delta;
    else if (event.type === "text-end") whole = open;
  }
  return whole;
}

/** The order in which something happened to runs: ids without repetitions. */
export function distinct(ids: Iterable<string>): string[] {
  return [...new Set(ids)];
}

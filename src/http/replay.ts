import type { RunEvent, RunInfo } from "../index.js";

/*
 * Clients of the AI SDK and of AG-UI cannot take back what they have shown. One that reads along is told what was cut
 * off when its run changed its process; one that reads a run from its beginning, after that, need not see it at all:
 *
 *   reading ahead: events are kept back up to the newest `run-resumed`, which tells what of them is to be dropped
 *   replaying: what is left of them
 *   reading along: each event as it comes
 */

/** The events of a run from its first on, for who begins to read now: without what has been cut off until now. */
export function replayOf(
  { status, attempt }: Pick<RunInfo, "status" | "attempt">,
  events: AsyncIterator<RunEvent, undefined>,
): AsyncIterator<RunEvent, undefined> {
  // One that was handed over and waits is resumed with its next attempt.
  const newest = status === "queued" && attempt > 0 ? attempt + 1 : attempt;
  return newest > 1 ? new Replay(events, newest) : events;
}

class Replay implements AsyncIterator<RunEvent, undefined> {
  readonly #events: AsyncIterator<RunEvent, undefined>;
  /** The newest attempt: those before it have told all that they will. */
  readonly #attempt: number;
  #ahead: IterableIterator<RunEvent> | undefined;

  constructor(events: AsyncIterator<RunEvent, undefined>, attempt: number) {
    this.#events = events;
    this.#attempt = attempt;
  }

  async next(): Promise<IteratorResult<RunEvent, undefined>> {
    this.#ahead ??= withoutCutOff(await this.#readAhead()).values();
    const { done, value } = this.#ahead.next() as IteratorResult<RunEvent, undefined>;
    return done === true ? this.#events.next() : { done: false, value };
  }

  return(): Promise<IteratorResult<RunEvent, undefined>> {
    return this.#events.return?.() ?? Promise.resolve({ done: true, value: undefined });
  }

  /** As much as the log keeps of a run, at most. */
  async #readAhead(): Promise<readonly RunEvent[]> {
    const ahead: RunEvent[] = [];
    for (;;) {
      const { done, value } = await this.#events.next();
      if (done === true) return ahead;
      ahead.push(value);
      if (value.type === "run-resumed" && value.attempt >= this.#attempt) return ahead;
    }
  }
}

/** Leaves out what was open when another process took the run over: see `run-resumed`. */
function withoutCutOff(events: readonly RunEvent[]): RunEvent[] {
  /** By what it is: the events of each text, reasoning and tool call that is being written. */
  const open = new Map<string, RunEvent[]>();
  const cutOff = new Set<RunEvent>();
  for (const event of events) {
    // No other event opens or ends anything.
    // eslint-disable-next-line @typescript-eslint/switch-exhaustiveness-check
    switch (event.type) {
      case "text-start":
      case "reasoning-start":
        open.set(`part ${event.id}`, [event]);
        break;
      case "text-delta":
      case "reasoning-delta":
        open.get(`part ${event.id}`)?.push(event);
        break;
      case "text-end":
      case "reasoning-end":
        open.delete(`part ${event.id}`);
        break;
      case "tool-input-start":
        open.set(`call ${event.toolCallId}`, [event]);
        break;
      case "tool-input-delta":
        open.get(`call ${event.toolCallId}`)?.push(event);
        break;
      case "tool-input-available":
        open.delete(`call ${event.toolCallId}`);
        break;
      case "run-resumed":
        for (const part of open.values()) for (const dropped of part) cutOff.add(dropped);
        open.clear();
        break;
      default:
        break;
    }
  }
  return events.filter((event) => !cutOff.has(event));
}

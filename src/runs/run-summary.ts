import type { AgentEvent, Interrupt, RunEvent, Usage } from "../run-event.js";
import type { RunSummary } from "../store/store.js";

export const NO_USAGE: Usage = { inputTokens: 0, outputTokens: 0, totalTokens: 0 };

function sum(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined && b === undefined ? undefined : (a ?? 0) + (b ?? 0);
}

function addUsage(a: Usage, b: Usage): Usage {
  const cachedInputTokens = sum(a.cachedInputTokens, b.cachedInputTokens);
  const reasoningTokens = sum(a.reasoningTokens, b.reasoningTokens);
  return {
    inputTokens: a.inputTokens + b.inputTokens,
    outputTokens: a.outputTokens + b.outputTokens,
    totalTokens: a.totalTokens + b.totalTokens,
    ...(cachedInputTokens === undefined ? undefined : { cachedInputTokens }),
    ...(reasoningTokens === undefined ? undefined : { reasoningTokens }),
  };
}

/** Gathers, event by event, what stays of a run, and knows which parts are still open. */
export class SummaryBuilder {
  readonly interrupts: Interrupt[] = [];
  #text = "";
  #freshStep = true;
  #usage = NO_USAGE;
  /** By id, for several model calls may write at once. */
  readonly #open = new Map<string, "text-end" | "reasoning-end">();

  add(event: AgentEvent): void {
    // Most kinds leave nothing behind.
    // eslint-disable-next-line @typescript-eslint/switch-exhaustiveness-check
    switch (event.type) {
      case "text-delta":
        // The answer is what the last step that wrote anything wrote.
        if (this.#freshStep) this.#text = "";
        this.#freshStep = false;
        this.#text += event.delta;
        break;
      case "step-started":
        this.#freshStep = true;
        break;
      case "text-start":
        this.#open.set(event.id, "text-end");
        break;
      case "reasoning-start":
        this.#open.set(event.id, "reasoning-end");
        break;
      case "text-end":
      case "reasoning-end":
        this.#open.delete(event.id);
        break;
      case "usage":
        this.#usage = addUsage(this.#usage, event.usage);
        break;
      case "interrupt": {
        const { id, kind, value } = event;
        if (!this.interrupts.some((known) => known.id === id)) this.interrupts.push({ id, kind, value });
        break;
      }
      default:
        break;
    }
  }

  /**
   * Takes over what an earlier attempt told: its usage was spent, and its text stands unless this attempt writes some.
   * What it asked is asked again.
   */
  recall(event: RunEvent): void {
    if (event.type === "text-delta" || event.type === "step-started" || event.type === "usage")
      this.add(event);
    else if (event.type === "run-resumed") this.#freshStep = true;
  }

  /** This attempt begins: what it writes replaces what was recalled. */
  begin(): void {
    this.#freshStep = true;
  }

  /** The ends of parts that a stopped agent left open. */
  closingEvents(): AgentEvent[] {
    const events = [...this.#open].map(([id, type]): AgentEvent => ({ type, id }));
    this.#open.clear();
    return events;
  }

  summary(interrupts: readonly Interrupt[]): RunSummary {
    return { text: this.#text, usage: this.#usage, interrupts };
  }
}

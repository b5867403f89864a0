import type { Conversation, HistoryMessage } from "../agent.js";
import type { AgentEvent, Interrupt, RunEvent, Usage } from "../run-event.js";
import type { RunRecord, RunSummary } from "../store/store.js";

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

/** The questions that a run left; none once it was told to stop, or they were closed: then nobody is to answer. */
export function questionsOf({ cancelRequested, summary }: RunRecord): readonly Interrupt[] {
  return cancelRequested === undefined ? (summary?.interrupts ?? []) : [];
}

/** What was answered last to the last message of the user, as the conversation has it; nothing if it has none. */
export async function answerIn(conversation: Conversation): Promise<string> {
  const history = await conversation.history();
  for (let at = history.length - 1; at >= 0; at--) {
    const { role, content } = history[at] as HistoryMessage;
    if (role === "user") break;
    const text = role === "assistant" ? textIn(content) : "";
    if (text !== "") return text;
  }
  return "";
}

function textIn(content: HistoryMessage["content"]): string {
  if (typeof content === "string") return content;
  return content.map(({ type, text }) => (type === "text" && typeof text === "string" ? text : "")).join("");
}

/** Gathers, event by event, what stays of a run, and knows which parts are still open. */
export class SummaryBuilder {
  readonly interrupts: Interrupt[] = [];
  #text = "";
  #freshStep = true;
  /** Whether the beginning of the text is not known. */
  #cut = false;
  #usage = NO_USAGE;
  /** By id, for several model calls may write at once. */
  readonly #open = new Map<string, "text-end" | "reasoning-end">();

  add(event: AgentEvent): void {
    // Most kinds leave nothing behind.
    // eslint-disable-next-line @typescript-eslint/switch-exhaustiveness-check
    switch (event.type) {
      case "text-delta":
        // The answer is what the last step that wrote anything wrote.
        if (this.#freshStep) {
          this.#text = "";
          this.#cut = false;
        }
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

  /** What comes now follows events that are no longer kept. Of the usage only what is known is counted. */
  lose(): void {
    this.#text = "";
    this.#cut = true;
    this.#freshStep = false;
  }

  /** Whether the text is not known, since events that told it are no longer kept. */
  get isCut(): boolean {
    return this.#cut;
  }

  /** The text, where it is cut, as something else has kept it. */
  mend(text: string): void {
    this.#text = text;
    this.#cut = false;
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
    return { text: this.#cut ? "" : this.#text, usage: this.#usage, interrupts };
  }
}

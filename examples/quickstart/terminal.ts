import type { Run, RunEvent } from "agent-sessions";

const CODES = {
  dim: 2,
  bold: 1,
  red: 31,
  green: 32,
  yellow: 33,
  blue: 34,
  magenta: 35,
  cyan: 36,
} as const;
export type Paint = keyof typeof CODES;

const coloured = process.stdout.isTTY && (process.env["NO_COLOR"] ?? "") === "";

export function paint(text: string, colour: Paint): string {
  return coloured ? `\u001b[${String(CODES[colour])}m${text}\u001b[0m` : text;
}

/** What a reader saw of a run. */
export interface Watched {
  readonly text: string;
  readonly events: readonly RunEvent[];
  /** When the first and the last piece of text came. */
  readonly firstTextAt: number;
  readonly lastTextAt: number;
}

const WIDTH = 68;

/** Prints what one user says and gets, line by line with the name in front, so that several can talk at once. */
export class Speaker {
  readonly #name: string;
  readonly #colour: Paint;

  constructor(name: string, colour: Paint) {
    this.#name = name;
    this.#colour = colour;
  }

  says(text: string): void {
    this.#line(">", text);
  }

  notes(text: string): void {
    this.#line("·", paint(text, "dim"));
  }

  /**
   * Follows a run to its end, printing as it comes. `onText` is called after each piece of text.
   *
   * @throws when the run fails: there is nothing left to show then.
   */
  async watch(run: Run, onText?: (pieces: number) => void): Promise<Watched> {
    const events: RunEvent[] = [];
    let text = "";
    let line = "";
    let pieces = 0;
    let firstTextAt = 0;
    let lastTextAt = 0;
    for await (const event of run) {
      events.push(event);
      if (event.type === "text-delta") {
        lastTextAt = performance.now();
        firstTextAt ||= lastTextAt;
        text += event.delta;
        line = this.#printFull(line + event.delta.replaceAll(/\s+/g, " "));
        onText?.(++pieces);
        continue;
      }
      if (event.type === "text-end" || event.type === "run-finished") {
        if (line.trim() !== "") this.#line("│", line.trim());
        line = "";
      }
      if (event.type === "run-finished" && event.outcome === "failed") {
        const { code, message } = event.error ?? { code: "AGENT_FAILED", message: "" };
        throw new Error(`the run of ${this.#name} failed with ${code}: ${message}`);
      }
      this.#tell(event);
    }
    return { text, events, firstTextAt, lastTextAt };
  }

  #tell(event: RunEvent): void {
    if (event.type === "tool-input-available")
      this.notes(`calls ${event.toolName}(${JSON.stringify(event.input)})`);
    else if (event.type === "tool-output-available")
      this.notes(`${event.toolName} gave ${JSON.stringify(event.output)}`);
    else if (event.type === "tool-output-error") this.notes(`no result: ${event.message}`);
    else if (event.type === "interrupt") this.notes(`waits for a human: ${event.kind}`);
    else if (event.type === "run-finished" && event.outcome === "cancelled") this.notes("cancelled");
  }

  /** Prints the lines that are full, at a space, and gives the rest. */
  #printFull(text: string): string {
    let rest = text;
    while (rest.length > WIDTH) {
      const space = rest.lastIndexOf(" ", WIDTH);
      const end = space > 0 ? space : WIDTH;
      this.#line("│", rest.slice(0, end).trim());
      rest = rest.slice(end);
    }
    return rest;
  }

  #line(mark: string, text: string): void {
    console.log(`  ${paint(this.#name.padEnd(6), this.#colour)} ${paint(mark, "dim")} ${text}`);
  }
}

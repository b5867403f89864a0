import { spawn, type ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";

export type Variables = Readonly<Record<string, number>>;

export type Answer = { readonly result: number; readonly variables: Variables } | { readonly error: string };

const PROGRAM = fileURLToPath(new URL("calculator.child.mjs", import.meta.url));

/** A calculator in a process of its own. One statement at a time. */
export class Calculator {
  readonly pid: number;
  /** Resolves when the process has ended. */
  readonly gone: Promise<void>;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  /** Starts one that knows `variables`. @throws when the process can't be started. */
  static async start(variables: Variables): Promise<Calculator> {
    const child = spawn(process.execPath, [PROGRAM, JSON.stringify(variables)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    // Its end is seen at the output; a write that comes too late is no news.
    child.stdin.on("error", () => undefined);
    await once(child, "spawn");
    return new Calculator(child);
  }

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>) {
    this.#child = child;
    // There is one once it has spawned.
    this.pid = child.pid ?? 0;
    this.gone = new Promise((resolve) => {
      child.once("exit", () => {
        resolve();
      });
    });
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** @throws when the process has died. */
  async run(statement: string): Promise<Answer> {
    this.#child.stdin.write(`${statement.replaceAll(/\s+/g, " ")}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error("The calculator's process has ended.");
    return JSON.parse(line.value) as Answer;
  }

  /** Ends the process, whatever it is doing. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

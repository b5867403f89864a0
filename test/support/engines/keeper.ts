/*
 * The runner's side of keeper.mjs. There is one keeper per test file, from the first thing that it has to hold until
 * the last one is given back: a process or directory that a test leaves over shows as a child process to the leak guard.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export interface KeptProcess {
  readonly pid: number;
  readonly running: boolean;
  /** Settles when it has ended, however. */
  readonly exited: Promise<void>;
  /** Does nothing to a process that has ended. With `tree` its descendants get the signal too. */
  signal(signal: NodeJS.Signals, tree?: boolean): Promise<void>;
  /** What it has printed so far. */
  output(): string;
}

export interface KeptProcessOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** The file that gets stdout and stderr, emptied first. */
  readonly log: string;
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly user?: { readonly uid: number; readonly gid: number } | undefined;
  /** Sent before SIGKILL when the runner is gone. */
  readonly lastSignal?: NodeJS.Signals | undefined;
}

interface Answer {
  readonly id?: number;
  readonly pid?: number;
  readonly exited?: number;
  readonly error?: string;
}

class Keeper {
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, (answer: Answer) => void>();
  readonly #exits = new Map<number, () => void>();
  #nextId = 1;
  #held = 0;

  constructor() {
    // In a session of its own, so that what ends the runner's process group does not end this.
    this.#child = spawn(process.execPath, [fileURLToPath(new URL("keeper.mjs", import.meta.url))], {
      detached: true,
      stdio: ["pipe", "pipe", "inherit"],
    });
    createInterface({ input: this.#child.stdout! }).on("line", (line) => {
      const answer = JSON.parse(line) as Answer;
      if (answer.exited !== undefined) this.#exits.get(answer.exited)?.();
      else this.#asked.get(answer.id!)?.(answer);
    });
  }

  async spawn(options: KeptProcessOptions): Promise<KeptProcess> {
    const { user, ...rest } = options;
    this.hold();
    let running = true;
    let onExit!: () => void;
    const exited = new Promise<void>((resolve) => (onExit = resolve));
    try {
      const { pid } = await this.ask({ operation: "spawn", env: process.env, ...rest, ...user }, (answer) => {
        if (answer.pid === undefined) return;
        this.#exits.set(answer.pid, () => {
          running = false;
          this.#exits.delete(answer.pid!);
          onExit();
          this.release();
        });
      });
      return {
        pid: pid!,
        get running() {
          return running;
        },
        exited,
        signal: async (signal, tree = false) => {
          if (running) await this.ask({ operation: "signal", pid, signal, tree });
        },
        output: () => readFileSync(options.log, "utf8"),
      };
    } catch (error) {
      this.release();
      throw error;
    }
  }

  ask(request: object, onAnswer?: (answer: Answer) => void): Promise<Answer> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, (answer) => {
        this.#asked.delete(id);
        onAnswer?.(answer);
        if (answer.error === undefined) resolve(answer);
        else reject(new Error(answer.error));
      });
      this.#child.stdin!.write(`${JSON.stringify({ id, ...request })}\n`);
    });
  }

  hold(): void {
    this.#held++;
  }

  release(): void {
    if (--this.#held > 0) return;
    if (keeper === this) keeper = undefined;
    this.#child.stdin!.end();
  }
}

let keeper: Keeper | undefined;

export function spawnKept(options: KeptProcessOptions): Promise<KeptProcess> {
  return (keeper ??= new Keeper()).spawn(options);
}

export interface KeptDirectory {
  readonly path: string;
  remove(): Promise<void>;
}

/** A new directory, by default below the system's one for temporary files. It goes away with the run, if not by `remove`. */
export async function keptDirectory(name: string, parent = tmpdir()): Promise<KeptDirectory> {
  const holder = (keeper ??= new Keeper());
  holder.hold();
  const path = await mkdtemp(join(parent, `agent-sessions-${name}-`));
  await holder.ask({ operation: "own", directory: path });
  let removed: Promise<void> | undefined;
  const remove = async (): Promise<void> => {
    // A process that was killed may still be writing its last; here it is waited for, in the keeper it would block.
    await rm(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
    await holder.ask({ operation: "remove", directory: path });
    holder.release();
  };
  return { path, remove: () => (removed ??= remove()) };
}

/** Waits until a process has printed something that matches. Throws with its output when it ends or takes too long. */
export async function printed(
  kept: KeptProcess,
  pattern: RegExp,
  timeoutMs = 90_000,
): Promise<RegExpExecArray> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const running = kept.running;
    const match = pattern.exec(kept.output());
    if (match) return match;
    if (!running) throw new Error(`The process ended before it was ready:\n${kept.output()}`);
    if (performance.now() > deadline)
      throw new Error(`Not ready in ${String(timeoutMs)} ms:\n${kept.output()}`);
    await sleep(10);
  }
}

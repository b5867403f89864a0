/* The test's side of one worker. */
import { readFileSync } from "node:fs";
import { printed, spawnKept, type KeptProcess } from "../../support/engines/keeper.js";
import type { RunEvent } from "../../../src/index.js";
import type { WorkerOptions } from "./protocol.js";
import type { WorkerRecord } from "./records.js";

/** What a worker's service refused. */
export class Refused extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(`${code}: ${message}`);
  }
}

/** A worker did not answer: it is dead, or was cut off while it was asked. Whether it did what was asked is unknown. */
export class Unreachable extends Error {}

interface Reply {
  readonly result?: unknown;
  readonly event?: RunEvent;
  readonly error?: { readonly code: string; readonly message: string };
}

export class WorkerProcess {
  readonly name: string;
  readonly #process: KeptProcess;
  readonly #options: WorkerOptions;
  readonly #address: string;
  /** Whether its end was wanted. */
  #ended = false;

  private constructor(process: KeptProcess, options: WorkerOptions, port: string) {
    this.name = options.name;
    this.#process = process;
    this.#options = options;
    this.#address = `http://127.0.0.1:${port}`;
  }

  static async start(program: string, cwd: string, options: WorkerOptions): Promise<WorkerProcess> {
    const kept = await spawnKept({
      command: process.execPath,
      args: [program, JSON.stringify(options)],
      cwd,
      log: `${cwd}/${options.name}.log`,
    });
    const ready = await printed(kept, /listening on (\d+)/);
    return new WorkerProcess(kept, options, ready[1] ?? "");
  }

  get running(): boolean {
    return this.#process.running;
  }

  /** It has ended by itself, with this output. */
  get crash(): string | undefined {
    return this.#ended || this.running ? undefined : this.output;
  }

  get output(): string {
    return this.#process.output();
  }

  records(): WorkerRecord[] {
    // The last line of a killed worker may be half a line.
    const lines = readFileSync(this.#options.records, "utf8").split("\n").slice(0, -1);
    return lines.map((line) => JSON.parse(line) as WorkerRecord);
  }

  /** @throws Refused with the service's error; Unreachable. */
  async call<T>(method: string, args: object = {}): Promise<T> {
    const response = await this.#post("/call", { method, args });
    const reply = await this.#read(() => response.json() as Promise<Reply>);
    if (reply.error !== undefined) throw new Refused(reply.error.code, reply.error.message);
    return reply.result as T;
  }

  /** The events of a run as this worker's readers see them. @throws as `call` */
  async *follow(args: object): AsyncGenerator<RunEvent, void, undefined> {
    const controller = new AbortController();
    try {
      const response = await this.#post("/follow", args, controller.signal);
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await this.#read(() => reader.read());
        if (done) throw new Unreachable(`${this.name} broke off`);
        const lines = (rest + value).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          const reply = JSON.parse(line) as Reply;
          if (reply.error !== undefined) throw new Refused(reply.error.code, reply.error.message);
          if (reply.event === undefined) return;
          yield reply.event;
        }
      }
    } finally {
      controller.abort();
    }
  }

  async kill(): Promise<void> {
    this.#ended = true;
    await this.#process.signal("SIGKILL");
    await this.#process.exited;
  }

  /** As an orchestrator does; settles when it has exited. */
  async terminate(): Promise<void> {
    this.#ended = true;
    await this.#process.signal("SIGTERM");
    await this.#process.exited;
  }

  async pause(): Promise<void> {
    await this.#process.signal("SIGSTOP");
  }

  async resume(): Promise<void> {
    await this.#process.signal("SIGCONT");
  }

  #post(path: string, body: object, signal?: AbortSignal): Promise<Response> {
    return this.#read(() =>
      fetch(this.#address + path, { method: "POST", body: JSON.stringify(body), ...(signal && { signal }) }),
    );
  }

  async #read<T>(from: () => Promise<T>): Promise<T> {
    try {
      return await from();
    } catch (error) {
      throw new Unreachable(`${this.name} did not answer`, { cause: error });
    }
  }
}

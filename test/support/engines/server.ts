/*
 * A throwaway server on a port that the system assigned, through its life of faults. It keeps port and directory over
 * `kill` and `restart`, so that clients find it again; `stop` is final and leaves nothing.
 *
 *     running -> stopped by kill() -> restart() -> running
 *     running -> paused by pause() -> resume() -> running
 */
import { createServer, type AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import {
  keptDirectory,
  printed,
  spawnKept,
  type KeptDirectory,
  type KeptProcess,
  type KeptProcessOptions,
} from "./keeper.js";

const ATTEMPTS = 5;
/** How long a restart waits for what it needs and somebody else holds. */
const PATIENCE_MS = 60_000;

export interface EngineServer {
  readonly url: string;
  readonly port: number;
  /** Of the present process: another one after a restart. */
  readonly pid: number;
  /** Ends it and removes its directory. Can be called again, and after `kill`. */
  stop(): Promise<void>;
  /** SIGKILL to all its processes; settles when they are gone. */
  kill(): Promise<void>;
  /** Started again on the same port and directory; one that runs is ended properly first. Settles when it is ready. */
  restart(): Promise<void>;
  /** SIGSTOP to all its processes: connections stay open and nothing answers. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** What the present process has printed. */
  log(): string;
}

export interface ServerKind {
  readonly name: string;
  readonly ready: RegExp;
  /** What it prints when the port was taken meanwhile. */
  readonly portTaken: RegExp;
  /** A proper end that lets go of connected clients. */
  readonly endSignal: NodeJS.Signals;
  url(port: number): string;
  /** Fills the new directory. */
  prepare(directory: string): Promise<void>;
  /** Called for each start. */
  command(directory: string, port: number): Omit<KeptProcessOptions, "cwd" | "log">;
}

export async function startServer(kind: ServerKind): Promise<EngineServer> {
  const directory = await keptDirectory(kind.name);
  try {
    await kind.prepare(directory.path);
    for (let attempt = 1; ; attempt++) {
      const server = new Server(kind, directory, await freePort());
      try {
        await server.start();
        return server;
      } catch (error) {
        if (attempt === ATTEMPTS || !kind.portTaken.test(String(error))) throw error;
      }
    }
  } catch (error) {
    await directory.remove();
    throw error;
  }
}

class Server implements EngineServer {
  #process: KeptProcess | undefined;

  constructor(
    readonly kind: ServerKind,
    readonly directory: KeptDirectory,
    readonly port: number,
  ) {}

  get url(): string {
    return this.kind.url(this.port);
  }

  get pid(): number {
    if (!this.#process?.running) throw new Error(`${this.kind.name} is not running.`);
    return this.#process.pid;
  }

  async restart(): Promise<void> {
    await this.#end(this.kind.endSignal);
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        await this.start();
        return;
      } catch (error) {
        // What a killed Postgres leaves of its children holds its memory for a moment, and another test's server may
        // have been given the port meanwhile.
        const held = this.kind.portTaken.test(String(error)) || /still in use|lock file/.test(String(error));
        if (!held || performance.now() > deadline) throw error;
        await sleep(200);
      }
    }
  }

  /** @throws Error with what it printed when it does not start, for example because the port is taken */
  async start(): Promise<void> {
    const path = this.directory.path;
    const options = { cwd: path, log: `${path}/log`, ...this.kind.command(path, this.port) };
    this.#process = await spawnKept(options);
    try {
      await printed(this.#process, this.kind.ready);
    } catch (error) {
      await this.#end("SIGKILL");
      throw error;
    }
  }

  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async stop(): Promise<void> {
    await this.#end(this.kind.endSignal);
    await this.directory.remove();
  }

  async pause(): Promise<void> {
    await this.#process?.signal("SIGSTOP", true);
  }

  async resume(): Promise<void> {
    await this.#process?.signal("SIGCONT", true);
  }

  log(): string {
    return this.#process?.output() ?? "";
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const server = this.#process;
    if (!server?.running) return;
    if (signal === "SIGKILL") await server.signal("SIGKILL", true);
    else {
      await server.signal("SIGCONT", true); // It may be paused.
      await server.signal(signal);
      const late = setTimeout(() => void server.signal("SIGKILL", true), 10_000);
      await server.exited;
      clearTimeout(late);
    }
    await server.exited;
  }
}

/** The system gives a free port to port 0; whoever takes it in between makes the start fail, and another is tried. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export interface Ship {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
  readonly child: ChildProcess;
}

/** The app's processes: all run the same program and share nothing but the engine. */
export class Fleet {
  readonly #environment: Readonly<Record<string, string>>;
  readonly #running = new Map<string, Ship>();

  constructor(environment: Readonly<Record<string, string>>) {
    this.#environment = environment;
  }

  /** Those that take requests, in the order of their names. */
  get running(): readonly Ship[] {
    return [...this.#running.values()].sort((a, b) => a.name.localeCompare(b.name));
  }

  async start(name: string): Promise<Ship> {
    const child = spawn(process.execPath, [fileURLToPath(new URL("./app.child.mjs", import.meta.url))], {
      env: { ...process.env, ...this.#environment, APP_NAME: name },
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    const ended = once(child, "exit").then(() => {
      throw new Error(`Process ${name} ended before it took requests`);
    });
    const [message] = (await Promise.race([once(child, "message"), ended])) as [{ port: number }];
    ended.catch(() => undefined);
    // A process that has sent a message has a pid.
    const ship = { name, port: message.port, pid: child.pid as number, child };
    this.#running.set(name, ship);
    child.once("exit", () => {
      if (this.#running.get(name) === ship) this.#running.delete(name);
    });
    return ship;
  }

  /** The end that nobody can prepare for. */
  async kill(name: string): Promise<void> {
    await this.#end(name, "SIGKILL");
  }

  /** As a deploy would: told to stop, waited for, started again. Gives the code it exited with. */
  async roll(name: string): Promise<number | null> {
    const code = await this.#end(name, "SIGTERM");
    await this.start(name);
    return code;
  }

  async stop(): Promise<void> {
    await Promise.all(this.running.map(({ name }) => this.kill(name)));
  }

  async #end(name: string, signal: "SIGKILL" | "SIGTERM"): Promise<number | null> {
    const ship = this.#running.get(name);
    if (ship === undefined) throw new Error(`No process ${name} is running`);
    const exit = once(ship.child, "exit") as Promise<[number | null]>;
    // A load balancer takes a process out before it is told to stop.
    if (signal === "SIGTERM") this.#running.delete(name);
    ship.child.kill(signal);
    return (await exit)[0];
  }
}

/*
 * Points at which a run can be held until a fault has been done to it. Workers ask here, over HTTP, at each point of each
 * turn; nearly always the answer comes at once.
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { GateName } from "./protocol.js";

export interface HeldGate {
  /** Settles with the worker's name when the run has come to the gate and waits there. */
  readonly reached: Promise<string>;
  /** Lets it go on. Harmless when it never came or was killed there. */
  release(): void;
}

interface Waiting {
  reach(worker: string): void;
  readonly released: Promise<void>;
}

export class Gates {
  readonly #held = new Map<string, Waiting>();
  readonly #holds = new Set<HeldGate>();
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<Gates> {
    const server = createServer((request, response) => {
      void (async () => {
        let body = "";
        for await (const chunk of request) body += String(chunk);
        const { name, runId, worker } = JSON.parse(body) as { name: GateName; runId: string; worker: string };
        await gates.pass(name, runId, worker);
        response.end();
      })().catch(() => response.destroy());
    });
    const gates = new Gates(server);
    // Workers may be idle for longer than Node's five seconds between two questions.
    server.keepAliveTimeout = 120_000;
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return gates;
  }

  get url(): string {
    return `http://127.0.0.1:${String((this.#server.address() as AddressInfo).port)}`;
  }

  /** Holds the next time that a run comes to a gate; later ones, by another owner, go through. */
  hold(name: GateName, runId: string): HeldGate {
    let reach!: (worker: string) => void;
    let release!: () => void;
    const reached = new Promise<string>((resolve) => (reach = resolve));
    const released = new Promise<void>((resolve) => (release = resolve));
    this.#held.set(`${name}\n${runId}`, { reach, released });
    const held = { reached, release };
    this.#holds.add(held);
    return held;
  }

  /** Where workers, and the model, wait. */
  async pass(name: GateName, runId: string, worker: string): Promise<void> {
    const key = `${name}\n${runId}`;
    const waiting = this.#held.get(key);
    if (waiting === undefined) return;
    this.#held.delete(key);
    waiting.reach(worker);
    await waiting.released;
  }

  async stop(): Promise<void> {
    for (const held of this.#holds) held.release();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }
}

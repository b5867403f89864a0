/*
 * Several workers on one engine, the provider that they all call, and the gates at which they can be held. What is asked
 * of the cluster goes to any worker that lives, and again to another one when that dies: as through a load balancer, with
 * clients that send a request again under the same run id.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { inject } from "vitest";
import type { HistoryMessage, RunEvent } from "../../../src/index.js";
import { keptDirectory, type KeptDirectory } from "../../support/engines/keeper.js";
import { startProxy, type NetworkProxy } from "../../support/engines/index.js";
import { Gates } from "./gates.js";
import { problemsOf, type HistoryOptions } from "./history.js";
import { startModel, type Model } from "./model.js";
import type { Program, WorkerOptions } from "./protocol.js";
import type { EffectRecord, NoteRecord, StepRecord, WorkerRecord } from "./records.js";
import { until } from "./until.js";
import { Unreachable, WorkerProcess } from "./worker-process.js";

/** How long a worker that went silent keeps its sessions here. */
export const LEASE_MS = 3_000;
/** How long it takes at most until a worker looks for runs to take over: a quarter of the lease. */
export const SCAN_MS = LEASE_MS / 4;
/** What a machine may add that has much else to do. How long things take is measured by bench/; here it is bounded. */
export const SLACK_MS = 15_000;

export interface SessionRef {
  readonly sessionId: string;
  readonly userId?: string | undefined;
}

export interface Turn extends SessionRef {
  readonly runId: string;
  readonly program: Program;
  readonly onBusy?: "enqueue" | "reject" | "interrupt" | "rollback" | undefined;
}

export interface ClusterOptions {
  readonly engine: WorkerOptions["engine"];
  readonly url: string;
  readonly eventsUrl?: string | undefined;
  readonly space: string;
  /** What all workers get, unless `start` says otherwise. */
  readonly workers?: Partial<WorkerOptions> | undefined;
}

export class Cluster {
  readonly gates: Gates;
  readonly model: Model;
  readonly options: ClusterOptions;
  readonly #directory: KeptDirectory;
  readonly #workers: WorkerProcess[] = [];
  readonly #proxies: NetworkProxy[] = [];
  #names = 0;
  #turn = 0;

  private constructor(options: ClusterOptions, gates: Gates, model: Model, directory: KeptDirectory) {
    this.options = options;
    this.gates = gates;
    this.model = model;
    this.#directory = directory;
  }

  static async start(options: ClusterOptions, count: number): Promise<Cluster> {
    const gates = await Gates.start();
    const cluster = new Cluster(options, gates, await startModel(gates), await keptDirectory("cluster"));
    try {
      await Promise.all(Array.from({ length: count }, () => cluster.add()));
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  /** Another worker. */
  async add(options: Partial<WorkerOptions> = {}): Promise<WorkerProcess> {
    const name = `w${String(++this.#names)}`;
    const { engine, url, eventsUrl, space, workers } = this.options;
    const worker = await WorkerProcess.start(inject("worker"), this.#directory.path, {
      ...{ name, engine, url, eventsUrl, space },
      modelUrl: this.model.url,
      gateUrl: this.gates.url,
      gates: true,
      records: `${this.#directory.path}/${name}.records`,
      leaseMs: LEASE_MS,
      clockAheadMs: 0,
      drainMs: 5_000,
      ...workers,
      ...options,
    });
    this.#workers.push(worker);
    return worker;
  }

  /** Another worker, whose way to the engine can be made bad. */
  async addBehindProxy(
    options: Partial<WorkerOptions> = {},
  ): Promise<{ readonly worker: WorkerProcess; readonly network: NetworkProxy }> {
    const network = await startProxy(this.options.url);
    this.#proxies.push(network);
    return { worker: await this.add({ ...options, url: network.url }), network };
  }

  get workers(): readonly WorkerProcess[] {
    return this.#workers;
  }

  get living(): readonly WorkerProcess[] {
    return this.#workers.filter((worker) => worker.running);
  }

  worker(name: string): WorkerProcess {
    const worker = this.#workers.find((one) => one.name === name);
    if (worker === undefined) throw new Error(`There is no worker ${name}`);
    return worker;
  }

  /** Who has claimed an attempt of a run, once somebody has. */
  async ownerOf(runId: string, attempt = 1): Promise<WorkerProcess> {
    const find = (): StepRecord | undefined =>
      this.steps("claim").find((claim) => claim.runId === runId && claim.attempt === attempt);
    await until(() => find() !== undefined);
    return this.worker(find()!.worker);
  }

  /** The workers in turn, those that live. */
  any(except?: WorkerProcess): WorkerProcess {
    const living = this.living.filter((worker) => worker !== except);
    const worker = living[this.#turn++ % living.length];
    if (worker === undefined) throw new Error("No worker is left");
    return worker;
  }

  /** Sends a turn until somebody has accepted it. */
  async send(turn: Turn, via?: WorkerProcess): Promise<{ readonly created: boolean }> {
    const { program, ...rest } = turn;
    const args = { ...rest, message: JSON.stringify(program) };
    return this.#ask((worker) => worker.call("chat", args), via);
  }

  ask<T>(method: string, args: object, via?: WorkerProcess): Promise<T> {
    return this.#ask((worker) => worker.call<T>(method, args), via);
  }

  async history(session: SessionRef): Promise<readonly HistoryMessage[]> {
    return (await this.ask<{ messages: HistoryMessage[] }>("getHistory", { ...session, limit: 1000 }))
      .messages;
  }

  /**
   * Reads a run to its end as a client does that reconnects to whichever worker it finds, with the number of the last
   * event that it had. Throws when a number is missing or comes twice.
   */
  async read(
    run: SessionRef & { readonly runId: string },
    options: { readonly via?: () => WorkerProcess; readonly onEvent?: (event: RunEvent) => void } = {},
  ): Promise<RunEvent[]> {
    const events: RunEvent[] = [];
    for (;;) {
      const worker = (options.via ?? (() => this.any()))();
      try {
        const { sessionId, userId, runId } = run;
        for await (const event of worker.follow({ sessionId, userId, runId, after: events.length })) {
          if (event.seq !== events.length + 1)
            throw new Error(`Event ${String(event.seq)} came after ${String(events.length)}`);
          events.push(event);
          options.onEvent?.(event);
        }
        return events;
      } catch (error) {
        if (!isGone(error)) throw error;
        await sleep(20);
      }
    }
  }

  records(): WorkerRecord[] {
    return this.#workers.flatMap((worker) => worker.records());
  }

  steps(step?: StepRecord["step"]): StepRecord[] {
    return this.records().filter(
      (line) => line.kind === "step" && (step === undefined || line.step === step),
    ) as StepRecord[];
  }

  notes(event: NoteRecord["event"]): NoteRecord[] {
    return this.records().filter((line) => line.kind === "note" && line.event === event) as NoteRecord[];
  }

  effects(runId: string): EffectRecord[] {
    return this.records().filter((line) => line.kind === "effect" && line.runId === runId) as EffectRecord[];
  }

  /** How often the model was asked in a run: the number of calls for each of its steps. */
  modelCalls(runId: string): number[] {
    const calls: number[] = [];
    for (const call of this.model.calls) {
      if (call.runId === runId) calls[call.step] = (calls[call.step] ?? 0) + 1;
    }
    return Array.from(calls, (count) => count || 0);
  }

  /** What is wrong with what was recorded, and which workers fell over by themselves. */
  problems(options?: HistoryOptions): string[] {
    const crashes = this.#workers.flatMap(({ name, crash }) =>
      crash === undefined ? [] : [`worker ${name} ended by itself:\n${crash}`],
    );
    return [...crashes, ...problemsOf(this.records(), options)];
  }

  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.kill()));
    await Promise.all(this.#proxies.map((proxy) => proxy.stop()));
    await this.gates.stop();
    await this.model.stop();
    await this.#directory.remove();
  }

  async #ask<T>(ask: (worker: WorkerProcess) => Promise<T>, via?: WorkerProcess): Promise<T> {
    for (let worker = via ?? this.any(); ; worker = this.any()) {
      try {
        return await ask(worker);
      } catch (error) {
        if (!isGone(error)) throw error;
        await sleep(20);
      }
    }
  }
}

/** Whether another worker, or the same one later, may know better: this one is dead, on its way out, or cut off. */
function isGone(error: unknown): boolean {
  const { code } = error as { readonly code?: string };
  return error instanceof Unreachable || code === "CLOSED" || code === "STORE_UNAVAILABLE";
}

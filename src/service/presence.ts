import { hostname } from "node:os";
import type { AgentManagerStats } from "../agent-manager.js";
import type { Clock, TimerHandle } from "../internal/clock.js";
import { jsonProblem } from "../internal/canonical-json.js";
import { withTimeLimit } from "../internal/time-limit.js";
import type { JsonObject, JsonValue } from "../json.js";
import type { ProcessRecord, ProcessRegistry } from "../store/store.js";

/*
 * This process among those that share a store:
 *
 *   new ──start──▶ present (an entry renewed every BEAT_MS) ──drain──▶ present, draining ──stop──▶ gone
 *
 * A process that died is gone TTL_MS after its last beat. While the engine is out of reach beats fail quietly: what a
 * process may do is decided by its leases, never by its entry.
 *
 * A process counts as dead once two looks in a row, LOOK_MS apart, have missed it. One may miss a live one whose beats
 * have just failed, as all do that have not beaten yet after the engine has come back.
 */

const BEAT_MS = 5_000;
const TTL_MS = 20_000;
/** Between two looks who is there: longer than a process may be missing that lives. */
const LOOK_MS = 30_000;
/** How long leaving may take at the end. */
const LEAVE_MS = 1_000;

/** What one process says of itself; of others, as of `seenAt`. */
export interface ProcessStats extends AgentManagerStats {
  /** Names the process for as long as it lives. */
  readonly processId: string;
  readonly hostname: string;
  readonly pid: number;
  /** Milliseconds since the epoch, by the store's clock. */
  readonly startedAt: number;
  readonly seenAt: number;
  /** Whether it is closing and takes no more work. */
  readonly draining: boolean;
  /** Runs at work in it. */
  readonly activeRuns: number;
  /** What the host had it say of itself: the option `processInfo`. */
  readonly info: JsonObject;
}

/** Sums over all live processes of a store. */
export interface ClusterStats extends Omit<AgentManagerStats, "agentTtlMs"> {
  readonly processes: number;
  readonly activeRuns: number;
}

/** What processes tell each other. What it is about is done already: whoever misses it loses nothing but time. */
export type ProcessMessage =
  | { readonly type: "remove-agent"; readonly threadId: string }
  | { readonly type: "session-deleted"; readonly threadId: string };

export interface PresenceOptions {
  readonly registry: ProcessRegistry;
  readonly processId: string;
  readonly clock: Clock;
  readonly info: JsonObject;
  readonly ready: () => Promise<void>;
  readonly stats: () => AgentManagerStats & { readonly activeRuns: number };
  /** A message of another process. */
  readonly onMessage: (message: ProcessMessage) => void;
  /** Called after every look that tells which processes live: see {@link Presence.live}. */
  readonly onLook: () => void;
}

export class Presence {
  readonly #options: PresenceOptions;
  readonly #hostname = hostname();
  #stopWatching: (() => void) | undefined;
  #timer: TimerHandle | undefined;
  #lookTimer: TimerHandle | undefined;
  /** Who was there at the last look and the one before it; less of them when one has failed. */
  #looks: (readonly string[])[] = [];
  #beating: Promise<void> | undefined;
  #beatAgain = false;
  #draining = false;
  #stopped = false;

  constructor(options: PresenceOptions) {
    this.#options = options;
    void this.#beat();
    this.#schedule();
    this.#lookLater();
  }

  /** The names of the processes that are not dead, up to half a minute old; undefined while that is not known. */
  get live(): readonly string[] | undefined {
    return this.#looks.length < 2 ? undefined : [...new Set(this.#looks.flat())];
  }

  /** The live processes, oldest first, with this one as it is now. @throws what the store throws */
  async list(): Promise<readonly ProcessStats[]> {
    const { registry, processId, stats } = this.#options;
    const records = await registry.list();
    return records.map((record) => {
      const told = fromRecord(record);
      return record.processId === processId ? { ...told, ...stats(), draining: this.#draining } : told;
    });
  }

  /** Tells the other processes. @throws what the store throws */
  async send(message: ProcessMessage): Promise<void> {
    await this.#options.registry.send({ ...message, from: this.#options.processId });
  }

  /** Says at once that this process takes no more work. */
  drain(): void {
    this.#draining = true;
    void this.#beat();
  }

  /** Leaves; never throws, and takes a second at most. */
  async stop(): Promise<void> {
    const { registry, processId, clock } = this.#options;
    this.#stopped = true;
    this.#stopWatching?.();
    clock.clearTimeout(this.#timer);
    clock.clearTimeout(this.#lookTimer);
    const left = Promise.resolve(this.#beating).then(() => registry.leave(processId));
    await withTimeLimit(left, LEAVE_MS, clock);
  }

  #schedule(): void {
    this.#timer = this.#options.clock.setTimeout(() => {
      void this.#beat();
      this.#schedule();
    }, BEAT_MS);
  }

  #lookLater(): void {
    this.#lookTimer = this.#options.clock.setTimeout(() => {
      this.#lookLater();
      void this.#look();
    }, LOOK_MS);
  }

  async #look(): Promise<void> {
    const { registry, processId, onLook } = this.#options;
    const seen = await registry.list().then(
      (records) => records.map((record) => record.processId),
      (): readonly string[] => [],
    );
    if (this.#stopped) return;
    // Who does not see itself sees nothing.
    this.#looks = seen.includes(processId) ? [...this.#looks.slice(-1), seen] : [];
    if (this.live !== undefined) onLook();
  }

  /** While a beat is under way another one asked for follows it, once: the last is to say how things stand. */
  async #beat(): Promise<void> {
    if (this.#beating !== undefined) {
      this.#beatAgain = true;
      return;
    }
    const beating = this.#renew().catch(() => undefined);
    this.#beating = beating;
    await beating;
    this.#beating = undefined;
    if (!this.#beatAgain || this.#stopped) return;
    this.#beatAgain = false;
    await this.#beat();
  }

  async #renew(): Promise<void> {
    const { registry, processId, info, ready, stats } = this.#options;
    await ready();
    if (this.#stopped) return;
    this.#stopWatching ??= registry.watch((message) => {
      this.#receive(message);
    });
    const { activeRuns, ...agents } = stats();
    const own = { agents: { ...agents }, activeRuns, draining: this.#draining };
    await registry.beat(processId, { ...own, hostname: this.#hostname, pid: process.pid, info }, TTL_MS);
  }

  #receive({ type, threadId, from }: JsonObject): void {
    if (from === this.#options.processId || typeof threadId !== "string") return;
    // Another version of this library may say more.
    if (type === "remove-agent" || type === "session-deleted") this.#options.onMessage({ type, threadId });
  }
}

/** Sums what processes say. */
export function clusterOf(processes: readonly ProcessStats[]): ClusterStats {
  const sum = (of: (process: ProcessStats) => number): number =>
    processes.reduce((total, process) => total + of(process), 0);
  return {
    processes: processes.length,
    totalAgents: sum(({ totalAgents }) => totalAgents),
    activeAgents: sum(({ activeAgents }) => activeAgents),
    idleAgents: sum(({ idleAgents }) => idleAgents),
    closingAgents: sum(({ closingAgents }) => closingAgents),
    maxAgents: sum(({ maxAgents }) => maxAgents),
    activeRuns: sum(({ activeRuns }) => activeRuns),
  };
}

/** Reads an entry, which another version of this library may have written. */
function fromRecord({ processId, startedAt, seenAt, info }: ProcessRecord): ProcessStats {
  const agents = toObject(info["agents"]);
  return {
    processId,
    hostname: typeof info["hostname"] === "string" ? info["hostname"] : "",
    pid: toCount(info["pid"]),
    startedAt,
    seenAt,
    draining: info["draining"] === true,
    activeRuns: toCount(info["activeRuns"]),
    totalAgents: toCount(agents["totalAgents"]),
    activeAgents: toCount(agents["activeAgents"]),
    idleAgents: toCount(agents["idleAgents"]),
    closingAgents: toCount(agents["closingAgents"]),
    maxAgents: toCount(agents["maxAgents"]),
    agentTtlMs: toCount(agents["agentTtlMs"]),
    info: toObject(info["info"]),
  };
}

function toCount(value: JsonValue | undefined): number {
  return typeof value === "number" ? value : 0;
}

function toObject(value: JsonValue | undefined): JsonObject {
  // Neither null nor a list: what is left of JSON is an object.
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
}

/** @throws {TypeError | RangeError} on what is no JSON, or too much of it. */
export function checkProcessInfo(info: JsonObject = {}): JsonObject {
  // A caller in plain JavaScript may give anything.
  if (typeof (info as unknown) !== "object" || (info as unknown) === null || jsonProblem(info) !== undefined)
    throw new TypeError("Expected `processInfo` to be an object of plain JSON");
  if (JSON.stringify(info).length > 4_096)
    throw new RangeError("Expected `processInfo` to take at most 4096 characters of JSON");
  return info;
}

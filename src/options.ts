import type { AgentFactoryLike } from "./agent.js";
import { integerOption } from "./internal/check-options.js";
import type { Clock } from "./internal/clock.js";
import type { JsonObject, JsonValue } from "./json.js";
import type { SessionIdentity } from "./session.js";
import type { BusyPolicy, Store } from "./store/store.js";
import type { AgentConfig } from "./agent.js";

/** The default of every option that has one. */
export const defaults = Object.freeze({
  maxAgents: 100,
  agentTtlMs: 3_600_000,
  cleanupIntervalMs: 300_000,
  createTimeoutMs: 60_000,
  closeTimeoutMs: 5_000,
  onBusy: "enqueue",
  queueLimit: 100,
  totalQueueLimit: 10_000,
  leaseMs: 10_000,
  maxAttempts: 3,
  runTimeoutMs: 600_000,
  abortGraceMs: 2_000,
  maxMessageBytes: 1_048_576,
  drainMs: 10_000,
} as const);

/** How an {@link AgentManager} is built. */
export interface AgentManagerOptions<TConfig extends object = object, TContext = unknown> {
  /** Builds the agent of a session. */
  readonly factory: AgentFactoryLike<TConfig, TContext>;
  /** Where conversations live. @defaultValue an in-process store of this manager's own */
  readonly store?: Store | undefined;
  /** The config of a session that has set nothing. @defaultValue `{}` */
  readonly defaultConfig?: AgentConfig<TConfig> | undefined;
  /**
   * The most agents in this process: being created, busy, idle and closing together; at most 1,000,000.
   *
   * @defaultValue 100
   */
  readonly maxAgents?: number | undefined;
  /** How long an agent may stay idle after its last run, in milliseconds. @defaultValue 3_600_000 */
  readonly agentTtlMs?: number | undefined;
  /** How often idle agents past their TTL are looked for, in milliseconds; 0 means never. @defaultValue 300_000 */
  readonly cleanupIntervalMs?: number | undefined;
  /** How long the factory may take for one agent, in milliseconds. @defaultValue 60_000 */
  readonly createTimeoutMs?: number | undefined;
  /** How long `agent.close()` may take, in milliseconds; then it is reported and let go. @defaultValue 5_000 */
  readonly closeTimeoutMs?: number | undefined;
  /** Where times and timers come from. @defaultValue the system's clock */
  readonly clock?: Clock | undefined;
}

/** What a {@link ChatService} takes beside its manager. */
export interface ChatOptions<TConfig extends object = object, TContext = unknown> {
  /** The most runs at work in this process. @defaultValue no limit but `maxAgents` */
  readonly maxConcurrentRuns?: number | undefined;
  /** The most runs of one user at work at once, over all processes of the store. @defaultValue no limit */
  readonly maxConcurrentRunsPerUser?: number | undefined;
  /** What a message does that finds its session busy. @defaultValue "enqueue" */
  readonly onBusy?: BusyPolicy | undefined;
  /** The most runs that wait in one session. @defaultValue 100 */
  readonly queueLimit?: number | undefined;
  /** The most runs that wait in all sessions. @defaultValue 10_000 */
  readonly totalQueueLimit?: number | undefined;
  /** How long a process that went silent keeps its sessions, in milliseconds; for shared stores. @defaultValue 10_000 */
  readonly leaseMs?: number | undefined;
  /**
   * How often a run may be begun in all before it fails as `RUN_ABANDONED`, for shared stores: by its first process, and
   * by each that takes it over after one died or lost the store. A process that closes and hands it on used up none.
   *
   * @defaultValue 3
   */
  readonly maxAttempts?: number | undefined;
  /** How long one run may work, in milliseconds; 0 means without end. @defaultValue 600_000 */
  readonly runTimeoutMs?: number | undefined;
  /** How long an aborted agent may take to stop before it is discarded, in milliseconds. @defaultValue 2_000 */
  readonly abortGraceMs?: number | undefined;
  /** How long a question to a human may wait before it is closed as cancelled, in milliseconds. @defaultValue for ever */
  readonly interruptTtlMs?: number | undefined;
  /** The most that one message may take as UTF-8 JSON, in bytes. @defaultValue 1_048_576 */
  readonly maxMessageBytes?: number | undefined;
  /** Config keys that are allowed beside `provider`, `model` and what the factory names. */
  readonly configKeys?: readonly string[] | undefined;
  /** Refuses a config by throwing; sees the whole of it, before anything is stored. */
  readonly validateConfig?: ((config: AgentConfig<TConfig>) => void) | undefined;
  /**
   * What this process says of itself to operators in `getStats()` of all processes of a shared store, such as
   * `{ version: "1.4.0" }`. Plain JSON, at most 4,096 characters of it, without credentials. @defaultValue `{}`
   */
  readonly processInfo?: JsonObject | undefined;
  /** The per-run context of a run that this process took over from another one. */
  readonly resolveContext?: ((session: SessionIdentity) => TContext | Promise<TContext>) | undefined;
}

/** What is read from the environment; see {@link optionsFromEnv}. */
export interface EnvOptions {
  readonly maxAgents: number;
  readonly agentTtlMs: number;
  readonly cleanupIntervalMs: number;
}

function integerFromEnv(env: NodeJS.ProcessEnv, name: string, fallback: number, min: number): number {
  const text = env[name]?.trim();
  if (text === undefined || text === "") return fallback;
  if (!/^\d+$/.test(text)) {
    throw new RangeError(`Expected ${name} to be a whole number from ${String(min)} up, got "${text}"`);
  }
  return integerOption(name, Number(text), fallback, min);
}

/**
 * Reads `AGENT_MAX_INSTANCES` (100), `AGENT_TTL_SECONDS` (3600) and `AGENT_CLEANUP_INTERVAL` (300, seconds; 0
 * switches it off).
 *
 * @throws {RangeError} when one is set to something else than a whole number in its range.
 */
export function optionsFromEnv(env: NodeJS.ProcessEnv = process.env): EnvOptions {
  return {
    maxAgents: integerFromEnv(env, "AGENT_MAX_INSTANCES", defaults.maxAgents, 1),
    agentTtlMs: integerFromEnv(env, "AGENT_TTL_SECONDS", defaults.agentTtlMs / 1000, 1) * 1000,
    cleanupIntervalMs:
      integerFromEnv(env, "AGENT_CLEANUP_INTERVAL", defaults.cleanupIntervalMs / 1000, 0) * 1000,
  };
}

/** Config without the keys that are undefined: what is stored and compared. */
export function compactConfig(config: object): JsonObject {
  return Object.fromEntries<JsonValue>(Object.entries(config).filter(([, value]) => value !== undefined));
}

import type { AgentManager } from "../agent-manager.js";
import type { ChatOptions } from "../options.js";

/** How a {@link ChatService} is built. */
export interface ChatServiceOptions<TConfig extends object = object, TContext = unknown> extends ChatOptions<
  TConfig,
  TContext
> {
  readonly manager: AgentManager<TConfig, TContext>;
}

export const CHAT_OPTION_KEYS = [
  "manager",
  "maxConcurrentRuns",
  "maxConcurrentRunsPerUser",
  "onBusy",
  "queueLimit",
  "totalQueueLimit",
  "leaseMs",
  "maxAttempts",
  "runTimeoutMs",
  "abortGraceMs",
  "interruptTtlMs",
  "maxMessageBytes",
  "configKeys",
  "validateConfig",
  "processInfo",
  "resolveContext",
] as const satisfies readonly (keyof ChatServiceOptions)[];

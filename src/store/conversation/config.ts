import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import { RUN_KEY } from "../store.js";
import type { RunConfigurable } from "../store.js";

/** What LangGraph hands over, as far as a saver reads it. */
export type Config = Parameters<BaseCheckpointSaver["getTuple"]>[0];

/** Hosts fill `configurable`: what is in it is checked here, and the lease by who uses it. */
export function runOf(config: Config): Partial<RunConfigurable> {
  const run = config.configurable?.[RUN_KEY] as Partial<RunConfigurable> | null | undefined;
  const { lease, turnId, flush, ride } = run ?? {};
  return {
    ...(lease !== undefined && { lease }),
    ...(typeof turnId === "string" && { turnId }),
    ...(typeof flush === "function" && { flush }),
    ...(typeof ride?.run === "function" && { ride }),
  };
}

export function namespaceOf(config: Config): string {
  const namespace: unknown = config.configurable?.["checkpoint_ns"];
  return typeof namespace === "string" ? namespace : "";
}

export function threadIdOf(config: Config, what: string): string {
  const threadId: unknown = config.configurable?.["thread_id"];
  if (typeof threadId === "string" && threadId !== "") return threadId;
  throw new TypeError(
    `Cannot store a ${what}: \`configurable.thread_id\` must be a string that is not empty.`,
  );
}

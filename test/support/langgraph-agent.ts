import { MemorySaver } from "@langchain/langgraph";
import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import type {
  Agent,
  AgentConfig,
  AgentContext,
  AgentFactory,
  AgentInput,
  AgentRunOptions,
} from "../../src/agent.js";
import type { AgentEvent } from "../../src/run-event.js";
import { identify } from "../../src/session.js";

/** What a factory is given for a session, without a service around it. */
export function contextFor<TConfig extends object>(
  sessionId: string,
  config: AgentConfig<TConfig>,
  options: { checkpointer?: BaseCheckpointSaver; userId?: string } = {},
): AgentContext<TConfig> {
  return {
    ...identify({ sessionId, userId: options.userId }),
    config,
    checkpointer: options.checkpointer ?? new MemorySaver(),
    state: { get: () => Promise.resolve(undefined), set: () => Promise.resolve() },
    signal: new AbortController().signal,
  };
}

let runs = 0;

export function runOptions<TContext = unknown>(
  overrides: Partial<AgentRunOptions<TContext>> = {},
): AgentRunOptions<TContext> {
  runs += 1;
  const runId = overrides.runId ?? `run-${String(runs)}`;
  return {
    runId,
    turnId: runId,
    attempt: 1,
    signal: new AbortController().signal,
    lease: { threadId: "thread", epoch: runs, owner: `owner-${String(runs)}` },
    context: undefined,
    ...overrides,
  };
}

export function message(content: string, id?: string): AgentInput {
  runs += 1;
  return { kind: "message", message: { id: id ?? `message-${String(runs)}`, content } };
}

/** Runs one input to its end. */
export async function collect<TContext>(
  agent: Agent<TContext>,
  input: AgentInput,
  overrides: Partial<AgentRunOptions<TContext>> = {},
): Promise<AgentEvent[]> {
  const events: AgentEvent[] = [];
  for await (const event of agent.stream(input, runOptions(overrides))) events.push(event);
  return events;
}

export function textOf(events: readonly AgentEvent[]): string {
  return events.map((event) => (event.type === "text-delta" ? event.delta : "")).join("");
}

/** The one agent of a new session. */
export async function agentOf<TConfig extends object, TContext>(
  factory: AgentFactory<TConfig, TContext>,
  config: AgentConfig<TConfig>,
  options: { checkpointer?: BaseCheckpointSaver; userId?: string; sessionId?: string } = {},
): Promise<Agent<TContext>> {
  return factory.create(contextFor(options.sessionId ?? "session", config, options));
}

import type { BaseMessage } from "@langchain/core/messages";
import { afterEach } from "vitest";
import type { Agent, AgentContext, AgentFactoryLike, AgentInput, AgentRunOptions } from "../../src/agent.js";
import { AgentManager } from "../../src/agent-manager.js";
import { ChatService } from "../../src/chat-service.js";
import type { CreateChatOptions } from "../../src/create-chat-service.js";
import { isAgentError } from "../../src/errors.js";
import type { AgentManagerOptions, ChatOptions } from "../../src/options.js";
import type { AgentEvent, RunEvent } from "../../src/run-event.js";
import type { LangGraphConfig } from "../../src/langgraph/factory.js";

const opened: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const service of opened.splice(0)) await service.close();
});

/** A service over LangGraph agents that is closed after the test. */
export async function createChat<TContext = unknown>(
  options: CreateChatOptions<TContext>,
): Promise<ChatService<LangGraphConfig, TContext>> {
  const chat = await ChatService.create<TContext>(options);
  opened.push({ close: () => chat.close({ drainMs: 0 }) });
  return chat;
}

export interface CustomChat<TConfig extends object, TContext> {
  readonly chat: ChatService<TConfig, TContext>;
  readonly manager: AgentManager<TConfig, TContext>;
}

/** A service over agents of the test's own that is closed after the test. */
export function customChat<TConfig extends object = object, TContext = unknown>(
  factory: AgentFactoryLike<TConfig, TContext>,
  options: ChatOptions<TConfig, TContext> & Omit<AgentManagerOptions<TConfig, TContext>, "factory"> = {},
): CustomChat<TConfig, TContext> {
  const {
    store,
    defaultConfig,
    maxAgents,
    agentTtlMs,
    cleanupIntervalMs,
    createTimeoutMs,
    closeTimeoutMs,
    clock,
  } = options;
  const managerOptions = {
    store,
    defaultConfig,
    maxAgents,
    agentTtlMs,
    cleanupIntervalMs: cleanupIntervalMs ?? 0,
    createTimeoutMs,
    closeTimeoutMs,
    clock,
  };
  const rest = Object.fromEntries(
    Object.entries(options).filter(([key]) => !(key in managerOptions)),
  ) as ChatOptions<TConfig, TContext>;
  const manager = new AgentManager<TConfig, TContext>({ ...managerOptions, factory });
  const chat = new ChatService<TConfig, TContext>({ ...rest, manager });
  opened.push({
    close: async () => {
      await chat.close({ drainMs: 0 });
      await manager.close({ drainMs: 0 });
    },
  });
  return { chat, manager };
}

type Stream = (
  input: AgentInput,
  options: AgentRunOptions,
  context: AgentContext,
) => AsyncIterable<AgentEvent>;

/** A factory of agents that are just their `stream`. */
export function agents(stream: Stream, more: Partial<Agent> = {}): (context: AgentContext) => Agent {
  return (context) => ({ stream: (input, options) => stream(input, options, context), ...more });
}

/** One whole text part. */
export function* say(text: string, id = "1"): Generator<AgentEvent> {
  yield { type: "text-start", id };
  yield { type: "text-delta", id, delta: text };
  yield { type: "text-end", id };
}

/** What a message says, when it says it in plain text. */
export function textOfInput(input: AgentInput): string {
  if (input.kind !== "message" || typeof input.message.content !== "string")
    throw new Error("No plain message");
  return input.message.content;
}

export async function eventsOf(events: AsyncIterable<RunEvent>): Promise<RunEvent[]> {
  const all: RunEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

/** Waits until the signal aborts, and throws its reason. */
export function untilAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const abort = (): void => {
      // The reason is what the library aborted with.
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
      reject(signal.reason);
    };
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}

/** The code that a promise was refused with; `"none"` when it was not, the error's name when it has none. */
export async function codeOf(promise: PromiseLike<unknown>): Promise<string> {
  try {
    await promise;
    return "none";
  } catch (error) {
    if (isAgentError(error)) return error.code;
    return error instanceof Error ? error.name : String(error);
  }
}

/** What the user last said, as a model sees it. */
export function lastUserText(messages: readonly BaseMessage[]): string {
  return messages.findLast((message) => message.type === "human")?.text ?? "";
}

/** Lets everything go on that needs no real waiting. */
export async function settle(turns = 30): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits, by turns of the event loop, until something is so. */
export async function eventually(check: () => boolean | Promise<boolean>, turns = 20_000): Promise<void> {
  for (let turn = 0; turn < turns; turn++) {
    if (await check()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error("It did not come about.");
}

/** The tool calls in a history that nothing answers. */
export function openToolCalls(
  messages: readonly {
    readonly toolCalls?: readonly { readonly id: string }[];
    readonly toolCallId?: string;
  }[],
): string[] {
  const answered = new Set(messages.map((message) => message.toolCallId));
  return messages
    .flatMap((message) => (message.toolCalls ?? []).map(({ id }) => id))
    .filter((id) => !answered.has(id));
}

/** A seeded generator of numbers from 0 up to, not including, 1. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value ^= value + Math.imul(value ^ (value >>> 7), 61 | value);
    return ((value ^ (value >>> 14)) >>> 0) / 4_294_967_296;
  };
}

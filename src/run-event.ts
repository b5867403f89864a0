import type { UserMessage } from "./agent.js";
import type { ErrorInfo } from "./errors.js";
import type { JsonValue } from "./json.js";

/** Token counts as the provider reports them. */
export interface Usage {
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly totalTokens: number;
  /** The part of `inputTokens` that came from the provider's prompt cache. */
  readonly cachedInputTokens?: number;
  /** The part of `outputTokens` spent on reasoning. */
  readonly reasoningTokens?: number;
}

/**
 * A question that an agent put to a human; the session is parked until it is answered or dropped.
 * `approval` values have the shape of langchain's `humanInTheLoopMiddleware`
 * (`{ actionRequests, reviewConfigs }`); `input` values are whatever the graph gave to `interrupt()`.
 */
export interface Interrupt {
  readonly id: string;
  readonly kind: "approval" | "input";
  readonly value: JsonValue;
}

/** How a run ended. */
export type RunOutcome = "completed" | "interrupted" | "cancelled" | "failed";

/**
 * What an agent emits while it works. Names follow the AI SDK's stream parts. Every event is plain JSON.
 * A `*-delta` comes only between its start and its end; `tool-input-available` may come again for
 * one call: in the run that resumes it, and with other input when a human edited it.
 */
export type AgentEvent =
  | { readonly type: "step-started"; readonly step: number }
  | { readonly type: "text-start"; readonly id: string }
  | { readonly type: "text-delta"; readonly id: string; readonly delta: string }
  | { readonly type: "text-end"; readonly id: string }
  | { readonly type: "reasoning-start"; readonly id: string }
  | { readonly type: "reasoning-delta"; readonly id: string; readonly delta: string }
  | { readonly type: "reasoning-end"; readonly id: string }
  | { readonly type: "tool-input-start"; readonly toolCallId: string; readonly toolName: string }
  | { readonly type: "tool-input-delta"; readonly toolCallId: string; readonly delta: string }
  | {
      readonly type: "tool-input-available";
      readonly toolCallId: string;
      readonly toolName: string;
      readonly input: JsonValue;
    }
  | {
      readonly type: "tool-output-available";
      readonly toolCallId: string;
      readonly toolName: string;
      readonly output: JsonValue;
    }
  | {
      readonly type: "tool-output-error";
      readonly toolCallId: string;
      readonly toolName: string;
      readonly message: string;
    }
  | ({ readonly type: "interrupt" } & Interrupt)
  /** What a tool or node wrote for the user interface; `name` tells kinds apart, equal `id`s replace each other. */
  | { readonly type: "data"; readonly name: string; readonly id?: string; readonly data: JsonValue }
  /** The tokens of one model call; a run's usage is the sum. */
  | { readonly type: "usage"; readonly usage: Usage };

/** What the run itself adds to its agent's events. */
export type RunLifecycleEvent =
  | { readonly type: "run-started"; readonly runId: string; readonly messageId?: string }
  /**
   * The conversation goes back to before this turn, for regenerate, edit, and a message under an id that it has, and goes
   * on with this message.
   */
  | { readonly type: "run-rewound"; readonly turnId: string; readonly message: UserMessage }
  /**
   * Another process took the run over: drop the texts and reasonings that are still open, and tool calls without their
   * input. They come again, in other words perhaps, as may the end of a step that had not been saved.
   */
  | { readonly type: "run-resumed"; readonly attempt: number }
  /** Exactly once, and last. */
  | {
      readonly type: "run-finished";
      readonly outcome: RunOutcome;
      readonly error?: ErrorInfo;
      readonly usage?: Usage;
    };

/** One event of a run, numbered from 1 without gaps. */
export type RunEvent = (AgentEvent | RunLifecycleEvent) & { readonly seq: number };

import { randomUUID } from "node:crypto";
import type { AgentConfig, Answers, ContentBlock, UserMessage } from "./agent.js";
import { AgentError } from "./errors.js";
import { canonicalJson, jsonProblem } from "./internal/canonical-json.js";
import { copyJson } from "./internal/json-value.js";
import type { JsonObject, JsonValue } from "./json.js";
import { compactConfig } from "./options.js";
import { checkId, type SessionRef } from "./session.js";
import type { BusyPolicy, RunInput } from "./store/store.js";

/**
 * The text or content blocks of a message; with an object, under an id of the caller's own. If the history has a message
 * of that id, this one takes its place, as with `edit`. A request that may be sent again needs a `runId` beside it.
 */
export type MessageInput =
  | string
  | readonly ContentBlock[]
  | { readonly id?: string | undefined; readonly content: string | readonly ContentBlock[] };

/** What every request that starts a run may say. */
export interface RunRequest<TContext = unknown> extends SessionRef {
  /**
   * Names the run within its session, so that a request that is sent again runs once: the second one follows the
   * first. @defaultValue a random id
   */
  readonly runId?: string | undefined;
  /** @defaultValue the service's */
  readonly onBusy?: BusyPolicy | undefined;
  /** For tools and graph nodes of this run; never stored. */
  readonly context?: TContext | undefined;
  /**
   * Cancels the run when aborted, if this request created it. Otherwise (a `runId` that was known) it only ends what
   * this handle waits for: its iterations and `result` reject with the signal's reason.
   */
  readonly signal?: AbortSignal | undefined;
}

export interface ChatRequest<
  TConfig extends object = object,
  TContext = unknown,
> extends RunRequest<TContext> {
  readonly message: MessageInput;
  /** Sticks to the session, as do `model` and `config`. */
  readonly provider?: string | undefined;
  readonly model?: string | undefined;
  readonly config?: Partial<AgentConfig<TConfig>> | undefined;
}

export interface ResumeRequest<TContext = unknown> extends Omit<RunRequest<TContext>, "onBusy"> {
  readonly answers: Answers;
}

export interface RegenerateRequest<TConfig extends object = object, TContext = unknown> extends Omit<
  ChatRequest<TConfig, TContext>,
  "message"
> {
  /** Any message of the turn to begin again. @defaultValue the last turn */
  readonly messageId?: string | undefined;
}

export interface EditRequest<TConfig extends object = object, TContext = unknown> extends ChatRequest<
  TConfig,
  TContext
> {
  /** Any message of the turn to undo. */
  readonly messageId: string;
}

export const POLICIES: readonly BusyPolicy[] = ["enqueue", "reject", "interrupt", "rollback"];

function invalid(message: string): AgentError {
  return new AgentError("INVALID_INPUT", message);
}

/** Checks what all requests have in common, but for the ids. */
export function checkRequest(request: unknown): void {
  if (typeof request !== "object" || request === null)
    throw invalid("Expected the request to be an object with a `sessionId`.");
  const { onBusy, signal } = request as {
    readonly onBusy?: unknown;
    readonly signal?: Partial<AbortSignal> | null;
  };
  if (signal !== undefined && typeof signal?.throwIfAborted !== "function")
    throw invalid("Expected `signal` to be an AbortSignal.");
  if (onBusy !== undefined && !POLICIES.includes(onBusy as BusyPolicy)) {
    throw invalid(`Expected \`onBusy\` to be one of ${POLICIES.join(", ")}.`);
  }
}

function checkContent(content: unknown): asserts content is string | readonly ContentBlock[] {
  if (typeof content === "string") {
    if (content.trim() === "") throw invalid("Expected `message` to hold some text.");
    return;
  }
  if (!Array.isArray(content) || content.length === 0) {
    throw invalid("Expected `message` to be text, or a list of at least one content block.");
  }
  for (const block of content as readonly unknown[]) {
    if (
      typeof block !== "object" ||
      block === null ||
      typeof (block as { type?: unknown }).type !== "string"
    ) {
      throw invalid("Expected each content block of `message` to be an object with a `type`.");
    }
  }
  const problem = jsonProblem(content);
  if (problem !== undefined) throw invalid(`Expected \`message\` to be plain JSON, found ${problem}.`);
}

/**
 * Checks a message and gives it an id: the caller's, else that of its run, so that the same request sent twice is the
 * same message.
 */
export function toUserMessage(input: MessageInput, runId: string, maxBytes: number): UserMessage {
  const whole: { readonly id?: unknown; readonly content: unknown } =
    typeof input === "object" && (input as unknown) !== null && !Array.isArray(input) && "content" in input
      ? input
      : { content: input };
  const { id = runId, content } = whole;
  checkContent(content);
  checkId("message.id", id);
  // Most messages are far from the limit: a character takes at most three bytes of UTF-8.
  if (typeof content !== "string" || content.length * 3 > maxBytes) {
    const bytes = Buffer.byteLength(typeof content === "string" ? content : JSON.stringify(content));
    if (bytes > maxBytes) {
      throw invalid(`Expected \`message\` to take at most ${String(maxBytes)} bytes, got ${String(bytes)}.`);
    }
  }
  return { id, content: copyJson(content) };
}

/** The run id of a request, or a new one. */
export function toRunId(runId: unknown): string {
  if (runId === undefined) return randomUUID();
  checkId("runId", runId);
  return runId;
}

/** The config that a request sets, checked for its keys and for being JSON. */
export function toConfigPatch(
  request: { readonly provider?: unknown; readonly model?: unknown; readonly config?: unknown },
  knownKeys: ReadonlySet<string>,
): JsonObject {
  const { provider, model, config } = request;
  if (config !== undefined && (typeof config !== "object" || config === null || Array.isArray(config))) {
    throw invalid("Expected `config` to be an object.");
  }
  const patch = compactConfig({ ...config, ...compactConfig({ provider, model }) });
  for (const [key, value] of Object.entries(patch)) {
    if (!knownKeys.has(key)) {
      throw invalid(`Unknown config key \`${key}\`. Known: ${[...knownKeys].join(", ")}.`);
    }
    const problem = jsonProblem(value);
    if (problem !== undefined)
      throw invalid(`Expected config \`${key}\` to be plain JSON, found ${problem}.`);
    if (
      (key === "provider" || key === "model") &&
      (typeof value !== "string" || value === "" || value.length > 200)
    ) {
      throw invalid(`Expected \`${key}\` to be a name of 1 to 200 characters.`);
    }
  }
  if (Object.keys(patch).length > 0 && JSON.stringify(patch).length > 65_536) {
    throw invalid("Expected `config` to take at most 65536 characters of JSON.");
  }
  return copyJson(patch);
}

/** Tells one request from another under the same run id; needed only for ids that callers choose. */
export function fingerprintOf(input: RunInput, patch: JsonObject): string {
  // A run input is JSON by construction.
  return canonicalJson([input as unknown as JsonValue, patch]);
}

/** A copy of the answers of a request, checked for being JSON by interrupt id. */
export function toAnswers(answers: unknown): Answers {
  if (
    typeof answers !== "object" ||
    answers === null ||
    Array.isArray(answers) ||
    Object.keys(answers).length === 0
  ) {
    throw invalid("Expected `answers` to be an object with at least one answer, keyed by interrupt id.");
  }
  for (const answer of Object.values(answers)) {
    const problem = jsonProblem(answer);
    if (problem !== undefined) throw invalid(`Expected the answer to be plain JSON, found ${problem}.`);
  }
  return copyJson(answers as Answers);
}

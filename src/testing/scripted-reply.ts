import type { AIMessageChunkFields, UsageMetadata } from "@langchain/core/messages";
import type { ScriptedReply, ScriptedToolCall } from "./scripted-chat-model.js";

/** What a chunk of an answer is made from. */
export type ChunkFields = AIMessageChunkFields;

const KEYS: ReadonlySet<string> = new Set([
  "text",
  "reasoning",
  "toolCalls",
  "usage",
  "delayMs",
  "error",
  "errorAfter",
] satisfies (keyof ScriptedReply)[]);

/**
 * Checks the reply to a call and brings it to its long form. A key misspelt would otherwise be a reply that
 * silently lacks something.
 *
 * @throws {TypeError | RangeError}
 */
export function checkReply(reply: unknown, index: number): ScriptedReply {
  if (typeof reply === "string") return { text: reply };
  const name = `the reply to call ${String(index + 1)}`;
  if (typeof reply !== "object" || reply === null || Array.isArray(reply)) {
    throw new TypeError(
      `Expected ${name} to be a string or an object, got ${reply === null ? "null" : typeof reply}`,
    );
  }
  for (const key of Object.keys(reply)) {
    if (!KEYS.has(key))
      throw new TypeError(`Expected ${name} to have no key \`${key}\`; it knows ${[...KEYS].join(", ")}`);
  }
  const checked: ScriptedReply = reply;
  const { delayMs, errorAfter, error } = checked;
  if (delayMs !== undefined && !(Number.isFinite(delayMs) && delayMs >= 0)) {
    throw new RangeError(
      `Expected \`delayMs\` of ${name} to be a finite number from 0 up, got \`${String(delayMs)}\``,
    );
  }
  if (errorAfter !== undefined && (error === undefined || !Number.isInteger(errorAfter) || errorAfter < 0)) {
    throw new RangeError(
      `Expected \`errorAfter\` of ${name} to be an integer from 0 up beside an \`error\`, got \`${String(errorAfter)}\``,
    );
  }
  return checked;
}

/** The chunks of a reply; the last one holds no content, but usage and the reason for the end. */
export function planChunks(reply: ScriptedReply, id: string): ChunkFields[] {
  const { reasoning, text, toolCalls = [], usage } = reply;
  // The form in which ChatDeepSeek gives its reasoning, so that `contentBlocks` knows it.
  const reasoningChunks = pieces(reasoning).map((piece) => ({
    id,
    content: "",
    additional_kwargs: { reasoning_content: piece },
    response_metadata: { model_provider: "deepseek" },
  }));
  const textChunks = pieces(text).map((content) => ({ id, content }));
  const last: ChunkFields = {
    id,
    content: "",
    response_metadata: {
      model_name: "scripted",
      finish_reason: toolCalls.length > 0 ? "tool_calls" : "stop",
    },
    // For the default message structure the class infers `never` here, though it takes a UsageMetadata.
    ...(usage !== undefined && { usage_metadata: usageMetadata(usage) as never }),
  };
  return [
    ...reasoningChunks,
    ...textChunks,
    ...toolCalls.flatMap((call, index) => toolCallChunks(call, index, id)),
    last,
  ];
}

function usageMetadata(usage: NonNullable<ScriptedReply["usage"]>): UsageMetadata {
  const { inputTokens, outputTokens, totalTokens, cachedInputTokens, reasoningTokens } = usage;
  return {
    input_tokens: inputTokens,
    output_tokens: outputTokens,
    total_tokens: totalTokens ?? inputTokens + outputTokens,
    ...(cachedInputTokens !== undefined && { input_token_details: { cache_read: cachedInputTokens } }),
    ...(reasoningTokens !== undefined && { output_token_details: { reasoning: reasoningTokens } }),
  };
}

function toolCallChunks(call: ScriptedToolCall, index: number, id: string): ChunkFields[] {
  const args = typeof call.args === "string" ? call.args : JSON.stringify(call.args);
  const half = Math.ceil(args.length / 2);
  const first = { name: call.name, id: call.id ?? `call_${crypto.randomUUID()}`, args: "" };
  return [first, { args: args.slice(0, half) }, { args: args.slice(half) }].map((part) => ({
    id,
    content: "",
    tool_call_chunks: [{ type: "tool_call_chunk" as const, index, ...part }],
  }));
}

function pieces(text: string | readonly string[] | undefined): readonly string[] {
  if (text === undefined) return [];
  return typeof text === "string" ? [text] : text;
}

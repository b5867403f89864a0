import { ToolMessage, type UsageMetadata } from "@langchain/core/messages";
import type { JsonValue } from "../json.js";
import type { AgentEvent, Interrupt, Usage } from "../run-event.js";
import { isRecord, toJson } from "./to-json.js";

/** What a node or tool wrote for the user interface: `{ name or type, data, id? }`, or anything as `custom`. */
export function toDataEvent(chunk: unknown): AgentEvent {
  if (!isRecord(chunk)) return { type: "data", name: "custom", data: toJson(chunk) };
  const { name: ownName, type, id } = chunk;
  const name = typeof ownName === "string" ? ownName : typeof type === "string" ? type : undefined;
  const data = toJson(name !== undefined && "data" in chunk ? chunk["data"] : chunk);
  return typeof id === "string" && name !== undefined
    ? { type: "data", name, id, data }
    : { type: "data", name: name ?? "custom", data };
}

/** DeepSeek and Ollama give reasoning as text, OpenAI's Responses API as parts of a summary. */
export function reasoningOf(extra: Record<string, unknown> | undefined): string {
  if (extra === undefined) return "";
  const content = extra["reasoning_content"];
  if (typeof content === "string") return content;
  const reasoning = extra["reasoning"];
  if (reasoning === undefined || !isRecord(reasoning) || !Array.isArray(reasoning["summary"])) return "";
  return reasoning["summary"]
    .map((part: unknown) => (isRecord(part) && typeof part["text"] === "string" ? part["text"] : ""))
    .join("");
}

export function toUsage(metadata: UsageMetadata | undefined): Usage | undefined {
  if (metadata === undefined) return undefined;
  const cached = metadata.input_token_details?.cache_read;
  const reasoning = metadata.output_token_details?.reasoning;
  return {
    inputTokens: metadata.input_tokens,
    outputTokens: metadata.output_tokens,
    totalTokens: metadata.total_tokens,
    ...(typeof cached === "number" && { cachedInputTokens: cached }),
    ...(typeof reasoning === "number" && { reasoningTokens: reasoning }),
  };
}

export function parseInput(input: string): JsonValue {
  try {
    return JSON.parse(input) as JsonValue;
  } catch {
    return input;
  }
}

/** The message that answers the call: the output itself, or one inside a command. */
export function toolMessageOf(output: unknown, toolCallId: string): ToolMessage | undefined {
  if (ToolMessage.isInstance(output)) return output;
  const update = isRecord(output) ? output["update"] : undefined;
  const messages = isRecord(update) ? update["messages"] : undefined;
  for (const message of Array.isArray(messages) ? (messages as unknown[]) : [messages]) {
    if (ToolMessage.isInstance(message) && message.tool_call_id === toolCallId) return message;
  }
  return undefined;
}

/** An interrupt as LangGraph reports it; `approval` has the shape of langchain's human-in-the-loop middleware. */
export function toInterrupt(raw: unknown): Interrupt | undefined {
  if (!isRecord(raw) || typeof raw["id"] !== "string") return undefined;
  const value = raw["value"];
  const isApproval =
    isRecord(value) && Array.isArray(value["actionRequests"]) && Array.isArray(value["reviewConfigs"]);
  return { id: raw["id"], kind: isApproval ? "approval" : "input", value: toJson(value) };
}

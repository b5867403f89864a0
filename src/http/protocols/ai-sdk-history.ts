import type { HistoryMessage, Interrupt, JsonValue } from "../../index.js";
import { TOOL_ERROR_TEXT } from "../errors.js";
import {
  approvalRequestsOf,
  isObject,
  isRejection,
  matchToolCalls,
  textOf,
  type ShownToolCall,
} from "./approvals.js";
import { replyIdOf, type UiMessageChunk } from "./ai-sdk.js";

/** A message as `useChat` takes it for its `messages`. */
export interface UiMessage {
  readonly id: string;
  readonly role: "user" | "assistant";
  readonly parts: readonly UiPart[];
}

/** A part of a {@link UiMessage}; its further fields depend on the type. */
export interface UiPart {
  readonly type: string;
  readonly [field: string]: unknown;
}

interface DynamicToolPart extends UiPart {
  readonly type: "dynamic-tool";
  readonly toolCallId: string;
  readonly toolName: string;
  readonly input: JsonValue;
}

export interface UiHistoryOptions {
  /** The questions that wait: their tool calls are shown as asking for approval. */
  readonly interrupts?: readonly Interrupt[] | undefined;
  readonly showToolErrors?: boolean | undefined;
}

/**
 * A conversation as messages of the AI SDK: all that follows a user's message is one assistant message, under the id
 * that the stream of that answer has as well, so that a replayed stream replaces it. System messages are left out.
 */
export function toUiMessages(
  history: readonly HistoryMessage[],
  options: UiHistoryOptions = {},
): readonly UiMessage[] {
  const messages: { id: string; role: "user" | "assistant"; parts: UiPart[] }[] = [];
  for (const message of history) {
    const last = messages.at(-1);
    if (message.role === "user") {
      messages.push({ id: message.id, role: "user", parts: contentParts(message.content) });
    } else if (message.role !== "system") {
      let reply = last;
      if (reply?.role !== "assistant") {
        const id = replyIdOf(last?.id ?? message.id);
        messages.push((reply = { id, role: "assistant", parts: [] }));
      }
      if (message.role === "assistant") addAssistant(reply.parts, message);
      else addToolResult(reply.parts, message, options.showToolErrors === true);
    }
  }
  const reply = messages.at(-1);
  if (reply?.role === "assistant") addApprovals(reply.parts, options.interrupts ?? []);
  return messages;
}

function contentParts(content: HistoryMessage["content"]): UiPart[] {
  const blocks = typeof content === "string" ? [{ type: "text", text: content }] : content;
  return blocks.flatMap((block: { readonly [key: string]: JsonValue | undefined }): UiPart[] => {
    const { type, text, reasoning, url, data, mimeType } = block;
    if (type === "text" && typeof text === "string")
      return text === "" ? [] : [{ type, text, state: "done" }];
    if (type === "reasoning" && typeof reasoning === "string") {
      return reasoning === "" ? [] : [{ type, text: reasoning, state: "done" }];
    }
    const mediaType = typeof mimeType === "string" ? mimeType : "application/octet-stream";
    if (typeof url === "string") return [{ type: "file", mediaType, url }];
    if (typeof data === "string")
      return [{ type: "file", mediaType, url: `data:${mediaType};base64,${data}` }];
    return [];
  });
}

function addAssistant(parts: UiPart[], message: HistoryMessage): void {
  parts.push({ type: "step-start" }, ...contentParts(message.content));
  for (const { id: toolCallId, name: toolName, input } of message.toolCalls ?? []) {
    parts.push({ type: "dynamic-tool", toolCallId, toolName, state: "input-available", input });
  }
}

function isToolPart(part: UiPart): part is DynamicToolPart {
  return part.type === "dynamic-tool";
}

function addToolResult(parts: UiPart[], message: HistoryMessage, showToolErrors: boolean): void {
  const { toolCallId, content } = message;
  const index = parts.findIndex((part) => isToolPart(part) && part.toolCallId === toolCallId);
  const call = parts[index];
  if (call === undefined) return;
  if (message.isError !== true) {
    parts[index] = { ...call, state: "output-available", output: content };
    return;
  }
  const text = textOf(content);
  parts[index] = isRejection(text)
    ? // What it was asked under is no longer known.
      { ...call, state: "output-denied", approval: { id: call["toolCallId"], approved: false } }
    : { ...call, state: "output-error", errorText: showToolErrors ? text : TOOL_ERROR_TEXT };
}

function addApprovals(parts: UiPart[], interrupts: readonly Interrupt[]): void {
  for (const interrupt of interrupts) {
    if (interrupt.kind === "input") {
      const { id, kind, value } = interrupt;
      parts.push({ type: "data-interrupt", id, data: { id, kind, value } });
      continue;
    }
    const requests = approvalRequestsOf(interrupt);
    const open = parts.filter((part) => isToolPart(part) && part["state"] === "input-available");
    const calls = matchToolCalls(requests, open.filter(isToolPart));
    for (const [index, { approvalId, toolName, input }] of requests.entries()) {
      const call = calls[index] ?? { type: "dynamic-tool", toolCallId: approvalId, toolName, input };
      const at = parts.findIndex((part) => isToolPart(part) && part.toolCallId === call.toolCallId);
      const asking = {
        ...call,
        type: "dynamic-tool",
        state: "approval-requested",
        approval: { id: approvalId },
      };
      if (at < 0) parts.push(asking);
      else parts[at] = asking;
    }
  }
}

/** What a stream must begin with so that it stands for a whole message that began in an earlier run. */
export interface UiMessageStart {
  readonly messageId: string;
  readonly before: readonly UiMessageChunk[];
  readonly knownToolCalls: readonly ShownToolCall[];
  readonly knownPartIds: readonly string[];
}

/**
 * The present answer of a conversation as the beginning of a stream: a run that answers an interrupt goes on with a
 * message whose first part was streamed by an earlier run. Undefined when there is no message.
 */
export function toUiMessageStart(history: readonly HistoryMessage[]): UiMessageStart | undefined {
  const reply = toUiMessages(history).at(-1);
  if (reply === undefined) return undefined;
  if (reply.role === "user") {
    return { messageId: replyIdOf(reply.id), before: [], knownToolCalls: [], knownPartIds: [] };
  }
  const lastUser = history.findLastIndex(({ role }) => role === "user");
  const own = history.slice(lastUser + 1).filter(({ role }) => role === "assistant");
  const chunks: UiMessageChunk[] = [];
  const toolCalls: ShownToolCall[] = [];
  let steps = 0;
  for (const [index, part] of reply.parts.entries()) {
    const id = `before-${String(index)}`;
    if (part.type === "step-start") {
      if (steps > 0) chunks.push({ type: "finish-step" });
      chunks.push({ type: "start-step" });
      steps += 1;
    } else if (part.type === "text" || part.type === "reasoning") {
      chunks.push(
        { type: `${part.type}-start`, id },
        { type: `${part.type}-delta`, id, delta: part["text"] },
        { type: `${part.type}-end`, id },
      );
    } else if (isToolPart(part)) {
      const { toolCallId, toolName, input, state } = part;
      toolCalls.push({ toolCallId, toolName, input, answered: state !== "input-available" });
      chunks.push({ type: "tool-input-available", toolCallId, toolName, input, dynamic: true });
      if ("output" in part)
        chunks.push({ type: "tool-output-available", toolCallId, output: part["output"] });
      else if ("errorText" in part)
        chunks.push({ type: "tool-output-error", toolCallId, errorText: part["errorText"] });
      else if (state === "output-denied") chunks.push({ type: "tool-output-denied", toolCallId });
    } else if (part.type === "file") chunks.push(part);
  }
  if (steps > 0) chunks.push({ type: "finish-step" });
  return {
    messageId: reply.id,
    before: chunks,
    knownToolCalls: toolCalls,
    knownPartIds: own.map(({ id }) => id),
  };
}

/** Whether a value is a message of the AI SDK, as far as requests are read. */
export function isUiMessage(value: unknown): value is {
  readonly id: string;
  readonly role: string;
  readonly parts: readonly UiPart[];
} {
  return (
    isObject(value) &&
    typeof value["id"] === "string" &&
    typeof value["role"] === "string" &&
    Array.isArray(value["parts"]) &&
    value["parts"].every((part) => isObject(part) && typeof part["type"] === "string")
  );
}

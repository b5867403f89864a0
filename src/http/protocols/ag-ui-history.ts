import type { ContentBlock, HistoryMessage, Interrupt, JsonValue } from "../../index.js";
import { TOOL_ERROR_TEXT } from "../errors.js";
import { toAgUiInterrupts, type AgUiInterrupt } from "./ag-ui-interrupts.js";
import { textOf, type ShownToolCall } from "./approvals.js";

/** A message of AG-UI, as in its `MESSAGES_SNAPSHOT`. */
export interface AgUiMessage {
  readonly id: string;
  readonly role: "user" | "assistant" | "tool" | "reasoning";
  readonly content?: JsonValue;
  readonly toolCalls?: readonly {
    readonly id: string;
    readonly type: "function";
    readonly function: { readonly name: string; readonly arguments: string };
  }[];
  readonly toolCallId?: string;
}

/** A conversation as messages of AG-UI, for a client's `setMessages`. System messages are left out. */
export function toAgUiMessages(
  history: readonly HistoryMessage[],
  options: { readonly showToolErrors?: boolean | undefined } = {},
): readonly AgUiMessage[] {
  return history.flatMap((message): AgUiMessage[] => {
    const { id, role, content } = message;
    switch (role) {
      case "system":
        return [];
      case "user":
        return [{ id, role, content: toInput(content) }];
      case "assistant":
        return [...reasoningOf(message), { id, role, ...textContent(content), ...toolCallsOf(message) }];
      case "tool": {
        const { toolCallId = "", isError = false } = message;
        const isHidden = isError && options.showToolErrors !== true;
        // As the stream named it.
        return [
          {
            id: resultIdOf(toolCallId),
            role,
            toolCallId,
            content: isHidden ? TOOL_ERROR_TEXT : outputOf(content),
          },
        ];
      }
    }
  });
}

/** The id of the message with a tool call's result: the same in the stream and in the history. */
export function resultIdOf(toolCallId: string): string {
  return `result-${toolCallId}`;
}

/** What waits for an answer, in the form in which a run's end tells it. */
export function waitingInterrupts(
  history: readonly HistoryMessage[],
  interrupts: readonly Interrupt[],
): readonly AgUiInterrupt[] {
  const answered = new Set(history.map(({ toolCallId }) => toolCallId));
  let open: readonly ShownToolCall[] = history
    .flatMap(({ toolCalls = [] }) => toolCalls)
    .filter(({ id }) => !answered.has(id))
    .map(({ id, name, input }) => ({ toolCallId: id, toolName: name, input }));
  return interrupts.flatMap((interrupt) => {
    const asked = toAgUiInterrupts(interrupt, open);
    // No other interrupt may take the same call.
    open = open.filter(({ toolCallId }) => !asked.some((item) => item.toolCallId === toolCallId));
    return asked;
  });
}

function textContent(content: HistoryMessage["content"]): { readonly content?: string } {
  const text = textOf(content);
  return text === "" ? {} : { content: text };
}

function reasoningOf({ id, content }: HistoryMessage): AgUiMessage[] {
  if (typeof content === "string") return [];
  const text = content.map(({ reasoning }) => (typeof reasoning === "string" ? reasoning : "")).join("");
  return text === "" ? [] : [{ id: `${id}.reasoning`, role: "reasoning", content: text }];
}

function toolCallsOf({ toolCalls = [] }: HistoryMessage): Pick<AgUiMessage, "toolCalls"> {
  if (toolCalls.length === 0) return {};
  return {
    toolCalls: toolCalls.map(({ id, name, input }) => ({
      id,
      type: "function",
      function: { name, arguments: JSON.stringify(input) },
    })),
  };
}

function outputOf(content: HistoryMessage["content"]): string {
  return typeof content === "string" ? content : JSON.stringify(content);
}

function toInput(content: HistoryMessage["content"]): JsonValue {
  return typeof content === "string" ? content : content.flatMap(toPart);
}

/** A block as a part of AG-UI; what it has no form for is left out. */
function toPart({ type, text, data, url, mimeType }: ContentBlock): JsonValue[] {
  if (type === "text" && typeof text === "string") return [{ type, text }];
  const value = data ?? url;
  if (typeof value !== "string") return [];
  const source = {
    type: data === undefined ? "url" : "data",
    value,
    ...(typeof mimeType === "string" && { mimeType }),
  };
  return [{ type: type === "file" ? "document" : type, source }];
}

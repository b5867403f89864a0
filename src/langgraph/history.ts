import {
  HumanMessage,
  AIMessage,
  type BaseMessage,
  type MessageStructure,
  type ContentBlock as StandardBlock,
  ToolMessage,
} from "@langchain/core/messages";
import type { ContentBlock, HistoryMessage, UserMessage } from "../agent.js";
import { isRecord, toJson, toJsonObject } from "./to-json.js";

/** What LangGraph is given for a user's message. Blocks are in LangChain's standard form and are kept so. */
export function toHumanMessage(message: UserMessage): HumanMessage {
  const { id, content } = message;
  if (typeof content === "string") return new HumanMessage({ id, content });
  // The contract says that blocks are standard ones; providers refuse those they don't know.
  const contentBlocks = content.map((block) => ({ ...block })) as unknown as StandardBlock.Standard[];
  return new HumanMessage<MessageStructure>({ id, contentBlocks });
}

const ROLES: Readonly<Record<string, HistoryMessage["role"]>> = {
  human: "user",
  ai: "assistant",
  tool: "tool",
  function: "tool",
  system: "system",
  developer: "system",
};

/** Blocks that {@link HistoryMessage.toolCalls} says already. */
const CALL_BLOCKS = new Set([
  "tool_call",
  "tool_call_chunk",
  "tool_use",
  "input_json_delta",
  "invalid_tool_call",
  "functionCall",
]);

function toBlock(block: unknown): ContentBlock {
  if (typeof block === "string") return { type: "text", text: block };
  const json = toJsonObject(block);
  return { ...json, type: typeof json["type"] === "string" ? json["type"] : "unknown" };
}

function isBlock(value: unknown): boolean {
  return !(isRecord(value) && typeof value["type"] === "string" && CALL_BLOCKS.has(value["type"]));
}

/**
 * The content in neutral form. Plain text stays a string; blocks, and text with reasoning beside it, become
 * LangChain's standard blocks.
 */
function contentOf(message: BaseMessage, role: HistoryMessage["role"]): HistoryMessage["content"] {
  const { content } = message;
  if (role === "assistant" && (typeof content !== "string" || hasReasoning(message))) {
    return message.contentBlocks.filter(isBlock).map(toBlock);
  }
  return typeof content === "string" ? content : content.filter(isBlock).map(toBlock);
}

function hasReasoning(message: BaseMessage): boolean {
  const reasoning = (message.additional_kwargs as Record<string, unknown> | undefined)?.["reasoning_content"];
  return typeof reasoning === "string" && reasoning !== "";
}

/**
 * Nobody said it: `summarizationMiddleware` puts its summary in as a human message, under the id of the first
 * message that it stands for. As the user's words it would be shown, and given again by a regenerate.
 */
function isSummary(message: BaseMessage): boolean {
  return (
    (message.additional_kwargs as Record<string, unknown> | undefined)?.["lc_source"] === "summarization"
  );
}

/** One message in neutral form. */
export function toHistoryMessage(message: BaseMessage): HistoryMessage {
  const role = isSummary(message) ? "system" : (ROLES[message.type] ?? "assistant");
  const history: { -readonly [Key in keyof HistoryMessage]: HistoryMessage[Key] } = {
    id: message.id ?? "",
    role,
    content: contentOf(message, role),
  };
  if (AIMessage.isInstance(message)) {
    const calls = message.tool_calls ?? [];
    if (calls.length > 0) {
      history.toolCalls = calls.map((call) => ({
        id: call.id ?? "",
        name: call.name,
        input: toJson(call.args),
      }));
    }
  } else if (ToolMessage.isInstance(message)) {
    const { tool_call_id: toolCallId, name, status } = message;
    history.toolCallId = toolCallId;
    if (name !== undefined) history.toolName = name;
    if (status === "error") history.isError = true;
  }
  return history;
}

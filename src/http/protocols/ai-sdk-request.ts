import type { ContentBlock, JsonValue } from "../../index.js";
import { optionalString } from "../body.js";
import { RequestError } from "../errors.js";
import { isObject, rejection, type ApprovalAnswer, type ShownToolCall } from "./approvals.js";
import { isUiMessage, type UiPart } from "./ai-sdk-history.js";

/** What a body of the AI SDK's chat transport asks for. */
export type UiChatRequest =
  | { readonly kind: "message"; readonly message: UserInput }
  /** The user changed an earlier message. */
  | { readonly kind: "edit"; readonly message: UserInput }
  /** The answer to this message is to be given again. */
  | { readonly kind: "regenerate"; readonly message: UserInput }
  | {
      readonly kind: "answers";
      /** All that the message says was decided, also what has been taken before. */
      readonly approvals: readonly ApprovalAnswer[];
      /** The assistant message that the stream goes on with. */
      readonly messageId: string;
      readonly toolCalls: readonly ShownToolCall[];
      readonly deniedToolCallIds: readonly string[];
    };

export interface UserInput {
  readonly id: string;
  readonly content: string | readonly ContentBlock[];
}

function invalid(message: string): RequestError {
  return new RequestError(message);
}

/**
 * Reads a body of the AI SDK's chat transport. The client sends the whole history each time; only its last user
 * message, or the approvals in its last assistant message, are taken from it. Everything else in it (older messages,
 * `system`, tool outputs) is the client's word against the store's and is ignored.
 *
 * @throws {AgentError} `INVALID_INPUT`
 */
export function parseUiChatRequest(body: Readonly<Record<string, unknown>>): UiChatRequest {
  const { messages } = body;
  const [trigger, messageId] = [optionalString(body, "trigger"), optionalString(body, "messageId")];
  if (!Array.isArray(messages) || messages.length === 0 || !messages.every(isObject))
    throw invalid("Expected `messages` to be a list of messages.");
  if (trigger !== undefined && trigger !== "submit-message" && trigger !== "regenerate-message") {
    throw invalid("Expected `trigger` to be submit-message or regenerate-message.");
  }
  const named = messages.find((message) => messageId !== undefined && message["id"] === messageId);
  const last = messages.at(-1);
  // An approval may be given while a later message is there; it says which message it is in.
  const current = named?.["role"] === "assistant" && hasAnswers(named) ? named : last;
  if (!isUiMessage(current))
    throw invalid("Expected the last of `messages` to have an id, a role and parts.");

  if (current.role === "assistant" && trigger !== "regenerate-message") {
    return toAnswers(current.id, current.parts);
  }
  const user: unknown = current.role === "user" ? current : messages.findLast(isUserMessage);
  if (!isUiMessage(user)) throw invalid("Expected `messages` to hold a message of the user.");
  const message = { id: user.id, content: toContent(user.parts) };
  if (trigger === "regenerate-message") return { kind: "regenerate", message };
  return { kind: messageId === user.id ? "edit" : "message", message };
}

function isUserMessage(value: unknown): boolean {
  return isUiMessage(value) && value.role === "user";
}

function isToolPart(part: UiPart): boolean {
  return part.type === "dynamic-tool" || part.type.startsWith("tool-");
}

function hasAnswers(message: Readonly<Record<string, unknown>>): boolean {
  return (
    isUiMessage(message) &&
    message.parts.some((part) => isToolPart(part) && part["state"] === "approval-responded")
  );
}

function toAnswers(messageId: string, parts: readonly UiPart[]): UiChatRequest {
  const approvals: ApprovalAnswer[] = [];
  const toolCalls: ShownToolCall[] = [];
  const deniedToolCallIds: string[] = [];
  for (const part of parts) {
    const { toolCallId, input, approval, state, toolName } = part;
    if (!isToolPart(part) || typeof toolCallId !== "string") continue;
    toolCalls.push({
      toolCallId,
      toolName: typeof toolName === "string" ? toolName : part.type.slice("tool-".length),
      // It came as JSON.
      input: input as JsonValue | undefined,
      answered: typeof state === "string" && state.startsWith("output-"),
    });
    if (state !== "approval-responded") continue;
    const { id, approved, reason } = isObject(approval) ? approval : {};
    if (typeof id !== "string" || typeof approved !== "boolean") {
      throw invalid("Expected an approval to have an `id` and `approved`.");
    }
    if (!approved) deniedToolCallIds.push(toolCallId);
    approvals.push({
      approvalId: id,
      decision: approved ? { type: "approve" } : rejection(reason),
    });
  }
  if (approvals.length === 0)
    throw invalid("Expected the last message to be the user's, or to answer an approval.");
  return { kind: "answers", approvals, messageId, toolCalls, deniedToolCallIds };
}

const DATA_URL = /^data:([\w.+-]+\/[\w.+-]+)(?:;[\w=.-]+)*;base64,([A-Za-z0-9+/]*={0,2})$/;

function toContent(parts: readonly UiPart[]): string | readonly ContentBlock[] {
  const blocks: ContentBlock[] = [];
  const texts: string[] = [];
  for (const part of parts) {
    const { type, text, url, mediaType } = part;
    if (type === "text" && typeof text === "string") {
      blocks.push({ type, text });
      texts.push(text);
    }
    if (type === "file") blocks.push(toFileBlock(url, mediaType));
  }
  return texts.length === blocks.length ? texts.join("\n") : blocks;
}

/** A file as one of LangChain's standard blocks. */
function toFileBlock(url: unknown, mediaType: unknown): ContentBlock {
  if (typeof url !== "string") throw invalid("Expected a file to have a `url`.");
  const match = DATA_URL.exec(url);
  const mimeType = match?.[1] ?? (typeof mediaType === "string" ? mediaType : "application/octet-stream");
  const kind = /^(image|audio|video)\//.exec(mimeType)?.[1] ?? "file";
  if (match?.[2] !== undefined) return { type: kind, mimeType, data: match[2] };
  if (!/^https:\/\//i.test(url)) throw invalid("Expected the `url` of a file to be a data or https URL.");
  return { type: kind, mimeType, url };
}

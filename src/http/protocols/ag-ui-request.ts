import { type Answers, type ContentBlock, type JsonObject, type JsonValue } from "../../index.js";
import { RequestError } from "../errors.js";
import {
  answersOf,
  interruptOfInputId,
  isObject,
  rejection,
  type ApprovalAnswer,
  type ShownToolCall,
} from "./approvals.js";

/** What an AG-UI client asks for. */
export interface AgUiRequest {
  readonly threadId: string;
  readonly runId: string;
  /** Whether it says that it speaks 1.0 or newer. */
  readonly protocol1: boolean;
  readonly input:
    | {
        readonly kind: "message";
        readonly message: { readonly id: string; readonly content: string | readonly ContentBlock[] };
      }
    | { readonly kind: "answers"; readonly answers: Answers }
    /** The answer to the one interrupt that waits, from a client that knows no ids of interrupts. */
    | { readonly kind: "legacy-answer"; readonly answer: JsonValue };
  /** With answers: the calls that the client shows without a result. */
  readonly toolCalls: readonly ShownToolCall[];
}

function invalid(message: string): RequestError {
  return new RequestError(message);
}

/**
 * Reads the body of an AG-UI run. Taken from it are the last user message or the answers to interrupts; the client's
 * history, state, tools and context are ignored.
 *
 * @throws {AgentError} `INVALID_INPUT`
 */
export function parseAgUiRequest(
  body: Readonly<Record<string, unknown>>,
  options: { readonly legacyInterrupts?: boolean | undefined } = {},
): AgUiRequest {
  const { threadId, runId, protocolVersion, forwardedProps } = body;
  if (typeof threadId !== "string") throw invalid("Expected `threadId` to be a string.");
  if (typeof runId !== "string") throw invalid("Expected `runId` to be a string.");
  const list = optionalObjects(body, "messages");
  const resume = optionalObjects(body, "resume");
  const common = {
    threadId,
    runId,
    protocol1: typeof protocolVersion === "string" && /^[1-9]/.test(protocolVersion),
  };
  const toolCalls = openToolCallsOf(list);
  if (resume.length > 0) {
    return { ...common, toolCalls, input: { kind: "answers", answers: toAnswers(resume) } };
  }
  const command = isObject(forwardedProps) ? forwardedProps["command"] : undefined;
  if (options.legacyInterrupts === true && isObject(command) && command["resume"] !== undefined) {
    return {
      ...common,
      toolCalls,
      input: { kind: "legacy-answer", answer: legacyAnswer(command["resume"]) },
    };
  }
  const last = list.at(-1);
  if (last?.["role"] !== "user" || typeof last["id"] !== "string") {
    throw invalid("Expected the last of `messages` to be the user's, or `resume` to answer interrupts.");
  }
  return {
    ...common,
    // A new turn begins: calls of earlier ones are none of its own, though they may have the same ids.
    toolCalls: [],
    input: { kind: "message", message: { id: last["id"], content: toContent(last["content"]) } },
  };
}

function optionalObjects(
  body: Readonly<Record<string, unknown>>,
  name: string,
): readonly Readonly<Record<string, unknown>>[] {
  const value = body[name] ?? [];
  if (!Array.isArray(value) || !value.every(isObject))
    throw invalid(`Expected \`${name}\` to be a list of objects.`);
  return value;
}

/** CopilotKit sends what its component resolved with, often as JSON in a string. */
function legacyAnswer(value: unknown): JsonValue {
  if (typeof value !== "string") return value as JsonValue;
  try {
    return JSON.parse(value) as JsonValue;
  } catch {
    return value;
  }
}

function toAnswers(resume: readonly Readonly<Record<string, unknown>>[]): Answers {
  const approvals: ApprovalAnswer[] = [];
  const inputs: Record<string, JsonValue> = {};
  for (const { interruptId, status, payload } of resume) {
    if (typeof interruptId !== "string" || (status !== "resolved" && status !== "cancelled")) {
      throw invalid("Expected each of `resume` to have an `interruptId` and a `status`.");
    }
    const inputId = interruptOfInputId(interruptId);
    // It came as JSON. Whoever cancels has given no answer, whatever else is there.
    if (inputId !== undefined)
      inputs[inputId] = status === "cancelled" ? null : ((payload ?? null) as JsonValue);
    else {
      const decision: JsonObject = status === "cancelled" ? rejection() : toDecision(payload);
      approvals.push({ approvalId: interruptId, decision });
    }
  }
  return { ...inputs, ...answersOf(approvals) };
}

/** A decision as it is, or the forms that user interfaces have for yes and no. Nothing is approved by leaving it out. */
function toDecision(payload: unknown): JsonObject {
  if (isObject(payload)) {
    const { type, approved, reason, message = reason } = payload;
    // It came as JSON.
    if (typeof type === "string") return payload as JsonObject;
    if (approved === true) return { type: "approve" };
    if (approved === false) return rejection(message);
  }
  if (payload === true || payload === "approve") return { type: "approve" };
  if (payload === false || payload === "reject") return rejection();
  throw invalid("Expected the `payload` for an approval to be a decision such as { type: 'approve' }.");
}

function openToolCallsOf(messages: readonly Readonly<Record<string, unknown>>[]): readonly ShownToolCall[] {
  const answered = new Set(messages.map((message) => message["toolCallId"]));
  const calls: ShownToolCall[] = [];
  for (const message of messages) {
    const toolCalls = message["toolCalls"];
    for (const call of Array.isArray(toolCalls) ? (toolCalls as unknown[]) : []) {
      if (!isObject(call) || typeof call["id"] !== "string" || answered.has(call["id"])) continue;
      const name = isObject(call["function"]) ? call["function"]["name"] : undefined;
      calls.push({
        toolCallId: call["id"],
        toolName: typeof name === "string" ? name : "",
        input: undefined,
      });
    }
  }
  return calls;
}

function toContent(content: unknown): string | readonly ContentBlock[] {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) throw invalid("Expected the `content` of the message to be text or parts.");
  return content.map(toBlock);
}

const MEDIA = new Set(["image", "audio", "video", "document"]);

/** A part of a message as one of LangChain's standard blocks. */
function toBlock(part: unknown): ContentBlock {
  const { type, text, source } = isObject(part) ? part : {};
  if (type === "text" && typeof text === "string") return { type, text };
  if (typeof type === "string" && MEDIA.has(type) && isObject(source)) {
    const kind = type === "document" ? "file" : type;
    const mimeType = typeof source["mimeType"] === "string" ? { mimeType: source["mimeType"] } : undefined;
    const { value } = source;
    if (source["type"] === "data" && typeof value === "string")
      return { type: kind, ...mimeType, data: value };
    if (source["type"] === "url" && typeof value === "string" && /^https:\/\//i.test(value)) {
      return { type: kind, ...mimeType, url: value };
    }
  }
  throw invalid("Expected each part of the message to be text, or media as data or at an https URL.");
}

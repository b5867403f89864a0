import type { Answers, HistoryMessage, Interrupt, JsonObject, JsonValue } from "../../index.js";
import { RequestError } from "../errors.js";

/*
 * An approval interrupt asks about one or more actions at once and wants one answer with a decision for each. The
 * protocols of front ends ask about one tool call at a time. The id that a client is given therefore names both the
 * interrupt and the action's place in it, so that any process can put the answer together again.
 */

/** One action of an approval interrupt, as a client is asked about it. */
export interface ApprovalRequest {
  /** `<interrupt id>:<index>` */
  readonly approvalId: string;
  readonly interruptId: string;
  readonly index: number;
  readonly toolName: string;
  readonly input: JsonValue;
  readonly description: string | undefined;
  readonly allowedDecisions: readonly string[];
}

/** What a client decided about one action. */
export interface ApprovalAnswer {
  readonly approvalId: string;
  /** In the form that the interrupt wants: `{ type: "approve" }`, `{ type: "reject", message }`, … */
  readonly decision: JsonObject;
}

/** The suffix under which an interrupt that is no approval is offered to clients. */
const INPUT_SUFFIX = ":input";

/** More actions than a model ever calls at once; bounds what an answer can make us allocate. */
const MAX_ACTIONS = 256;

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The actions that an approval interrupt asks about, in their order; none for other interrupts. */
export function approvalRequestsOf(interrupt: Interrupt): readonly ApprovalRequest[] {
  const { id, kind, value } = interrupt;
  if (kind !== "approval" || !isObject(value)) return [];
  const actions: readonly unknown[] = Array.isArray(value["actionRequests"]) ? value["actionRequests"] : [];
  const reviews: readonly unknown[] = Array.isArray(value["reviewConfigs"]) ? value["reviewConfigs"] : [];
  return actions.map((action, index) => {
    const { name, args, description } = isObject(action) ? action : {};
    const review = reviews.find((candidate) => isObject(candidate) && candidate["actionName"] === name);
    const allowed = isObject(review) ? review["allowedDecisions"] : undefined;
    return {
      approvalId: `${id}:${String(index)}`,
      interruptId: id,
      index,
      toolName: typeof name === "string" ? name : "",
      // Part of an interrupt's value, which is JSON.
      input: (args ?? {}) as JsonValue,
      description: typeof description === "string" ? description : undefined,
      allowedDecisions: Array.isArray(allowed)
        ? allowed.filter((item) => typeof item === "string")
        : ["approve", "edit", "reject"],
    };
  });
}

/** The id under which clients answer an interrupt that is no approval. */
export function inputIdOf(interrupt: Interrupt): string {
  return interrupt.id + INPUT_SUFFIX;
}

/** The interrupt that an id of {@link inputIdOf} names. */
export function interruptOfInputId(id: string): string | undefined {
  return id.length > INPUT_SUFFIX.length && id.endsWith(INPUT_SUFFIX)
    ? id.slice(0, -INPUT_SUFFIX.length)
    : undefined;
}

/** The interrupt that an id of an {@link ApprovalRequest} names. */
export function interruptOfApprovalId(id: string): string | undefined {
  return APPROVAL_ID.exec(id)?.[1];
}

/** What langchain says of a call that was rejected without a word, and we of those with one: by it they are told apart. */
const REJECTED = "User rejected the tool call";

/** The decision not to let a tool run. */
export function rejection(reason?: unknown): JsonObject {
  return { type: "reject", ...(typeof reason === "string" && { message: `${REJECTED}: ${reason}` }) };
}

/** Whether the error of a tool says that the user did not let it run. */
export function isRejection(text: string): boolean {
  return text.startsWith(REJECTED);
}

/** The text of a message. */
export function textOf(content: HistoryMessage["content"]): string {
  if (typeof content === "string") return content;
  return content.map(({ text }) => (typeof text === "string" ? text : "")).join("");
}

const APPROVAL_ID = /^(.+):(\d{1,3})$/s;

/**
 * Puts decisions about single actions together to answers by interrupt.
 *
 * @throws {AgentError} `INVALID_INPUT` for an id that is none of ours, or when an action of an interrupt is left out.
 */
export function answersOf(approvals: readonly ApprovalAnswer[]): Answers {
  const decisions = new Map<string, JsonValue[]>();
  for (const { approvalId, decision } of approvals) {
    const match = APPROVAL_ID.exec(approvalId);
    const interruptId = match?.[1];
    const index = Number(match?.[2]);
    if (interruptId === undefined || index >= MAX_ACTIONS) {
      throw new RequestError("Expected the id of an approval as it was sent.");
    }
    let list = decisions.get(interruptId);
    if (list === undefined) decisions.set(interruptId, (list = []));
    list[index] = decision;
  }
  for (const list of decisions.values()) {
    // A hole reads as undefined.
    if (Array.from(list).includes(undefined as unknown as JsonValue)) {
      throw new RequestError("Expected a decision for every action that was asked about at once.");
    }
  }
  return Object.fromEntries([...decisions].map(([id, list]) => [id, { decisions: list }]));
}

/** A tool call that a stream or a client has shown, for finding the one that an action is about. */
export interface ShownToolCall {
  readonly toolCallId: string;
  readonly toolName: string;
  readonly input: JsonValue | undefined;
  /** Whether it has a result, and nothing can be asked about it any more. */
  readonly answered?: boolean;
}

/**
 * Finds the tool call of each action: interrupts name tools and arguments but no call ids. The first call with that
 * name and equal arguments that no other action has taken, else with that name (a description of arguments may
 * differ from what the model wrote).
 */
export function matchToolCalls(
  requests: readonly ApprovalRequest[],
  calls: readonly ShownToolCall[],
): readonly (ShownToolCall | undefined)[] {
  const free = new Set(calls);
  const take = (fits: (call: ShownToolCall) => boolean): ShownToolCall | undefined => {
    const found = [...free].find(fits);
    if (found !== undefined) free.delete(found);
    return found;
  };
  // Exact matches first for all of them, so that a loose one cannot take another action's call.
  const exact = requests.map((request) => {
    const input = canonical(request.input);
    return take((call) => call.toolName === request.toolName && canonical(call.input) === input);
  });
  return exact.map((call, index) => call ?? take(({ toolName }) => toolName === requests[index]?.toolName));
}

/** JSON with sorted keys, so that equal values are equal text. */
function canonical(value: JsonValue | undefined): string {
  if (value === undefined) return "";
  return JSON.stringify(value, (_key, item: unknown) =>
    isObject(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : item,
  );
}

import type { Interrupt, JsonObject, JsonValue } from "../../index.js";
import { approvalRequestsOf, inputIdOf, matchToolCalls, type ShownToolCall } from "./approvals.js";

/** A question as AG-UI asks it; its `id` is what `resume` answers. */
export interface AgUiInterrupt {
  readonly id: string;
  readonly reason: "tool_call" | "input_required";
  readonly message?: string;
  readonly toolCallId?: string;
  readonly responseSchema?: JsonObject;
  readonly metadata: JsonObject;
}

/** What an interrupt asks; for an approval each action by itself, with its call among those that are `open`. */
export function toAgUiInterrupts(
  interrupt: Interrupt,
  open: readonly ShownToolCall[],
): readonly AgUiInterrupt[] {
  const { kind, value } = interrupt;
  if (kind === "input") {
    const message = typeof value === "string" ? { message: value } : undefined;
    return [{ id: inputIdOf(interrupt), reason: "input_required", ...message, metadata: { value } }];
  }
  const requests = approvalRequestsOf(interrupt);
  const calls = matchToolCalls(requests, open);
  return requests.map(({ approvalId, toolName, input, description, allowedDecisions }, index) => {
    const toolCallId = calls[index]?.toolCallId;
    return {
      id: approvalId,
      reason: "tool_call",
      ...(description === undefined ? undefined : { message: description }),
      ...(toolCallId === undefined ? undefined : { toolCallId }),
      responseSchema: responseSchema(allowedDecisions),
      metadata: { toolName, input, allowedDecisions },
    };
  });
}

function responseSchema(allowedDecisions: readonly string[]): JsonObject {
  return {
    type: "object",
    properties: {
      type: { enum: allowedDecisions },
      message: { type: "string" },
      editedAction: {
        type: "object",
        properties: { name: { type: "string" }, args: { type: "object" } },
        required: ["name", "args"],
      },
    },
    required: ["type"],
  } satisfies Record<string, JsonValue>;
}

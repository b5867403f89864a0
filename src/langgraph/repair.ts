import { AIMessage, ToolMessage, type BaseMessage } from "@langchain/core/messages";

/** What the model reads in place of the answer of a tool that was stopped. */
const CANCELLED_TOOL_RESULT = "[cancelled]";

/** The tool calls of the last assistant message that nothing answers, when they can still be answered in place. */
function openCalls(messages: readonly BaseMessage[]): NonNullable<AIMessage["tool_calls"]> {
  const answered = new Set<string>();
  for (let index = messages.length - 1; index >= 0; index -= 1) {
    const message = messages[index];
    if (ToolMessage.isInstance(message)) {
      answered.add(message.tool_call_id);
    } else if (AIMessage.isInstance(message)) {
      const calls = message.tool_calls ?? [];
      return calls.filter((call) => call.id !== undefined && !answered.has(call.id));
    } else {
      return [];
    }
  }
  return [];
}

/**
 * The messages that make a history valid for the next user message. A run that was cancelled, hit the recursion
 * limit, or was left at an interrupt ends with tool calls that have no result, which providers refuse. Each gets
 * the result that its tool had already delivered (`results`, from the pending writes), else one that says that it
 * was cancelled. They go after the history, so before the new message.
 */
export function repairMessages(
  messages: readonly BaseMessage[],
  results: readonly ToolMessage[],
): ToolMessage[] {
  return openCalls(messages).map(
    (call) =>
      results.find((result) => result.tool_call_id === call.id) ??
      new ToolMessage({
        tool_call_id: call.id ?? "",
        name: call.name,
        content: CANCELLED_TOOL_RESULT,
        status: "error",
      }),
  );
}

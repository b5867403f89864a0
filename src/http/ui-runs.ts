import type { Answers, ChatRequest, ChatService, Run, SessionRef } from "../index.js";
import { hasCode } from "./errors.js";
import { answersOf, interruptOfApprovalId, type ApprovalAnswer } from "./protocols/approvals.js";
import type { UiChatRequest } from "./protocols/ai-sdk-request.js";
import { replyIdOf, type UiChunkOptions } from "./protocols/ai-sdk.js";

type UiRunRequest<TConfig extends object, TContext> = Omit<ChatRequest<TConfig, TContext>, "message">;

/** Starts what a body of the AI SDK asks for, and says how its stream must be. */
export async function startUiRun<TConfig extends object, TContext>(
  service: ChatService<TConfig, TContext>,
  base: UiRunRequest<TConfig, TContext>,
  asked: UiChatRequest,
): Promise<{ readonly run: Run; readonly ui: UiChunkOptions }> {
  if (asked.kind === "answers") {
    const { messageId, toolCalls, deniedToolCallIds } = asked;
    const { sessionId, userId, runId, context } = base;
    const answers = await waitingAnswers(service, base, asked.approvals);
    const run = service.resume({ sessionId, userId, runId, context, answers });
    return { run, ui: { messageId, knownToolCalls: toolCalls, deniedToolCallIds } };
  }
  const { kind, message } = asked;
  const ui = { messageId: replyIdOf(message.id) };
  // A turn that failed before it was stored has nothing to go back to: its message is simply sent again.
  if (kind === "message" || !(await hasMessage(service, base, message.id))) {
    return { run: service.chat({ ...base, message }), ui };
  }
  return kind === "edit"
    ? { run: service.edit({ ...base, message, messageId: message.id }), ui }
    : { run: service.regenerate({ ...base, messageId: message.id }), ui };
}

/**
 * Leaves out answers that were taken before: a call that was approved beside a rejected one may never have run, and
 * the client's message then goes on showing it as answered. If none is left, all are sent, to be refused.
 */
async function waitingAnswers<TConfig extends object, TContext>(
  service: ChatService<TConfig, TContext>,
  { sessionId, userId }: SessionRef,
  approvals: readonly ApprovalAnswer[],
): Promise<Answers> {
  const run = await service.getRun({ sessionId, userId });
  const waiting = new Set<string | undefined>(run?.interrupts.map(({ id }) => id));
  const fitting = approvals.filter(({ approvalId }) => waiting.has(interruptOfApprovalId(approvalId)));
  return answersOf(fitting.length === 0 ? approvals : fitting);
}

async function hasMessage<TConfig extends object, TContext>(
  service: ChatService<TConfig, TContext>,
  { sessionId, userId }: SessionRef,
  messageId: string,
): Promise<boolean> {
  try {
    await service.getHistory({ sessionId, userId, before: messageId, limit: 1 });
    return true;
  } catch (error) {
    if (hasCode(error, "MESSAGE_NOT_FOUND")) return false;
    if (hasCode(error, "UNSUPPORTED")) return true;
    throw error;
  }
}

import type { ChatService, HistoryMessage, SessionRef } from "../index.js";

/** How many messages are read at once when a page goes back to where its first turn begins. */
const STEP = 1_000;

export interface HistoryRequest {
  readonly limit: number;
  readonly before?: string | undefined;
  /** Goes on to the user's message of the turn that the page would begin within. */
  readonly wholeTurns: boolean;
}

/** A page of a conversation, oldest first; `before` names the message before which there are more. */
export async function historyOf<TConfig extends object, TContext>(
  service: ChatService<TConfig, TContext>,
  { sessionId, userId }: SessionRef,
  { limit, before, wholeTurns }: HistoryRequest,
): Promise<{ readonly messages: readonly HistoryMessage[]; readonly before?: string | undefined }> {
  let page = await service.getHistory({ sessionId, userId, limit, before });
  while (wholeTurns && page.before !== undefined && !beginsTurn(page.messages[0])) {
    const older = await service.getHistory({ sessionId, userId, limit: STEP, before: page.before });
    const start = Math.max(0, older.messages.findLastIndex(beginsTurn));
    const messages = [...older.messages.slice(start), ...page.messages];
    const more = start > 0 ? messages[0]?.id : older.before;
    page = more === undefined ? { messages } : { messages, before: more };
  }
  return page;
}

function beginsTurn(message: HistoryMessage | undefined): boolean {
  return message?.role === "user";
}

import { BaseMessage, BaseMessageChunk } from "@langchain/core/messages";
import {
  MessagesValue,
  ReducedValue,
  StateSchema,
  messagesStateReducer,
  type Messages,
} from "@langchain/langgraph";

/** Lists of which every member is known to be a whole message with an id: those that reducing has made. */
const clean = new WeakSet<readonly BaseMessage[]>();

function isPlain(message: unknown): message is BaseMessage {
  return BaseMessage.isInstance(message) && message.id != null && !BaseMessageChunk.isInstance(message);
}

/**
 * LangGraph's reducer for messages, with a short way for what every step does: appending. The official one coerces
 * the whole list and indexes it by id, three times a turn; where nothing but new whole messages comes, the result
 * is the same list with them at its end.
 */
export function reduceMessages(left: BaseMessage[], right: Messages): BaseMessage[] {
  return append(left, right) ?? remember(messagesStateReducer(left, right));
}

function remember(messages: BaseMessage[]): BaseMessage[] {
  clean.add(messages);
  return messages;
}

function append(left: unknown, right: unknown): BaseMessage[] | undefined {
  if (!Array.isArray(left) || !Array.isArray(right)) return undefined;
  const messages = left as BaseMessage[];
  const added = right as unknown[];
  const isClean = clean.has(messages);
  const ids = new Set<string>();
  for (const message of added) {
    // Removals, chunks and messages without id are the official reducer's business.
    if (!isPlain(message) || message.type === "remove" || message.id === undefined) return undefined;
    ids.add(message.id);
  }
  if (ids.size !== added.length) return undefined;
  for (const message of messages) {
    if (!isClean && !isPlain(message)) return undefined;
    if (message.id !== undefined && ids.has(message.id)) return undefined;
  }
  return remember(messages.concat(added as BaseMessage[]));
}

/** The state of an agent, as `createAgent` has it, but for the reducer. */
export function messagesState(): StateSchema<{ messages: typeof MessagesValue }> {
  return new StateSchema({
    messages: new ReducedValue(MessagesValue.valueSchema, {
      inputSchema: MessagesValue.inputSchema,
      reducer: reduceMessages,
      ...(MessagesValue.jsonSchemaExtra !== undefined && { jsonSchemaExtra: MessagesValue.jsonSchemaExtra }),
    }),
  });
}

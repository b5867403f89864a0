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

function isIdentified(message: unknown): message is BaseMessage & { id: string } {
  return BaseMessage.isInstance(message) && message.id != null;
}

function isPlain(message: unknown): message is BaseMessage {
  return isIdentified(message) && !BaseMessageChunk.isInstance(message);
}

/**
 * LangGraph's reducer for messages, with a short way for what every step does: appending. The official one coerces
 * the whole list and indexes it by id, three times a turn; where nothing but new messages comes, the result is the
 * same list with them at its end. Chunks, which is what a streamed answer is, it makes whole first, in any case.
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
  let hasChunks = false;
  for (const message of added) {
    // Removals and messages without id are the official reducer's business.
    if (!isIdentified(message) || message.type === "remove") return undefined;
    hasChunks ||= BaseMessageChunk.isInstance(message);
    ids.add(message.id);
  }
  if (ids.size !== added.length) return undefined;
  // Mostly one message comes, and comparing is faster than looking up.
  const [only] = ids.size === 1 ? ids : [];
  for (const message of messages) {
    if (!isClean && !isPlain(message)) return undefined;
    if (only === undefined ? message.id !== undefined && ids.has(message.id) : message.id === only)
      return undefined;
  }
  const whole = hasChunks ? messagesStateReducer([], added as BaseMessage[]) : (added as BaseMessage[]);
  return remember(messages.concat(whole));
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

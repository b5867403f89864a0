import { TASKS, maxChannelVersion } from "@langchain/langgraph-checkpoint";
import type { Checkpoint, CheckpointMetadata, CheckpointTuple } from "@langchain/langgraph-checkpoint";
import type { BaseMessage } from "@langchain/core/messages";
import { decodeWrites, sortWrites, versionsOf } from "./checkpoint.js";
import type { StoredCheckpoint } from "./checkpoint.js";
import type { LiveMessages, MessageList } from "./message-list.js";
import type { ConversationThread } from "./thread.js";
import { decodeValue } from "./value.js";
import type { Resemblance, ValueCodec } from "./value.js";

export interface TupleOptions {
  readonly thread: ConversationThread;
  readonly threadId: string;
  readonly namespace: string;
  readonly stored: StoredCheckpoint;
  readonly codec: ValueCodec;
  readonly liveOf: (list: MessageList) => LiveMessages | undefined;
  /** Told the objects that a list of the head was read as. */
  readonly onRead: (list: MessageList, messages: BaseMessage[]) => void;
}

/** A stored checkpoint as LangGraph wants it. What is read of the thread is read at once. */
export async function readTuple(options: TupleOptions): Promise<CheckpointTuple> {
  const { thread, threadId, namespace, stored, codec, liveOf } = options;
  const writes = sortWrites(thread.writesOf(namespace, stored.id));
  const sends =
    stored.v < 4 && stored.parentId !== undefined
      ? [...thread.writesOf(namespace, stored.parentId)].filter((write) => write.channel === TASKS)
      : undefined;
  const isHead = thread.find(namespace) === stored;
  const messages = stored.channels.get("messages");
  const like: Resemblance =
    messages?.kind === "messages"
      ? { list: messages, live: liveOf(messages) }
      : { list: undefined, live: undefined };
  const values = [...stored.channels].map(async ([channel, value]) => {
    if (value.kind !== "messages") return [channel, await decodeValue(value, codec, like)] as const;
    const live = value === like.list ? like.live : liveOf(value);
    const decoded = await decodeValue(value, codec, { list: value, live });
    // A list of messages decodes to messages.
    if (isHead && live === undefined) options.onRead(value, decoded as BaseMessage[]);
    return [channel, decoded] as const;
  });
  const checkpoint: Checkpoint = {
    v: stored.v,
    id: stored.id,
    ts: stored.ts,
    channel_values: Object.fromEntries(await Promise.all(values)),
    ...versionsOf(stored),
  };
  if (sends !== undefined) {
    const pending = await decodeWrites(sends, codec);
    checkpoint.channel_values[TASKS] = pending.map(([, , value]) => value);
    const versions = Object.values(checkpoint.channel_versions);
    checkpoint.channel_versions[TASKS] = versions.length > 0 ? maxChannelVersion(...versions) : 1;
  }
  const at = { thread_id: threadId, checkpoint_ns: namespace };
  const tuple: CheckpointTuple = {
    config: { configurable: { ...at, checkpoint_id: stored.id } },
    checkpoint,
    // Only `put` writes it.
    metadata: (await codec.loadBlob(stored.metadata)) as CheckpointMetadata,
    pendingWrites: await decodeWrites(writes, codec, like),
  };
  if (stored.parentId !== undefined) {
    tuple.parentConfig = { configurable: { ...at, checkpoint_id: stored.parentId } };
  }
  return tuple;
}

import { BaseMessage } from "@langchain/core/messages";
import type { ChannelVersions, Checkpoint, CheckpointMetadata } from "@langchain/langgraph-checkpoint";
import { CHECKPOINT_BYTES, deltaChannelsOf, versionsOf } from "./checkpoint.js";
import type { StoredCheckpoint } from "./checkpoint.js";
import type { ConversationThread } from "./thread.js";
import { encodeValue } from "./value.js";
import type { Draft, Resemblance, StoredValue, ValueCodec } from "./value.js";
import { encodeMessages, textBytes } from "./message-list.js";
import type { LiveMessages, MessageEntry, MessageList } from "./message-list.js";
import { adoptValue, copyBlob } from "./adopt.js";

export interface CheckpointDraftOptions {
  readonly checkpoint: Checkpoint;
  readonly metadata: CheckpointMetadata;
  /** The channels that changed since the parent; all if absent. */
  readonly newVersions: ChannelVersions | undefined;
  readonly parentId: string | undefined;
  readonly codec: ValueCodec;
  readonly thread: ConversationThread | undefined;
  readonly namespace: string;
  /** Whether to store an unchanged value whose original is not to be found. */
  readonly keepsUnclaimed: boolean;
  /** The live objects of a list; taken out of the cache unless `keep`. */
  readonly takeLive: (list: MessageList, keep: boolean) => LiveMessages | undefined;
}

export interface DraftedList {
  readonly list: MessageList;
  readonly messages: readonly BaseMessage[];
  readonly alive: number;
  readonly live: LiveMessages | undefined;
}

export interface CheckpointDraft {
  readonly stored: StoredCheckpoint;
  /** The lists among its channels, to be kept alive. */
  readonly lists: readonly DraftedList[];
}

/** A channel's value, encoded. */
interface DraftedChannel {
  readonly channel: string;
  /** Whether it has not changed since the parent, and is the parent's if that has it. */
  readonly isOld: boolean;
  readonly draft: Draft<StoredValue>;
  /** The messages of a list; `alive` and `live` as the thread had them that it was encoded with. */
  readonly list?: Omit<DraftedList, "list">;
}

/**
 * Encodes a checkpoint at once. Values that did not change since the parent are shared with it. The thread that it
 * is then put into may be another object than the one that it was encoded with: it shares with the former only.
 */
export function draftCheckpoint(
  options: CheckpointDraftOptions,
): (target: ConversationThread) => CheckpointDraft {
  const { checkpoint, codec, thread, namespace, newVersions, parentId } = options;
  const parent = parentId === undefined ? undefined : thread?.find(namespace, parentId);
  const like = resemblance(options, parent);
  const inParent = parentValues(parent);
  const lists: [channel: string, isOld: boolean, messages: BaseMessage[]][] = [];
  const values: DraftedChannel[] = [];
  for (const [channel, value] of Object.entries(checkpoint.channel_values)) {
    const isOld = newVersions !== undefined && !Object.hasOwn(newVersions, channel);
    const same = isOld ? inParent(channel, own(checkpoint.channel_versions, channel)) : undefined;
    if (same !== undefined) values.push({ channel, isOld: false, draft: () => same });
    else if (isMessageList(value, like.live?.objects)) lists.push([channel, isOld, value]);
    else values.push({ channel, isOld, draft: encodeValue(value, codec, like) });
  }
  // The lists come last, since they take the live objects that the other values are compared with.
  const listDrafts = lists.map(([channel, isOld, messages]): DraftedChannel => {
    const before = parent?.channels.get(channel);
    const base = before?.kind === "messages" ? before : like.list;
    const isOwn = base !== undefined && base === before;
    const live = base && options.takeLive(base, !isOwn);
    const { alive, finish } = encodeMessages(messages, codec, base, live);
    // The caller may change the array; the objects in it are what will be recognised.
    const list = { messages: messages.slice(), alive: isOwn ? alive : 0, live: isOwn ? live : undefined };
    return { channel, isOld, draft: finish, list };
  });
  const drafts = [...listDrafts, ...values];
  const { id, v, ts, channel_versions, versions_seen } = checkpoint;
  const metadata = codec.blob(options.metadata);
  const versions = JSON.stringify({ channel_versions, versions_seen });
  const delta = deltaChannelsOf(options.metadata, channel_versions, checkpoint.channel_values);
  const { parents, source } = options.metadata;
  return (target) => {
    const isHere = target === thread;
    const place = placing(options, versions, target);
    const lists: DraftedList[] = [];
    const channels = new Map<string, StoredValue>();
    for (const { channel, isOld, draft, list } of drafts) {
      const value = place(channel, isOld, draft);
      if (value === undefined) continue;
      channels.set(channel, value);
      if (list === undefined || value.kind !== "messages") continue;
      lists.push({
        ...(isHere ? list : { messages: list.messages, alive: 0, live: undefined }),
        list: value,
      });
    }
    const stored: StoredCheckpoint = {
      id,
      parentId,
      v,
      ts,
      versions,
      metadata: isHere ? metadata() : copyBlob(metadata()),
      channels,
      delta,
      parents: toMap(parents),
      isInput: source === "input",
      bytes: CHECKPOINT_BYTES + textBytes(versions) + channels.size * 40,
      ancestorId: parentId,
      isAncestorOnly: false,
    };
    return { stored, lists };
  };
}

/** Finds the parent's value of a channel by its version. */
function parentValues(
  parent: StoredCheckpoint | undefined,
): (channel: string, version: unknown) => StoredValue | undefined {
  // Parsed at most once a checkpoint, and often not at all.
  let versions: ChannelVersions | undefined;
  return (channel, version) => {
    const value = parent?.channels.get(channel);
    if (parent === undefined || value === undefined) return undefined;
    versions ??= versionsOf(parent).channel_versions;
    return own(versions, channel) === version ? value : undefined;
  };
}

/** How drafted values come into `target`: as they are where they were made for it, else as its own. */
function placing(
  options: CheckpointDraftOptions,
  versions: string,
  target: ConversationThread,
): (channel: string, isOld: boolean, draft: Draft<StoredValue>) => StoredValue | undefined {
  const { thread, namespace, parentId, keepsUnclaimed } = options;
  const isHere = target === thread;
  const parent = isHere || parentId === undefined ? undefined : target.find(namespace, parentId);
  const inParent = parentValues(parent);
  const like = isHere ? undefined : messagesOf(parent ?? target.find(namespace) ?? target.find(""));
  const adopted = new Map<MessageEntry, MessageEntry>();
  // Parsed at most once a checkpoint, and mostly not at all.
  let parsed: ChannelVersions | undefined;
  return (channel, isOld, draft) => {
    if (isOld) {
      parsed ??= (JSON.parse(versions) as Pick<Checkpoint, "channel_versions">).channel_versions;
      const version = own(parsed, channel);
      const same = inParent(channel, version);
      if (same !== undefined) return same;
      if (!keepsUnclaimed && !hasVersion(target, namespace, channel, version)) return undefined;
    }
    return isHere ? draft() : adoptValue(draft(), target.pool, like, adopted);
  };
}

const NO_PARENTS: ReadonlyMap<string, string> = new Map();

function toMap(parents: Readonly<Record<string, string>> | undefined): ReadonlyMap<string, string> {
  const entries = Object.entries(parents ?? {});
  return entries.length === 0 ? NO_PARENTS : new Map(entries);
}

function own<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/** @param known messages that the list is likely to begin with, which spares a look at each. */
function isMessageList(value: unknown, known: readonly BaseMessage[] = []): value is BaseMessage[] {
  if (!Array.isArray(value) || value.length === 0) return false;
  let i = 0;
  while (i < value.length && i < known.length && value[i] === known[i]) i += 1;
  for (; i < value.length; i += 1) if (!BaseMessage.isInstance(value[i])) return false;
  return true;
}

function messagesOf(stored: StoredCheckpoint | undefined): MessageList | undefined {
  const messages = stored?.channels.get("messages");
  return messages?.kind === "messages" ? messages : undefined;
}

/** The messages of the parent, else those of the conversation: a subgraph often gets them whole. */
function resemblance(options: CheckpointDraftOptions, parent: StoredCheckpoint | undefined): Resemblance {
  const { thread, namespace, takeLive } = options;
  const list = messagesOf(parent) ?? messagesOf(thread?.find(namespace)) ?? messagesOf(thread?.find(""));
  return { list, live: list && takeLive(list, true) };
}

/** Whether a kept checkpoint of the namespace has the channel at that version. */
function hasVersion(
  thread: ConversationThread,
  namespace: string,
  channel: string,
  version: unknown,
): boolean {
  return thread
    .list(namespace)
    .some(
      (stored) =>
        stored.channels.has(channel) && own(versionsOf(stored).channel_versions, channel) === version,
    );
}

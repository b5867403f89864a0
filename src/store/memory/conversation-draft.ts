import { BaseMessage } from "@langchain/core/messages";
import type { ChannelVersions, Checkpoint, CheckpointMetadata } from "@langchain/langgraph-checkpoint";
import { CHECKPOINT_BYTES, deltaChannelsOf, versionsOf } from "./conversation-checkpoint.js";
import type { StoredCheckpoint } from "./conversation-checkpoint.js";
import type { ConversationThread } from "./conversation-thread.js";
import { encodeValue } from "./conversation-value.js";
import type { Draft, Resemblance, StoredValue, ValueCodec } from "./conversation-value.js";
import { encodeMessages, textBytes } from "./message-list.js";
import type { LiveMessages, MessageList } from "./message-list.js";

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

/** Encodes a checkpoint at once. Values that did not change since the parent are shared with it. */
export function draftCheckpoint(options: CheckpointDraftOptions): Draft<CheckpointDraft> {
  const { checkpoint, codec, thread, namespace } = options;
  const parent = options.parentId === undefined ? undefined : thread?.find(namespace, options.parentId);
  const versions = parent && versionsOf(parent).channel_versions;
  const like = resemblance(options, parent);
  const values: [string, Draft<StoredValue>][] = [];
  const lists: [string, BaseMessage[]][] = [];
  for (const [channel, value] of Object.entries(checkpoint.channel_values)) {
    if (options.newVersions !== undefined && !Object.hasOwn(options.newVersions, channel)) {
      const version = own(checkpoint.channel_versions, channel);
      const same = parent?.channels.get(channel);
      if (same !== undefined && own(versions ?? {}, channel) === version) {
        values.push([channel, () => same]);
        continue;
      }
      if (!options.keepsUnclaimed && !hasVersion(options, channel, version)) continue;
    }
    if (isMessageList(value)) lists.push([channel, value]);
    else values.push([channel, encodeValue(value, codec, like)]);
  }
  // The lists come last, since they take the live objects that the other values are compared with.
  const listDrafts = lists.map(([channel, messages]) => {
    const own = parent?.channels.get(channel);
    const base = own?.kind === "messages" ? own : like.list;
    const isOwn = base !== undefined && base === own;
    const live = base && options.takeLive(base, !isOwn);
    const { alive, finish } = encodeMessages(messages, codec, base, live);
    // The caller may change the array; the objects in it are what will be recognised.
    return {
      channel,
      messages: messages.slice(),
      alive: isOwn ? alive : 0,
      live: isOwn ? live : undefined,
      finish,
    };
  });
  const metadata = codec.blob(options.metadata);
  const texts = JSON.stringify({
    channel_versions: checkpoint.channel_versions,
    versions_seen: checkpoint.versions_seen,
  });
  const delta = deltaChannelsOf(options.metadata, checkpoint.channel_versions, checkpoint.channel_values);
  const { parents, source } = options.metadata;
  return () => {
    const drafted = listDrafts.map((draft) => ({ ...draft, list: draft.finish() }));
    const channels = new Map<string, StoredValue>(drafted.map(({ channel, list }) => [channel, list]));
    for (const [channel, draft] of values) channels.set(channel, draft());
    const stored: StoredCheckpoint = {
      id: checkpoint.id,
      parentId: options.parentId,
      v: checkpoint.v,
      ts: checkpoint.ts,
      versions: texts,
      metadata: metadata(),
      channels,
      delta,
      parents: toMap(parents),
      isInput: source === "input",
      bytes: CHECKPOINT_BYTES + textBytes(texts) + channels.size * 40,
      ancestorId: options.parentId,
      isAncestorOnly: false,
    };
    return { stored, lists: drafted };
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

function isMessageList(value: unknown): value is BaseMessage[] {
  return Array.isArray(value) && value.length > 0 && value.every((item) => BaseMessage.isInstance(item));
}

/** The messages of the parent, else those of the conversation: a subgraph often gets them whole. */
function resemblance(options: CheckpointDraftOptions, parent: StoredCheckpoint | undefined): Resemblance {
  const { thread, namespace, takeLive } = options;
  for (const stored of [parent, thread?.find(namespace), thread?.find("")]) {
    const messages = stored?.channels.get("messages");
    if (messages?.kind === "messages") return { list: messages, live: takeLive(messages, true) };
  }
  return { list: undefined, live: undefined };
}

/** Whether a kept checkpoint of the namespace has the channel at that version. */
function hasVersion(options: CheckpointDraftOptions, channel: string, version: unknown): boolean {
  const kept = options.thread?.list(options.namespace) ?? [];
  return kept.some(
    (stored) => stored.channels.has(channel) && own(versionsOf(stored).channel_versions, channel) === version,
  );
}

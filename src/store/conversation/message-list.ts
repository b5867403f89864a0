import type { BaseMessage } from "@langchain/core/messages";
import { decodeMessage, encodeMessage } from "./message-codec.js";
import type { Draft, ValueCodec } from "./value.js";

/*
 * A list of messages as a saver keeps it: entries in chunks of 32, never changed once made. Lists share the
 * chunks that they have in common, so that an appended message costs one chunk and one pointer per 32
 * messages, and a fork point the same. A new list is compared with the one before it, entry by entry: nothing
 * assumes that lists only grow.
 */

export const CHUNK_LENGTH = 32;

/** What the entry's objects take beside the text: the entry, its id, a slot in a chunk and in the id index. */
const ENTRY_BYTES = 176;
const CHUNK_BYTES = 96;

/** One stored message. */
export interface MessageEntry {
  readonly kind: "message";
  refs: number;
  readonly bytes: number;
  readonly id: string | undefined;
  /** Whether it takes the message of its id away, as writes to a delta channel do. */
  readonly removes: boolean;
  /** `undefined` for our own JSON, else the type that the serialiser gave. */
  readonly type: string | undefined;
  readonly data: string | Uint8Array;
  /** Its number among the thread's records; {@link UNRECORDED} when it has none. */
  record: number;
}

/** What a message has for a number that no engine keeps. */
export const UNRECORDED = -1;

export interface MessageChunk {
  refs: number;
  readonly bytes: number;
  readonly entries: readonly MessageEntry[];
}

export interface MessageList {
  readonly kind: "messages";
  refs: number;
  readonly bytes: number;
  readonly chunks: readonly MessageChunk[];
  readonly length: number;
}

export function entryAt(list: MessageList, index: number): MessageEntry | undefined {
  return list.chunks[Math.floor(index / CHUNK_LENGTH)]?.entries[index % CHUNK_LENGTH];
}

export function* entriesOf(list: MessageList): Generator<MessageEntry> {
  for (const chunk of list.chunks) yield* chunk.entries;
}

/** Heap bytes of a string: V8 keeps one byte a character as long as all fit Latin-1. */
export function textBytes(text: string): number {
  // eslint-disable-next-line no-control-regex
  return /[^\u0000-\u00ff]/.test(text) ? text.length * 2 : text.length;
}

/**
 * The message objects of a list's older part, handed out and recognised by identity, so that a turn neither
 * reads nor writes them again. The last turn's messages are not among them: those are edited in place
 * (`humanInTheLoopMiddleware` does), so they are read anew and compared by content.
 *
 * `contents` and `calls` remember what the objects said, which tells when somebody edits an old one.
 */
export interface LiveMessages {
  readonly objects: BaseMessage[];
  readonly contents: unknown[];
  readonly calls: unknown[];
  bytes: number;
}

/** The longest last turn that is compared by content; older messages of a longer one by identity. */
const TAIL_LENGTH = 32;

/** What a live message's objects take beside its text, measured. */
const LIVE_BYTES = 450;

function callsOf(message: BaseMessage): unknown {
  return (message as { tool_calls?: unknown }).tool_calls;
}

function isUnchanged(live: LiveMessages, index: number): boolean {
  const message = live.objects[index];
  return (
    message !== undefined &&
    message.content === live.contents[index] &&
    callsOf(message) === live.calls[index]
  );
}

function tailStart(messages: readonly BaseMessage[]): number {
  const limit = Math.max(0, messages.length - TAIL_LENGTH);
  for (let i = messages.length - 1; i > limit; i -= 1) if (messages[i]?.type === "human") return i;
  return limit;
}

/** Makes `live` (or a new one) hold the older part of `messages`, of which the first `kept` are in it already. */
export function growLive(
  live: LiveMessages | undefined,
  kept: number,
  messages: readonly BaseMessage[],
  list: MessageList,
): LiveMessages {
  const grown = live ?? { objects: [], contents: [], calls: [], bytes: 0 };
  const end = tailStart(messages);
  const start = Math.min(kept, end, grown.objects.length);
  if (start < grown.objects.length) {
    grown.objects.length = grown.contents.length = grown.calls.length = start;
    grown.bytes = 0;
    for (let i = 0; i < start; i += 1) grown.bytes += liveBytes(list, i);
  }
  for (let i = start; i < end; i += 1) {
    // `end` lies within `messages`.
    const message = messages[i] as BaseMessage;
    grown.objects.push(message);
    grown.contents.push(message.content);
    grown.calls.push(callsOf(message));
    grown.bytes += liveBytes(list, i);
  }
  return grown;
}

function liveBytes(list: MessageList, index: number): number {
  return (entryAt(list, index)?.bytes ?? 0) + LIVE_BYTES;
}

export interface MessageListDraft {
  /** How many messages at the front are the live objects themselves. */
  readonly alive: number;
  readonly finish: Draft<MessageList>;
}

/** Up to how many messages are searched for one by one. */
const FEW = 8;

/** Finds the place of a message among the live ones from `start` on, below zero if it is none; asked `times` times. */
function finder(
  live: LiveMessages | undefined,
  start: number,
  times: number,
): (message: BaseMessage) => number {
  if (live === undefined || times === 0) return () => -1;
  const { objects } = live;
  // What a step adds is few messages, and no reason to index a long history.
  if (times <= FEW) return (message) => objects.indexOf(message, start);
  const places = new Map<BaseMessage, number>();
  for (let i = start; i < objects.length; i += 1) places.set(objects[i] as BaseMessage, i);
  return (message) => places.get(message) ?? -1;
}

/**
 * Encodes `messages` at once, so that later edits of the objects don't matter; what is the same as in `base`
 * is shared with it. With the live objects of `base`, messages that are among them are not encoded again.
 */
export function encodeMessages(
  messages: readonly BaseMessage[],
  codec: ValueCodec,
  base: MessageList | undefined,
  live: LiveMessages | undefined,
): MessageListDraft {
  const count = live?.objects.length ?? 0;
  let alive = 0;
  while (
    alive < count &&
    messages[alive] === live?.objects[alive] &&
    live !== undefined &&
    isUnchanged(live, alive)
  ) {
    alive += 1;
  }
  // Messages may have moved: then the remaining live objects are found by identity.
  const indexOf = finder(live, alive, messages.length - alive);
  const drafts: Draft<MessageEntry>[] = [];
  for (let i = alive; i < messages.length; i += 1) {
    const message = messages[i] as BaseMessage;
    const from = indexOf(message);
    const isKnown = from >= 0 && live !== undefined && isUnchanged(live, from);
    const known = isKnown && base !== undefined ? entryAt(base, from) : undefined;
    drafts.push(known === undefined ? encodeEntry(message, codec, base && entryAt(base, i)) : () => known);
  }
  const finish = () =>
    makeList(
      base,
      alive,
      drafts.map((draft) => draft()),
    );
  return { alive, finish };
}

/** Encodes one message; `same` is an entry that it is likely to equal. */
export function encodeEntry(
  message: BaseMessage,
  codec: ValueCodec,
  same?: MessageEntry,
): Draft<MessageEntry> {
  const text = encodeMessage(message);
  const id = typeof message.id === "string" ? message.id : undefined;
  const removes = message.type === "remove";
  const other = text === undefined ? codec.dump(message) : undefined;
  return () => {
    const [type, data] = other?.() ?? [undefined, text ?? ""];
    const pooled = id === undefined ? undefined : codec.pool.get(id);
    for (const entry of [same, pooled]) {
      if (entry !== undefined && entry.type === type && isSameData(entry.data, data)) return entry;
    }
    const entry = makeEntry(id, removes, type, data);
    if (id !== undefined) codec.pool.set(id, entry);
    return entry;
  };
}

export function makeEntry(
  id: string | undefined,
  removes: boolean,
  type: string | undefined,
  data: string | Uint8Array,
): MessageEntry {
  const bytes = ENTRY_BYTES + (typeof data === "string" ? textBytes(data) : data.byteLength);
  return { kind: "message", refs: 0, bytes, id, removes, type, data, record: UNRECORDED };
}

export function isSameData(a: string | Uint8Array, b: string | Uint8Array): boolean {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return a.byteLength === b.byteLength && a.every((byte, i) => byte === b[i]);
}

function isSameChunk(a: readonly MessageEntry[], b: readonly MessageEntry[]): boolean {
  return a.length === b.length && a.every((entry, i) => entry === b[i]);
}

/** The list of the first `kept` entries of `base` and the `rest`; shares with `base` what is the same. */
export function makeList(
  base: MessageList | undefined,
  kept: number,
  rest: readonly MessageEntry[],
): MessageList {
  let same = 0;
  while (same < rest.length && base !== undefined && rest[same] === entryAt(base, kept + same)) same += 1;
  if (base !== undefined && same === rest.length && kept + same === base.length) return base;
  const whole = Math.floor((kept + same) / CHUNK_LENGTH);
  const chunks = base?.chunks.slice(0, whole) ?? [];
  const length = kept + rest.length;
  for (let start = whole * CHUNK_LENGTH; start < length; start += CHUNK_LENGTH) {
    const entries: MessageEntry[] = [];
    for (let i = start; i < Math.min(start + CHUNK_LENGTH, length); i += 1) {
      // Below `kept` there is a base, above it a draft.
      entries.push((i < kept && base !== undefined ? entryAt(base, i) : rest[i - kept]) as MessageEntry);
    }
    const before = base?.chunks[chunks.length];
    const isSame = before !== undefined && isSameChunk(before.entries, entries);
    chunks.push(isSame ? before : { refs: 0, bytes: CHUNK_BYTES + entries.length * 8, entries });
  }
  return { kind: "messages", refs: 0, bytes: CHUNK_BYTES + chunks.length * 8, chunks, length };
}

/**
 * The messages of a list. Those that `live` has (the objects of `reference`) and whose entries are the same
 * are the live objects; all others are new ones that belong to the caller.
 */
export async function decodeMessages(
  list: MessageList,
  codec: ValueCodec,
  reference?: MessageList,
  live?: LiveMessages,
): Promise<BaseMessage[]> {
  const messages: BaseMessage[] = [];
  const waiting: Promise<void>[] = [];
  let index = 0;
  const end = live?.objects.length ?? 0;
  for (const entry of entriesOf(list)) {
    const i = index;
    index += 1;
    if (
      live !== undefined &&
      reference !== undefined &&
      i < end &&
      entryAt(reference, i) === entry &&
      isUnchanged(live, i)
    ) {
      messages.push(live.objects[i] as BaseMessage);
    } else if (entry.type === undefined) {
      messages.push(decodeMessage(entry.data as string));
    } else {
      waiting.push(decodeEntry(entry, codec).then((message) => void (messages[i] = message)));
      messages.length = index;
    }
  }
  await Promise.all(waiting);
  return messages;
}

export async function decodeEntry(entry: MessageEntry, codec: ValueCodec): Promise<BaseMessage> {
  if (entry.type === undefined) return decodeMessage(entry.data as string);
  // It was a message when it was dumped.
  return (await codec.load(entry.type, entry.data)) as BaseMessage;
}

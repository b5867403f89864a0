import { BaseMessage } from "@langchain/core/messages";
import { DeltaSnapshot, isDeltaSnapshot } from "@langchain/langgraph-checkpoint";
import type { SerializerProtocol } from "@langchain/langgraph-checkpoint";
import { isPlainJson } from "./message-codec.js";
import { decodeEntry, decodeMessages, encodeEntry, encodeMessages, textBytes } from "./message-list.js";
import type { LiveMessages, MessageChunk, MessageEntry, MessageList } from "./message-list.js";

/*
 * Values of channels and writes as a saver keeps them. Messages are taken out wherever LangGraph puts them: a
 * list of them, one alone, the arguments of a `Send` (which hold the whole history per tool call), the input,
 * a delta snapshot. All else goes through the serialiser.
 *
 * Stored values are never changed and may be shared. They are counted: `retain` when something kept refers to
 * them, `release` when it goes; a thread's bytes are those of the values with a count above zero.
 */

const BLOB_BYTES = 96;
const COMPOSITE_BYTES = 160;

/** Serialised data. Our own types beside the serialiser's: `json!` is plain JSON, `undefined!` is no value. */
export interface Blob {
  readonly kind: "blob";
  refs: number;
  readonly bytes: number;
  readonly type: string;
  readonly data: string | Uint8Array;
}

/** An object (`rest` has its properties without messages), an array, or a delta snapshot of one part. */
export interface Composite {
  readonly kind: "object" | "array" | "snapshot";
  refs: number;
  readonly bytes: number;
  readonly rest: Blob | undefined;
  readonly parts: readonly (readonly [key: string, value: StoredValue])[];
}

export type StoredValue = Blob | MessageEntry | MessageList | Composite;

/**
 * A value that has been encoded and waits to be stored: call it once what `dump` began is done. What it was
 * made of may have changed by then.
 */
export type Draft<T> = () => T;

/** What counts the bytes of one thread and knows its messages by id. */
export interface Account {
  bytes: number;
  readonly pool: Map<string, MessageEntry>;
  /** Called with lists and messages whose count has come to zero. */
  readonly forget: (value: MessageList | MessageEntry) => void;
}

export const PLAIN = "json!";
export const NOTHING = "undefined!";

/** The serialiser, and the messages of the thread that values belong to. */
export class ValueCodec {
  /** Serialisations under way: await them before drafts are called. */
  readonly pending: Promise<void>[] = [];

  /** @param plain Whether plain JSON may go past the serialiser, which is ten times faster. */
  constructor(
    private readonly serde: SerializerProtocol,
    private readonly plain: boolean,
    readonly pool: Map<string, MessageEntry> = new Map<string, MessageEntry>(),
  ) {}

  dump(value: unknown): Draft<readonly [string, string | Uint8Array]> {
    let dumped: [string, Uint8Array] | undefined;
    this.pending.push(
      this.serde.dumpsTyped(value).then((result) => {
        dumped = result;
      }),
    );
    return () => {
      if (dumped === undefined) throw new Error("A value was stored before it was serialised.");
      return dumped;
    };
  }

  load(type: string, data: string | Uint8Array): Promise<unknown> {
    return this.serde.loadsTyped(type, data);
  }

  blob(value: unknown): Draft<Blob> {
    if (value === undefined) return () => makeBlob(NOTHING, "");
    if (this.plain && isPlainJson(value)) {
      const text = JSON.stringify(value);
      return () => makeBlob(PLAIN, text);
    }
    const dumped = this.dump(value);
    return () => makeBlob(...dumped());
  }

  async loadBlob(blob: Blob): Promise<unknown> {
    // Only `blob` gives these types, and it gives them text.
    if (blob.type === PLAIN) return JSON.parse(blob.data as string);
    if (blob.type === NOTHING) return undefined;
    return this.load(blob.type, blob.data);
  }
}

export function makeBlob(type: string, data: string | Uint8Array): Blob {
  const size = typeof data === "string" ? textBytes(data) : data.byteLength;
  return { kind: "blob", refs: 0, bytes: BLOB_BYTES + size, type, data };
}

/** How deep messages are looked for: in a list of Sends in a value, their arguments' lists are at depth 4. */
const SEARCH_DEPTH = 4;

function isMessageArray(value: unknown): value is BaseMessage[] {
  return Array.isArray(value) && value.length > 0 && value.every((item) => BaseMessage.isInstance(item));
}

/** The properties of a value that serialises as a plain object, `undefined` for all others. */
function propertiesOf(value: object): Record<string, unknown> | undefined {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return value as Record<string, unknown>;
  const send = value as { lg_name?: unknown; node: unknown; args: unknown; timeout?: unknown };
  if (send.lg_name !== "Send") return undefined;
  // As the serialiser has it, which gives back a plain object too.
  return {
    node: send.node,
    args: send.args,
    ...(send.timeout === undefined ? {} : { timeout: send.timeout }),
  };
}

function holdsMessages(value: unknown, depth = SEARCH_DEPTH): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (BaseMessage.isInstance(value)) return true;
  if (depth === 0) return false;
  if (Array.isArray(value)) return value.some((item) => holdsMessages(item, depth - 1));
  if (isDeltaSnapshot(value)) return holdsMessages(value.value, depth - 1);
  const properties = propertiesOf(value);
  return properties !== undefined && Object.values(properties).some((item) => holdsMessages(item, depth - 1));
}

/** A list that values are likely to resemble, with its live objects. */
export interface Resemblance {
  readonly list: MessageList | undefined;
  readonly live: LiveMessages | undefined;
}

/** Encodes a value at once; later changes to it don't matter. */
export function encodeValue(value: unknown, codec: ValueCodec, like: Resemblance): Draft<StoredValue> {
  if (!holdsMessages(value)) return codec.blob(value);
  return encodeParts(value as object, codec, like);
}

function encodeParts(value: object, codec: ValueCodec, like: Resemblance): Draft<StoredValue> {
  if (BaseMessage.isInstance(value)) return encodeEntry(value, codec);
  if (isMessageArray(value)) return encodeMessages(value, codec, like.list, like.live).finish;
  if (Array.isArray(value)) {
    return composite(
      "array",
      undefined,
      value.map((item, i) => [String(i), encodeValue(item, codec, like)]),
    );
  }
  if (isDeltaSnapshot(value)) {
    return composite("snapshot", undefined, [["value", encodeValue(value.value, codec, like)]]);
  }
  const rest: [string, unknown][] = [];
  const parts: [string, Draft<StoredValue>][] = [];
  for (const [key, property] of Object.entries(propertiesOf(value) ?? {})) {
    if (holdsMessages(property, SEARCH_DEPTH - 1)) parts.push([key, encodeValue(property, codec, like)]);
    else rest.push([key, property]);
  }
  // `fromEntries` defines properties, so that a key such as `__proto__` is a key.
  return composite("object", rest.length > 0 ? codec.blob(Object.fromEntries(rest)) : undefined, parts);
}

function composite(
  kind: Composite["kind"],
  rest: Draft<Blob> | undefined,
  parts: readonly (readonly [string, Draft<StoredValue>])[],
): Draft<Composite> {
  return () =>
    makeComposite(
      kind,
      rest?.(),
      parts.map(([key, draft]) => [key, draft()] as const),
    );
}

export function makeComposite(
  kind: Composite["kind"],
  rest: Blob | undefined,
  parts: Composite["parts"],
): Composite {
  return { kind, refs: 0, bytes: COMPOSITE_BYTES + parts.length * 48, rest, parts };
}

export async function decodeValue(
  stored: StoredValue,
  codec: ValueCodec,
  like: Resemblance = { list: undefined, live: undefined },
): Promise<unknown> {
  switch (stored.kind) {
    case "blob":
      return codec.loadBlob(stored);
    case "message":
      return decodeEntry(stored, codec);
    case "messages":
      return decodeMessages(stored, codec, like.list, like.live);
    case "array":
    case "snapshot":
    case "object":
      return decodeComposite(stored, codec, like);
  }
}

async function decodeComposite(stored: Composite, codec: ValueCodec, like: Resemblance): Promise<unknown> {
  const parts = await Promise.all(
    stored.parts.map(async ([key, part]) => [key, await decodeValue(part, codec, like)] as const),
  );
  if (stored.kind === "array") return parts.map(([, part]) => part);
  if (stored.kind === "snapshot") return new DeltaSnapshot(parts[0]?.[1]);
  // What was put in as an object is an object.
  const rest = stored.rest === undefined ? {} : ((await codec.loadBlob(stored.rest)) as object);
  return Object.fromEntries([...Object.entries(rest), ...parts]);
}

/** The entries of a value that is messages, in order. */
export function* messagesIn(stored: StoredValue): Generator<MessageEntry> {
  if (stored.kind === "message") yield stored;
  else if (stored.kind === "messages") for (const chunk of stored.chunks) yield* chunk.entries;
  else if (stored.kind === "snapshot" || stored.kind === "array") {
    for (const [, part] of stored.parts) yield* messagesIn(part);
  }
}

export function retain(value: StoredValue | MessageChunk, account: Account): void {
  value.refs += 1;
  if (value.refs > 1) return;
  account.bytes += value.bytes;
  if (!("kind" in value)) {
    for (const entry of value.entries) retain(entry, account);
  } else if (value.kind === "message") {
    if (value.id !== undefined) account.pool.set(value.id, value);
  } else if (value.kind === "messages") {
    for (const chunk of value.chunks) retain(chunk, account);
  } else if (value.kind !== "blob") {
    if (value.rest !== undefined) retain(value.rest, account);
    for (const [, part] of value.parts) retain(part, account);
  }
}

export function release(value: StoredValue | MessageChunk, account: Account): void {
  value.refs -= 1;
  if (value.refs > 0) return;
  account.bytes -= value.bytes;
  if (!("kind" in value)) {
    for (const entry of value.entries) release(entry, account);
  } else if (value.kind === "message") {
    if (value.id !== undefined && account.pool.get(value.id) === value) account.pool.delete(value.id);
    account.forget(value);
  } else if (value.kind === "messages") {
    account.forget(value);
    for (const chunk of value.chunks) release(chunk, account);
  } else if (value.kind !== "blob") {
    if (value.rest !== undefined) release(value.rest, account);
    for (const [, part] of value.parts) release(part, account);
  }
}

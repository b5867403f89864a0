import { isUtf8 } from "node:buffer";
import { AgentError } from "../../errors.js";
import { idOfText } from "./message-codec.js";
import { entriesOf, makeEntry, makeList } from "./message-list.js";
import type { MessageEntry, MessageList } from "./message-list.js";
import { NOTHING, PLAIN, makeBlob, makeComposite } from "./value.js";
import type { Blob, StoredValue } from "./value.js";

/*
 * Stored values as JSON text, each an array that begins with what it is:
 *
 *   ["j", value]               plain JSON as it is
 *   ["u"]                      no value
 *   ["s", type, text]          serialised, a string
 *   ["t", type, text]          serialised, bytes that are text
 *   ["b", type, base64]        serialised, bytes that are not
 *   ["m", number]              a message
 *   ["l", start, count, …]     a list of messages: ranges of their numbers
 *   ["o" | "a" | "d", rest, [[key, value], …]]   an object, an array, a delta snapshot with messages in it
 *
 * A message has a record of its own: our JSON for a plain one, else one of the serialised forms above with
 * its id and whether it removes appended.
 */

/** Gives the number of a message. */
export type NumberOf = (entry: MessageEntry) => number;

const COMPOSITES = { object: "o", array: "a", snapshot: "d" } as const;

export function valueText(value: StoredValue, numberOf: NumberOf): string {
  switch (value.kind) {
    case "blob":
      return blobText(value);
    case "message":
      return `["m",${String(numberOf(value))}]`;
    case "messages":
      return listText(value, numberOf);
    case "array":
    case "snapshot":
    case "object": {
      const parts = value.parts.map(([key, part]) => `[${JSON.stringify(key)},${valueText(part, numberOf)}]`);
      const rest = value.rest === undefined ? "0" : blobText(value.rest);
      return `["${COMPOSITES[value.kind]}",${rest},[${parts.join(",")}]]`;
    }
  }
}

function listText(list: MessageList, numberOf: NumberOf): string {
  let text = '["l"';
  let start = 0;
  let count = 0;
  for (const entry of entriesOf(list)) {
    const number = numberOf(entry);
    if (count > 0 && number === start + count) {
      count += 1;
      continue;
    }
    if (count > 0) text += `,${String(start)},${String(count)}`;
    start = number;
    count = 1;
  }
  if (count > 0) text += `,${String(start)},${String(count)}`;
  return `${text}]`;
}

export function blobText({ type, data }: Blob): string {
  // Our own types hold text, and plain JSON needs no quotes.
  if (type === PLAIN) return `["j",${data as string}]`;
  return type === NOTHING ? '["u"]' : JSON.stringify(serialised(type, data));
}

type Serialised = readonly [form: "s" | "t" | "b", type: string, text: string];

function serialised(type: string, data: string | Uint8Array): Serialised {
  if (typeof data === "string") return ["s", type, data];
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return isUtf8(bytes) ? ["t", type, bytes.toString("utf8")] : ["b", type, bytes.toString("base64")];
}

/** JSON that only the functions above wrote. */
type ValueJson = readonly [form: string, ...rest: unknown[]];

function dataOf([form, , text]: ValueJson): string | Uint8Array {
  if (form === "s") return text as string;
  return new Uint8Array(Buffer.from(text as string, form === "t" ? "utf8" : "base64"));
}

/** Reads values of one thread; lists that have messages in common share them. */
export class ValueReader {
  private like: MessageList | undefined;

  constructor(private readonly messages: ReadonlyMap<number, MessageEntry>) {}

  value(json: unknown): StoredValue {
    const value = json as ValueJson;
    switch (value[0]) {
      case "m":
        return this.message(value[1] as number);
      case "l":
        return this.list(value.slice(1) as number[]);
      case "o":
        return this.composite("object", value);
      case "a":
        return this.composite("array", value);
      case "d":
        return this.composite("snapshot", value);
      default:
        return this.blob(value);
    }
  }

  blob(json: unknown): Blob {
    const value = json as ValueJson;
    switch (value[0]) {
      case "j":
        return makeBlob(PLAIN, JSON.stringify(value[1]));
      case "u":
        return makeBlob(NOTHING, "");
      case "s":
      case "t":
      case "b":
        return makeBlob(value[1] as string, dataOf(value));
      default:
        throw unreadable(`a value of the form ${JSON.stringify(value[0])}`);
    }
  }

  private composite(kind: "object" | "array" | "snapshot", [, rest, parts]: ValueJson): StoredValue {
    const read = (parts as [string, unknown][]).map(([key, part]) => [key, this.value(part)] as const);
    return makeComposite(kind, rest === 0 ? undefined : this.blob(rest), read);
  }

  private list(ranges: readonly number[]): MessageList {
    const entries: MessageEntry[] = [];
    for (let i = 0; i < ranges.length; i += 2) {
      const [start = 0, count = 0] = [ranges[i], ranges[i + 1]];
      for (let number = start; number < start + count; number += 1) entries.push(this.message(number));
    }
    return (this.like = makeList(this.like, 0, entries));
  }

  private message(number: number): MessageEntry {
    const entry = this.messages.get(number);
    if (entry === undefined) throw unreadable(`message ${String(number)}, which is missing`);
    return entry;
  }
}

export function messageText(entry: MessageEntry): string {
  // Without a type it is our own JSON.
  if (entry.type === undefined) return entry.data as string;
  return JSON.stringify([...serialised(entry.type, entry.data), entry.id ?? null, entry.removes ? 1 : 0]);
}

export function readMessage(text: string, record: number): MessageEntry {
  let entry: MessageEntry;
  if (text.startsWith("{")) {
    entry = makeEntry(idOfText(text), false, undefined, text);
  } else {
    const value = JSON.parse(text) as ValueJson;
    const [, type, , id, removes] = value as [string, string, string, string | null, number];
    entry = makeEntry(id ?? undefined, removes === 1, type, dataOf(value));
  }
  entry.record = record;
  return entry;
}

/** What is stored is not what this version writes. */
export function unreadable(what: string): AgentError {
  return new AgentError(
    "UNSUPPORTED",
    `A stored conversation holds ${what}: another version of agent-sessions wrote it, or something else did.`,
  );
}

import { isSameData, makeEntry, makeList, entriesOf } from "./message-list.js";
import type { MessageEntry, MessageList } from "./message-list.js";
import { makeComposite } from "./value.js";
import type { Blob, StoredValue } from "./value.js";

/** A copy of a value's messages: those of the same id and content that the pool has, new ones for the others. */
type Adopted = Map<MessageEntry, MessageEntry>;

/**
 * A value that was encoded for another thread object (the same conversation, before it was read anew), made this
 * one's: it shares nothing with the other, and each message that this one has already is this one's.
 *
 * @param base a list that the value's lists are likely to resemble.
 */
export function adoptValue<T extends StoredValue>(
  value: T,
  pool: ReadonlyMap<string, MessageEntry>,
  base: MessageList | undefined,
  adopted: Adopted = new Map(),
): T {
  return adopt(value, pool, base, adopted) as T;
}

function adopt(
  value: StoredValue,
  pool: ReadonlyMap<string, MessageEntry>,
  base: MessageList | undefined,
  adopted: Adopted,
): StoredValue {
  switch (value.kind) {
    case "blob":
      return copyBlob(value);
    case "message":
      return adoptEntry(value, pool, adopted);
    case "messages": {
      const entries: MessageEntry[] = [];
      for (const entry of entriesOf(value)) entries.push(adoptEntry(entry, pool, adopted));
      return makeList(base, 0, entries);
    }
    case "array":
    case "snapshot":
    case "object":
      return makeComposite(
        value.kind,
        value.rest && copyBlob(value.rest),
        value.parts.map(([key, part]) => [key, adopt(part, pool, base, adopted)] as const),
      );
  }
}

export function copyBlob(blob: Blob): Blob {
  return { ...blob, refs: 0 };
}

function adoptEntry(
  entry: MessageEntry,
  pool: ReadonlyMap<string, MessageEntry>,
  adopted: Adopted,
): MessageEntry {
  const known = adopted.get(entry);
  if (known !== undefined) return known;
  const { id, removes, type, data } = entry;
  const pooled = id === undefined ? undefined : pool.get(id);
  const isSame = pooled !== undefined && pooled.type === type && isSameData(pooled.data, data);
  const own = isSame ? pooled : makeEntry(id, removes, type, data);
  adopted.set(entry, own);
  return own;
}

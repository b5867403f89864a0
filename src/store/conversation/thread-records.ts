import type { StoredCheckpoint, StoredWrite } from "./checkpoint.js";
import { CHECKPOINT_BYTES } from "./checkpoint.js";
import { UNRECORDED, textBytes } from "./message-list.js";
import type { MessageEntry } from "./message-list.js";
import type { RecordsCommit } from "./records.js";
import type { NamespaceState } from "./namespace.js";
import type { ConversationThread, Fork, ThreadState } from "./thread.js";
import { ValueReader, blobText, messageText, readMessage, unreadable, valueText } from "./value-text.js";
import { PLAIN } from "./value.js";

/*
 * A thread as records. Keys are a letter and a number in base 36, which is the thread's own count:
 *
 *   m<n>  a message, once however many lists have it; values name it by its number
 *   c<n>  a checkpoint: [namespace, id, parent id or 0, v, ts, versions or 0, metadata or 0, [[channel, value], …],
 *         what else there is]
 *   w<n>  the writes on a checkpoint: [namespace, checkpoint id, [write, …]]
 *   f<n>  a fork point: [turn id, [[namespace, id, [write, …]], …]]
 *   h     heads that are not the greatest id of their namespace: [[namespace, id], …]
 *
 * A write is [task id, index, path, channel, value]. Records that a change does not touch are not written: a
 * checkpoint, a fork point and a message are written once and then deleted, the writes on a checkpoint when some
 * come, the heads hardly ever.
 */

const HEADS = "h";

/** What a checkpoint has beside the usual; left out when it has nothing. */
interface CheckpointExtra {
  readonly delta?: readonly string[];
  readonly parents?: readonly (readonly [string, string])[];
  readonly isInput?: 1;
  /** When it is not the parent. */
  readonly ancestorId?: string | null;
  readonly isAncestorOnly?: 1;
}

type CheckpointJson = readonly [
  namespace: string,
  id: string,
  parentId: string | 0,
  v: number,
  ts: string,
  versions: unknown,
  metadata: unknown,
  channels: readonly (readonly [string, unknown])[],
  extra?: CheckpointExtra,
];

type WriteJson = readonly [taskId: string, index: number, path: string, channel: string, value: unknown];

export type RecordChanges = Pick<RecordsCommit, "puts" | "deletes">;

/** Something of a thread that has a record. */
interface Recorded {
  readonly key: string;
  /** The last walk that came by it. */
  walk: number;
}

interface RecordedWrites extends Recorded {
  writes: readonly StoredWrite[];
}

/** Knows what of a thread is recorded under which key, and what has to be written for it to be all. */
export class ThreadRecorder {
  /** Messages that had no use any more at some time since the last change. */
  private readonly freed: MessageEntry[] = [];
  private readonly checkpoints = new Map<StoredCheckpoint, Recorded & { ancestorId: string | undefined }>();
  private readonly writes = new Map<string, RecordedWrites>();
  private readonly forks = new Map<Fork, Recorded>();
  private heads: string | undefined;
  private nextMessage = 0;
  private nextKey = 0;
  private walk = 0;

  /** To be called with every message that nothing refers to any more. */
  forget(entry: MessageEntry): void {
    if (entry.record !== UNRECORDED) this.freed.push(entry);
  }

  /** What has changed since the last call, or since the thread was read. Counts as recorded from here on. */
  changes(thread: ConversationThread): RecordChanges {
    const puts: [string, string][] = [];
    const deletes: string[] = [];
    const numberOf = (entry: MessageEntry): number => {
      if (entry.record === UNRECORDED) {
        entry.record = this.nextMessage;
        this.nextMessage += 1;
        puts.push([keyOf("m", entry.record), messageText(entry)]);
      }
      return entry.record;
    };
    this.walk += 1;
    const heads: [string, string][] = [];
    for (const space of thread.spaces) {
      for (const checkpoint of space.checkpoints.values())
        this.recordCheckpoint(space.name, checkpoint, puts, numberOf);
      for (const [id, writes] of space.writes)
        this.recordWrites(space.name, id, [...writes.values()], puts, numberOf);
      if (space.head !== undefined && space.head !== greatestId(space)) heads.push([space.name, space.head]);
    }
    for (const fork of thread.forks) this.recordFork(fork, puts, numberOf);
    for (const map of [this.checkpoints, this.writes, this.forks]) this.dropUnseen(map, deletes);
    for (const entry of this.freed.splice(0)) {
      if (entry.refs > 0 || entry.record === UNRECORDED) continue;
      deletes.push(keyOf("m", entry.record));
      entry.record = UNRECORDED;
    }
    this.recordHeads(heads, puts, deletes);
    return { puts, deletes };
  }

  /** Puts a thread together from its records; `create` makes the thread of what they hold. */
  static read(
    records: ReadonlyMap<string, string>,
    create: (state: ThreadState, recorder: ThreadRecorder) => ConversationThread,
  ): { thread: ConversationThread; recorder: ThreadRecorder } {
    const recorder = new ThreadRecorder();
    return { thread: create(recorder.parse(records, true), recorder), recorder };
  }

  /** The same for a thread that has no records from then on. */
  static readOnce(records: ReadonlyMap<string, string>): ThreadState {
    return new ThreadRecorder().parse(records, false);
  }

  private recordCheckpoint(
    namespace: string,
    checkpoint: StoredCheckpoint,
    puts: [string, string][],
    numberOf: (entry: MessageEntry) => number,
  ): void {
    const { ancestorId } = checkpoint;
    const known = this.checkpoints.get(checkpoint);
    const recorded = known ?? { key: this.newKey("c"), walk: 0, ancestorId };
    recorded.walk = this.walk;
    if (known !== undefined && known.ancestorId === ancestorId) return;
    recorded.ancestorId = ancestorId;
    this.checkpoints.set(checkpoint, recorded);
    puts.push([recorded.key, checkpointText(namespace, checkpoint, numberOf)]);
  }

  private recordWrites(
    namespace: string,
    id: string,
    writes: readonly StoredWrite[],
    puts: [string, string][],
    numberOf: (entry: MessageEntry) => number,
  ): void {
    if (writes.length === 0) return;
    const place = JSON.stringify([namespace, id]);
    const known = this.writes.get(place);
    const recorded = known ?? { key: this.newKey("w"), walk: 0, writes };
    recorded.walk = this.walk;
    if (known !== undefined && isSame(known.writes, writes)) return;
    recorded.writes = writes;
    this.writes.set(place, recorded);
    puts.push([recorded.key, `[${place.slice(1, -1)},${writesText(writes, numberOf)}]`]);
  }

  private recordFork(fork: Fork, puts: [string, string][], numberOf: (entry: MessageEntry) => number): void {
    const known = this.forks.get(fork);
    if (known !== undefined) {
      known.walk = this.walk;
      return;
    }
    const recorded = { key: this.newKey("f"), walk: this.walk };
    this.forks.set(fork, recorded);
    const heads = [...fork.heads].map(([namespace, { id, writes }]) => {
      const place = JSON.stringify([namespace, id]);
      return writes.length === 0 ? place : `[${place.slice(1, -1)},${writesText(writes, numberOf)}]`;
    });
    puts.push([recorded.key, `[${JSON.stringify(fork.turnId)},[${heads.join(",")}]]`]);
  }

  /** A thread that holds nothing any more keeps this record, so that it can still be told from a deleted one. */
  private recordHeads(heads: readonly [string, string][], puts: [string, string][], deletes: string[]): void {
    const isBare = this.checkpoints.size + this.writes.size + this.forks.size === 0;
    const isKept = heads.length > 0 || (isBare && (deletes.length > 0 || this.heads !== undefined));
    const text = isKept ? JSON.stringify(heads) : undefined;
    if (text === this.heads) return;
    if (text === undefined) deletes.push(HEADS);
    else puts.push([HEADS, text]);
    this.heads = text;
  }

  private dropUnseen(recorded: Map<unknown, Recorded>, deletes: string[]): void {
    for (const [what, { key, walk }] of recorded) {
      if (walk === this.walk) continue;
      recorded.delete(what);
      deletes.push(key);
    }
  }

  private newKey(letter: string): string {
    const key = keyOf(letter, this.nextKey);
    this.nextKey += 1;
    return key;
  }

  private parse(records: ReadonlyMap<string, string>, isRecorded: boolean): ThreadState {
    const messages = new Map<number, MessageEntry>();
    const texts: Record<"c" | "w" | "f", [number, string, string][]> = { c: [], w: [], f: [] };
    const heads = new Map<string, string>();
    for (const [key, text] of records) {
      const letter = key.charAt(0);
      const number = parseInt(key.slice(1), 36);
      if (letter === "m") {
        messages.set(number, readMessage(text, isRecorded ? number : UNRECORDED));
        this.nextMessage = Math.max(this.nextMessage, number + 1);
      } else if (letter === "c" || letter === "w" || letter === "f") {
        texts[letter].push([number, key, text]);
        this.nextKey = Math.max(this.nextKey, number + 1);
      } else if (key === HEADS) {
        this.heads = text;
        for (const [namespace, id] of JSON.parse(text) as [string, string][]) heads.set(namespace, id);
      } else {
        throw unreadable(`a record ${JSON.stringify(key)}`);
      }
    }
    for (const list of Object.values(texts)) list.sort(([a], [b]) => a - b);
    const reader = new ValueReader(messages);
    const readWrites = (writes: readonly WriteJson[]): StoredWrite[] =>
      writes.map(([taskId, index, path, channel, value]) => {
        return { taskId, index, path, channel, value: reader.value(value) };
      });
    return {
      checkpoints: texts.c.map(([, key, text]) => {
        const json = JSON.parse(text) as CheckpointJson;
        const checkpoint = readCheckpoint(json, reader);
        this.checkpoints.set(checkpoint, { key, walk: 0, ancestorId: checkpoint.ancestorId });
        return [json[0], checkpoint];
      }),
      writes: texts.w.map(([, key, text]) => {
        const [namespace, id, json] = JSON.parse(text) as [string, string, WriteJson[]];
        const writes = readWrites(json);
        this.writes.set(JSON.stringify([namespace, id]), { key, walk: 0, writes });
        return [namespace, id, writes];
      }),
      forks: texts.f.map(([, key, text]) => {
        const [turnId, places] = JSON.parse(text) as [string, [string, string, WriteJson[]?][]];
        const fork: Fork = {
          turnId,
          heads: new Map(
            places.map(([namespace, id, json]) => [namespace, { id, writes: readWrites(json ?? []) }]),
          ),
        };
        this.forks.set(fork, { key, walk: 0 });
        return fork;
      }),
      heads,
    };
  }
}

function keyOf(letter: string, number: number): string {
  return letter + number.toString(36);
}

function isSame(a: readonly StoredWrite[], b: readonly StoredWrite[]): boolean {
  return a.length === b.length && a.every((write, i) => write === b[i]);
}

function greatestId({ checkpoints }: NamespaceState): string | undefined {
  let greatest: string | undefined;
  for (const id of checkpoints.keys()) if (greatest === undefined || id > greatest) greatest = id;
  return greatest;
}

function checkpointText(
  namespace: string,
  checkpoint: StoredCheckpoint,
  numberOf: (entry: MessageEntry) => number,
): string {
  const { id, parentId, v, ts, versions, metadata, isAncestorOnly, delta, parents, isInput, ancestorId } =
    checkpoint;
  const extra: CheckpointExtra = {
    ...(delta.length > 0 && { delta }),
    ...(parents.size > 0 && { parents: [...parents] }),
    ...(isInput && { isInput: 1 as const }),
    ...(ancestorId !== parentId && { ancestorId: ancestorId ?? null }),
    ...(isAncestorOnly && { isAncestorOnly: 1 as const }),
  };
  const channels = [...checkpoint.channels].map(
    ([channel, value]) => `[${JSON.stringify(channel)},${valueText(value, numberOf)}]`,
  );
  const fields = [
    JSON.stringify([namespace, id, parentId ?? 0, v, ts]).slice(1, -1),
    versions === "" ? "0" : versions,
    isAncestorOnly ? "0" : blobText(metadata),
    `[${channels.join(",")}]`,
  ];
  if (Object.keys(extra).length > 0) fields.push(JSON.stringify(extra));
  return `[${fields.join(",")}]`;
}

function readCheckpoint(json: CheckpointJson, reader: ValueReader): StoredCheckpoint {
  const [, id, parentId, v, ts, versionsJson, metadata, channelsJson, extra = {}] = json;
  const versions = versionsJson === 0 ? "" : JSON.stringify(versionsJson);
  const channels = new Map(channelsJson.map(([channel, value]) => [channel, reader.value(value)]));
  const isAncestorOnly = extra.isAncestorOnly === 1;
  const parent = parentId === 0 ? undefined : parentId;
  return {
    id,
    parentId: parent,
    v,
    ts,
    versions,
    metadata:
      metadata === 0 ? { kind: "blob", refs: 0, bytes: 0, type: PLAIN, data: "" } : reader.blob(metadata),
    channels,
    delta: extra.delta ?? [],
    parents: new Map(extra.parents),
    isInput: extra.isInput === 1,
    bytes: CHECKPOINT_BYTES + (isAncestorOnly ? 0 : textBytes(versions) + channels.size * 40),
    ancestorId: extra.ancestorId === undefined ? parent : (extra.ancestorId ?? undefined),
    isAncestorOnly,
  };
}

function writesText(writes: readonly StoredWrite[], numberOf: (entry: MessageEntry) => number): string {
  const texts = writes.map(({ taskId, index, path, channel, value }) => {
    const place = JSON.stringify([taskId, index, path, channel]);
    return `${place.slice(0, -1)},${valueText(value, numberOf)}]`;
  });
  return `[${texts.join(",")}]`;
}

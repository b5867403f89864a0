import { CHECKPOINT_BYTES } from "./checkpoint.js";
import type { StoredCheckpoint, StoredWrite } from "./checkpoint.js";
import { release, retain } from "./value.js";
import type { Account } from "./value.js";

/** What a thread keeps of one namespace, to look at. */
export interface NamespaceState {
  readonly name: string;
  readonly checkpoints: ReadonlyMap<string, StoredCheckpoint>;
  /** By checkpoint, then by task and index. */
  readonly writes: ReadonlyMap<string, ReadonlyMap<string, StoredWrite>>;
  readonly head: string | undefined;
}

/** A write's own objects, beside its value. */
const WRITE_BYTES = 160;

export function keepWrite(write: StoredWrite, account: Account): void {
  account.bytes += WRITE_BYTES;
  retain(write.value, account);
}

export function dropWrite(write: StoredWrite, account: Account): void {
  account.bytes -= WRITE_BYTES;
  release(write.value, account);
}

function writeKey({ taskId, index }: StoredWrite): string {
  return JSON.stringify([taskId, index]);
}

/**
 * The checkpoints of one namespace and the writes that wait on them; everything in it is on the account of its thread.
 * Which heads are needed the thread says; what they need in turn is known here.
 */
export class ThreadNamespace implements NamespaceState {
  readonly checkpoints = new Map<string, StoredCheckpoint>();
  readonly writes = new Map<string, Map<string, StoredWrite>>();
  head: string | undefined = undefined;

  constructor(
    readonly name: string,
    private readonly account: Account,
  ) {}

  /** Ids of checkpoints, also of such that have writes and are still to come. */
  get ids(): string[] {
    return [...this.checkpoints.keys(), ...this.writes.keys()];
  }

  set(checkpoint: StoredCheckpoint): void {
    const before = this.checkpoints.get(checkpoint.id);
    this.keepCheckpoint(checkpoint);
    if (before !== undefined) this.dropCheckpoint(before);
    this.checkpoints.set(checkpoint.id, checkpoint);
  }

  /** Ordinary writes are written once; errors, interrupts and answers (below zero) replace each other. */
  addWrites(id: string, writes: readonly StoredWrite[]): void {
    let stored = this.writes.get(id);
    if (stored === undefined) this.writes.set(id, (stored = new Map<string, StoredWrite>()));
    for (const write of writes) {
      const key = writeKey(write);
      const before = stored.get(key);
      if (before !== undefined && write.index >= 0) continue;
      keepWrite(write, this.account);
      if (before !== undefined) dropWrite(before, this.account);
      stored.set(key, write);
    }
  }

  /** Goes back to a head that it had, with the writes that were on it then. */
  rewind(head: string, writes: readonly StoredWrite[]): void {
    for (const write of writes) keepWrite(write, this.account);
    this.dropWrites(head);
    if (writes.length > 0) this.writes.set(head, new Map(writes.map((write) => [writeKey(write), write])));
    for (const id of this.ids) if (id > head) this.dropAt(id);
    this.head = head;
  }

  clear(): void {
    for (const id of this.ids) this.dropAt(id);
  }

  /** Drops what neither its head nor those of the fork points need. */
  prune(forkHeads: Iterable<string>): void {
    const { checkpoints, head } = this;
    const heads = new Set<string>();
    if (head !== undefined) heads.add(head);
    for (const id of forkHeads) heads.add(id);
    const kept = new Set(heads);
    const replayed = new Set<string>();
    for (const id of heads) for (const channel of checkpoints.get(id)?.delta ?? []) replayed.add(channel);
    for (const id of heads) this.keepAncestors(id, heads, kept, replayed);
    for (const id of this.ids) {
      const isToCome = !checkpoints.has(id) && head !== undefined && id > head;
      if (!kept.has(id) && !isToCome) this.dropAt(id);
    }
  }

  /** Adds to `kept` what a head needs of its ancestors, and shortens the way between them. */
  private keepAncestors(
    id: string,
    heads: ReadonlySet<string>,
    kept: Set<string>,
    replayed: ReadonlySet<string>,
  ): void {
    let link = this.checkpoints.get(id);
    if (link === undefined) return;
    // Before version 4 the sends to a checkpoint lay as writes on its parent.
    if (link.v < 4 && link.parentId !== undefined) kept.add(link.parentId);
    const missing = new Set(link.delta);
    while (missing.size > 0 && link.ancestorId !== undefined) {
      const ancestor = this.checkpoints.get(link.ancestorId);
      if (ancestor === undefined) return;
      for (const channel of missing) if (ancestor.channels.has(channel)) missing.delete(channel);
      if (heads.has(ancestor.id) || this.isReplayed(ancestor, replayed)) {
        kept.add(ancestor.id);
        link = heads.has(ancestor.id) || ancestor.isAncestorOnly ? ancestor : this.reduce(ancestor, replayed);
      } else {
        link.ancestorId = ancestor.ancestorId;
      }
    }
  }

  private isReplayed(checkpoint: StoredCheckpoint, replayed: ReadonlySet<string>): boolean {
    for (const channel of replayed) if (checkpoint.channels.has(channel)) return true;
    for (const write of this.writes.get(checkpoint.id)?.values() ?? [])
      if (replayed.has(write.channel)) return true;
    return false;
  }

  /** Leaves of an ancestor only the values and writes that delta channels are rebuilt from. */
  private reduce(checkpoint: StoredCheckpoint, replayed: ReadonlySet<string>): StoredCheckpoint {
    this.dropCheckpoint(checkpoint);
    const reduced: StoredCheckpoint = {
      ...checkpoint,
      versions: "",
      metadata: { ...checkpoint.metadata, refs: 0, bytes: 0, data: "" },
      channels: new Map([...checkpoint.channels].filter(([channel]) => replayed.has(channel))),
      bytes: CHECKPOINT_BYTES,
      isAncestorOnly: true,
    };
    this.keepCheckpoint(reduced);
    this.checkpoints.set(checkpoint.id, reduced);
    const writes = this.writes.get(checkpoint.id);
    for (const [key, write] of writes ?? []) {
      if (replayed.has(write.channel)) continue;
      dropWrite(write, this.account);
      writes?.delete(key);
    }
    return reduced;
  }

  private dropAt(id: string): void {
    this.dropWrites(id);
    const checkpoint = this.checkpoints.get(id);
    if (checkpoint === undefined) return;
    this.checkpoints.delete(id);
    this.dropCheckpoint(checkpoint);
  }

  private dropWrites(id: string): void {
    for (const write of this.writes.get(id)?.values() ?? []) dropWrite(write, this.account);
    this.writes.delete(id);
  }

  private keepCheckpoint(checkpoint: StoredCheckpoint): void {
    this.account.bytes += checkpoint.bytes;
    retain(checkpoint.metadata, this.account);
    for (const value of checkpoint.channels.values()) retain(value, this.account);
  }

  private dropCheckpoint(checkpoint: StoredCheckpoint): void {
    this.account.bytes -= checkpoint.bytes;
    release(checkpoint.metadata, this.account);
    for (const value of checkpoint.channels.values()) release(value, this.account);
  }
}

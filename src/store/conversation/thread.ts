import type { StoredCheckpoint, StoredWrite } from "./checkpoint.js";
import { dropWrite, keepWrite, ThreadNamespace } from "./namespace.js";
import type { NamespaceState } from "./namespace.js";
import type { Account } from "./value.js";
import type { MessageEntry, MessageList } from "./message-list.js";

/*
 * What is kept of one conversation. Per namespace: checkpoints, and the writes that wait on them.
 *
 * Every put makes its checkpoint the head of its namespace and then drops what nothing needs. Needed are
 *  - the head of each namespace;
 *  - the heads that a fork point names: those of the root and of the stable namespaces (subgraphs compiled
 *    with `checkpointer: true`), as they were when a turn began;
 *  - for each of these, the ancestors from which a delta channel is rebuilt (see `needsAncestors`), reduced
 *    to what the rebuilding reads;
 *  - writes to a checkpoint that is still to come: LangGraph may send them first.
 * A namespace with a task id (`node:<uuid>`) belongs to one checkpoint of its parent: once the parent has a
 * later one, no task can come back to it, and it goes.
 *
 * A turn begins with the first put or write that carries a turn id which no fork point has. What the heads
 * were then, with the writes on them, becomes the fork point of that turn. Writes are copied into it because
 * a turn adds writes to the head it starts from: the answers to an interrupt, the input of a delta channel.
 *
 * Steps are synchronous, and so are atomic.
 */

/** What is needed to undo a turn; never changed once made. */
export interface Fork {
  readonly turnId: string;
  /** By namespace. */
  readonly heads: ReadonlyMap<string, { readonly id: string; readonly writes: readonly StoredWrite[] }>;
}

/** All that a thread keeps, to be put together again elsewhere. */
export interface ThreadState {
  readonly checkpoints: Iterable<readonly [namespace: string, checkpoint: StoredCheckpoint]>;
  readonly writes: Iterable<readonly [namespace: string, id: string, writes: readonly StoredWrite[]]>;
  readonly forks: Iterable<Fork>;
  /** Of namespaces whose head is not the checkpoint with the greatest id. */
  readonly heads: ReadonlyMap<string, string>;
}

export interface Retention {
  /** `forks`: only what is described above. `all`: every checkpoint. */
  readonly history: "forks" | "all";
  /** How many finished turns can be undone. */
  readonly forkableRuns: number;
}

/** A fork point's own objects, beside the values. */
const FORK_BYTES = 240;
/** The thread's maps. */
const THREAD_BYTES = 400;

export class ConversationThread implements Account {
  bytes = THREAD_BYTES;
  readonly pool = new Map<string, MessageEntry>();
  private readonly namespaces = new Map<string, ThreadNamespace>();
  private kept: Fork[] = [];

  /** @param forget Told of every list and every message that nothing refers to any more. */
  constructor(
    private readonly retention: Retention,
    readonly forget: (value: MessageList | MessageEntry) => void,
    state?: ThreadState,
  ) {
    if (state !== undefined) this.revive(state);
  }

  get isEmpty(): boolean {
    return this.namespaces.size === 0 && this.kept.length === 0;
  }

  get spaces(): Iterable<NamespaceState> {
    return this.namespaces.values();
  }

  /** Oldest first. */
  get forks(): readonly Fork[] {
    return this.kept;
  }

  get namespaceNames(): string[] {
    return [...this.namespaces.keys()];
  }

  /** The checkpoint of that id, or the head. */
  find(namespace: string, id?: string): StoredCheckpoint | undefined {
    const space = this.namespaces.get(namespace);
    const wanted = id ?? space?.head;
    const found = wanted === undefined ? undefined : space?.checkpoints.get(wanted);
    return found?.isAncestorOnly === true ? undefined : found;
  }

  /** Newest first. */
  list(namespace: string): StoredCheckpoint[] {
    return [...(this.namespaces.get(namespace)?.checkpoints.values() ?? [])]
      .filter((checkpoint) => !checkpoint.isAncestorOnly)
      .sort((a, b) => (a.id < b.id ? 1 : -1));
  }

  writesOf(namespace: string, id: string): Iterable<StoredWrite> {
    return this.namespaces.get(namespace)?.writes.get(id)?.values() ?? [];
  }

  /** From the parent up to the root, as far as they are kept. */
  *ancestors(namespace: string, id: string): Generator<StoredCheckpoint> {
    const checkpoints = this.namespaces.get(namespace)?.checkpoints;
    let current = checkpoints?.get(id);
    while (current?.ancestorId !== undefined) {
      current = checkpoints?.get(current.ancestorId);
      if (current !== undefined) yield current;
    }
  }

  put(namespace: string, checkpoint: StoredCheckpoint, turnId: string | undefined): void {
    this.beginTurn(turnId);
    const space = this.namespace(namespace);
    space.set(checkpoint);
    // In `all` mode whoever wrote the thread may have branched off: the latest by id is the head, as elsewhere.
    if (this.retention.history === "forks" || space.head === undefined || checkpoint.id > space.head) {
      space.head = checkpoint.id;
    }
    if (this.retention.history === "forks") {
      this.dropTaskNamespaces(namespace, checkpoint);
      this.prune(space);
    }
  }

  putWrites(
    namespace: string,
    checkpointId: string,
    writes: readonly StoredWrite[],
    turnId: string | undefined,
  ): void {
    this.beginTurn(turnId);
    const space = this.namespace(namespace);
    const isKnown = space.checkpoints.has(checkpointId);
    // Too late: the checkpoint has been superseded, and nobody will read them.
    if (
      this.retention.history === "forks" &&
      !isKnown &&
      space.head !== undefined &&
      checkpointId < space.head
    )
      return;
    space.addWrites(checkpointId, writes);
  }

  /** Releases everything, so that values of drafts under way count anew wherever they are stored. */
  clear(): void {
    for (const fork of this.kept) this.dropFork(fork);
    this.kept = [];
    for (const space of [...this.namespaces.values()]) this.dropNamespace(space);
  }

  restore(turnId: string): boolean {
    const index = this.kept.findIndex((fork) => fork.turnId === turnId);
    const fork = this.kept[index];
    if (fork === undefined) return false;
    for (const space of [...this.namespaces.values()]) {
      const head = fork.heads.get(space.name);
      if (head === undefined) {
        this.dropNamespace(space);
        continue;
      }
      space.rewind(head.id, head.writes);
    }
    for (const dropped of this.kept.splice(index)) this.dropFork(dropped);
    if (this.retention.history === "forks") for (const space of this.namespaces.values()) this.prune(space);
    return true;
  }

  private revive({ checkpoints, writes, forks, heads }: ThreadState): void {
    for (const [name, checkpoint] of checkpoints) {
      const space = this.namespace(name);
      space.set(checkpoint);
      if (space.head === undefined || checkpoint.id > space.head) space.head = checkpoint.id;
    }
    for (const [name, id] of heads) this.namespace(name).head = id;
    for (const [name, id, stored] of writes) this.namespace(name).addWrites(id, stored);
    for (const fork of forks) {
      this.kept.push(fork);
      this.bytes += forkBytes(fork);
      for (const head of fork.heads.values()) for (const write of head.writes) keepWrite(write, this);
    }
  }

  private beginTurn(turnId: string | undefined): void {
    if (turnId === undefined || this.kept.some((fork) => fork.turnId === turnId)) return;
    const heads = new Map<string, { id: string; writes: StoredWrite[] }>();
    for (const space of this.namespaces.values()) {
      if (space.head === undefined || isTaskNamespace(space.name)) continue;
      const writes = [...(space.writes.get(space.head)?.values() ?? [])];
      for (const write of writes) keepWrite(write, this);
      heads.set(space.name, { id: space.head, writes });
    }
    const fork: Fork = { turnId, heads };
    this.bytes += forkBytes(fork);
    this.kept.push(fork);
    if (this.retention.history === "all") return;
    // The turn that has just begun counts beside the finished ones.
    if (this.kept.length <= this.retention.forkableRuns + 1) return;
    while (this.kept.length > this.retention.forkableRuns + 1) this.dropFork(this.kept.shift() as Fork);
    for (const space of this.namespaces.values()) this.prune(space);
  }

  /** Tasks of earlier checkpoints than `checkpoint` are over, and so are the namespaces they worked in. */
  private dropTaskNamespaces(parent: string, checkpoint: StoredCheckpoint): void {
    if (this.namespaces.size === 1) return;
    const prefix = parent === "" ? "" : `${parent}|`;
    for (const space of [...this.namespaces.values()]) {
      if (space.name === parent || !space.name.startsWith(prefix)) continue;
      if (!isTaskNamespace(space.name.slice(prefix.length))) continue;
      const head = space.head === undefined ? undefined : space.checkpoints.get(space.head);
      const madeIn = head?.parents.get(parent);
      // Without a word on its parent, its own age tells whether a new input has left it behind.
      const age =
        madeIn ?? (checkpoint.isInput ? (space.head ?? [...space.writes.keys()].at(-1)) : undefined);
      // Compared by age: puts may lag behind, and the namespace belong to a checkpoint still to come.
      if (age !== undefined && age < checkpoint.id) this.dropNamespace(space);
    }
  }

  private prune(space: ThreadNamespace): void {
    const heads: string[] = [];
    for (const fork of this.kept) {
      const head = fork.heads.get(space.name);
      if (head !== undefined) heads.push(head.id);
    }
    space.prune(heads);
  }

  private namespace(name: string): ThreadNamespace {
    let space = this.namespaces.get(name);
    if (space === undefined) this.namespaces.set(name, (space = new ThreadNamespace(name, this)));
    return space;
  }

  private dropNamespace(space: ThreadNamespace): void {
    space.clear();
    this.namespaces.delete(space.name);
  }

  private dropFork(fork: Fork): void {
    this.bytes -= forkBytes(fork);
    for (const head of fork.heads.values()) for (const write of head.writes) dropWrite(write, this);
  }
}

function forkBytes({ turnId, heads }: Fork): number {
  return FORK_BYTES + turnId.length + heads.size * 200;
}

/** Namespaces of one task carry its id: `node:<uuid>`. */
function isTaskNamespace(name: string): boolean {
  return name.includes(":");
}

import { CHECKPOINT_BYTES } from "./conversation-checkpoint.js";
import type { StoredCheckpoint, StoredWrite } from "./conversation-checkpoint.js";
import { messagesIn, release, retain } from "./conversation-value.js";
import type { Account } from "./conversation-value.js";
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

interface Namespace {
  readonly name: string;
  readonly checkpoints: Map<string, StoredCheckpoint>;
  /** By checkpoint, then by task and index. */
  readonly writes: Map<string, Map<string, StoredWrite>>;
  head: string | undefined;
}

interface Fork {
  readonly turnId: string;
  /** By namespace. */
  readonly heads: ReadonlyMap<string, { readonly id: string; readonly writes: readonly StoredWrite[] }>;
  readonly bytes: number;
}

export interface Retention {
  /** `forks`: only what is described above. `all`: every checkpoint. */
  readonly history: "forks" | "all";
  /** How many finished turns can be undone. */
  readonly forkableRuns: number;
}

/** A write's own objects, and a fork point's, beside the values. */
const WRITE_BYTES = 160;
const FORK_BYTES = 240;
/** The thread's maps. */
const THREAD_BYTES = 400;

export class ConversationThread implements Account {
  bytes = THREAD_BYTES;
  readonly pool = new Map<string, MessageEntry>();
  private readonly namespaces = new Map<string, Namespace>();
  private forks: Fork[] = [];

  /** @param forget Told of every list of messages that nothing refers to any more. */
  constructor(
    private readonly retention: Retention,
    readonly forget: (list: MessageList) => void,
  ) {}

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
    const before = space.checkpoints.get(checkpoint.id);
    this.keepCheckpoint(checkpoint);
    if (before !== undefined) this.dropCheckpoint(before);
    space.checkpoints.set(checkpoint.id, checkpoint);
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
    const stored = getOrCreate(space.writes, checkpointId, () => new Map<string, StoredWrite>());
    for (const write of writes) {
      const key = JSON.stringify([write.taskId, write.index]);
      const before = stored.get(key);
      // Ordinary writes are written once; errors, interrupts and answers (below zero) replace each other.
      if (before !== undefined && write.index >= 0) continue;
      this.keepWrite(write);
      if (before !== undefined) this.dropWrite(before);
      stored.set(key, write);
    }
  }

  /** Releases everything, so that values of drafts under way count anew wherever they are stored. */
  clear(): void {
    for (const fork of this.forks) this.dropFork(fork);
    this.forks = [];
    for (const space of [...this.namespaces.values()]) this.dropNamespace(space);
  }

  restore(turnId: string): boolean {
    const index = this.forks.findIndex((fork) => fork.turnId === turnId);
    const fork = this.forks[index];
    if (fork === undefined) return false;
    for (const space of [...this.namespaces.values()]) {
      const head = fork.heads.get(space.name);
      if (head === undefined) {
        this.dropNamespace(space);
        continue;
      }
      for (const write of head.writes) this.keepWrite(write);
      this.dropWrites(space, head.id);
      if (head.writes.length > 0) {
        space.writes.set(
          head.id,
          new Map(head.writes.map((write) => [JSON.stringify([write.taskId, write.index]), write])),
        );
      }
      for (const id of [...space.checkpoints.keys(), ...space.writes.keys()]) {
        if (id > head.id) this.dropAt(space, id);
      }
      space.head = head.id;
    }
    for (const dropped of this.forks.splice(index)) this.dropFork(dropped);
    if (this.retention.history === "forks") for (const space of this.namespaces.values()) this.prune(space);
    return true;
  }

  forkPoints(): { turnId: string; messageIds: string[] }[] {
    if (this.forks.length === 0) return [];
    const states = [
      ...this.forks.map((fork) => this.messageIds(fork.heads.get("")?.id)),
      this.messageIds(this.find("")?.id),
    ];
    const present = new Set(states.at(-1));
    return this.forks.map((fork, i) => {
      const before = new Set(states[i]);
      return {
        turnId: fork.turnId,
        messageIds: (states[i + 1] ?? []).filter((id) => !before.has(id) && present.has(id)),
      };
    });
  }

  /** Ids in the `messages` channel of a root checkpoint, in order. */
  private messageIds(checkpointId: string | undefined): string[] {
    const checkpoint =
      checkpointId === undefined ? undefined : this.namespaces.get("")?.checkpoints.get(checkpointId);
    if (checkpoint === undefined) return [];
    const value = checkpoint.channels.get("messages");
    const steps: Iterable<MessageEntry>[] = [];
    if (value !== undefined) steps.push(messagesIn(value));
    else if (checkpoint.delta.includes("messages")) {
      // Newest step first, as the ancestors come.
      for (const ancestor of this.ancestors("", checkpoint.id)) {
        const writes = [...this.writesOf("", ancestor.id)].filter((write) => write.channel === "messages");
        steps.unshift(...writes.map((write) => messagesIn(write.value)));
        const seed = ancestor.channels.get("messages");
        if (seed === undefined) continue;
        steps.unshift(messagesIn(seed));
        break;
      }
    }
    const ids = new Set<string>();
    for (const step of steps) {
      for (const entry of step) {
        if (entry.id === undefined) continue;
        if (!entry.removes) ids.add(entry.id);
        else if (entry.id === REMOVE_ALL) ids.clear();
        else ids.delete(entry.id);
      }
    }
    return [...ids];
  }

  private beginTurn(turnId: string | undefined): void {
    if (turnId === undefined || this.forks.some((fork) => fork.turnId === turnId)) return;
    const heads = new Map<string, { id: string; writes: StoredWrite[] }>();
    for (const space of this.namespaces.values()) {
      if (space.head === undefined || isTaskNamespace(space.name)) continue;
      const writes = [...(space.writes.get(space.head)?.values() ?? [])];
      for (const write of writes) this.keepWrite(write);
      heads.set(space.name, { id: space.head, writes });
    }
    const fork: Fork = { turnId, heads, bytes: FORK_BYTES + turnId.length + heads.size * 200 };
    this.bytes += fork.bytes;
    this.forks.push(fork);
    if (this.retention.history === "all") return;
    // The turn that has just begun counts beside the finished ones.
    if (this.forks.length <= this.retention.forkableRuns + 1) return;
    while (this.forks.length > this.retention.forkableRuns + 1) this.dropFork(this.forks.shift() as Fork);
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

  private prune(space: Namespace): void {
    const { checkpoints, writes, name } = space;
    const heads = new Set<string>();
    if (space.head !== undefined) heads.add(space.head);
    for (const fork of this.forks) {
      const head = fork.heads.get(name);
      if (head !== undefined) heads.add(head.id);
    }
    const kept = new Set(heads);
    const replayed = new Set<string>();
    for (const id of heads) for (const channel of checkpoints.get(id)?.delta ?? []) replayed.add(channel);
    for (const id of heads) this.keepAncestors(space, id, heads, kept, replayed);
    for (const id of [...checkpoints.keys(), ...writes.keys()]) {
      const isToCome = !checkpoints.has(id) && space.head !== undefined && id > space.head;
      if (!kept.has(id) && !isToCome) this.dropAt(space, id);
    }
  }

  /** Adds to `kept` what a head needs of its ancestors, and shortens the way between them. */
  private keepAncestors(
    space: Namespace,
    id: string,
    heads: ReadonlySet<string>,
    kept: Set<string>,
    replayed: ReadonlySet<string>,
  ): void {
    let link = space.checkpoints.get(id);
    if (link === undefined) return;
    // Before version 4 the sends to a checkpoint lay as writes on its parent.
    if (link.v < 4 && link.parentId !== undefined) kept.add(link.parentId);
    const missing = new Set(link.delta);
    while (missing.size > 0 && link.ancestorId !== undefined) {
      const ancestor = space.checkpoints.get(link.ancestorId);
      if (ancestor === undefined) return;
      for (const channel of missing) if (ancestor.channels.has(channel)) missing.delete(channel);
      if (heads.has(ancestor.id) || this.isReplayed(space, ancestor, replayed)) {
        kept.add(ancestor.id);
        link =
          heads.has(ancestor.id) || ancestor.isAncestorOnly
            ? ancestor
            : this.reduce(space, ancestor, replayed);
      } else {
        link.ancestorId = ancestor.ancestorId;
      }
    }
  }

  private isReplayed(space: Namespace, checkpoint: StoredCheckpoint, replayed: ReadonlySet<string>): boolean {
    for (const channel of replayed) if (checkpoint.channels.has(channel)) return true;
    for (const write of space.writes.get(checkpoint.id)?.values() ?? [])
      if (replayed.has(write.channel)) return true;
    return false;
  }

  /** Leaves of an ancestor only the values and writes that delta channels are rebuilt from. */
  private reduce(
    space: Namespace,
    checkpoint: StoredCheckpoint,
    replayed: ReadonlySet<string>,
  ): StoredCheckpoint {
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
    space.checkpoints.set(checkpoint.id, reduced);
    const writes = space.writes.get(checkpoint.id);
    for (const [key, write] of writes ?? []) {
      if (replayed.has(write.channel)) continue;
      this.dropWrite(write);
      writes?.delete(key);
    }
    return reduced;
  }

  private namespace(name: string): Namespace {
    return getOrCreate(this.namespaces, name, () => {
      return { name, checkpoints: new Map(), writes: new Map(), head: undefined };
    });
  }

  private dropNamespace(space: Namespace): void {
    for (const id of [...space.checkpoints.keys(), ...space.writes.keys()]) this.dropAt(space, id);
    this.namespaces.delete(space.name);
  }

  private dropAt(space: Namespace, id: string): void {
    this.dropWrites(space, id);
    const checkpoint = space.checkpoints.get(id);
    if (checkpoint === undefined) return;
    space.checkpoints.delete(id);
    this.dropCheckpoint(checkpoint);
  }

  private dropWrites(space: Namespace, id: string): void {
    for (const write of space.writes.get(id)?.values() ?? []) this.dropWrite(write);
    space.writes.delete(id);
  }

  private dropFork(fork: Fork): void {
    this.bytes -= fork.bytes;
    for (const head of fork.heads.values()) for (const write of head.writes) this.dropWrite(write);
  }

  private keepWrite(write: StoredWrite): void {
    this.bytes += WRITE_BYTES;
    retain(write.value, this);
  }

  private dropWrite(write: StoredWrite): void {
    this.bytes -= WRITE_BYTES;
    release(write.value, this);
  }

  private keepCheckpoint(checkpoint: StoredCheckpoint): void {
    this.bytes += checkpoint.bytes;
    retain(checkpoint.metadata, this);
    for (const value of checkpoint.channels.values()) retain(value, this);
  }

  private dropCheckpoint(checkpoint: StoredCheckpoint): void {
    this.bytes -= checkpoint.bytes;
    release(checkpoint.metadata, this);
    for (const value of checkpoint.channels.values()) release(value, this);
  }
}

/** The id by which a RemoveMessage takes all messages away. */
const REMOVE_ALL = "__remove_all__";

/** Namespaces of one task carry its id: `node:<uuid>`. */
function isTaskNamespace(name: string): boolean {
  return name.includes(":");
}

function getOrCreate<K, V>(map: Map<K, V>, key: K, create: () => V): V {
  const found = map.get(key);
  if (found !== undefined) return found;
  const created = create();
  map.set(key, created);
  return created;
}

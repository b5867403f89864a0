import {
  BaseCheckpointSaver,
  JsonPlusSerializer,
  TASKS,
  WRITES_IDX_MAP,
  getCheckpointId,
  maxChannelVersion,
} from "@langchain/langgraph-checkpoint";
import type {
  ChannelVersions,
  Checkpoint,
  CheckpointListOptions,
  CheckpointMetadata,
  CheckpointTuple,
  DeltaChannelHistory,
  PendingWrite,
  SerializerProtocol,
} from "@langchain/langgraph-checkpoint";
import { LRUCache } from "lru-cache";
import { AgentError } from "../../errors.js";
import { choiceOption, integerOption, refuseUnknownKeys } from "../../internal/check-options.js";
import { RUN_KEY } from "../store.js";
import type { ForkPoint, ForkingSaver, Lease, RunConfigurable } from "../store.js";
import { decodeWrites, sortWrites, versionsOf } from "./conversation-checkpoint.js";
import type { StoredCheckpoint, StoredWrite } from "./conversation-checkpoint.js";
import { draftCheckpoint } from "./conversation-draft.js";
import { ConversationThread } from "./conversation-thread.js";
import type { Retention } from "./conversation-thread.js";
import { ValueCodec, decodeValue, encodeValue } from "./conversation-value.js";
import type { Resemblance } from "./conversation-value.js";
import { growLive } from "./message-list.js";
import type { LiveMessages, MessageList } from "./message-list.js";

/** What LangGraph hands over, as far as a saver reads it. */
type Config = Parameters<BaseCheckpointSaver["getTuple"]>[0];

export interface MemoryConversationSaverOptions {
  /**
   * `forks` keeps the head and what it takes to undo the unfinished and the last `forkableRuns` turns; `all`
   * keeps every checkpoint.
   *
   * @defaultValue `"forks"`
   */
  readonly history?: "forks" | "all" | undefined;
  /** How many finished turns can be undone. @defaultValue 10 */
  readonly forkableRuns?: number | undefined;
  /**
   * How much of the heap, roughly, message objects may take that are kept so that the next turn need not read
   * them again, in bytes and for all conversations together. 0 keeps none. @defaultValue 64 MB
   */
  readonly liveBytes?: number | undefined;
  /**
   * Throws `LEASE_LOST` for a stale lease. With it every write must carry a lease of its own thread under
   * {@link RUN_KEY}; without it, for host tools and conformance tests, none need to.
   */
  readonly fence?: ((lease: Lease) => void) | undefined;
  /** Told the stored bytes of a thread after each change, 0 when it is gone. */
  readonly onResize?: ((threadId: string, bytes: number) => void) | undefined;
  /** For all that is not a plain message. @defaultValue LangGraph's own */
  readonly serde?: SerializerProtocol | undefined;
}

const defaults = { history: "forks", forkableRuns: 10, liveBytes: 64 * 1024 * 1024 } as const;

/**
 * LangGraph's conversation state in this process's memory. It stores each message once and costs a turn what
 * the turn adds, however long the history is; see `conversation-thread.ts` for what is kept and for how long.
 *
 * Values are encoded when they are put: editing them later changes nothing that is stored. Messages of earlier
 * turns are handed out as shared objects; assigning to their `content` or `tool_calls` is noticed, other edits
 * of them may or may not be seen by later reads.
 *
 * Not its job: deciding who may write. It asks `fence`.
 */
export class MemoryConversationSaver extends BaseCheckpointSaver implements ForkingSaver {
  private readonly threads = new Map<string, ConversationThread>();
  private readonly live: LRUCache<MessageList, LiveMessages> | undefined;
  private readonly retention: Retention;
  private readonly fence: ((lease: Lease) => void) | undefined;
  private readonly onResize: ((threadId: string, bytes: number) => void) | undefined;
  private readonly usesPlainJson: boolean;

  /** @throws {TypeError | RangeError} on options of a wrong type or out of range. */
  constructor(options: MemoryConversationSaverOptions = {}) {
    refuseUnknownKeys("MemoryConversationSaver", options, [
      "history",
      "forkableRuns",
      "liveBytes",
      "fence",
      "onResize",
      "serde",
    ]);
    super(options.serde ?? new JsonPlusSerializer());
    this.usesPlainJson = options.serde === undefined;
    this.retention = {
      history: choiceOption("history", options.history, defaults.history, ["forks", "all"]),
      forkableRuns: integerOption("forkableRuns", options.forkableRuns, defaults.forkableRuns, 0),
    };
    const maxSize = integerOption("liveBytes", options.liveBytes, defaults.liveBytes, 0);
    if (maxSize > 0)
      this.live = new LRUCache({ maxSize, sizeCalculation: (live) => Math.ceil(live.bytes) + 1 });
    this.fence = options.fence;
    this.onResize = options.onResize;
  }

  /** What the thread's stored state takes on the heap, roughly, in bytes; 0 for an unknown one. */
  bytes(threadId: string): number {
    return this.threads.get(threadId)?.bytes ?? 0;
  }

  override async getTuple(config: Config): Promise<CheckpointTuple | undefined> {
    const threadId: unknown = config.configurable?.["thread_id"];
    if (typeof threadId !== "string") return undefined;
    const namespace = namespaceOf(config);
    const thread = this.threads.get(threadId);
    const stored = thread?.find(namespace, getCheckpointId(config) || undefined);
    return thread && stored && this.load(thread, threadId, namespace, stored);
  }

  override async *list(config: Config, options: CheckpointListOptions = {}): AsyncGenerator<CheckpointTuple> {
    const configurable = config.configurable ?? {};
    const wantedThread: unknown = configurable["thread_id"];
    const wantedNamespace: unknown = configurable["checkpoint_ns"];
    const wantedId = getCheckpointId(config);
    const before: unknown = options.before?.configurable?.["checkpoint_id"];
    const filter = Object.entries(options.filter ?? {});
    let left = options.limit ?? Infinity;
    const threadIds = typeof wantedThread === "string" ? [wantedThread] : [...this.threads.keys()];
    for (const threadId of threadIds) {
      const thread = this.threads.get(threadId);
      for (const namespace of thread?.namespaceNames ?? []) {
        if (wantedNamespace !== undefined && wantedNamespace !== namespace) continue;
        for (const stored of thread?.list(namespace) ?? []) {
          if (left <= 0) return;
          if (wantedId !== "" && stored.id !== wantedId) continue;
          if (typeof before === "string" && stored.id >= before) continue;
          // Only `put` writes it.
          const metadata = (await this.codec(thread).loadBlob(stored.metadata)) as Record<string, unknown>;
          if (thread === undefined || !filter.every(([key, value]) => metadata[key] === value)) continue;
          left -= 1;
          yield await this.load(thread, threadId, namespace, stored);
        }
      }
    }
  }

  override async put(
    config: Config,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    newVersions?: ChannelVersions,
  ): Promise<Config> {
    const threadId = threadIdOf(config, "checkpoint");
    const namespace = namespaceOf(config);
    this.authorise(config, threadId);
    const thread = this.threads.get(threadId);
    const codec = this.codec(thread);
    const parentId: unknown = config.configurable?.["checkpoint_id"];
    const draft = draftCheckpoint({
      checkpoint,
      metadata,
      newVersions,
      parentId: typeof parentId === "string" && parentId !== "" ? parentId : undefined,
      codec,
      thread,
      namespace,
      keepsUnclaimed: this.retention.history === "forks",
      takeLive: (list, keep) => {
        const live = this.live?.get(list);
        if (!keep) this.live?.delete(list);
        return live;
      },
    });
    await settle(codec);
    // The lease may have been lost, and the thread deleted, while values were being serialised.
    const turnId = this.authorise(config, threadId);
    const { stored, lists } = draft();
    this.thread(threadId).put(namespace, stored, turnId);
    for (const { list, messages, alive, live } of lists) {
      if (list.refs > 0) this.live?.set(list, growLive(live, alive, messages, list));
    }
    this.resized(threadId);
    return { configurable: { thread_id: threadId, checkpoint_ns: namespace, checkpoint_id: checkpoint.id } };
  }

  override async putWrites(
    config: Config,
    writes: PendingWrite[],
    taskId: string,
    taskPath = "",
  ): Promise<void> {
    const threadId = threadIdOf(config, "writes");
    const namespace = namespaceOf(config);
    const checkpointId: unknown = config.configurable?.["checkpoint_id"];
    if (typeof checkpointId !== "string" || checkpointId === "") {
      throw new TypeError(
        "Cannot store writes: `configurable.checkpoint_id` must be a string that is not empty.",
      );
    }
    this.authorise(config, threadId);
    const thread = this.threads.get(threadId);
    const codec = this.codec(thread);
    const like = this.resemblance(thread, namespace);
    const drafts = writes.map(([channel, value], i) => ({
      channel,
      index: Object.hasOwn(WRITES_IDX_MAP, channel) ? (WRITES_IDX_MAP[channel] ?? i) : i,
      value: encodeValue(value, codec, like),
    }));
    await settle(codec);
    const turnId = this.authorise(config, threadId);
    const stored = drafts.map(({ channel, index, value }): StoredWrite => {
      return { taskId, index, path: taskPath, channel, value: value() };
    });
    this.thread(threadId).putWrites(namespace, checkpointId, stored, turnId);
    this.resized(threadId);
  }

  override deleteThread(threadId: string): Promise<void> {
    const thread = this.threads.get(threadId);
    if (thread !== undefined) {
      this.threads.delete(threadId);
      thread.clear();
      this.onResize?.(threadId, 0);
    }
    return Promise.resolve();
  }

  override async getDeltaChannelHistory(options: {
    config: Config;
    channels: string[];
  }): Promise<Record<string, DeltaChannelHistory>> {
    const threadId: unknown = options.config.configurable?.["thread_id"];
    const thread = typeof threadId === "string" ? this.threads.get(threadId) : undefined;
    const namespace = namespaceOf(options.config);
    const start = thread?.find(namespace, getCheckpointId(options.config) || undefined);
    // What is read is gathered at once: puts may change the thread while values are being decoded.
    const found = new Map(
      options.channels.map((channel) => [channel, { writes: [] as StoredWrite[], seed: unset }]),
    );
    const open = new Map<string, { writes: StoredWrite[]; seed: unknown }>(found);
    for (const ancestor of thread && start ? thread.ancestors(namespace, start.id) : []) {
      if (open.size === 0) break;
      const writes = thread === undefined ? [] : sortWrites(thread.writesOf(namespace, ancestor.id));
      for (const write of writes.reverse()) open.get(write.channel)?.writes.unshift(write);
      for (const [channel, history] of open) {
        const seed = ancestor.channels.get(channel);
        if (seed === undefined) continue;
        history.seed = seed;
        open.delete(channel);
      }
    }
    const codec = this.codec(thread);
    const entries = [...found].map(async ([channel, { writes, seed }]) => {
      const history: DeltaChannelHistory = { writes: await decodeWrites(writes, codec) };
      if (isStored(seed)) history.seed = await decodeValue(seed, codec);
      return [channel, history] as const;
    });
    return Object.fromEntries(await Promise.all(entries));
  }

  forkPoints(threadId: string): Promise<readonly ForkPoint[]> {
    return Promise.resolve(this.threads.get(threadId)?.forkPoints() ?? []);
  }

  /** @throws {AgentError} `LEASE_LOST` */
  restore(lease: Lease, turnId: string): Promise<boolean> {
    return new Promise((resolve) => {
      this.fence?.(lease);
      const isRestored = this.threads.get(lease.threadId)?.restore(turnId) ?? false;
      if (isRestored) this.resized(lease.threadId);
      resolve(isRestored);
    });
  }

  /** Checks the lease that the write carries and gives its turn. */
  private authorise(config: Config, threadId: string): string | undefined {
    // Hosts fill `configurable`; what is in it is checked here.
    const run = config.configurable?.[RUN_KEY] as Partial<RunConfigurable> | undefined;
    const lease = run?.lease;
    if (this.fence !== undefined) {
      if (lease === undefined) {
        throw new AgentError(
          "LEASE_LOST",
          `A write to thread ${JSON.stringify(threadId)} came without a lease: give \`configurable.${RUN_KEY}\` the run's lease and turn.`,
        );
      }
      if (lease.threadId !== threadId) {
        throw new AgentError(
          "LEASE_LOST",
          `A write to thread ${JSON.stringify(threadId)} came with the lease of another thread.`,
        );
      }
      this.fence(lease);
    }
    return typeof run?.turnId === "string" ? run.turnId : undefined;
  }

  private thread(threadId: string): ConversationThread {
    const known = this.threads.get(threadId);
    if (known !== undefined) return known;
    const thread = new ConversationThread(this.retention, (list) => this.live?.delete(list));
    this.threads.set(threadId, thread);
    return thread;
  }

  private codec(thread: ConversationThread | undefined): ValueCodec {
    return new ValueCodec(this.serde, this.usesPlainJson, thread?.pool);
  }

  /** The messages that values of a namespace are likely to hold. */
  private resemblance(thread: ConversationThread | undefined, namespace: string): Resemblance {
    const stored = thread?.find(namespace) ?? thread?.find("");
    const messages = stored?.channels.get("messages");
    if (messages?.kind !== "messages") return { list: undefined, live: undefined };
    return { list: messages, live: this.live?.get(messages) };
  }

  private resized(threadId: string): void {
    this.onResize?.(threadId, this.bytes(threadId));
  }

  private async load(
    thread: ConversationThread,
    threadId: string,
    namespace: string,
    stored: StoredCheckpoint,
  ): Promise<CheckpointTuple> {
    const codec = this.codec(thread);
    const writes = sortWrites(thread.writesOf(namespace, stored.id));
    const sends =
      stored.v < 4 && stored.parentId !== undefined
        ? [...thread.writesOf(namespace, stored.parentId)]
        : undefined;
    const isHead = thread.find(namespace) === stored;
    const messages = stored.channels.get("messages");
    const like: Resemblance =
      messages?.kind === "messages"
        ? { list: messages, live: this.live?.get(messages) }
        : {
            list: undefined,
            live: undefined,
          };
    const values = [...stored.channels].map(async ([channel, value]) => {
      if (value.kind !== "messages") return [channel, await decodeValue(value, codec, like)] as const;
      const live = value === like.list ? like.live : this.live?.get(value);
      const decoded = await decodeValue(value, codec, { list: value, live });
      // A list of messages decodes to messages.
      if (isHead && live === undefined) this.enliven(value, decoded as Parameters<typeof growLive>[2]);
      return [channel, decoded] as const;
    });
    const checkpoint: Checkpoint = {
      v: stored.v,
      id: stored.id,
      ts: stored.ts,
      channel_values: Object.fromEntries(await Promise.all(values)),
      ...versionsOf(stored),
    };
    if (sends !== undefined) {
      const pending = await decodeWrites(
        sends.filter((write) => write.channel === TASKS),
        codec,
      );
      checkpoint.channel_values[TASKS] = pending.map(([, , value]) => value);
      const versions = Object.values(checkpoint.channel_versions);
      checkpoint.channel_versions[TASKS] =
        versions.length > 0 ? maxChannelVersion(...versions) : this.getNextVersion(undefined);
    }
    const at = { thread_id: threadId, checkpoint_ns: namespace };
    const tuple: CheckpointTuple = {
      config: { configurable: { ...at, checkpoint_id: stored.id } },
      checkpoint,
      // Only `put` writes it.
      metadata: (await codec.loadBlob(stored.metadata)) as CheckpointMetadata,
      pendingWrites: await decodeWrites(writes, codec, like),
    };
    if (stored.parentId !== undefined) {
      tuple.parentConfig = { configurable: { ...at, checkpoint_id: stored.parentId } };
    }
    return tuple;
  }

  private enliven(list: MessageList, messages: Parameters<typeof growLive>[2]): void {
    if (this.live === undefined || list.refs === 0 || this.live.has(list)) return;
    this.live.set(list, growLive(undefined, 0, messages, list));
  }
}

const unset = Symbol("unset");

function isStored(seed: unknown): seed is Parameters<typeof decodeValue>[0] {
  return seed !== unset;
}

function namespaceOf(config: Config): string {
  const namespace: unknown = config.configurable?.["checkpoint_ns"];
  return typeof namespace === "string" ? namespace : "";
}

function threadIdOf(config: Config, what: string): string {
  const threadId: unknown = config.configurable?.["thread_id"];
  if (typeof threadId === "string" && threadId !== "") return threadId;
  throw new TypeError(
    `Cannot store a ${what}: \`configurable.thread_id\` must be a string that is not empty.`,
  );
}

async function settle(codec: ValueCodec): Promise<void> {
  if (codec.pending.length > 0) await Promise.all(codec.pending);
}

import {
  BaseCheckpointSaver,
  JsonPlusSerializer,
  WRITES_IDX_MAP,
  getCheckpointId,
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
import { AgentError } from "../../errors.js";
import { choiceOption, integerOption } from "../../internal/check-options.js";
import { RUN_KEY } from "../store.js";
import type { EventRide, ForkPoint, ForkingSaver, Lease, PeekingSaver, RunConfigurable } from "../store.js";
import { adoptValue } from "./adopt.js";
import { decodeWrites, sortWrites } from "./checkpoint.js";
import type { StoredWrite } from "./checkpoint.js";
import { namespaceOf, runOf, threadIdOf } from "./config.js";
import type { Config } from "./config.js";
import { draftCheckpoint } from "./draft.js";
import { forkPoints, hasMessage } from "./fork-points.js";
import { LiveCache } from "./live-cache.js";
import { growLive } from "./message-list.js";
import type { MessageEntry } from "./message-list.js";
import { PeekedReads } from "./peeked-reads.js";
import type { Place } from "./peeked-reads.js";
import type { ConversationThread, Retention } from "./thread.js";
import { readTuple } from "./tuple.js";
import { ValueCodec, decodeValue, encodeValue } from "./value.js";
import type { Resemblance } from "./value.js";

export interface ConversationSaverOptions {
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
   * How much of the heap, roughly, may be taken by what is kept so that the next turn need not read it again, in
   * bytes and for all conversations together: message objects and the state of conversations, which else is read
   * anew from where it is stored or, in memory, from text. 0 keeps none. @defaultValue 64 MB
   */
  readonly liveBytes?: number | undefined;
  /** For all that is not a plain message. @defaultValue LangGraph's own */
  readonly serde?: SerializerProtocol | undefined;
}

const defaults = { history: "forks", forkableRuns: 10, liveBytes: 64 * 1024 * 1024 } as const;

/** Where a saver's threads live, and who may write them. */
export interface ThreadSource {
  /** What its commits can take events of runs along to: see {@link EventRide.engine}. */
  readonly engine?: object | undefined;
  /**
   * Says whether a write with this lease may be tried. Asked again when it is done.
   *
   * @throws {AgentError} `LEASE_LOST`
   */
  authorise(threadId: string, lease: Lease | undefined): void;
  /** The thread if it is at hand: what values to be written are likely to resemble. */
  peek(threadId: string): ConversationThread | undefined;
  /** The thread as it now is; `undefined` when it has nothing. */
  read(
    threadId: string,
    lease: Lease | undefined,
    signal: AbortSignal | undefined,
  ): Promise<ConversationThread | undefined>;
  /**
   * Changes the thread as it now is, in one step, and resolves when that is stored. `step` may be called again, on
   * another object, when the thread turns out to have been changed by others.
   */
  write<T>(
    threadId: string,
    lease: Lease | undefined,
    step: (thread: ConversationThread) => T,
    how?: WriteOptions,
  ): Promise<T>;
  delete(threadId: string): Promise<void>;
  threadIds(): AsyncIterable<string> | Iterable<string>;
}

export interface WriteOptions {
  /** Resolve as soon as the step has been taken here: should it not get stored, later writes with the lease fail. */
  readonly isEarly?: boolean;
  /** What the run has said, to be stored in the same commit. */
  readonly ride?: EventRide | undefined;
}

/** What a source needs to know to make threads. */
export interface ThreadSettings {
  readonly retention: Retention;
  readonly live: LiveCache;
}

/**
 * LangGraph's conversation state, each message stored once, so that a turn costs what the turn adds, however long
 * the history is; see `thread.ts` for what is kept and for how long.
 *
 * Values are encoded when they are put: editing them later changes nothing that is stored. Messages of earlier
 * turns are handed out as shared objects; assigning to their `content` or `tool_calls` is noticed, other edits
 * of them may or may not be seen by later reads.
 *
 * Not its job: where threads live, and who may write them. It asks its {@link ThreadSource}.
 */
export abstract class ConversationSaver<TSource extends ThreadSource>
  extends BaseCheckpointSaver
  implements ForkingSaver, PeekingSaver
{
  protected readonly source: TSource;
  private readonly live: LiveCache;
  private readonly peeked = new PeekedReads();
  private readonly keepsUnclaimed: boolean;
  private readonly usesPlainJson: boolean;

  /** @throws {TypeError | RangeError} on options of a wrong type or out of range. */
  protected constructor(
    options: ConversationSaverOptions,
    createSource: (settings: ThreadSettings) => TSource,
  ) {
    super(options.serde ?? new JsonPlusSerializer());
    this.usesPlainJson = options.serde === undefined;
    const retention: Retention = {
      history: choiceOption("history", options.history, defaults.history, ["forks", "all"]),
      forkableRuns: integerOption("forkableRuns", options.forkableRuns, defaults.forkableRuns, 0),
    };
    this.live = new LiveCache(integerOption("liveBytes", options.liveBytes, defaults.liveBytes, 0));
    this.keepsUnclaimed = retention.history === "forks";
    this.source = createSource({ retention, live: this.live });
  }

  override async getTuple(config: Config): Promise<CheckpointTuple | undefined> {
    const place = await this.find(config);
    return place && (this.peeked.take(config, place) ?? this.readTuple(place));
  }

  async peekTuple(config: Config): Promise<CheckpointTuple | undefined> {
    const place = await this.find(config);
    return place && this.peeked.peek(config, place, () => this.readTuple(place));
  }

  override async *list(config: Config, options: CheckpointListOptions = {}): AsyncGenerator<CheckpointTuple> {
    const configurable = config.configurable ?? {};
    const wantedThread: unknown = configurable["thread_id"];
    const wantedNamespace: unknown = configurable["checkpoint_ns"];
    const wantedId = getCheckpointId(config);
    const before: unknown = options.before?.configurable?.["checkpoint_id"];
    const filter = Object.entries(options.filter ?? {});
    let left = options.limit ?? Infinity;
    const threadIds = typeof wantedThread === "string" ? [wantedThread] : this.source.threadIds();
    for await (const threadId of threadIds) {
      const thread = await this.source.read(threadId, runOf(config).lease, config.signal);
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
          yield await this.readTuple({ thread, threadId, namespace, stored });
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
    const { lease, turnId, flush, ride } = this.runOf(config);
    this.source.authorise(threadId, lease);
    const { live } = this;
    const thread = this.source.peek(threadId);
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
      keepsUnclaimed: this.keepsUnclaimed,
      takeLive: (list, keep) => {
        const messages = live.messages(list);
        if (!keep) live.dropMessages(list);
        return messages;
      },
    });
    const { id } = checkpoint;
    const isInput = metadata.source === "input";
    if (codec.pending.length > 0) await Promise.all(codec.pending);
    // The input tells nothing that events have told.
    const told = isInput ? undefined : (ride?.ready() ?? flush?.());
    if (told !== undefined) await told;
    const step = (target: ConversationThread): void => {
      const { stored, lists } = draft(target);
      target.put(namespace, stored, turnId);
      if (live.isOff) return;
      for (const { list, messages, alive, live: known } of lists) {
        if (list.refs > 0) live.keepMessages(list, growLive(known, alive, messages, list));
      }
    };
    await this.source.write(threadId, lease, step, { isEarly: isInput, ride });
    return { configurable: { thread_id: threadId, checkpoint_ns: namespace, checkpoint_id: id } };
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
    const { lease, turnId, flush, ride } = this.runOf(config);
    this.source.authorise(threadId, lease);
    const thread = this.source.peek(threadId);
    const codec = this.codec(thread);
    const like = this.resemblance(thread, namespace);
    if (writes.length === 0) return;
    const drafts = writes.map(([channel, value], i) => ({
      channel,
      index: Object.hasOwn(WRITES_IDX_MAP, channel) ? (WRITES_IDX_MAP[channel] ?? i) : i,
      value: encodeValue(value, codec, like),
    }));
    if (codec.pending.length > 0) await Promise.all(codec.pending);
    const told = ride?.ready() ?? flush?.();
    if (told !== undefined) await told;
    const step = (target: ConversationThread): void => {
      const base = target === thread ? undefined : this.resemblance(target, namespace).list;
      const adopted = new Map<MessageEntry, MessageEntry>();
      const stored = drafts.map(({ channel, index, value }): StoredWrite => {
        const own = target === thread ? value() : adoptValue(value(), target.pool, base, adopted);
        return { taskId, index, path: taskPath, channel, value: own };
      });
      target.putWrites(namespace, checkpointId, stored, turnId);
    };
    await this.source.write(threadId, lease, step, { ride });
  }

  override deleteThread(threadId: string): Promise<void> {
    return this.source.delete(threadId);
  }

  override async getDeltaChannelHistory(options: {
    config: Config;
    channels: string[];
  }): Promise<Record<string, DeltaChannelHistory>> {
    const { config } = options;
    const threadId: unknown = config.configurable?.["thread_id"];
    const thread =
      typeof threadId === "string"
        ? await this.source.read(threadId, runOf(config).lease, config.signal)
        : undefined;
    const namespace = namespaceOf(config);
    const start = thread?.find(namespace, getCheckpointId(config) || undefined);
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

  async forkPoints(threadId: string): Promise<readonly ForkPoint[]> {
    const thread = await this.source.read(threadId, undefined, undefined);
    return thread === undefined ? [] : forkPoints(thread);
  }

  async hasMessage(lease: Lease, messageId: string): Promise<boolean> {
    const thread = await this.source.read(lease.threadId, lease, undefined);
    return thread !== undefined && hasMessage(thread, messageId);
  }

  /** @throws {AgentError} `LEASE_LOST` */
  async restore(lease: Lease, turnId: string): Promise<boolean> {
    this.source.authorise(lease.threadId, lease);
    return this.source.write(lease.threadId, lease, (thread) => thread.restore(turnId));
  }

  /** Events ride with commits of their own engine alone. */
  private runOf(config: Config): Partial<RunConfigurable> {
    const { ride, ...run } = runOf(config);
    return ride === undefined || ride.engine !== this.source.engine ? run : { ...run, ride };
  }

  /** The checkpoint that a config names, or the head. */
  private async find(config: Config): Promise<Place | undefined> {
    const threadId: unknown = config.configurable?.["thread_id"];
    if (typeof threadId !== "string") return undefined;
    const namespace = namespaceOf(config);
    const thread = await this.source.read(threadId, runOf(config).lease, config.signal);
    const stored = thread?.find(namespace, getCheckpointId(config) || undefined);
    return thread && stored && { thread, threadId, namespace, stored };
  }

  private codec(thread: ConversationThread | undefined): ValueCodec {
    return new ValueCodec(this.serde, this.usesPlainJson, thread?.pool);
  }

  /** The messages that values of a namespace are likely to hold. */
  private resemblance(thread: ConversationThread | undefined, namespace: string): Resemblance {
    const stored = thread?.find(namespace) ?? thread?.find("");
    const messages = stored?.channels.get("messages");
    if (messages?.kind !== "messages") return { list: undefined, live: undefined };
    return { list: messages, live: this.live.messages(messages) };
  }

  private readTuple(place: Place): Promise<CheckpointTuple> {
    const { live } = this;
    return readTuple({
      ...place,
      codec: this.codec(place.thread),
      liveOf: (list) => live.messages(list),
      onRead: (list, messages) => {
        if (live.isOff || list.refs === 0 || live.hasMessages(list)) return;
        live.keepMessages(list, growLive(undefined, 0, messages, list));
      },
    });
  }
}

const unset = Symbol("unset");

function isStored(seed: unknown): seed is Parameters<typeof decodeValue>[0] {
  return seed !== unset;
}

/**
 * Says whether the lease is one of the thread, for those who take no write without.
 *
 * @throws {AgentError} `LEASE_LOST`
 */
export function requireLease(threadId: string, lease: Lease | undefined): asserts lease {
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
}

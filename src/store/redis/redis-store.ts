import { limitOption, refuseUnknownKeys } from "../../internal/check-options.js";
import { RecordsConversationSaver } from "../conversation/records-saver.js";
import {
  CONVERSATION_OPTIONS,
  conversationOptions,
  type ConversationOptions,
} from "../engine/conversation-options.js";
import {
  keepingDefaults,
  SweptStore,
  type EngineStore,
  type EngineStoreOptions,
} from "../engine/engine-store.js";
import type { ForkingSaver, SessionStore } from "../store.js";
import type { RedisClient } from "./client.js";
import {
  CONNECTION_OPTIONS,
  connectionDefaults,
  createEngine,
  prefixOption,
  prepare,
  type RedisConnectionOptions,
} from "./connect.js";
import { RedisConversationRecords } from "./conversation-records.js";
import { RedisEventLog } from "./event-log.js";
import { RedisHints } from "./hints.js";
import { RedisProcesses } from "./processes.js";
import { RedisRunLedger } from "./run-ledger.js";
import { RedisSessionStore } from "./session-store.js";
import { StreamReader } from "./stream-reader.js";

/** What {@link redisStore} does where its options say nothing. */
export const redisStoreDefaults = Object.freeze({
  ...connectionDefaults,
  ...keepingDefaults,
  maxEventsPerRun: 5_000,
});

/** `runRetentionMs`, `maxRetainedRuns`, `maxEventsPerRun` and `maxStateBytes` may be `Infinity`, for no limit. */
export interface RedisStoreOptions extends RedisConnectionOptions, EngineStoreOptions {
  /** The most events kept per run; the oldest go first. @defaultValue 5,000 */
  readonly maxEventsPerRun?: number | undefined;
  /** Lets `init()` accept a server that throws any keys away when memory runs out. @defaultValue false */
  readonly allowEviction?: boolean | undefined;
}

/** A whole store in Redis. */
export interface RedisStore extends EngineStore {
  /**
   * Checks the server and the format of its data. May be called by many processes at once, and again.
   *
   * @throws {AgentError} `UNSUPPORTED` on a server older than 7.0, one that throws keys away when memory runs out, or
   * data of a later version of this library that this one can't work with, or that do not say their format;
   * `STORE_UNAVAILABLE` when it can't be reached, refuses the login, or is a read-only replica.
   */
  init(): Promise<void>;
  /** Closes the connection that the store opened beside the client, and sends nothing more. The client stays open. */
  close(): Promise<void>;
}

const OPTIONS = [
  ...Object.keys(redisStoreDefaults),
  ...CONVERSATION_OPTIONS,
  "clock",
  "sessionTtlMs",
  "allowEviction",
];

/**
 * Keeps everything in Redis 7 or later, without modules, for any number of processes. All keys of a store share one
 * hash tag: each step is one atomic script, and on a cluster the store is on one of its shards.
 *
 * What Redis has acknowledged is as durable as Redis is told to be: with `appendonly yes` and `appendfsync always` on
 * one primary nothing is lost; a failover to a replica may lose the last moments, and leases among them are then given
 * again.
 *
 * @throws {TypeError} on what is no client, a client with a `keyPrefix`, and options of a wrong type or name.
 * @throws {RangeError} on limits that are no integers from 1 up.
 */
export function redisStore(client: RedisClient, options: RedisStoreOptions = {}): RedisStore {
  refuseUnknownKeys("redisStore", options, OPTIONS);
  return new WholeRedisStore(client, options);
}

class WholeRedisStore extends SweptStore implements RedisStore {
  readonly sessions: SessionStore;
  readonly checkpointer: ForkingSaver;
  readonly runs: RedisRunLedger;
  readonly events: RedisEventLog;
  readonly processes: RedisProcesses;
  readonly init: () => Promise<void>;
  readonly close: () => Promise<void>;

  constructor(client: RedisClient, options: RedisStoreOptions) {
    super(options);
    const limit = (name: "runRetentionMs" | "maxRetainedRuns" | "maxEventsPerRun" | "maxStateBytes") =>
      limitOption(name, options[name], redisStoreDefaults[name]);
    const runRetentionMs = limit("runRetentionMs");
    const engine = createEngine(client, options);
    const reader = new StreamReader(engine);
    const hints = new RedisHints(engine, reader);
    // Events go with their run and not by themselves: it may be parked, or at work without a word, for days.
    const eventLimits = { maxEventsPerRun: limit("maxEventsPerRun"), expireMs: 0 };
    const saver = new RecordsConversationSaver(
      new RedisConversationRecords(engine, eventLimits),
      conversationOptions(options),
    );
    this.checkpointer = saver;
    this.runs = new RedisRunLedger({
      engine,
      hints,
      runRetentionMs,
      maxRetainedRuns: limit("maxRetainedRuns"),
      maxStateBytes: limit("maxStateBytes"),
      onPurge: (threadId) => {
        saver.forget(threadId);
        this.events.forget(threadId);
      },
      eventLimits,
    });
    this.sessions = new RedisSessionStore(engine);
    this.events = new RedisEventLog({
      engine,
      reader,
      prefix: prefixOption(options.prefix),
      fenced: true,
      ...eventLimits,
    });
    this.processes = new RedisProcesses(engine, reader);
    this.init = () => prepare(engine, options.allowEviction === true);
    this.close = async () => {
      this.stopTelling();
      for (const part of [this.events, this.processes, hints, engine]) part.close();
      await reader.close();
    };
  }
}

export interface UnfencedRedisCheckpointerOptions extends RedisConnectionOptions, ConversationOptions {}

/**
 * The conversations of a {@link redisStore} of the same prefix, open to writes without a lease: for tools of the host,
 * while nothing runs in the sessions that they write, and for conformance tests.
 *
 * @throws {TypeError | RangeError} as {@link redisStore}.
 */
export function unfencedRedisCheckpointer(
  client: RedisClient,
  options: UnfencedRedisCheckpointerOptions = {},
): ForkingSaver {
  refuseUnknownKeys("unfencedRedisCheckpointer", options, [...CONNECTION_OPTIONS, ...CONVERSATION_OPTIONS]);
  const records = new RedisConversationRecords(createEngine(client, options));
  return RecordsConversationSaver.unfenced(records, conversationOptions(options));
}

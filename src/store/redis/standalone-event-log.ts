import { integerOption, refuseUnknownKeys } from "../../internal/check-options.js";
import type { EventLog } from "../store.js";
import type { RedisClient } from "./client.js";
import { connectionDefaults, createEngine, prefixOption, type RedisConnectionOptions } from "./connect.js";
import { RedisEventLog } from "./event-log.js";
import { StreamReader } from "./stream-reader.js";

/** What {@link redisEventLog} does where its options say nothing. */
export const redisEventLogDefaults = Object.freeze({
  ...connectionDefaults,
  maxEventsPerRun: 5_000,
  eventTtlMs: 3_600_000,
});

export interface RedisEventLogOptions extends RedisConnectionOptions {
  /** The most events kept per run; the oldest go first. @defaultValue 5,000 */
  readonly maxEventsPerRun?: number | undefined;
  /** How long after its last event the events of a run go. @defaultValue 3,600,000 (an hour) */
  readonly eventTtlMs?: number | undefined;
}

/** An {@link EventLog} in Redis, beside a ledger that is elsewhere. */
export interface StandaloneRedisEventLog extends EventLog {
  /** Closes the connection that the log opened beside the client, and sends nothing more. The client stays open. */
  close(): Promise<void>;
}

/**
 * The events alone in Redis, beside a ledger in another engine: `{ ...postgresStore(pool), events: redisEventLog(client) }`.
 * Close it beside the store.
 *
 * Its promise is weaker than that of a log in the ledger's engine. It can't see whether a lease holds: a stale owner's
 * events are refused as soon as the new owner has written one, and not before, and those of a deleted session can come
 * back until `eventTtlMs` have passed. When Redis has lost a run's events, the run goes on, and readers that have not had
 * them get `EVENTS_TRIMMED`.
 *
 * @throws {TypeError} on what is no client, a client with a `keyPrefix`, and options of a wrong type or name.
 * @throws {RangeError} on limits that are no integers from 1 up.
 */
export function redisEventLog(
  client: RedisClient,
  options: RedisEventLogOptions = {},
): StandaloneRedisEventLog {
  refuseUnknownKeys("redisEventLog", options, [...Object.keys(redisEventLogDefaults), "clock"]);
  const engine = createEngine(client, options);
  const reader = new StreamReader(engine);
  const limit = (name: "maxEventsPerRun" | "eventTtlMs") =>
    integerOption(name, options[name], redisEventLogDefaults[name], 1);
  const log = new RedisEventLog({
    engine,
    reader,
    prefix: prefixOption(options.prefix),
    fenced: false,
    maxEventsPerRun: limit("maxEventsPerRun"),
    expireMs: limit("eventTtlMs"),
  });
  return {
    batch: log.batch,
    append: (lease, runId, events) => log.append(lease, runId, events),
    read: (threadId, runId, page) => log.read(threadId, runId, page),
    watch: (threadId, runId, listener) => log.watch(threadId, runId, listener),
    delete: (threadId) => log.delete(threadId),
    deletion: (threadId) => log.deletion(threadId),
    close: async () => {
      log.close();
      engine.close();
      await reader.close();
    },
  };
}

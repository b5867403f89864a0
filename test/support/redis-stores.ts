import { Redis, type RedisOptions } from "ioredis";
import {
  redisEventLog,
  redisStore,
  type RedisClient,
  type RedisEventLogOptions,
  type RedisStore,
  type RedisStoreOptions,
  type StandaloneRedisEventLog,
} from "../../src/store/redis/index.js";
import type { Lease, RunEvent, RunLedger } from "../../src/index.js";
import { claimRequest, submission } from "./ledger-requests.js";

let prefixes = 0;

export function freshPrefix(): string {
  return `test-${String(process.pid)}-${String(++prefixes)}`;
}

/** Stores on one server, each over a client of its own, as in processes of their own. */
export class RedisStores {
  readonly #open: { close(): Promise<void> }[] = [];
  readonly #clients: Redis[] = [];

  constructor(readonly url: () => string) {}

  client(options: RedisOptions = {}, url = this.url()): Redis {
    const client = new Redis(url, options);
    client.on("error", () => undefined);
    this.#clients.push(client);
    return client;
  }

  store(options: RedisStoreOptions = {}, client: RedisClient = this.client()): RedisStore {
    const store = redisStore(client, { prefix: freshPrefix(), ...options });
    this.#open.push(store);
    return store;
  }

  /** Two that share a prefix. */
  pair(options: RedisStoreOptions = {}): readonly [RedisStore, RedisStore] {
    const prefix = freshPrefix();
    return [this.store({ prefix, ...options }), this.store({ prefix, ...options })];
  }

  log(options: RedisEventLogOptions = {}, client: RedisClient = this.client()): StandaloneRedisEventLog {
    const log = redisEventLog(client, { prefix: freshPrefix(), ...options });
    this.#open.push(log);
    return log;
  }

  async close(): Promise<void> {
    await Promise.all(this.#open.splice(0).map((part) => part.close()));
    for (const client of this.#clients.splice(0)) client.disconnect();
  }
}

let sessions = 0;

/** A claimed run of a new session. */
export async function startRun(
  runs: RunLedger,
  { leaseMs = 60_000, runId = "r", sessionId = `s${String(++sessions)}` } = {},
): Promise<Lease> {
  const { run } = await runs.submit(submission({ sessionId, runId }));
  const claim = await runs.claim(claimRequest({ leaseMs }));
  if (claim?.run.threadId !== run.threadId) throw new Error("Another run was claimed.");
  return claim.lease;
}

/** Events `from` to `to`. */
export function deltas(from: number, to: number, delta = "x"): RunEvent[] {
  return Array.from({ length: to - from + 1 }, (_, i) => ({
    type: "text-delta",
    id: "t",
    delta,
    seq: from + i,
  }));
}

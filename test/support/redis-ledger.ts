import type { Cluster, Redis } from "ioredis";
import { systemClock } from "../../src/internal/clock.js";
import { RedisEngine } from "../../src/store/redis/client.js";
import { RedisRunLedger, type RedisRunLedgerOptions } from "../../src/store/redis/run-ledger.js";
import { RedisSessionStore } from "../../src/store/redis/session-store.js";
import type { LedgerHint } from "../../src/store/store.js";

let prefixes = 0;

/** A ledger and its directory on a server, under a prefix of their own unless `tag` is given. */
export class RedisLedgerFixture {
  readonly client: Redis | Cluster;
  readonly tag: string;
  readonly ledger: RedisRunLedger;
  readonly sessions: RedisSessionStore;
  readonly #listeners = new Set<(hint: LedgerHint) => void>();

  constructor(
    client: Redis | Cluster,
    options: Partial<Omit<RedisRunLedgerOptions, "engine" | "hints">> & { readonly tag?: string } = {},
  ) {
    const { tag = `{test-${String(process.pid)}-${String(++prefixes)}}`, ...limits } = options;
    this.client = client;
    this.tag = tag;
    const engine = new RedisEngine({
      client: client,
      tag,
      clock: systemClock,
      commandTimeoutMs: 5_000,
      retryMs: 5_000,
    });
    this.ledger = new RedisRunLedger({
      engine,
      hints: {
        tell: (hint) => {
          for (const listener of [...this.#listeners]) {
            try {
              listener(hint);
            } catch {
              // As the hints of a store do.
            }
          }
        },
        watch: (listener) => {
          this.#listeners.add(listener);
          return () => this.#listeners.delete(listener);
        },
      },
      runRetentionMs: 600_000,
      maxRetainedRuns: 20,
      maxStateBytes: 1_048_576,
      ...limits,
    });
    this.sessions = new RedisSessionStore(engine);
  }

  /** Makes it as if `ms` had passed: the clock of Redis can't be turned, so all that waits for a time gets an earlier one. */
  async advance(ms: number): Promise<void> {
    await this.client.eval(ADVANCE, 1, this.tag, ms);
  }

  /** The names of all keys, without the tag. */
  async keys(): Promise<string[]> {
    const names = await this.client.keys(`${this.tag}:*`);
    return names.map((name) => name.slice(this.tag.length + 1)).sort();
  }
}

const ADVANCE = `
local P, ms = KEYS[1], ARGV[1]
for _, name in ipairs({ 'leases', 'parked', 'retained', 'idle' }) do
  local all = redis.call('ZRANGE', P .. ':' .. name, 0, -1, 'WITHSCORES')
  for i = 1, #all, 2 do redis.call('ZADD', P .. ':' .. name, all[i + 1] - ms, all[i]) end
end
for _, key in ipairs(redis.call('KEYS', P .. ':run:*')) do
  local since = redis.call('HGET', key, 'since')
  if since then redis.call('HSET', key, 'since', since - ms) end
end
`;

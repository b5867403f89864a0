import { withTimeLimit } from "../../internal/time-limit.js";
import { pause } from "../engine/retry.js";
import { listOf, RedisScript, textOf, type RedisClient, type RedisEngine } from "./client.js";
import { prelude, time } from "./scripts/fence.js";

/** How long one look waits: so long it takes, with the command's limit, to notice that a connection is dead. */
const BLOCK_MS = 2_000;
/** The most entries of one stream that one look gives. */
const ENTRIES_PER_LOOK = 128;
/** Registering a stream costs the server time at each look: with many, looks are spread, and each gives more. */
const STREAMS_PER_MS = 200;
const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 1_000;

export interface StreamEntry {
  readonly id: string;
  /** The first value: all streams here have one field. */
  readonly value: string;
}

type Listener = (entries: readonly StreamEntry[]) => void;

interface Followed {
  readonly listener: Listener;
  /** The last entry that it has had; `undefined` until it is known where it begins. */
  id: string | undefined;
}

/** Adds to the stream that ends a look early. Arguments: its name, ms to live. */
const wakeUp = new RedisScript(
  `
redis.call('XADD', ARGV[1], 'MAXLEN', 1, '*', 'w', '')
return redis.call('PEXPIRE', ARGV[1], ARGV[2])
`,
);

/** A script and no command, so that a cluster asks the node whose streams these are. */
const readTime = new RedisScript(prelude, time, "return string.format('%.0f', now())");

/**
 * Follows any number of streams over one connection of its own, which is open while there is something to follow.
 *
 *   idle ──follow──▶ looking: XREAD BLOCK over all of them, again and again ──nothing left to follow──▶ idle
 *                       │ a stream is added: an entry in a stream of its own ends the look, the next one has all
 *                       │ connection lost: a new one after a pause; each stream goes on where it was
 *
 * What was added while it was cut off is not missed, as long as the stream has it.
 */
export class StreamReader {
  readonly #engine: RedisEngine;
  readonly #wakeKey: string;
  readonly #streams = new Map<string, Followed>();
  readonly #onReconnect = new Set<() => void>();
  #wakeId = "0-0";
  #connection: RedisClient | undefined;
  #running: Promise<void> | undefined;
  /** Counts the streams that were added, to tell whether a look has them all. */
  #added = 0;
  #looksAt: number | undefined;
  #waking = false;
  #closed = false;

  constructor(engine: RedisEngine) {
    this.#engine = engine;
    this.#wakeKey = `${engine.tag}:wake:${engine.origin}`;
  }

  /** How many streams it follows. */
  get size(): number {
    return this.#streams.size;
  }

  /** Calls `listener` with the entries behind `after` until the returned function is called. One listener per key. */
  follow(key: string, after: string, listener: Listener): () => void {
    return this.#follow(key, { listener, id: after });
  }

  /** As {@link follow}, from about now on: an entry of a moment ago may be among them. */
  followNew(key: string, listener: Listener): () => void {
    const followed: Followed = { listener, id: undefined };
    const stop = this.#follow(key, followed);
    void this.#begin(key, followed);
    return stop;
  }

  /** Calls `listener` after each time the connection was lost and is there again, until the returned function is called. */
  onReconnect(listener: () => void): () => void {
    this.#onReconnect.add(listener);
    return () => {
      this.#onReconnect.delete(listener);
    };
  }

  /** Closes the connection and forgets all listeners. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#streams.clear();
    this.#onReconnect.clear();
    this.#connection?.disconnect();
    await this.#running;
  }

  #follow(key: string, followed: Followed): () => void {
    if (this.#closed) return () => undefined;
    this.#streams.set(key, followed);
    if (followed.id !== undefined) this.#start();
    return () => {
      if (this.#streams.get(key) === followed) this.#streams.delete(key);
    };
  }

  /** Finds out what the server's time was when it was asked to follow, and begins there. */
  async #begin(key: string, followed: Followed): Promise<void> {
    const { clock } = this.#engine;
    const asked = clock.monotonic();
    while (!this.#closed && this.#streams.get(key) === followed) {
      try {
        // Twice: the first answer may have waited for a connection, the second is as old as it took to come.
        await this.#engine.run(readTime, [], { repeat: true });
        const now = Number(textOf(await this.#engine.run(readTime, [], { repeat: true })));
        followed.id = `${String(Math.max(0, now - Math.ceil(clock.monotonic() - asked) - 1))}-0`;
        this.#start();
        return;
      } catch {
        await pause(LONGEST_PAUSE_MS, clock, this.#engine.closing);
      }
    }
  }

  #start(): void {
    this.#added += 1;
    if (this.#running === undefined) {
      this.#running = this.#look().finally(() => {
        this.#running = undefined;
        this.#connection?.disconnect();
        this.#connection = undefined;
        // One may have been added after the last look found none.
        if (!this.#closed && this.#ready().length > 0) this.#start();
      });
    } else void this.#wake();
  }

  #ready(): readonly (readonly [key: string, id: string])[] {
    return [...this.#streams].flatMap(([key, { id }]) => (id === undefined ? [] : [[key, id] as const]));
  }

  async #look(): Promise<void> {
    const { clock, closing } = this.#engine;
    let failures = 0;
    for (;;) {
      const streams = this.#ready();
      if (streams.length === 0) return;
      this.#looksAt = this.#added;
      const reply = await this.#read(streams);
      this.#looksAt = undefined;
      if (this.#closed) return;
      if (reply === undefined) {
        const longest = Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS);
        failures += 1;
        await pause(longest * (0.5 + Math.random() / 2), clock, closing);
        continue;
      }
      if (failures > 0) {
        failures = 0;
        for (const listener of [...this.#onReconnect]) call(listener);
      }
      for (const [key, entries] of reply) this.#deliver(key, entries);
      const gap = Math.floor(streams.length / STREAMS_PER_MS);
      if (gap > 0 && reply.length > 0) await pause(gap, clock, closing);
    }
  }

  /** One look; `undefined` when the connection failed. */
  async #read(streams: readonly (readonly [string, string])[]) {
    const { clock, commandTimeoutMs } = this.#engine;
    const keys = streams.map(([key]) => key);
    const ids = streams.map(([, id]) => id);
    const look = async () => {
      this.#connection ??= listeningConnection(this.#engine.client);
      return this.#connection.call(
        ...["xread", "count", ENTRIES_PER_LOOK, "block", BLOCK_MS, "streams"],
        ...[this.#wakeKey, ...keys, this.#wakeId, ...ids],
      );
    };
    const timed = await withTimeLimit(look(), BLOCK_MS + commandTimeoutMs, clock);
    if (timed.kind === "done") return parseStreams(timed.value);
    this.#connection?.disconnect();
    this.#connection = undefined;
    return undefined;
  }

  #deliver(key: string, entries: readonly StreamEntry[]): void {
    const last = entries.at(-1);
    if (last === undefined) return;
    if (key === this.#wakeKey) this.#wakeId = last.id;
    const followed = this.#streams.get(key);
    if (followed === undefined) return;
    followed.id = last.id;
    call(() => {
      followed.listener(entries);
    });
  }

  /** Ends the look under way if it lacks a stream. */
  async #wake(): Promise<void> {
    if (this.#waking) return;
    this.#waking = true;
    try {
      // Once per look: the entry ends it, even if its end, over the other connection, has not arrived here yet.
      for (let woken: number | undefined; this.#lacks() && this.#looksAt !== woken;) {
        woken = this.#looksAt;
        await this.#engine.run(wakeUp, [this.#wakeKey, 60_000], { repeat: true });
      }
    } catch {
      // The look ends by itself before long.
    } finally {
      this.#waking = false;
    }
  }

  #lacks(): boolean {
    return !this.#closed && this.#looksAt !== undefined && this.#looksAt !== this.#added;
  }
}

/** A listener that throws harms neither the reader nor the others. */
function call(listener: () => void): void {
  try {
    listener();
  } catch {
    // What it was told of is in Redis.
  }
}

/** A connection like the client's that fails at once when it is lost: the reader makes a new one. */
function listeningConnection(client: RedisClient): RedisClient {
  const options = {
    lazyConnect: false,
    enableOfflineQueue: true,
    enableAutoPipelining: false,
    commandTimeout: undefined,
    autoResendUnfulfilledCommands: false,
    replyMapping: "legacy",
    protocol: 2,
  };
  const connection = client.isCluster
    ? client.duplicate([], {
        lazyConnect: false,
        enableOfflineQueue: true,
        enableAutoPipelining: false,
        clusterRetryStrategy: null,
        replyMapping: "legacy",
        redisOptions: options,
      })
    : client.duplicate({ ...options, retryStrategy: null });
  // Its commands tell the same.
  connection.on("error", () => undefined);
  return connection;
}

/** `[[key, [[id, [field, value]], …]], …]`, or nothing. */
function parseStreams(reply: unknown): readonly (readonly [key: string, entries: readonly StreamEntry[]])[] {
  return listOf(reply).map((stream) => {
    const [key, entries] = listOf(stream);
    const parsed = listOf(entries).map((entry) => {
      const [id, fields] = listOf(entry);
      return { id: textOf(id) ?? "", value: textOf(listOf(fields)[1]) ?? "" };
    });
    return [textOf(key) ?? "", parsed] as const;
  });
}

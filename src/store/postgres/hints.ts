import { randomUUID } from "node:crypto";
import type { TimerHandle } from "../../internal/clock.js";
import { quoteName, type Database, type PostgresConnection } from "./client.js";

/*
 * How a process learns that another one changed something. A hint names what changed; what it is now is read from the
 * tables. So a hint may be late, double or lost, and payloads stay small.
 *
 *   off ──first watcher──▶ connecting ──LISTEN──▶ trying ──own hint heard──▶ hearing
 *    ▲                         ▲                    │                          │
 *    │ close                   └──── pause ◀────────┴── nothing heard, or ─────┘
 *                                                       connection lost
 *
 * A connection counts as hearing once it has heard a hint that this process sent over another one, and as long as it
 * goes on hearing them: a pooler that takes LISTEN and delivers nothing is found out, and so is a connection that
 * died without a word. Watchers are asked to look for themselves every `pollMs`, and while hearing, to be safe, every
 * twentieth time. Nobody watching: no timer, no statement.
 */

/** PostgreSQL takes payloads under 8,000 bytes. */
const MAX_PAYLOAD_BYTES = 7_900;
/** Between two payloads of this process; what is announced meanwhile goes together. Commits with NOTIFY stand in line. */
const GATHER_MS = 10;
/** What waits to be announced at most, while the database is away; what is over it is found by polling. */
const MAX_WAITING = 10_000;
/** How many times less often a process polls that hears. */
const HEARING_FACTOR = 20;
const LONGEST_PAUSE_MS = 60_000;

/** Who wants to know of one topic. */
export interface HintWatcher {
  /** Another process says that this changed. */
  onHint(about: readonly string[]): void;
  /** Hints may have been missed: look. Not called again before its promise has settled; what it throws is dropped. */
  onPoll(): void | Promise<void>;
}

export interface HintsOptions {
  /** Whether to hold a connection that listens. */
  readonly listen: boolean;
  readonly pollMs: number;
}

/** The hints of one schema, to and from the other processes. Those of this process are its own matter. */
export class Hints {
  readonly #database: Database;
  readonly #listen: boolean;
  readonly #pollMs: number;
  readonly #channel: string;
  /** Tells own payloads from those of others. */
  readonly #sender = randomUUID().slice(0, 8);
  readonly #watchers = new Map<string, Set<HintWatcher>>();
  readonly #polling = new Set<HintWatcher>();
  #watching = 0;
  #timer: TimerHandle | undefined;
  #closed = false;

  readonly #waiting = new Set<string>();
  #sending: Promise<void> | undefined;
  #gathering: TimerHandle | undefined;

  #connecting: Promise<void> | undefined;
  #connection: { readonly client: PostgresConnection; readonly drop: () => void } | undefined;
  #hearing = false;
  /** Whether something of our own was heard since the last look. */
  #heard = false;
  #reconnectAt = 0;
  #pauseMs = 0;

  constructor(database: Database, { listen, pollMs }: HintsOptions) {
    this.#database = database;
    this.#listen = listen && database.pool !== undefined;
    this.#pollMs = pollMs;
    this.#channel = database.schemaName;
  }

  /** Whether hints of other processes come by themselves at the moment. */
  get hearing(): boolean {
    return this.#hearing;
  }

  /** Tells `watcher` of a topic until the returned function is called. */
  watch(topic: string, watcher: HintWatcher): () => void {
    let watchers = this.#watchers.get(topic);
    if (watchers === undefined) this.#watchers.set(topic, (watchers = new Set()));
    // A copy, so that one watcher given twice counts twice.
    const own: HintWatcher = {
      onHint: (about) => {
        watcher.onHint(about);
      },
      onPoll: () => watcher.onPoll(),
    };
    watchers.add(own);
    if (this.#watching++ === 0) this.#start();
    return () => {
      if (!watchers.delete(own)) return;
      if (watchers.size === 0 && this.#watchers.get(topic) === watchers) this.#watchers.delete(topic);
      if (--this.#watching === 0) this.#stop();
    };
  }

  /** Tells the other processes, soon. What cannot be sent is dropped: they poll. */
  announce(topic: string, ...about: readonly string[]): void {
    // Nobody else can use an embedded database.
    if (this.#closed || this.#database.pool === undefined || this.#waiting.size >= MAX_WAITING) return;
    this.#waiting.add(JSON.stringify([topic, ...about]));
    if (this.#sending === undefined && this.#gathering === undefined) this.#send();
  }

  /** Ends listening and polling; waits for the connection to be given back. What was announced is still sent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#watching = 0;
    this.#watchers.clear();
    this.#stop();
    this.#database.clock.clearTimeout(this.#gathering);
    this.#gathering = undefined;
    await this.#sending;
    if (this.#waiting.size > 0) this.#send();
    await this.#sending;
    await this.#connecting;
    this.#lose();
  }

  #start(): void {
    if (this.#closed) return;
    this.#connect();
    this.#arm();
  }

  #stop(): void {
    this.#database.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #arm(): void {
    const { clock } = this.#database;
    clock.clearTimeout(this.#timer);
    this.#timer = clock.setTimeout(
      () => {
        this.#arm();
        this.#checkConnection();
        this.#poll();
      },
      this.#hearing ? this.#pollMs * HEARING_FACTOR : this.#pollMs,
    );
  }

  #poll(): void {
    for (const watchers of [...this.#watchers.values()]) {
      for (const watcher of [...watchers]) {
        if (this.#polling.has(watcher)) continue;
        this.#polling.add(watcher);
        void poll(watcher).finally(() => this.#polling.delete(watcher));
      }
    }
  }

  #tell(topic: string, about: readonly string[]): void {
    for (const watcher of [...(this.#watchers.get(topic) ?? [])]) {
      try {
        watcher.onHint(about);
      } catch {
        // A hint is a courtesy.
      }
    }
  }

  #send(): void {
    const entries: string[] = [];
    let bytes = this.#sender.length + 4;
    for (const entry of this.#waiting) {
      const size = Buffer.byteLength(entry) + 1;
      if (entries.length > 0 && bytes + size > MAX_PAYLOAD_BYTES) break;
      entries.push(entry);
      bytes += size;
      this.#waiting.delete(entry);
    }
    // Ids have 200 characters at most, so that one entry always fits.
    const payload = `["${this.#sender}",${entries.join(",")}]`;
    this.#sending = this.#notify(payload).finally(() => {
      this.#sending = undefined;
      if (this.#closed) return;
      this.#gathering = this.#database.clock.setTimeout(() => {
        this.#gathering = undefined;
        if (this.#waiting.size > 0) this.#send();
      }, GATHER_MS);
    });
  }

  async #notify(payload: string): Promise<void> {
    try {
      // A commit with NOTIFY would wait for the disk, with all others who notify in line behind it.
      const sql = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)";
      await this.#database.query(sql, [this.#channel, payload], { retry: false });
    } catch {
      // The others find it by polling.
    }
  }

  #connect(): void {
    if (!this.#listen || this.#closed) return;
    if (this.#connection !== undefined || this.#connecting !== undefined) return;
    this.#connecting = this.#openConnection()
      .catch(() => {
        this.#lose();
      })
      .finally(() => {
        this.#connecting = undefined;
      });
  }

  async #openConnection(): Promise<void> {
    const client = await this.#database.connect();
    const onNotification = (message: { readonly payload?: string | undefined }): void => {
      this.#hear(message.payload ?? "");
    };
    const onEnd = (): void => {
      if (this.#connection?.client === client) this.#lose();
    };
    client.on("notification", onNotification);
    client.on("error", onEnd);
    client.on("end", onEnd);
    // It would keep the host's process alive, as a timer would.
    (client as { unref?: () => void }).unref?.();
    let dropped = false;
    const drop = (): void => {
      if (dropped) return;
      dropped = true;
      client.removeListener("notification", onNotification);
      client.removeListener("end", onEnd);
      // The listener for errors stays: the connection may still tell of its end.
      client.release(true);
    };
    this.#connection = { client, drop };
    await this.#database.inTime(client.query(`LISTEN ${quoteName(this.#channel)}`));
    this.#heard = false;
    await this.#notify(`["${this.#sender}"]`);
  }

  #hear(payload: string): void {
    const hint = parse(payload);
    if (hint === undefined) return;
    const [sender, ...entries] = hint;
    if (sender !== this.#sender) {
      for (const [topic, ...about] of entries) this.#tell(topic, about);
      return;
    }
    this.#heard = true;
    if (this.#hearing || this.#closed) return;
    this.#hearing = true;
    this.#pauseMs = 0;
    if (this.#watching === 0) return;
    this.#arm();
    // What happened before is known to nobody here.
    this.#poll();
  }

  #checkConnection(): void {
    if (this.#connection === undefined) {
      if (this.#database.clock.monotonic() >= this.#reconnectAt) this.#connect();
    } else if (this.#hearing) {
      if (!this.#heard) this.#lose();
      else {
        this.#heard = false;
        void this.#notify(`["${this.#sender}"]`);
      }
    } else if (this.#connecting === undefined && ++this.#triesToHear >= HEARING_FACTOR) this.#lose();
  }

  #triesToHear = 0;

  /** Lets go of the connection that listens; another one is opened after a pause that grows. */
  #lose(): void {
    const connection = this.#connection;
    const wasHearing = this.#hearing;
    this.#connection = undefined;
    this.#hearing = false;
    this.#triesToHear = 0;
    this.#reconnectAt = this.#database.clock.monotonic() + this.#pauseMs;
    this.#pauseMs = Math.min(Math.max(this.#pauseMs * 2, this.#pollMs), LONGEST_PAUSE_MS);
    connection?.drop();
    // From here on every `pollMs` again.
    if (wasHearing && this.#timer !== undefined) this.#arm();
  }
}

async function poll(watcher: HintWatcher): Promise<void> {
  try {
    await watcher.onPoll();
  } catch {
    // The next one may work.
  }
}

/** Anyone may send on the channel: what is of another make is dropped. */
function parse(payload: string): readonly [string, ...[string, ...string[]][]] | undefined {
  try {
    const value: unknown = JSON.parse(payload);
    if (!Array.isArray(value) || typeof value[0] !== "string") return undefined;
    const entries: unknown[] = value.slice(1);
    return entries.every(
      (entry) => Array.isArray(entry) && entry.length > 0 && entry.every((part) => typeof part === "string"),
    )
      ? (value as [string, ...[string, ...string[]][]])
      : undefined;
  } catch {
    return undefined;
  }
}

import { randomUUID } from "node:crypto";
import { Listeners } from "../../internal/listeners.js";
import type { JsonObject } from "../../json.js";
import type { ProcessRecord, ProcessRegistry } from "../store.js";
import type { Database, SqlRow } from "./client.js";
import type { Hints } from "./hints.js";

const TOPIC = "messages";

/** The processes of a store, and their messages, which are kept for a minute and at most a thousand. */
export class PostgresProcessRegistry implements ProcessRegistry {
  readonly #database: Database;
  readonly #hints: Hints;
  readonly #listeners = new Listeners<[message: JsonObject]>();
  /** The id of the last message that was delivered here; not known before the first look. */
  #delivered: number | undefined;
  /** The id of the last message that was sent from here while nobody watched: older than any watching. */
  #sent = 0;
  /** Monotonic time of the beginning of the watching. */
  #since = 0;
  #starting: Promise<void> | undefined;
  #reading: Promise<void> | undefined;
  #again = false;
  #stop: (() => void) | undefined;

  constructor(database: Database, hints: Hints) {
    this.#database = database;
    this.#hints = hints;
  }

  async beat(processId: string, info: JsonObject, ttlMs: number): Promise<void> {
    await this.#call("beat_process($1, $2, $3)", [processId, JSON.stringify(info), ttlMs]);
  }

  async leave(processId: string): Promise<void> {
    await this.#call("leave_process($1)", [processId]);
  }

  async list(): Promise<readonly ProcessRecord[]> {
    const rows = await this.#database.query(
      `SELECT process_id, started_at, seen_at, info FROM ${this.#database.schema}.list_processes()`,
      [],
      { retry: true },
    );
    return (rows as readonly ProcessRow[]).map((row) => ({
      processId: row.process_id,
      startedAt: row.started_at,
      seenAt: row.seen_at,
      info: JSON.parse(row.info) as JsonObject,
    }));
  }

  async send(message: JsonObject): Promise<void> {
    // Those who watch here must have begun to, or the message would count as one from before.
    await this.#starting;
    const watches = this.#listeners.size > 0;
    const [row] = await this.#call("send_message($1, $2)", [randomUUID(), JSON.stringify(message)]);
    if (!watches) this.#sent = Number(row?.["result"]);
    this.#hints.announce(TOPIC);
    if (this.#listeners.size > 0) await this.#deliver();
  }

  watch(listener: (message: JsonObject) => void): () => void {
    const stop = this.#listeners.add(listener);
    if (this.#listeners.size === 1) this.#start();
    return () => {
      if (!stop() || this.#listeners.size > 0) return;
      this.#stop?.();
      this.#stop = undefined;
      this.#delivered = undefined;
      this.#starting = undefined;
    };
  }

  #start(): void {
    const look = (): Promise<void> => this.#deliver();
    this.#stop = this.#hints.watch(TOPIC, {
      onHint: () => void look().catch(() => undefined),
      onPoll: look,
    });
    this.#since = this.#database.clock.monotonic();
    const starting = this.#findLast().catch(() => undefined);
    this.#starting = starting;
  }

  /**
   * Finds what is new: messages sent since the watching began, not since this first look at the database. It was begun
   * at most the time until the answer before the look, so that none is missed; one of another process from a moment
   * before may come too.
   */
  async #findLast(): Promise<void> {
    const rows = await this.#database.query(
      `SELECT id, ago FROM ${this.#database.schema}.message_times()`,
      [],
      { retry: true },
    );
    const watched = this.#database.clock.monotonic() - this.#since;
    const old = (rows as readonly MessageTime[]).filter(({ ago }) => Number(ago) > watched);
    this.#delivered ??= Math.max(Number(old.at(-1)?.id ?? 0), this.#sent);
  }

  /** Reads what is new and gives it to the listeners, each message once. */
  #deliver(): Promise<void> {
    this.#again = true;
    return (this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined;
    }));
  }

  async #readAll(): Promise<void> {
    while (this.#again && this.#listeners.size > 0) {
      this.#again = false;
      await this.#starting;
      if (this.#delivered === undefined) {
        await this.#findLast();
        continue;
      }
      const rows = await this.#database.query(
        `SELECT id, body FROM ${this.#database.schema}.messages_after($1)`,
        [this.#delivered],
        { retry: true },
      );
      for (const { id, body } of rows as readonly MessageRow[]) {
        this.#delivered = Number(id);
        this.#listeners.tell(JSON.parse(body) as JsonObject);
      }
    }
  }

  #call(step: string, params: readonly unknown[]): Promise<readonly SqlRow[]> {
    return this.#database.query(`SELECT ${this.#database.schema}.${step} AS result`, params, { retry: true });
  }
}

interface ProcessRow {
  readonly process_id: string;
  readonly started_at: number;
  readonly seen_at: number;
  readonly info: string;
}

interface MessageTime {
  readonly id: unknown;
  readonly ago: unknown;
}

interface MessageRow {
  readonly id: unknown;
  readonly body: string;
}

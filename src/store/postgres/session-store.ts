import { AgentError } from "../../errors.js";
import { integerOption } from "../../internal/check-options.js";
import type { JsonObject } from "../../json.js";
import type { SessionIdentity } from "../../session.js";
import type { Lease, SessionPage, SessionRecord, SessionStore } from "../store.js";
import { checkLeaseThread, type Database, type SqlRow } from "./client.js";

/** Comes behind all places in the listing. */
const END = "9223372036854775807";

/** The directory: a view of the ledger's sessions. A session goes out of it with `delete`, and comes back with its next run. */
export class PostgresSessionStore implements SessionStore {
  readonly keptByLedger = true;

  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async save(session: SessionIdentity & { readonly config: JsonObject }, lease: Lease): Promise<void> {
    const { threadId, config } = session;
    checkLeaseThread(lease, threadId);
    await this.#call("save_session($1, $2, $3, $4)", [
      threadId,
      lease.epoch,
      lease.owner,
      JSON.stringify(config),
    ]);
  }

  async get(threadId: string): Promise<SessionRecord | undefined> {
    const [row] = await this.#call("get_session($1)", [threadId]);
    return row === undefined ? undefined : toRecord(row);
  }

  /** @throws {RangeError} on a limit that is no integer from 1 up. @throws {AgentError} `INVALID_INPUT` on a cursor of another make. */
  async list(options: {
    readonly userId?: string | undefined;
    readonly limit: number;
    readonly after?: string | undefined;
  }): Promise<SessionPage> {
    const { userId, after = END } = options;
    const limit = integerOption("limit", options.limit, 0, 1);
    if (after !== END && !/^[0-9]{1,15}$/.test(after)) {
      throw new AgentError("INVALID_INPUT", "Expected `after` to be the `next` of an earlier page.");
    }
    // One more than asked for tells whether there is a next page.
    const rows = await this.#call("list_sessions($1, $2, $3)", [userId ?? null, limit + 1, after]);
    const sessions = rows.slice(0, limit).map(toRecord);
    const last = rows[limit - 1];
    return rows.length > limit && last !== undefined
      ? { sessions, next: String(last["place"]) }
      : { sessions };
  }

  async delete(threadId: string): Promise<void> {
    await this.#call("unlist_session($1)", [threadId]);
  }

  async count(): Promise<number> {
    const [row] = await this.#call("count_sessions()", []);
    return Number(row?.["count_sessions"]);
  }

  #call(call: string, params: readonly unknown[]): Promise<readonly SqlRow[]> {
    return this.#database.query(`SELECT * FROM ${this.#database.schema}.${call}`, params, { retry: true });
  }
}

function toRecord({ thread, session, usr, created, used, body }: SqlRow): SessionRecord {
  return {
    threadId: String(thread),
    sessionId: String(session),
    ...(typeof usr === "string" ? { userId: usr } : {}),
    createdAt: Math.floor(Number(created)),
    lastUsedAt: Math.floor(Number(used)),
    // Only what `JSON.stringify` made of a config is stored.
    config: JSON.parse(String(body)) as JsonObject,
  };
}

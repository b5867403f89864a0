import { AgentError } from "../../errors.js";
import { integerOption } from "../../internal/check-options.js";
import type { JsonObject } from "../../json.js";
import type { SessionIdentity } from "../../session.js";
import type { Lease, SessionPage, SessionRecord, SessionStore } from "../store.js";
import { listOf, numberOf, textOf, type RedisEngine } from "./client.js";
import * as scripts from "./scripts/directory.js";

/** The directory: rows are fields of the ledger's sessions, in the order of their creation. */
export class RedisSessionStore implements SessionStore {
  readonly keptByLedger = true;
  readonly #engine: RedisEngine;

  constructor(engine: RedisEngine) {
    this.#engine = engine;
  }

  async save(session: SessionIdentity & { readonly config: JsonObject }, lease: Lease): Promise<void> {
    const { threadId, sessionId, config } = session;
    if (lease.threadId !== threadId) {
      const message = `The lease on thread \`${lease.threadId}\` is none on \`${threadId}\`.`;
      throw new AgentError("LEASE_LOST", message, { sessionId });
    }
    const args = [threadId, String(lease.epoch), lease.owner, JSON.stringify(config)];
    await this.#engine.run(scripts.saveSession, args, { repeat: true, lease });
  }

  async get(threadId: string): Promise<SessionRecord | undefined> {
    const row = await this.#engine.run(scripts.getSession, [threadId], { repeat: true });
    return decodeRow(threadId, row)?.session;
  }

  /** @throws {RangeError} on a limit that is no integer from 1 up. @throws {AgentError} `INVALID_INPUT` on a cursor of another make. */
  async list(options: {
    readonly userId?: string | undefined;
    readonly limit: number;
    readonly after?: string | undefined;
  }): Promise<SessionPage> {
    const { userId = "", after } = options;
    const limit = integerOption("limit", options.limit, 0, 1);
    if (after !== undefined && !/^[0-9]{1,15}$/.test(after)) {
      throw new AgentError("INVALID_INPUT", "Expected `after` to be the `next` of an earlier page.");
    }
    // One more than asked for tells whether there is a next page.
    const args = [userId, after === undefined ? "inf" : `(${after}`, limit + 1];
    const reply = listOf(await this.#engine.run(scripts.listSessions, args, { repeat: true }));
    const rows = reply.flatMap((item) => {
      const [threadId, row] = listOf(item);
      return decodeRow(textOf(threadId) ?? "", row) ?? [];
    });
    const sessions = rows.slice(0, limit).map(({ session }) => session);
    const last = rows[limit - 1];
    return rows.length > limit && last !== undefined ? { sessions, next: last.place } : { sessions };
  }

  async delete(threadId: string): Promise<void> {
    await this.#engine.run(scripts.deleteSession, [threadId], { repeat: true });
  }

  async count(): Promise<number> {
    return numberOf(await this.#engine.run(scripts.countSessions, [], { repeat: true }));
  }
}

interface Row {
  /** In the order of creation; the cursor behind it. */
  readonly place: string;
  readonly session: SessionRecord;
}

/** A row from what `row` of the scripts replied; `undefined` when there is none. */
function decodeRow(threadId: string, reply: unknown): Row | undefined {
  const [place, sessionId, userId, createdAt, lastUsedAt, config] = listOf(reply).map(textOf);
  if (place === undefined || sessionId === undefined) return undefined;
  return {
    place,
    session: {
      threadId,
      sessionId,
      ...(userId === undefined ? {} : { userId }),
      createdAt: Number(createdAt),
      lastUsedAt: Number(lastUsedAt),
      // Only what submit and save made of an object is stored.
      config: JSON.parse(config ?? "{}") as JsonObject,
    },
  };
}

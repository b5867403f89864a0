import { AgentError } from "../../errors.js";
import { integerOption } from "../../internal/check-options.js";
import { systemClock, type Clock } from "../../internal/clock.js";
import { copyJson } from "../../internal/json-value.js";
import type { JsonObject } from "../../json.js";
import type { SessionIdentity } from "../../session.js";
import type { Lease, SessionPage, SessionRecord, SessionStore } from "../store.js";
import { CreationOrder, type Created } from "./creation-order.js";

export interface MemorySessionStoreOptions {
  /** @defaultValue the system's clock */
  readonly clock?: Clock | undefined;
  /** Throws `LEASE_LOST` unless the lease may write now; without it any lease on the thread will do. */
  readonly fence?: ((lease: Lease) => void) | undefined;
}

/** One row; only `config` and `lastUsedAt` change. */
class Row implements Created {
  lastUsedAt: number;
  config: JsonObject;

  constructor(
    readonly threadId: string,
    readonly sessionId: string,
    readonly userId: string | undefined,
    readonly created: number,
    readonly createdAt: number,
    config: JsonObject,
  ) {
    this.lastUsedAt = createdAt;
    this.config = config;
  }

  get record(): SessionRecord {
    const { threadId, sessionId, userId, createdAt, lastUsedAt, config } = this;
    return {
      threadId,
      sessionId,
      ...(userId === undefined ? {} : { userId }),
      createdAt,
      lastUsedAt,
      config,
    };
  }
}

/** The directory of one process. It has no limit of its own: its rows stay until whoever owns it deletes them. */
export class MemorySessionStore implements SessionStore {
  readonly #clock: Clock;
  readonly #fence: ((lease: Lease) => void) | undefined;
  readonly #rows = new Map<string, Row>();
  readonly #order = new CreationOrder<Row>();
  /** Most users have one session: that stands for itself. */
  readonly #users = new Map<string, Row | CreationOrder<Row>>();
  #created = 0;

  constructor(options: MemorySessionStoreOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#fence = options.fence;
  }

  save(session: SessionIdentity & { readonly config: JsonObject }, lease: Lease): Promise<void> {
    return settled(() => {
      const { threadId, sessionId, userId } = session;
      if (lease.threadId !== threadId) {
        const message = `The lease on thread \`${lease.threadId}\` is none on \`${threadId}\`.`;
        throw new AgentError("LEASE_LOST", message, { sessionId });
      }
      this.#fence?.(lease);
      const config = copyJson(session.config);
      const now = this.#clock.now();
      const row = this.#rows.get(threadId);
      if (row === undefined) this.#add(new Row(threadId, sessionId, userId, ++this.#created, now, config));
      else {
        row.config = config;
        row.lastUsedAt = now;
      }
    });
  }

  /** Makes the row of a session whose first run has been accepted, so that it is listed while that waits. */
  open({ threadId, sessionId, userId }: SessionIdentity, config: JsonObject): void {
    if (this.#rows.has(threadId)) return;
    const now = this.#clock.now();
    this.#add(new Row(threadId, sessionId, userId, ++this.#created, now, copyJson(config)));
  }

  get(threadId: string): Promise<SessionRecord | undefined> {
    return Promise.resolve(this.#rows.get(threadId)?.record);
  }

  /** @throws {RangeError} on a limit that is no integer from 1 up. @throws {AgentError} `INVALID_INPUT` on a cursor of another make. */
  list(options: {
    readonly userId?: string | undefined;
    readonly limit: number;
    readonly after?: string | undefined;
  }): Promise<SessionPage> {
    return settled(() => {
      const { userId, after } = options;
      const limit = integerOption("limit", options.limit, 0, 1);
      const before = after === undefined ? Infinity : Number(after);
      if (after !== undefined && !/^[0-9]{1,15}$/.test(after)) {
        throw new AgentError("INVALID_INPUT", "Expected `after` to be the `next` of an earlier page.");
      }
      // One more than asked for tells whether there is a next page.
      const rows = this.#page(userId, before, limit + 1);
      const sessions = rows.slice(0, limit).map((row) => row.record);
      const last = rows[limit - 1];
      return rows.length > limit && last !== undefined
        ? { sessions, next: String(last.created) }
        : { sessions };
    });
  }

  delete(threadId: string): Promise<void> {
    const row = this.#rows.get(threadId);
    if (row !== undefined) this.#remove(row);
    return Promise.resolve();
  }

  count(): Promise<number> {
    return Promise.resolve(this.#rows.size);
  }

  #add(row: Row): void {
    const { userId } = row;
    this.#rows.set(row.threadId, row);
    this.#order.push(row);
    if (userId === undefined) return;
    const own = this.#users.get(userId);
    if (own === undefined) this.#users.set(userId, row);
    else if (own instanceof CreationOrder) own.push(row);
    else {
      const order = new CreationOrder<Row>();
      order.push(own);
      order.push(row);
      this.#users.set(userId, order);
    }
  }

  #remove(row: Row): void {
    const { userId } = row;
    this.#rows.delete(row.threadId);
    this.#order.remove(row);
    if (userId === undefined) return;
    const own = this.#users.get(userId);
    if (own instanceof CreationOrder) own.remove(row);
    if (own === row || (own instanceof CreationOrder && own.isEmpty)) this.#users.delete(userId);
  }

  #page(userId: string | undefined, before: number, limit: number): readonly Row[] {
    const source = userId === undefined ? this.#order : this.#users.get(userId);
    if (source === undefined) return [];
    if (source instanceof CreationOrder) return source.page(before, limit);
    return source.created < before ? [source] : [];
  }
}

/** Runs a synchronous step at once; what it throws rejects. */
function settled<T>(action: () => T): Promise<T> {
  return new Promise((resolve) => {
    resolve(action());
  });
}

import type {
  JsonObject,
  Lease,
  SessionIdentity,
  SessionPage,
  SessionRecord,
  SessionStore,
} from "agent-sessions";
import type { ChatRow, ChatTable } from "./chat-table.js";

/** Has the library keep its directory of sessions in the host's own table. Each method is one step of the table. */
export class TableSessions implements SessionStore {
  readonly #table: ChatTable;

  constructor(table: ChatTable) {
    this.#table = table;
  }

  /** Called at the start and the end of each run. Touches only the columns that are the library's. */
  save(session: SessionIdentity & { readonly config: JsonObject }, _lease: Lease): Promise<void> {
    const { threadId: thread, userId: owner = "", sessionId: name, config } = session;
    const touched = new Date().toISOString();
    if (this.#table.find(thread) !== undefined) this.#table.update(thread, { touched, settings: config });
    else
      this.#table.insert({
        thread,
        owner,
        name,
        title: "New chat",
        opened: touched,
        touched,
        settings: config,
      });
    return Promise.resolve();
  }

  get(threadId: string): Promise<SessionRecord | undefined> {
    const row = this.#table.find(threadId);
    return Promise.resolve(row === undefined ? undefined : toRecord(row));
  }

  /** The cursor is the id of the page's last row: it stays right when that row goes. */
  list(options: {
    readonly userId?: string | undefined;
    readonly limit: number;
    readonly after?: string | undefined;
  }): Promise<SessionPage> {
    const { userId, limit, after } = options;
    const found = this.#table.rows
      .filter(({ owner, id }) => (userId === undefined || owner === userId) && id < Number(after ?? Infinity))
      .sort((a, b) => b.id - a.id);
    const page = found.slice(0, limit);
    const last = page.at(-1);
    const sessions = page.map(toRecord);
    return Promise.resolve(
      found.length > limit && last !== undefined ? { sessions, next: String(last.id) } : { sessions },
    );
  }

  delete(threadId: string): Promise<void> {
    this.#table.remove(threadId);
    return Promise.resolve();
  }

  count(): Promise<number> {
    return Promise.resolve(this.#table.rows.length);
  }
}

function toRecord(row: ChatRow): SessionRecord {
  return {
    threadId: row.thread,
    sessionId: row.name,
    ...(row.owner === "" ? undefined : { userId: row.owner }),
    createdAt: Date.parse(row.opened),
    lastUsedAt: Date.parse(row.touched),
    // Written by `save`, which gets JSON.
    config: row.settings as JsonObject,
  };
}

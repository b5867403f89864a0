import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";

/** A row of the host's own table, with columns that the library knows nothing of. */
export interface ChatRow {
  readonly id: number;
  /** The library's name of the conversation. */
  readonly thread: string;
  readonly owner: string;
  readonly name: string;
  /** What the host shows in its list; the user may change it. */
  title: string;
  readonly opened: string;
  touched: string;
  settings: Record<string, unknown>;
}

/** Stands for a table of the host's database: one JSON file. */
export class ChatTable {
  readonly #path: string;
  #rows: ChatRow[];
  #lastId: number;

  constructor(path: string) {
    this.#path = path;
    const stored = existsSync(path)
      ? (JSON.parse(readFileSync(path, "utf8")) as { rows: ChatRow[]; lastId: number })
      : { rows: [], lastId: 0 };
    this.#rows = stored.rows;
    this.#lastId = stored.lastId;
  }

  get rows(): readonly ChatRow[] {
    return this.#rows;
  }

  find(thread: string): ChatRow | undefined {
    return this.#rows.find((row) => row.thread === thread);
  }

  insert(row: Omit<ChatRow, "id">): void {
    this.#rows.push({ id: ++this.#lastId, ...row });
    this.#write();
  }

  update(thread: string, columns: Partial<Pick<ChatRow, "title" | "touched" | "settings">>): void {
    Object.assign(this.find(thread) ?? {}, columns);
    this.#write();
  }

  remove(thread: string): void {
    this.#rows = this.#rows.filter((row) => row.thread !== thread);
    this.#write();
  }

  /** In two steps, so that a crash leaves the old file or the new one. */
  #write(): void {
    writeFileSync(`${this.#path}.new`, JSON.stringify({ lastId: this.#lastId, rows: this.#rows }, null, 2));
    renameSync(`${this.#path}.new`, this.#path);
  }
}

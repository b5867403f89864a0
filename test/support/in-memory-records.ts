import { AgentError } from "../../src/errors.js";
import type {
  ConversationRecords,
  RecordsCommit,
  ThreadRecords,
} from "../../src/store/conversation/records.js";
import type { Lease } from "../../src/store/store.js";

/** What goes wrong with a step: nothing happens, or it happens and nobody is told, or another writer was first. */
export type RecordsFault =
  | { readonly type: "before" | "after"; readonly error: unknown }
  /** Another writer's commit comes just before: the version is another one, the records are the same. */
  | { readonly type: "conflict" };

interface StoredThread {
  version: string;
  readonly records: Map<string, string>;
}

export interface InMemoryRecordsOptions {
  /** Throws `LEASE_LOST` for a stale lease; all leases of the right thread are good without it. */
  readonly fence?: ((lease: Lease) => void) | undefined;
}

/** What a step counts as: `load` gave records or nothing, `unchanged` said that the known version still is. */
export type RecordsStep = "load" | "unchanged" | "commit" | "refused" | "delete" | "threads";

/**
 * {@link ConversationRecords} as the contract has it and no better: every step takes a turn of the event loop, wrong
 * use throws, and what was done is counted. A thread that has been committed has a version until it is deleted, also
 * with no records left.
 */
export class InMemoryRecords implements ConversationRecords {
  readonly engine = {};
  readonly counts: Record<RecordsStep, number> = {
    load: 0,
    unchanged: 0,
    commit: 0,
    refused: 0,
    delete: 0,
    threads: 0,
  };
  /** Every commit that was asked for, in order. */
  readonly commits: RecordsCommit[] = [];
  /** Called in the midst of each step, before its effect; what it returns is awaited. */
  onStep: ((step: "load" | "commit" | "delete" | "threads") => void | Promise<void>) | undefined;
  readonly #threads = new Map<string, StoredThread>();
  readonly #tokens = new Set<string>();
  readonly #faults = new Map<"load" | "commit" | "delete", RecordsFault[]>();
  readonly #fence: ((lease: Lease) => void) | undefined;

  constructor(options: InMemoryRecordsOptions = {}) {
    this.#fence = options.fence;
  }

  /** The next steps of that kind go wrong, one by one in this order. */
  fail(step: "load" | "commit" | "delete", ...faults: RecordsFault[]): void {
    this.#faults.set(step, [...(this.#faults.get(step) ?? []), ...faults]);
  }

  /** Keys and texts of one thread or of all, in bytes of UTF-8. */
  bytes(threadId?: string): number {
    let bytes = 0;
    for (const [id, { records }] of this.#threads) {
      if (threadId !== undefined && id !== threadId) continue;
      for (const [key, text] of records) bytes += Buffer.byteLength(key) + Buffer.byteLength(text);
    }
    return bytes;
  }

  /** The records of a thread, by key. */
  dump(threadId: string): Record<string, string> {
    return Object.fromEntries(this.#threads.get(threadId)?.records ?? []);
  }

  resetCounts(): void {
    for (const step of Object.keys(this.counts) as RecordsStep[]) this.counts[step] = 0;
    this.commits.length = 0;
  }

  async load(threadId: string, known?: string): Promise<ThreadRecords | "unchanged" | undefined> {
    return this.#step("load", () => {
      const thread = this.#threads.get(threadId);
      if (thread !== undefined && thread.version === known) {
        this.counts.unchanged += 1;
        return "unchanged";
      }
      this.counts.load += 1;
      return thread && { version: thread.version, records: new Map(thread.records) };
    });
  }

  async commit(change: RecordsCommit): Promise<boolean> {
    check(change);
    this.commits.push(change);
    return this.#step("commit", () => this.#commit(change), change.threadId);
  }

  async delete(threadId: string): Promise<void> {
    await this.#step("delete", () => {
      this.counts.delete += 1;
      this.#threads.delete(threadId);
    });
  }

  async threads(options: { readonly after: string | undefined; readonly limit: number }): Promise<string[]> {
    return this.#step("threads", () => {
      this.counts.threads += 1;
      const { after, limit } = options;
      return [...this.#threads]
        .filter(([id, { records }]) => records.size > 0 && (after === undefined || id > after))
        .map(([id]) => id)
        .sort((a, b) => (a < b ? -1 : 1))
        .slice(0, limit);
    });
  }

  #commit(change: RecordsCommit): boolean {
    const { threadId, base, token, lease, puts, deletes } = change;
    if (lease !== undefined) {
      if (lease.threadId !== threadId)
        throw new AgentError("LEASE_LOST", "The lease is that of another thread.");
      this.#fence?.(lease);
    }
    const thread = this.#threads.get(threadId);
    if (thread?.version === token) return true;
    if (thread?.version !== base) {
      this.counts.refused += 1;
      return false;
    }
    if (this.#tokens.has(token)) throw new TypeError(`The token ${token} has been used before.`);
    this.#tokens.add(token);
    this.counts.commit += 1;
    const records = thread?.records ?? new Map<string, string>();
    for (const key of deletes) {
      // Engines need not mind; a saver that knows what it based its change on has no reason to.
      if (!records.delete(key)) throw new TypeError(`There is no record ${key} to delete.`);
    }
    for (const [key, text] of puts) records.set(key, text);
    this.#threads.set(threadId, { version: token, records });
    return true;
  }

  async #step<T>(
    step: "load" | "commit" | "delete" | "threads",
    effect: () => T,
    threadId?: string,
  ): Promise<T> {
    await new Promise((resolve) => setImmediate(resolve));
    await this.onStep?.(step);
    const fault = step === "threads" ? undefined : this.#faults.get(step)?.shift();
    if (fault?.type === "before") throw fault.error;
    if (fault?.type === "conflict" && threadId !== undefined) this.#touch(threadId);
    const result = effect();
    await new Promise((resolve) => setImmediate(resolve));
    if (fault?.type === "after") throw fault.error;
    return result;
  }

  #touch(threadId: string): void {
    const thread = this.#threads.get(threadId);
    const version = `touched ${String(this.#tokens.size)} ${String(Math.random())}`;
    this.#threads.set(threadId, { version, records: thread?.records ?? new Map<string, string>() });
  }
}

function check({ threadId, token, puts, deletes }: RecordsCommit): void {
  if (threadId === "") throw new TypeError("A thread has a name.");
  if (token === "") throw new TypeError("A commit has a token.");
  const keys = [...puts.map(([key]) => key), ...deletes];
  if (new Set(keys).size !== keys.length) throw new TypeError("A commit names a key twice.");
  for (const key of keys) {
    if (key.length < 1 || key.length > 200) throw new TypeError(`The key ${key} is empty or too long.`);
  }
  for (const text of [...keys, ...puts.map(([, text]) => text)]) {
    if (text.includes("\u0000")) throw new TypeError("A key or text holds NUL.");
    if (/\p{Surrogate}/u.test(text)) throw new TypeError("A key or text is not well-formed.");
  }
}

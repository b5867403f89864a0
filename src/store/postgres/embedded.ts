import { AgentError, isAgentError } from "../../errors.js";
import type { Clock } from "../../internal/clock.js";
import { DirectoryLock } from "./directory-lock.js";
import type { PostgresResult } from "./client.js";

/** What runs statements within a transaction of {@link EmbeddedPostgres}. */
export interface EmbeddedTransaction {
  query(sql: string, params?: unknown[]): Promise<PostgresResult>;
  exec(sql: string): Promise<unknown>;
}

/** The part of a `PGlite` of `@electric-sql/pglite` that is used. */
export interface EmbeddedPostgres extends EmbeddedTransaction {
  transaction<T>(work: (transaction: EmbeddedTransaction) => Promise<T>): Promise<T>;
  readonly dataDir?: string | undefined;
}

/** A directory of PGlite, which the store opens once it has it to itself, and closes. */
export interface EmbeddedDirectory {
  readonly directory: string;
  /** Makes the PGlite: `(directory) => new PGlite(directory)`. Called when no other process has the directory. */
  open(directory: string): ClosableEmbedded | Promise<ClosableEmbedded>;
}

export type ClosableEmbedded = EmbeddedPostgres & { close(): Promise<void> };

/** A PGlite in use, of all the stores that were given the same client. */
interface Opening {
  readonly ready: Promise<Opened>;
  users: number;
}

interface Opened {
  readonly pglite: EmbeddedPostgres;
  close(): Promise<void>;
}

const openings = new WeakMap<object, Opening>();
/** Those of clients that are being closed. */
const closings = new WeakMap<object, Promise<void>>();

/**
 * The PGlite of a store, looked after from its first use to `close()`: nobody uses one whose directory another process
 * has. Stores that were given one client share it.
 */
export class Embedded {
  readonly #client: EmbeddedPostgres | EmbeddedDirectory;
  readonly #clock: Clock;
  readonly #locks: boolean;
  #opening: Promise<Opening> | undefined;
  #closed = false;

  /** @param locks whether to look at the directory: who is never closed could not give it free. */
  constructor(client: EmbeddedPostgres | EmbeddedDirectory, clock: Clock, locks: boolean) {
    this.#client = client;
    this.#clock = clock;
    this.#locks = locks;
  }

  /** @throws {AgentError} `STORE_UNAVAILABLE` when another PGlite has the directory, or it can't be opened. */
  async get(): Promise<EmbeddedPostgres> {
    if (this.#closed) throw new AgentError("CLOSED", "The store has been closed.");
    if (!this.#locks && !isDirectory(this.#client)) return this.#client;
    const opening = (this.#opening ??= this.#join());
    try {
      return (await (await opening).ready).pglite;
    } catch (error) {
      // The next use tries again.
      if (this.#opening === opening) this.#opening = undefined;
      throw error;
    }
  }

  async #join(): Promise<Opening> {
    for (let closing; (closing = closings.get(this.#client)) !== undefined;) await closing;
    const known = openings.get(this.#client);
    if (known !== undefined) {
      known.users++;
      return known;
    }
    const opening: Opening = { ready: open(this.#client, this.#clock), users: 1 };
    openings.set(this.#client, opening);
    opening.ready.catch(() => {
      if (openings.get(this.#client) === opening) openings.delete(this.#client);
    });
    return opening;
  }

  /** Ends the use; the last one of those who share it gives the directory free, and closes what a store has opened. */
  async close(): Promise<void> {
    this.#closed = true;
    const opening = await this.#opening;
    this.#opening = undefined;
    if (opening === undefined || --opening.users > 0) return closings.get(this.#client);
    openings.delete(this.#client);
    const closing = opening.ready.then(
      (opened) => opened.close(),
      () => undefined,
    );
    const settled = closing
      .catch(() => undefined)
      .finally(() => {
        if (closings.get(this.#client) === settled) closings.delete(this.#client);
      });
    closings.set(this.#client, settled);
    await closing;
  }
}

async function open(client: EmbeddedPostgres | EmbeddedDirectory, clock: Clock): Promise<Opened> {
  if (!isDirectory(client)) {
    const lock = await DirectoryLock.acquire(client.dataDir, clock, OPENED_ALREADY).catch(failed);
    return { pglite: client, close: async () => lock?.release() };
  }
  const lock = await DirectoryLock.acquire(client.directory, clock).catch(failed);
  try {
    const pglite = await client.open(client.directory);
    return {
      pglite,
      close: async () => {
        try {
          await pglite.close();
        } finally {
          await lock?.release();
        }
      },
    };
  } catch (error) {
    await lock?.release();
    return failed(error);
  }
}

const OPENED_ALREADY =
  "It was opened before the store could look, which may have damaged it: give the store `{ directory, open }`, and it looks first.";

function failed(error: unknown): never {
  if (isAgentError(error)) throw error;
  throw new AgentError("STORE_UNAVAILABLE", "The PGlite directory could not be opened; see the cause.", {
    cause: error,
  });
}

export function isDirectory(client: object): client is EmbeddedDirectory {
  const { directory, open } = client as Partial<EmbeddedDirectory>;
  return typeof directory === "string" && typeof open === "function";
}

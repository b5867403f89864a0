import { randomUUID } from "node:crypto";
import { link, mkdir, readFile, rename, stat, unlink, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { AgentError } from "../../errors.js";
import type { Clock, TimerHandle } from "../../internal/clock.js";

/*
 * PGlite opens a directory that another process has open, and both then damage it. So the store puts a file into it
 * that says which process has it. The file is stale when that process is gone: its pid is free or somebody else's
 * (started at another time). A process on another host, or in another container, can't be looked up; such a file is
 * stale once it has not been touched for a while.
 */

const NAME = "agent-sessions.lock";
const TOUCH_MS = 5_000;
const UNTOUCHED_MS = 30_000;

/** What the file says of who has the directory. */
interface Holder {
  readonly pid: number;
  readonly startedAt: string;
  readonly host: string;
  readonly token: string;
}

/** Says of this process that it has a PGlite directory, until it is released. */
export class DirectoryLock {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #token: string;
  #timer: TimerHandle | undefined;

  private constructor(path: string, token: string, clock: Clock) {
    this.#path = path;
    this.#token = token;
    this.#clock = clock;
    this.#touch();
  }

  /**
   * Takes a directory of PGlite, made if it is not there; `undefined` for what is not on disk.
   *
   * @param advice what the one that is refused should do.
   * @throws {AgentError} `STORE_UNAVAILABLE` when another PGlite has it, in this process or another one.
   */
  static async acquire(
    dataDir: string | undefined,
    clock: Clock,
    advice?: string,
  ): Promise<DirectoryLock | undefined> {
    const directory = directoryOf(dataDir);
    if (directory === undefined) return undefined;
    await mkdir(directory, { recursive: true });
    const path = join(directory, NAME);
    const token = randomUUID();
    const mine: Holder = { pid: process.pid, startedAt: await startOf(process.pid), host: hostname(), token };
    // Written elsewhere first: nobody must read half a file.
    const draft = `${path}.${token}`;
    await writeFile(draft, JSON.stringify(mine));
    try {
      if (await linked(draft, path)) return new DirectoryLock(path, token, clock);
      const holder = await stampOf(path);
      // Given back in between.
      if (holder === undefined && (await linked(draft, path))) return new DirectoryLock(path, token, clock);
      if (
        holder === undefined ||
        (await isAlive(holder, path, clock)) ||
        !(await replaced(path, draft, holder, clock))
      )
        throw taken(path, holder, advice);
      return new DirectoryLock(path, token, clock);
    } finally {
      await unlink(draft).catch(() => undefined);
    }
  }

  /** Gives the directory free. */
  async release(): Promise<void> {
    this.#clock.clearTimeout(this.#timer);
    if ((await read(this.#path))?.token === this.#token) await unlink(this.#path).catch(() => undefined);
  }

  #touch(): void {
    this.#timer = this.#clock.setTimeout(() => {
      const now = new Date();
      void utimes(this.#path, now, now).catch(() => undefined);
      this.#touch();
    }, TOUCH_MS);
  }
}

/** PGlite takes paths and `file://` URLs; all else is in memory or in a browser. */
function directoryOf(dataDir: string | undefined): string | undefined {
  if (dataDir === undefined || dataDir === "") return undefined;
  if (dataDir.startsWith("file://")) {
    const path = dataDir.slice("file://".length);
    return path.startsWith("/") ? fileURLToPath(dataDir) : resolve(path);
  }
  return /^[a-z][a-z0-9+-]+:\/\//i.test(dataDir) ? undefined : resolve(dataDir);
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function read(path: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Holder;
  } catch {
    return undefined;
  }
}

async function isAlive({ holder }: Stamp, path: string, clock: Clock): Promise<boolean> {
  if (holder === undefined) return false;
  if (holder.host !== hostname()) {
    const touched = await stat(path).catch(() => undefined);
    return touched !== undefined && clock.now() - touched.mtimeMs < UNTOUCHED_MS;
  }
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    // EPERM: it is there, and somebody else's.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  const startedAt = await startOf(holder.pid);
  return startedAt === "" || holder.startedAt === "" || startedAt === holder.startedAt;
}

/** When a process of this host was started, in a form that is its own; empty where this can't be told. */
async function startOf(pid: number): Promise<string> {
  try {
    const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8");
    const status = await readFile(`/proc/${String(pid)}/stat`, "utf8");
    // The command may hold anything but is in brackets; the 20th field behind it is the start, in ticks.
    const ticks = status.slice(status.lastIndexOf(")") + 2).split(" ")[19];
    return `${boot.trim()} ${ticks ?? ""}`;
  } catch {
    return "";
  }
}

/** What tells the file from any other that was or will be in its place. */
interface Stamp {
  readonly id: string;
  /** Undefined in a file that can't be read. */
  readonly holder: Holder | undefined;
}

async function stampOf(path: string): Promise<Stamp | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return undefined;
  const holder = await read(path);
  return { id: holder?.token ?? String(found.ino), holder };
}

/**
 * Puts the draft in the place of a stale file, if nobody else does. The right to replace that very file is a file too,
 * made by a link, which one of several gets: so nobody takes away what another one has just put there. Whoever died
 * with the right in hand has left a stale file, whose place is taken in the same way.
 */
async function replaced(path: string, draft: string, stale: Stamp, clock: Clock): Promise<boolean> {
  const right = `${path}.${stale.id}`;
  if (!(await linked(draft, right))) {
    const other = await stampOf(right);
    if (other === undefined || (await isAlive(other, right, clock))) return false;
    if (!(await replaced(right, draft, other, clock))) return false;
  }
  try {
    if ((await stampOf(path))?.id !== stale.id) return false;
    const second = `${draft}.second`;
    await link(draft, second);
    await rename(second, path);
    return true;
  } finally {
    await unlink(right).catch(() => undefined);
  }
}

function taken(path: string, stamp: Stamp | undefined, advice: string | undefined): AgentError {
  const holder = stamp?.holder;
  const who =
    holder === undefined
      ? "another process"
      : holder.pid === process.pid && holder.host === hostname()
        ? "another PGlite instance of this process"
        : `process ${String(holder.pid)} on ${holder.host}`;
  return new AgentError(
    "STORE_UNAVAILABLE",
    `The PGlite directory is in use by ${who}: two at once damage it. Use it from one process, or Postgres for several.${advice === undefined ? "" : ` ${advice}`} (${path})`,
  );
}

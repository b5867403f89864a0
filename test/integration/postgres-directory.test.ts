import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { PGlite } from "@electric-sql/pglite";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { systemClock } from "../../src/internal/clock.js";
import { DirectoryLock } from "../../src/store/postgres/directory-lock.js";
import { postgresStore, type PostgresStore } from "../../src/store/postgres/index.js";
import type { Claim } from "../../src/store/store.js";
import { submission } from "../support/ledger-requests.js";
import { deltas } from "../support/postgres-parts.js";

const unavailable = (message: RegExp) =>
  expect.objectContaining({
    code: "STORE_UNAVAILABLE",
    message: expect.stringMatching(message) as unknown,
  }) as unknown;

async function started(store: PostgresStore, sessionId = "a"): Promise<Claim> {
  await store.runs.submit(submission({ sessionId, runId: "r" }));
  const claim = await store.runs.claim({ processId: "p", leaseMs: 10_000, maxAttempts: 3 });
  if (claim === undefined) throw new Error("Nothing to claim");
  return claim;
}

describe("postgresStore in a directory of PGlite", () => {
  let directory: string;
  let program: string;
  beforeAll(async () => {
    // Below node_modules, so that the program finds the packages.
    const cache = fileURLToPath(new URL("../../node_modules/.cache/", import.meta.url));
    await mkdir(cache, { recursive: true });
    directory = await mkdtemp(join(cache, "pglite-"));
    program = join(directory, "process.mjs");
    await build({
      entryPoints: [fileURLToPath(new URL("../support/directory-process.ts", import.meta.url))],
      ...{ outfile: program, bundle: true, packages: "external", platform: "node", format: "esm" },
    });
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it("keeps everything over a restart, and opens a directory once", { timeout: 300_000 }, async () => {
    const client = { directory: join(directory, "data"), open: vi.fn((path: string) => new PGlite(path)) };
    const store = postgresStore(client);
    expect(client.open).not.toHaveBeenCalled();
    // Stores of other schemas share what is open, until the last one is closed.
    const other = postgresStore(client, { schema: "other" });
    await Promise.all([store.init(), store.init(), other.init()]);
    await other.close();
    const { lease } = await started(store);
    await store.events.append(lease, "r", deltas(1, 3));
    expect(client.open).toHaveBeenCalledOnce();

    const second = { directory: client.directory, open: vi.fn() };
    const refused = postgresStore(second);
    await expect(refused.init()).rejects.toEqual(
      unavailable(/in use by another PGlite instance of this process/),
    );
    await refused.close();
    expect(second.open).not.toHaveBeenCalled();
    await store.close();
    await expect(store.runs.current("s.a")).rejects.toMatchObject({ code: "CLOSED" });
    expect(await readdir(client.directory)).not.toContain("agent-sessions.lock");

    const reopened = postgresStore(client);
    expect(await reopened.runs.current("s.a")).toMatchObject({ status: "running" });
    const page = await reopened.events.read(lease.threadId, "r", { after: 0, limit: 9 });
    expect(page.events).toEqual(deltas(1, 3));
    await reopened.close();
    expect(client.open).toHaveBeenCalledTimes(2);
  });

  it("takes the directory of a PGlite that is given open, and runs nothing where it can't", async () => {
    const path = join(directory, "given");
    const pglite = () => ({ query: vi.fn(), exec: vi.fn(), transaction: vi.fn(), dataDir: `file://${path}` });
    const holder = await DirectoryLock.acquire(path, systemClock);
    const intruder = pglite();
    const refused = postgresStore(intruder);
    await expect(refused.init()).rejects.toEqual(unavailable(/opened before the store could look/));
    await expect(refused.runs.current("s.a")).rejects.toEqual(unavailable(/in use/));
    expect(intruder.query).not.toHaveBeenCalled();
    await refused.close();
    await holder?.release();

    const store = postgresStore({ ...pglite(), query: () => Promise.resolve({ rows: [] }) });
    expect(await store.runs.current("s.a")).toBeUndefined();
    expect(await readdir(path)).toEqual(["agent-sessions.lock"]);
    await store.close();
    expect(await readdir(path)).toEqual([]);
  });

  it("gives the directory free when it can't be opened, and tries again at the next use", async () => {
    const path = join(directory, "failing");
    const open = vi.fn(() => Promise.reject(new Error("no room")));
    const store = postgresStore({ directory: path, open });
    const failed = { code: "STORE_UNAVAILABLE", cause: { message: "no room" } };
    await expect(store.init()).rejects.toMatchObject(failed);
    expect(await readdir(path)).toEqual([]);
    await expect(store.init()).rejects.toMatchObject(failed);
    expect(open).toHaveBeenCalledTimes(2);
    await store.close();
  });

  it(
    "of two processes one is refused and harms nothing; all is there after the other one's kill -9",
    { timeout: 600_000 },
    async () => {
      const path = join(directory, "two");
      const start = (prefix: string) => {
        const child = spawn(process.execPath, [program, path, prefix], {
          stdio: ["ignore", "pipe", "inherit"],
        });
        const said: Record<string, unknown>[] = [];
        createInterface({ input: child.stdout }).on("line", (line) => {
          said.push(JSON.parse(line) as Record<string, unknown>);
        });
        return {
          child,
          said,
          exited: new Promise<void>((resolve) =>
            child.once("exit", () => {
              resolve();
            }),
          ),
        };
      };
      const patience = { timeout: 250_000, interval: 20 };
      const first = start("first");
      try {
        await vi.waitFor(() => {
          expect(first.said.length).toBeGreaterThan(10);
        }, patience);
        const second = start("second");
        await second.exited;
        expect(second.said).toEqual([
          {
            code: "STORE_UNAVAILABLE",
            message: expect.stringContaining(`in use by process ${String(first.child.pid)}`) as string,
          },
        ]);
        const count = first.said.length;
        await vi.waitFor(() => {
          expect(first.said.length).toBeGreaterThan(count);
        }, patience);
      } finally {
        first.child.kill("SIGKILL");
      }
      await first.exited;

      const accepted = first.said.length;
      const store = postgresStore({ directory: path, open: (at) => new PGlite(at) });
      await store.init();
      expect(await store.sessions.count()).toBeGreaterThanOrEqual(accepted);
      expect(await store.runs.current(`s.first${String(accepted)}`)).toMatchObject({ status: "queued" });
      await started(store);
      await store.close();
    },
  );

  it("is refused a directory that a live process has, and takes over that of a dead one", async () => {
    const path = await mkdtemp(join(directory, "lock-"));
    const file = join(path, "agent-sessions.lock");
    const holder = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
    const stat = await readFile(`/proc/${String(holder.pid)}/stat`, "utf8").catch(() => undefined);
    const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
    const startedAt =
      stat === undefined
        ? ""
        : `${boot.trim()} ${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? ""}`;
    const says = (who: object) =>
      writeFile(file, JSON.stringify({ pid: holder.pid, startedAt, host: hostname(), token: "t", ...who }));
    const take = async () => {
      const lock = await DirectoryLock.acquire(path, systemClock);
      await lock?.release();
    };

    await says({});
    await expect(take()).rejects.toEqual(unavailable(new RegExp(`in use by process ${String(holder.pid)}`)));
    // A process of another host cannot be looked up: it touches its file.
    await says({ host: "elsewhere" });
    await expect(take()).rejects.toEqual(unavailable(/on elsewhere/));
    if (startedAt !== "") {
      // The pid is somebody else's by now.
      await says({ startedAt: "another boot 1" });
      await take();
    }
    await says({});
    const gone = new Promise((resolve) => holder.once("exit", resolve));
    holder.kill("SIGKILL");
    await gone;
    await take();
    expect(await readdir(path)).toEqual([]);
  });

  it("of several that find a dead process's lock, one takes it", async () => {
    const path = await mkdtemp(join(directory, "race-"));
    await writeFile(join(path, "agent-sessions.lock"), "");
    const tries = await Promise.allSettled(
      Array.from({ length: 8 }, () => DirectoryLock.acquire(path, systemClock)),
    );
    const held = tries.filter((one) => one.status === "fulfilled");
    expect(held).toHaveLength(1);
    await held[0]?.value?.release();
  });
});

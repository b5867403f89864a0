import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { Redis } from "ioredis";
import { Client } from "pg";
import { afterEach, expect, test, vi } from "vitest";
import {
  describeWithPostgres,
  describeWithRedis,
  startPostgres,
  startRedis,
  type EngineServer,
} from "../support/engines/index.js";

const running: EngineServer[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop()));
});

function kept<T extends EngineServer>(server: T): T {
  running.push(server);
  return server;
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describeWithPostgres("a Postgres server for tests", () => {
  test("keeps its data over kill and restart on the same port", async () => {
    const server = kept(await startPostgres());
    await server.query("CREATE TABLE kept AS SELECT 1 AS one");
    const { port, pid } = server;
    await server.kill();
    expect(alive(pid)).toBe(false);
    await server.restart();
    expect(server.port).toBe(port);
    expect(server.pid).not.toBe(pid);
    expect(await server.query("SELECT one FROM kept")).toEqual([{ one: 1 }]);
  });

  test("answers nothing while it is paused, on connections that are open too", async () => {
    const server = kept(await startPostgres());
    const client = new Client({ connectionString: await server.createDatabase() });
    await client.connect();
    await server.pause();
    let answered = false;
    const answer = client.query("SELECT 1").then(() => (answered = true));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(answered).toBe(false);
    await server.resume();
    await answer;
    await client.end();
  });

  test("refuses writes as a standby", async () => {
    const server = kept(await startPostgres());
    await server.restartAsStandby();
    await expect(server.query("CREATE TABLE t (a int)")).rejects.toMatchObject({ code: "25006" });
  });
});

describeWithRedis("a Redis server for tests", () => {
  test("keeps its data over kill and restart where told to", async () => {
    const server = kept(await startRedis({ persistence: "always" }));
    const client = new Redis(server.url);
    client.on("error", () => {});
    await client.set("a", "1");
    await server.kill();
    await server.restart();
    expect(await client.get("a")).toBe("1");
    await server.restartEmpty();
    expect(await client.get("a")).toBeNull();
    client.disconnect();
  });
});

// Bundled, so that it is one process that can be killed.
test.each(["SIGKILL", "SIGTERM"] as const)(
  "a run that ends by %s takes its servers along",
  async (signal) => {
    const { build } = await import("esbuild");
    const { mkdtempSync, copyFileSync, rmSync, mkdirSync } = await import("node:fs");
    const cache = new URL("../../node_modules/.cache/", import.meta.url).pathname;
    mkdirSync(cache, { recursive: true });
    const outdir = mkdtempSync(`${cache}agent-sessions-engines-`);
    try {
      const support = new URL("../support/engines/", import.meta.url).pathname;
      await build({
        stdin: {
          contents: `import { startPostgres } from "./postgres.js"; import { startRedis } from "./redis.js";
          const servers = await Promise.all([startPostgres(), startRedis()]);
          await servers[0].pause();
          console.log(JSON.stringify(servers.map((s) => [s.pid, s.directory.path])));
          setInterval(() => {}, 1000);`,
          resolveDir: support,
          loader: "ts",
        },
        outfile: `${outdir}/main.mjs`,
        bundle: true,
        packages: "external",
        platform: "node",
        format: "esm",
      });
      copyFileSync(`${support}keeper.mjs`, `${outdir}/keeper.mjs`);
      const runner = spawn(process.execPath, [`${outdir}/main.mjs`], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const [line] = (await new Promise<Buffer>((resolve) => runner.stdout.once("data", resolve)))
        .toString()
        .split("\n");
      const servers = JSON.parse(line!) as [number, string][];
      for (const [pid, directory] of servers)
        expect([alive(pid), existsSync(directory)]).toEqual([true, true]);
      runner.kill(signal);
      await vi.waitFor(
        () => {
          for (const [pid, directory] of servers)
            expect([alive(pid), existsSync(directory)]).toEqual([false, false]);
        },
        { timeout: 60_000 },
      );
    } finally {
      rmSync(outdir, { recursive: true, force: true });
    }
  },
);

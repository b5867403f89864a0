/*
 * A throwaway Postgres from Debian's binaries. `initdb` takes most of a second, so its result is kept below
 * node_modules/.cache, by version, and copied.
 */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { appendFile, chown, cp, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Client } from "pg";
import { startServer, type EngineServer } from "./server.js";

const run = promisify(execFile);
const CACHE = fileURLToPath(new URL("../../../node_modules/.cache/", import.meta.url));

/** Why there is none to start, in one line; `undefined` when there is. */
export function missingPostgres(): string | undefined {
  if (!binaries()) return "no Postgres found: apt-get install postgresql";
  if (process.getuid?.() === 0 && !serverUser())
    return "Postgres does not run as root, and neither user postgres nor nobody exists";
  return undefined;
}

export interface PostgresOptions {
  /** Whether writes reach the disk before they are answered. Default false: a killed server loses nothing by it, only a killed machine. */
  readonly fsync?: boolean | undefined;
  /** Settings as in postgresql.conf, for example `{ max_connections: "20" }`. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
}

export interface PostgresServer extends EngineServer {
  /** The URL of a new, empty database. */
  createDatabase(): Promise<string>;
  /** Runs one statement as superuser, over a connection of its own. */
  query(sql: string, database?: string): Promise<Record<string, unknown>[]>;
  /** As `restart`, but in recovery from then on: a standby, which reads and refuses to write. `restart` does not undo it. */
  restartAsStandby(): Promise<void>;
}

/**
 * Starts one. User `postgres` is superuser and needs no password; any other role needs its own, over the network.
 *
 * @throws Error when there is no binary (`missingPostgres` says so) or it does not start; the message has its log.
 */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const missing = missingPostgres();
  if (missing !== undefined) throw new Error(missing);
  const bin = binaries()!;
  const user = process.getuid?.() === 0 ? serverUser() : undefined;
  const settings = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    fsync: options.fsync ? "on" : "off",
    max_connections: "200",
    // Files in the directory, for what lies in /dev/shm survives a SIGKILL.
    dynamic_shared_memory_type: "mmap",
    ...options.settings,
  };
  let data = "";
  const server = await startServer({
    name: "postgres",
    ready: /database system is ready to accept/,
    portTaken: /could not (bind|create any TCP)/,
    endSignal: "SIGINT",
    url: (port) => `postgres://postgres@127.0.0.1:${String(port)}/postgres`,
    prepare: async (directory) => {
      data = join(directory, "data");
      await cp(await template(bin, user), data, { recursive: true });
      if (user) await run("chown", ["-R", `${String(user.uid)}:${String(user.gid)}`, directory]);
      await run("chmod", ["0700", data]);
    },
    command: (directory, port) => ({
      command: join(bin, "postgres"),
      args: [
        ...["-D", join(directory, "data"), "-p", String(port)],
        ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
      ],
      // Messages are waited for, so they are in English.
      env: { ...process.env, LC_ALL: "C" },
      user,
      lastSignal: "SIGQUIT",
    }),
  });

  const query = async (sql: string, database = "postgres"): Promise<Record<string, unknown>[]> => {
    const client = new Client({ connectionString: server.url.replace(/postgres$/, database) });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(sql)).rows;
    } finally {
      await client.end();
    }
  };
  let databases = 0;
  return Object.assign(server, {
    query,
    createDatabase: async () => {
      const name = `test_${String(++databases)}`;
      await query(`CREATE DATABASE ${name}`);
      return server.url.replace(/postgres$/, name);
    },
    restartAsStandby: async () => {
      await writeFile(join(data, "standby.signal"), "");
      await server.restart();
    },
  });
}

/** The folder of `postgres` and `initdb`: Debian keeps them out of PATH. */
function binaries(): string | undefined {
  const debian = "/usr/lib/postgresql";
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [
    ...(process.env["PATH"] ?? "").split(delimiter),
    ...versions.map((version) => join(debian, version, "bin")),
  ];
  return folders.find((folder) => ["postgres", "initdb"].every((name) => existsSync(join(folder, name))));
}

/** Who runs it when we are root, whom it refuses. */
function serverUser(): { readonly uid: number; readonly gid: number } | undefined {
  for (const name of ["postgres", "nobody"]) {
    try {
      const id = (flag: string) =>
        Number(execFileSync("id", [flag, name], { stdio: ["ignore", "pipe", "ignore"] }));
      return { uid: id("-u"), gid: id("-g") };
    } catch {
      // No such user.
    }
  }
  return undefined;
}

/** A directory as initdb leaves it. Whoever comes first makes it; several at once make the same and one is kept. */
async function template(bin: string, user: { uid: number; gid: number } | undefined): Promise<string> {
  const { stdout } = await run(join(bin, "postgres"), ["--version"]);
  const ready = join(CACHE, `agent-sessions-postgres-${stdout.trim().replaceAll(/[^\w.]+/g, "-")}-1`);
  if (existsSync(ready)) return ready;
  mkdirSync(CACHE, { recursive: true });
  const scratch = await mkdtemp("/tmp/agent-sessions-initdb-");
  const made = await mkdtemp(join(CACHE, "agent-sessions-initdb-"));
  try {
    if (user) await chown(scratch, user.uid, user.gid);
    const data = join(scratch, "data");
    const args = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
    await run(join(bin, "initdb"), args, { cwd: scratch, ...user });
    await writeFile(
      join(data, "pg_hba.conf"),
      "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
    );
    await appendFile(join(data, "postgresql.conf"), "shared_buffers = 32MB\n");
    await cp(data, join(made, "data"), { recursive: true });
    await rename(join(made, "data"), ready).catch((error: unknown) => {
      if (!existsSync(ready)) throw error;
    });
    return ready;
  } finally {
    await rm(scratch, { recursive: true, force: true });
    rmSync(made, { recursive: true, force: true });
  }
}

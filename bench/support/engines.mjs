/*
 * Throwaway servers of the engines, with the durability that a service would use: Postgres answers when the disk has
 * it, Redis writes its append-only file and syncs it every second. They lie in directories of their own and end with
 * this process.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import { tmpdir } from "node:os";
import { createInterface } from "node:readline";

const running = new Set();
process.once("exit", () => {
  for (const server of running) server.end();
});
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
])
  process.once(signal, () => process.exit(code));

/** Superuser `postgres` needs no password. */
export async function startPostgres() {
  const bin = folderOf("postgres");
  const directory = mkdtempSync(join(tmpdir(), "agent-sessions-bench-postgres-"));
  const data = join(directory, "data");
  const user = process.getuid?.() === 0 ? idsOf("postgres") : {};
  if (user.uid !== undefined) execFileSync("chown", [`${user.uid}:${user.gid}`, directory]);
  execFileSync(
    join(bin, "initdb"),
    ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"],
    { cwd: directory, stdio: "ignore", ...user },
  );
  const port = await freePort();
  const settings = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    fsync: "on",
    synchronous_commit: "on",
    shared_buffers: "256MB",
    max_wal_size: "4GB",
  };
  const args = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const pid = await start(join(bin, "postgres"), ["-D", data, "-p", String(port), ...args], {
    directory,
    ready: /ready to accept connections/,
    env: { ...process.env, LC_ALL: "C" },
    ...user,
  });
  return { name: "Postgres", pid, url: `postgres://postgres@127.0.0.1:${port}/postgres` };
}

export async function startRedis() {
  const directory = mkdtempSync(join(tmpdir(), "agent-sessions-bench-redis-"));
  const port = await freePort();
  const settings = { bind: "127.0.0.1", save: "", appendonly: "yes", appendfsync: "everysec" };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const pid = await start("redis-server", ["--port", String(port), "--dir", directory, ...args], {
    directory,
    ready: /Ready to accept connections/,
  });
  return { name: "Redis", pid, url: `redis://127.0.0.1:${port}` };
}

/** Milliseconds of CPU that an engine's processes have taken so far; undefined where the system does not tell. */
export function cpuMsOf({ pid }) {
  if (!existsSync("/proc/self/stat")) return undefined;
  let ticks = 0;
  for (const one of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    let stat;
    try {
      stat = readFileSync(`/proc/${one}/stat`, "utf8");
    } catch {
      continue; // it has ended meanwhile
    }
    // The name in parentheses may have spaces; after it come state, parent, … user and system time.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (Number(one) === pid || Number(fields[1]) === pid) ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10;
}

function start(command, args, { directory, ready, ...options }) {
  // Postgres closes connections that are open and ends at SIGINT; with the disk's content gone nothing is to be saved.
  const child = spawn(command, args, { cwd: directory, stdio: ["ignore", "pipe", "pipe"], ...options });
  const server = {
    end() {
      child.kill("SIGQUIT");
      rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    },
  };
  running.add(server);
  return new Promise((resolve, reject) => {
    const printed = [];
    const see = (line) => {
      if (printed.length < 200) printed.push(line);
      if (!ready.test(line)) return;
      // It goes on until this process ends, and does not keep it.
      for (const one of [child, child.stdout, child.stderr]) one.unref();
      resolve(child.pid);
    };
    createInterface({ input: child.stdout }).on("line", see);
    createInterface({ input: child.stderr }).on("line", see);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${command} ended with ${code}:\n${printed.join("\n")}`)));
  });
}

/** Debian keeps the programs of Postgres out of PATH. */
function folderOf(name) {
  const debian = "/usr/lib/postgresql";
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [
    ...versions.map((version) => join(debian, version, "bin")),
    ...(process.env.PATH ?? "").split(delimiter),
  ];
  const found = folders.find((folder) => [name, "initdb"].every((file) => existsSync(join(folder, file))));
  if (found === undefined) throw new Error("No Postgres found: apt-get install postgresql");
  return found;
}

function idsOf(name) {
  const id = (flag) => Number(execFileSync("id", [flag, name]));
  return { uid: id("-u"), gid: id("-g") };
}

/** One that the system had free a moment ago. */
function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer().once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

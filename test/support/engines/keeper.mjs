/*
 * Holds the processes and directories of a test run and ends them with it, however it ends: a SIGKILL of the runner
 * closes the pipe, and that is all that is waited for. The processes are children of this one, so that a process id is
 * never somebody else's while it is used here.
 *
 * Takes JSON lines, answers each with one of the same id, and tells of exits: `{ exited: pid }`.
 */
import { spawn } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createInterface } from "node:readline";

/** What a server has to leave its shared memory tidy. */
const LAST_SIGNAL_MS = 1_500;

const children = new Map();
const directories = new Set();

const operations = {
  /** The output goes to a file, from its start: the runner looks there for "ready". */
  spawn({ command, args, cwd, env, uid, gid, log, lastSignal }) {
    const output = openSync(log, "w");
    return new Promise((resolve, reject) => {
      const child = spawn(command, args, { cwd, env, uid, gid, stdio: ["ignore", output, output] });
      closeSync(output);
      child.once("error", reject);
      child.once("spawn", () => {
        children.set(child.pid, { child, lastSignal });
        resolve({ pid: child.pid });
      });
      child.once("exit", () => {
        children.delete(child.pid);
        say({ exited: child.pid });
      });
    });
  },
  /** With `tree`, its descendants too: stopping Postgres's first process alone stops no connection. */
  signal({ pid, signal, tree }) {
    const kept = children.get(pid);
    if (kept) send(kept.child, signal, tree);
    return {};
  },
  own({ directory }) {
    directories.add(directory);
    return {};
  },
  remove({ directory }) {
    rmSync(directory, { recursive: true, force: true });
    directories.delete(directory);
    return {};
  },
};

function send(child, signal, tree) {
  if (!tree) return child.kill(signal);
  // Stopped first, so that it starts no more of them meanwhile.
  child.kill("SIGSTOP");
  for (const pid of descendants(child.pid)) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended by itself.
    }
  }
  if (signal !== "SIGSTOP") child.kill(signal);
  if (signal !== "SIGSTOP" && signal !== "SIGKILL") child.kill("SIGCONT");
}

/** Without /proc there is no stopping of a whole tree; ending works, for Postgres ends by itself after its first process. */
function descendants(root) {
  const parents = new Map();
  try {
    for (const name of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, "utf8");
        parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
      } catch {
        // Gone since the listing.
      }
    }
  } catch {
    return [];
  }
  const found = [root];
  for (const parent of found) for (const [pid, of] of parents) if (of === parent) found.push(pid);
  return found.slice(1);
}

function say(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

async function end() {
  for (const { child, lastSignal } of children.values()) {
    if (lastSignal === undefined) continue;
    send(child, "SIGCONT", true);
    child.kill(lastSignal);
  }
  const deadline = Date.now() + LAST_SIGNAL_MS;
  while ([...children.values()].some((kept) => kept.lastSignal !== undefined) && Date.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 10));
  for (const { child } of children.values()) send(child, "SIGKILL", true);
  while (children.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  for (const directory of directories) rmSync(directory, { recursive: true, force: true, maxRetries: 20 });
  process.exit(0);
}

// The runner's end shows in the pipe; these are for it alone.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
process.stdout.on("error", () => {});

const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const { id, operation, ...request } = JSON.parse(line);
  try {
    say({ id, ...(await operations[operation](request)) });
  } catch (error) {
    say({ id, error: String(error) });
  }
});
lines.on("close", () => void end());

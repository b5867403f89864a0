/** Starts the servers that are compared, each in a fresh process, and the process of the clients. */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { CONTESTANTS } from "./contestants.mjs";

const benchPath = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));

/** Nobody phones home, traces or logs: what is measured is the turn. */
const QUIET = {
  NODE_ENV: "production",
  LOG_LEVEL: "error",
  LANGSMITH_TRACING: "false",
  DO_NOT_TRACK: "1",
  COPILOTKIT_TELEMETRY_DISABLED: "1",
  MASTRA_TELEMETRY_DISABLED: "1",
  OPENAI_AGENTS_DISABLE_TRACING: "1",
};

export class Child {
  #child;
  #failed;
  #heard = [];
  #waiting;
  #said = "";

  constructor(script, args = [], execArgv = []) {
    this.#child = fork(benchPath(script), args, {
      env: { ...process.env, ...QUIET },
      // Not those of the bench: everybody has Node's own limits.
      execArgv,
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    this.#child.stderr.setEncoding("utf8").on("data", (data) => {
      this.#said = (this.#said + data).slice(-2000);
    });
    this.#child.on("message", (message) => {
      this.#heard.push(message);
      this.#waiting?.();
    });
    this.#child.once("exit", (code, signal) => {
      this.#failed = new Error(`${script} ended with ${code ?? signal}: ${this.#said}`);
      this.#waiting?.();
    });
  }

  /** The next message, one at a time. */
  next(withinMs = 120_000) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.#waiting = undefined;
        reject(new Error(`Nothing heard within ${withinMs} ms: ${this.#said}`));
      }, withinMs);
      this.#waiting = () => {
        const message = this.#heard.shift();
        if (message === undefined && this.#failed === undefined) return;
        clearTimeout(late);
        this.#waiting = undefined;
        if (message === undefined) reject(this.#failed);
        else resolve(message);
      };
      this.#waiting();
    });
  }

  ask(message, withinMs) {
    this.#child.send(message);
    return this.next(withinMs);
  }

  kill() {
    return new Promise((resolve) => {
      if (this.#failed !== undefined) resolve();
      else {
        this.#child.once("exit", resolve);
        this.#child.kill("SIGKILL");
      }
    });
  }
}

/** A server of this contestant, listening. */
export async function startServer(contestant, execArgv) {
  const child = new Child(CONTESTANTS[contestant].script, [], execArgv);
  try {
    const { port } = await child.next();
    return { child, port, contestant };
  } catch (error) {
    await child.kill();
    throw error;
  }
}

export const startClients = () => new Child("support/load.mjs", ["clients"]);

/** Puts a load on a server; what the clients saw, and what it cost the server. */
export async function putLoad(clients, { child, port, contestant }, wanted) {
  const { tokens = 50, msPerToken = 0, maxMs = 60_000 } = wanted;
  await child.ask({ answer: { tokens, msPerToken } });
  const before = await child.ask({ ask: "cpu" });
  const { result, error } = await clients.ask(
    { contestant, port, ...wanted, tokens, maxMs },
    maxMs + 240_000,
  );
  if (error !== undefined) throw new Error(error);
  const after = await child.ask({ ask: "cpu" });
  if (result.turns > wanted.sessions && !CONTESTANTS[contestant].keepsNothing && after.heard === 0) {
    throw new Error(`${contestant} forgot its conversation: the model was never given its answers`);
  }
  return { ...result, cpuMsPerTurn: (after.cpu - before.cpu) / result.turns };
}

/**
 * So many messages to one session at once: how many are answered in full, and of how many answers the model is told
 * at the next message.
 */
export async function putBurst(clients, { child, port, contestant }, messages) {
  const tokens = 50;
  await child.ask({ answer: { tokens, msPerToken: 1 } });
  const { result, error } = await clients.ask({ contestant, port, tokens, messages });
  if (error !== undefined) throw new Error(error);
  const { heard } = await child.ask({ ask: "cpu" });
  return { messages, ...result, kept: heard };
}

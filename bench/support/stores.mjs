/** Stores on throwaway servers, and how many round trips their parts make. */
import { AsyncLocalStorage } from "node:async_hooks";
import { postgresStore } from "agent-sessions/postgres";
import { redisStore } from "agent-sessions/redis";
import { Redis } from "ioredis";
import pg from "pg";
import { startPostgres, startRedis } from "./engines.mjs";

/** Postgres and Redis, started; `open` makes one more store, with a client of its own as in another process. */
export async function startEngines() {
  return Promise.all([startPostgres(), startRedis()]);
}

/** A store on the server with this URL. */
export async function openStore(url, { max = 10, ...options } = {}) {
  if (url.startsWith("redis:")) {
    const client = new Redis(url);
    const store = redisStore(client, options);
    await store.init();
    const close = async () => {
      await store.close();
      client.disconnect();
    };
    return { store, client, close };
  }
  const client = new pg.Pool({ connectionString: url, max });
  const store = postgresStore(client, options);
  await store.init();
  const close = async () => {
    await store.close();
    await client.end();
  };
  return { store, client, close };
}

const asking = new AsyncLocalStorage();

/** Calls `count(label)` for each statement or command of a client; the label names the store's method that sent it. */
export function countRoundTrips(client, count) {
  if (client instanceof pg.Pool) {
    client.on("connect", (connection) => {
      counted(connection, "query", count);
    });
  } else counted(client, "sendCommand", count);
}

function counted(connection, method, count) {
  const original = connection[method];
  connection[method] = function (...args) {
    // What tells other processes is sent by whoever changed something, and is no part of that step.
    const isHint = typeof args[0] === "string" && args[0].includes("pg_notify");
    count(isHint ? "hints.notify" : (asking.getStore() ?? "other"));
    return original.apply(this, args);
  };
}

/** Makes the methods of a store's parts known to {@link countRoundTrips}. */
export function labelRoundTrips(store) {
  for (const part of ["sessions", "checkpointer", "runs", "events", "processes"]) {
    for (const name of methodsOf(store[part])) {
      const original = store[part][name];
      store[part][name] = function (...args) {
        return asking.run(`${part}.${name}`, () => original.apply(this, args));
      };
    }
  }
}

function methodsOf(object) {
  const names = new Set();
  for (let at = object; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(at))) {
      if (typeof value === "function" && name !== "constructor") names.add(name);
    }
  }
  return names;
}

let runs = 0;

/** Takes a session's lease as a service does, without one: `end` finishes the run. */
export async function lease(store, sessionId) {
  runs += 1;
  const runId = `run-${runs}`;
  const threadId = `s.${sessionId}`;
  await store.runs.submit({
    sessionId,
    threadId,
    runId,
    input: { kind: "message", message: { id: runId, content: "hello" } },
    fingerprint: runId,
    onBusy: "enqueue",
    defaults: {},
    configPatch: {},
    queueLimit: 100,
    totalQueueLimit: 10_000,
  });
  const claim = await store.runs.claim({ processId: "bench", leaseMs: 600_000, maxAttempts: 3 });
  if (claim?.run.runId !== runId) throw new Error(`Expected run ${runId}, got ${claim?.run.runId}`);
  const summary = { text: "", usage: { inputTokens: 0, outputTokens: 0, totalTokens: 0 }, interrupts: [] };
  return {
    threadId,
    run: { lease: claim.lease, turnId: claim.run.turnId },
    end: () =>
      store.runs.finish(claim.lease, runId, { outcome: "completed", summary, lastSeq: 0, undone: true }),
  };
}

/** What an engine keeps of the conversation of a thread: the size of its rows or keys. */
export async function storedBytes(client, thread) {
  if (!(client instanceof pg.Pool)) {
    return client.call("memory", "usage", `{agent-sessions}:conversation:${thread}`, "samples", 0);
  }
  const { rows } = await client.query(
    `SELECT (SELECT sum(pg_column_size(c.*)) FROM agent_sessions.conversations c WHERE thread_id = $1)
       + (SELECT sum(pg_column_size(r.*)) FROM agent_sessions.records r
          JOIN agent_sessions.conversations c ON c.id = r.conversation WHERE c.thread_id = $1) AS bytes`,
    [thread],
  );
  return Number(rows[0].bytes);
}

/** The same of LangGraph's PostgresSaver. */
export async function officialBytes(pool, thread) {
  const sums = ["checkpoints", "checkpoint_blobs", "checkpoint_writes"].map(
    (table) => `(SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM ${table} t WHERE thread_id = $1)`,
  );
  const { rows } = await pool.query(`SELECT ${sums.join(" + ")} AS bytes`, [thread]);
  return Number(rows[0].bytes);
}

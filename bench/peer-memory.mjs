/** What does a session cost in each server after one turn of 50 tokens? */
import { barChart } from "./support/chart.mjs";
import { CONTESTANTS } from "./support/contestants.mjs";
import { table, whole } from "./support/format.mjs";
import { installPeers } from "./support/peers.mjs";
import { putLoad, startClients, startServer } from "./support/servers.mjs";

export const title = "What does an idle session cost, and what with others?";
export const minutes = 7;

/** Who keeps ten times as many, too. */
const MANY = ["agent-sessions, Express", "hand-written Express route", "a `Map` of agents"];

/** Bytes that so many sessions leave behind, beside what serving the first ones did. */
async function sessions(clients, name, count) {
  const server = await startServer(name, ["--expose-gc", "--max-old-space-size=8192"]);
  try {
    const serve = (wanted) => putLoad(clients, server, { clients: 32, maxMs: 600_000, ...wanted });
    const memory = () => server.child.ask({ ask: "memory" });
    // Few at once: LangGraph's server refuses a message that comes on the heels of an answer.
    await serve({ sessions: 40, turns: 3, clients: 8 });
    const before = await memory();
    await serve({ sessions: count, turns: 1 });
    const after = await memory();
    return {
      name,
      sessions: count,
      heapBytes: (after.heap - before.heap) / count,
      residentBytes: (after.rss - before.rss) / count,
    };
  } finally {
    await server.child.kill();
  }
}

export async function run({ quick = false, progress = () => {}, only = () => true } = {}) {
  installPeers(progress);
  const counts = quick ? [50] : [1_000, 10_000];
  const rows = [];
  const errors = [];
  const clients = startClients();
  try {
    for (const [index, count] of counts.entries()) {
      for (const name of index === 0 ? Object.keys(CONTESTANTS) : MANY) {
        if (CONTESTANTS[name].keepsNothing || !only(name)) continue;
        progress(`${name}, ${whole(count)} sessions`);
        try {
          rows.push(await sessions(clients, name, count));
        } catch (error) {
          errors.push({ name, error: error.message });
          progress(`${name}: ${error.message}`);
        }
      }
    }
  } finally {
    await clients.kill();
  }
  return { rows, errors };
}

export function report({ rows, errors }) {
  const failed = errors.map(({ name, error }) => ` ${name} failed: ${error.slice(0, 200)}.`).join("");
  return `The servers of [the question before](#how-does-it-do-over-http-and-how-do-others), each after one turn of 50 tokens in so
many sessions: growth of the heap (with memory outside of it that V8 knows of) after a garbage collection, and growth of the
process, which also has native memory, as that of SQLite under Mastra, and pages not yet given back. What is kept differs:
agent-sessions keeps the conversation, the session's entry and the last run's events for readers that come back, and no agent
beyond \`maxAgents\` (1,000 here); MemorySaver keeps each checkpoint of each step; CopilotKit keeps its events, of at
most 1,000 sessions, and the client the conversation. Nobody but these two ever drops an idle session's agent or history.${failed}

${table(
  ["", "sessions", "heap, bytes a session", "process, bytes a session"],
  rows.map(({ name, sessions: count, heapBytes, residentBytes }) => [
    name,
    whole(count),
    whole(heapBytes),
    whole(residentBytes),
  ]),
)}`;
}

export function charts({ rows }) {
  const fewest = Math.min(...rows.map((row) => row.sessions));
  return [
    barChart({
      name: "peer-memory",
      title: `Heap of a session after one turn of 50 tokens, ${whole(fewest)} sessions`,
      unit: "bytes a session; less is better",
      groups: rows
        .filter((row) => row.sessions === fewest)
        .map(({ name, heapBytes }) => ({ label: name.replaceAll("`", ""), values: [heapBytes] })),
    }),
  ];
}

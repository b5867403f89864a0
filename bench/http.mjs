/**
 * Many clients over HTTP: everybody at 32 clients and 50 tokens, and those that are compared most at 1 and 256 clients
 * and at one token too. Each server runs in a fresh process each round, the clients in another one.
 */
import { barChart } from "./support/chart.mjs";
import { CONTESTANTS } from "./support/contestants.mjs";
import { figure, ratio, table, whole } from "./support/format.mjs";
import { median } from "./support/measure.mjs";
import { installPeers, peerVersions } from "./support/peers.mjs";
import { putBurst, putLoad, startClients, startServer } from "./support/servers.mjs";

export const title = "How does it do over HTTP, and how do others?";
export const minutes = 18;

/** What ratios are to. */
const REFERENCE = "hand-written Express route";

/** In this order in the life of a process; `cold` are its first turns, and `warm-up` is not shown. */
const POINTS = [
  { phase: "cold", clients: 32, tokens: 50, msPerToken: 0, sessions: 80, turns: 5 },
  // A server runs for days, but its code is compiled while it runs: the CPU of a turn still falls after a thousand of them.
  { phase: "warm-up", clients: 32, tokens: 50, msPerToken: 0, sessions: 400, turns: 5, maxMs: 20_000 },
  { phase: "warm", clients: 32, tokens: 50, msPerToken: 0, sessions: 80, turns: 5 },
  { phase: "warm", clients: 32, tokens: 50, msPerToken: 0, kept: true, sessions: 80, turns: 5 },
  { phase: "warm", clients: 32, tokens: 50, msPerToken: 5, sessions: 64, turns: 4 },
];
const MORE_POINTS = [
  { phase: "warm", clients: 1, tokens: 50, msPerToken: 0, sessions: 20, turns: 5 },
  { phase: "warm", clients: 256, tokens: 50, msPerToken: 0, sessions: 256, turns: 2 },
  { phase: "warm", clients: 1, tokens: 1, msPerToken: 0, sessions: 20, turns: 5 },
  { phase: "warm", clients: 32, tokens: 1, msPerToken: 0, sessions: 80, turns: 5 },
  { phase: "warm", clients: 256, tokens: 1, msPerToken: 0, sessions: 256, turns: 2 },
  { phase: "warm", clients: 1, tokens: 50, msPerToken: 5, sessions: 2, turns: 5 },
  { phase: "warm", clients: 256, tokens: 50, msPerToken: 5, sessions: 256, turns: 2 },
];
const MORE = [
  "agent-sessions, Express",
  REFERENCE,
  "a `Map` of agents",
  "CopilotKit",
  "OpenAI Agents, Express route",
  "AI SDK, Express route",
  "bare LangGraph `stream`, node:http",
];

/** Messages to one session at once. */
const BURST = 8;

const rounds = ({ quick }) => (quick ? { all: 1, more: 1 } : { all: 2, more: 1 });
const size = (point, { quick }) =>
  quick ? { ...point, sessions: Math.min(point.sessions, 2 * point.clients), turns: 2 } : point;

export async function run({ quick = false, progress = () => {}, only = () => true } = {}) {
  installPeers(progress);
  const { all, more } = rounds({ quick });
  const compared = quick ? MORE.slice(0, 2) : MORE;
  const taken = new Map(); // row -> its samples, one a round
  const bursts = {};
  const errors = [];
  const clients = startClients();
  try {
    for (let round = 0; round < all; round += 1) {
      const names = Object.keys(CONTESTANTS).filter(only);
      // Machines slow down and recover: who comes after whom is not to decide.
      for (const name of round % 2 === 0 ? names : names.reverse()) {
        progress(`${name}, round ${round + 1} of ${all}`);
        const points = [...POINTS, ...(round < more && compared.includes(name) ? MORE_POINTS : [])];
        let server;
        try {
          server = await startServer(name);
          for (const point of points) {
            const { phase, clients: at, tokens, msPerToken, kept = false } = point;
            const key = JSON.stringify({ name, phase, clients: at, tokens, msPerToken, kept });
            const sample = await putLoad(clients, server, { maxMs: 6_000, ...size(point, { quick }) });
            if (!taken.has(key)) taken.set(key, new Map());
            taken.get(key).set(round, sample);
          }
          if (round === 0 && !CONTESTANTS[name].keepsNothing) {
            bursts[name] = await putBurst(clients, server, BURST);
          }
        } catch (error) {
          errors.push({ name, round: round + 1, error: error.message });
          progress(`${name}: ${error.message}`);
        } finally {
          await server?.child.kill();
        }
      }
    }
  } finally {
    await clients.kill();
  }
  const rows = [...taken].map(([key, samples]) => {
    const reference = taken.get(JSON.stringify({ ...JSON.parse(key), name: REFERENCE }));
    return { ...JSON.parse(key), rounds: samples.size, ...middle(samples), ...ratios(samples, reference) };
  });
  return { peers: peerVersions(), rows, bursts, errors };
}

function middle(samples) {
  const all = [...samples.values()];
  return Object.fromEntries(
    Object.keys(all[0]).map((key) => [key, median(all.map((sample) => sample[key]))]),
  );
}

/** To the hand-written route in the same round: the median, the least and the most. */
function ratios(samples, reference = new Map()) {
  const both = [...samples].filter(([round]) => reference.has(round));
  if (both.length === 0) return {};
  const ratio = (key) => {
    const each = both.map(([round, sample]) => sample[key] / reference.get(round)[key]);
    return { median: median(each), low: Math.min(...each), high: Math.max(...each) };
  };
  return { turnsRatio: ratio("turnsPerSecond"), cpuRatio: ratio("cpuMsPerTurn") };
}

/** What is compared, in words; in the order of the table. */
const ABOUT = {
  "agent-sessions, Express": [
    "`createHttpHandler` in Express, sessions and runs in memory",
    "ids belong to a user: the same id of another user is another session",
    "the server, with the events of recent runs for readers that come back",
    "one after another",
  ],
  "agent-sessions, fetch handler": ["the same over node:http", "as above", "as above", "as above"],
  [REFERENCE]: [
    "one `createAgent` on a MemorySaver, modes `messages` and `updates`",
    "none: who knows the id, continues it",
    "the server, each checkpoint of each step",
    "all at once, the last to end wins",
  ],
  "a `Map` of agents": [
    "the same route, an agent and a MemorySaver for each session, never dropped",
    "none",
    "the server",
    "all at once, the last to end wins",
  ],
  createEmbedServer: [
    "`@langchain/langgraph-api`, as its own tests mount it, on a MemorySaver",
    "none",
    "the server",
    "all at once, the last to end wins",
  ],
  "LangGraph's in-memory server": [
    "`startServer` with its ten workers; what runs write goes through its queue",
    "none by default; an `auth` handler can filter",
    "the server, also in a file",
    "refuses a second one with 422; on request queues, interrupts or rolls back",
  ],
  Mastra: [
    "`@mastra/express`, Memory of the last 20 messages on LibSQL in memory",
    "none by default: threads of others can be read and deleted by id",
    "the server",
    "one after another",
  ],
  CopilotKit: [
    "Express handler of runtime v2, built-in agent, in-memory runner",
    "none by default",
    "the client, which sends all of it with each message; the server keeps events",
    "refuses a second one, with status 200 and an empty stream",
  ],
  "OpenAI Agents, Express route": [
    "`run` with `stream`, text deltas as frames; no graph underneath",
    "none: hand-written",
    "a MemorySession for each id in a `Map`",
    "all at once; answers are kept, but none saw the others' messages",
  ],
  "AI SDK, Express route": [
    "ToolLoopAgent, its UI message stream piped to the response; no graph underneath",
    "none: hand-written",
    "a `Map` of histories",
    "all at once, the last to end wins",
  ],
  "bare LangGraph `stream`, node:http": [
    "the graph's own `stream`, mode `messages` only, no Express",
    "none",
    "the server, on a MemorySaver",
    "all at once, the last to end wins",
  ],
  "50 frames by node:http, no agent": ["the frames alone: what HTTP itself costs", "", "nothing", ""],
};

export function report({ peers, rows, bursts, errors }) {
  const at = (name, phase, clients, tokens, msPerToken, kept = false) =>
    rows.find(
      (row) =>
        row.name === name &&
        row.kept === kept &&
        row.phase === phase &&
        row.clients === clients &&
        row.tokens === tokens &&
        row.msPerToken === msPerToken,
    );
  const names = [...new Set(rows.map(({ name }) => name))];
  const with32 = (msPerToken, kept = false) =>
    names.map((name) => at(name, "warm", 32, 50, msPerToken, kept)).filter((row) => row !== undefined);
  const others = rows.filter(
    ({ clients, tokens, phase }) => phase === "warm" && (clients !== 32 || tokens !== 50),
  );
  const warmUps = rows.filter(({ phase }) => phase === "warm-up").map(({ turns }) => turns);
  const versions = Object.entries(peers).map(([name, version]) => `${name} ${version}`);
  const clientsShare = Math.max(...rows.map(({ clientsCpuShare }) => clientsCpuShare));
  return `Everybody is started as its documentation says, in a fresh process, with the same fake model and the same work: sessions of
a few turns, one user message each, an answer of 50 tokens read to its end, over a connection of its own where nothing else is said; a turn counts when
all its tokens came, and the model must have been given earlier answers. Clients are a process of their own with node:http
only, which took at most ${Math.round(clientsShare * 100)} % of a core. Telemetry and tracing are off, \`NODE_ENV\` is \`production\`. Turns/s are those of
one process; CPU is that of the server's process. Ratios are to the hand-written route in the same round, with the least and
the most of the rounds. Read them with the second table: not everybody does the same for it.

32 clients, 50 tokens at once; "cold" is the first 400 turns of a process (or what it does in 6 s), "warm" 400 after 2,000 more
(or what it does in 20 s: ${Math.min(...warmUps)} at least), by when most of its code is compiled:

${table(
  [
    "",
    "cold: turns/s",
    "ratio",
    "warm: turns/s",
    "ratio",
    "p50 ms",
    "p99 ms",
    "p99/p50",
    "CPU ms a turn",
    "ratio",
    "KB sent a turn",
  ],
  with32(0).map((row) => {
    const cold = at(row.name, "cold", 32, 50, 0);
    return [
      row.name,
      whole(cold.turnsPerSecond),
      spreadOf(cold.turnsRatio),
      whole(row.turnsPerSecond),
      spreadOf(row.turnsRatio),
      whole(row.p50),
      whole(row.p99),
      (row.p99 / row.p50).toFixed(1),
      figure(row.cpuMsPerTurn),
      spreadOf(row.cpuRatio),
      (row.bytesPerTurn / 1000).toFixed(1),
    ];
  }),
)}

The same on connections that are kept, one a client, as browsers and proxies have them. A server that begins each turn as it
comes begins one for every connection in each turn of its event loop then, and the last of them waits for all:

${table(
  ["", "turns/s", "ratio", "p50 ms", "p99 ms", "p99/p50", "first token p50, ms", "CPU ms a turn", "ratio"],
  with32(0, true).map((row) => [
    row.name,
    whole(row.turnsPerSecond),
    spreadOf(row.turnsRatio),
    whole(row.p50),
    whole(row.p99),
    (row.p99 / row.p50).toFixed(1),
    whole(row.firstP50),
    figure(row.cpuMsPerTurn),
    spreadOf(row.cpuRatio),
  ]),
)}

What they are, and what they do about users and order. The last column is tried here: of ${BURST} messages to one session at
once, how many were answered, and of how many answers the model was told at the next message:

${table(
  [
    "",
    "started as",
    "another user's session",
    "who keeps the conversation",
    "messages of one session at once",
    "answered, kept",
  ],
  names.map((name) => [
    name,
    ...ABOUT[name],
    name in bursts ? `${bursts[name].answered}, ${bursts[name].kept}` : "",
  ]),
)}

32 clients, 50 tokens, one every 5 ms, as a quick model writes (250 ms and more for an answer):

${table(
  ["", "turns/s", "ratio", "p50 ms", "p99 ms", "first token p50, ms", "p99, ms", "CPU ms a turn", "ratio"],
  with32(5).map((row) => [
    row.name,
    whole(row.turnsPerSecond),
    spreadOf(row.turnsRatio),
    whole(row.p50),
    whole(row.p99),
    whole(row.firstP50),
    whole(row.firstP99),
    figure(row.cpuMsPerTurn),
    spreadOf(row.cpuRatio),
  ]),
)}

One client and 256, and answers of one token:

${table(
  [
    "",
    "clients",
    "tokens",
    "ms per token",
    "turns/s",
    "ratio",
    "p50 ms",
    "p99 ms",
    "first token p50, ms",
    "CPU ms a turn",
  ],
  others
    .sort((a, b) => a.msPerToken - b.msPerToken || b.tokens - a.tokens || a.clients - b.clients)
    .map((row) => [
      row.name,
      row.clients,
      row.tokens,
      row.msPerToken,
      whole(row.turnsPerSecond),
      spreadOf(row.turnsRatio),
      figure(row.p50),
      figure(row.p99),
      figure(row.firstP50),
      figure(row.cpuMsPerTurn),
    ]),
)}

Mastra, the AI SDK and OpenAI Agents ask for Node 22; they ran on Node 20 here without a complaint.${errors
    .map(({ name, round, error }) => ` ${name} failed in round ${round}: ${error.slice(0, 200)}.`)
    .join("")} Versions: ${versions.join(", ")}.`;
}

const spreadOf = (value) => (value === undefined ? "" : ratio(value));

export function charts({ rows }) {
  const warm = rows.filter(
    ({ phase, clients, tokens, msPerToken, kept }) =>
      phase === "warm" && clients === 32 && tokens === 50 && msPerToken === 0 && !kept,
  );
  return [
    barChart({
      name: "http",
      title: "CPU of a turn of 50 tokens over HTTP, 32 clients",
      unit: "ms of CPU a turn, warm; less is better",
      groups: warm.map(({ name, cpuMsPerTurn }) => ({
        label: name.replaceAll("`", ""),
        values: [cpuMsPerTurn],
      })),
    }),
  ];
}

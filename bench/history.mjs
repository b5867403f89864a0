/** How do the time of a turn and what is kept grow with the conversation, on each store and on LangGraph's savers? */
import { memoryStore } from "agent-sessions";
import pg from "pg";
import { lineChart } from "./support/chart.mjs";
import { figure, ratio, table, whole } from "./support/format.mjs";
import { alternate, median, medianRatioInterval, quartiles } from "./support/measure.mjs";
import { history } from "./support/model.mjs";
import { installPeers } from "./support/peers.mjs";
import { officialBytes, openStore, startEngines, storedBytes } from "./support/stores.mjs";
import { ALL_MODES, bare, drain, ours } from "./support/turns.mjs";

export const title = "How does a turn grow with the conversation?";
export const minutes = 6;

const BATCH = 3;
const MESSAGE = "x".repeat(395);
const sizesOf = (quick) => (quick ? [2, 20, 160, 1000] : [2, 20, 160, 200, 1000]);

/** What LangGraph's MemorySaver has of one thread. */
function bytesOf(value) {
  if (value instanceof Uint8Array) return value.length;
  if (value === null || typeof value !== "object") return 0;
  return Object.values(value).reduce((sum, part) => sum + bytesOf(part), 0);
}

function memorySaver() {
  const { open, turn, saver } = bare(ALL_MODES, 1);
  return {
    name: "LangGraph, MemorySaver",
    open,
    turn,
    bytes: ({ configurable: { thread_id: thread } }) =>
      bytesOf(saver.storage[thread]) +
      Object.entries(saver.writes).reduce(
        (sum, [key, writes]) => sum + (JSON.parse(key)[0] === thread ? bytesOf(writes) : 0),
        0,
      ),
  };
}

async function official({ url }) {
  const { messages, officialGraph } = await import("./peers/postgres-saver.mjs");
  const pool = new pg.Pool({ connectionString: url, max: 10 });
  const graph = await officialGraph(pool, { tools: [] });
  let threads = 0;
  return {
    name: "LangGraph, PostgresSaver",
    open: async (seed) => {
      const config = { configurable: { thread_id: `thread-${threads++}` } };
      await graph.updateState(config, { messages: history(seed.length, 200, messages) });
      return config;
    },
    turn: async (config, text) => {
      const input = { messages: [{ role: "user", content: text }] };
      await drain(await graph.stream(input, { ...config, streamMode: ALL_MODES, durability: "sync" }));
    },
    bytes: ({ configurable: { thread_id: thread } }) => officialBytes(pool, thread),
    close: () => pool.end(),
  };
}

async function inMemory(name, options) {
  const store = memoryStore({ maxSessions: 100_000, maxBytes: 4_000_000_000, ...options });
  return { name, ...(await ours(1, store)) };
}

async function onEngine({ name, url }) {
  const opened = await openStore(url);
  const service = await ours(1, opened.store);
  return {
    name: `agent-sessions, ${name}`,
    ...service,
    bytes: ({ sessionId }) => storedBytes(opened.client, `s.${sessionId}`),
    close: async () => {
      await service.close();
      await opened.close();
    },
  };
}

/** One conversation, turn by turn, and what is kept of it. */
async function grown({ open, turn, bytes }, sizes) {
  const conversation = await open([]);
  const kept = {};
  for (let size = 2; size <= sizes.at(-1); size += 2) {
    await turn(conversation, MESSAGE);
    if (sizes.includes(size)) kept[size] = await bytes(conversation);
  }
  return kept;
}

export async function run({ quick = false, progress = () => {} } = {}) {
  installPeers(progress);
  const rounds = quick ? 5 : 20;
  const sizes = sizesOf(quick);
  const [postgres, redis] = await startEngines();
  const contestants = [
    await inMemory("agent-sessions, memory", { liveBytes: 1_000_000_000 }),
    await inMemory("agent-sessions, memory, loaded cold", { liveBytes: 1 }),
    memorySaver(),
    await onEngine(postgres),
    await onEngine(redis),
    await official(postgres),
  ];
  const rows = contestants.map(({ name }) => ({ name, ms: {}, to2: {}, kept: undefined }));
  // Sizes take turns too: a ratio of two of them is of the same round.
  const batches = sizes.flatMap((size) => {
    // The last turn before the measured one is of the conversation too.
    const seed = history(size - 2);
    return contestants.map(({ open, turn }) => async () => {
      const took = [];
      for (let index = 0; index < BATCH; index += 1) {
        const conversation = await open(seed);
        await turn(conversation, "hello");
        const from = performance.now();
        await turn(conversation, "hello");
        took.push(performance.now() - from);
      }
      return median(took);
    });
  });
  progress("warming up");
  await alternate(Math.ceil(rounds / 4), batches);
  progress(`${rounds} rounds`);
  const samples = await alternate(rounds, batches);
  for (const [index, row] of rows.entries()) {
    const first = samples[index];
    for (const [at, size] of sizes.entries()) {
      const taken = samples[at * contestants.length + index];
      row.ms[size] = quartiles(taken);
      row.to2[size] = medianRatioInterval(taken.map((took, round) => [took, first[round]]));
    }
  }
  for (const [index, contestant] of contestants.entries()) {
    if (contestant.bytes === undefined) continue;
    progress(`turn by turn: ${contestant.name}`);
    rows[index].kept = await grown(contestant, quick ? sizes.slice(0, -1) : sizes);
  }
  for (const { close } of contestants) await close?.();
  return { sizes, turns: rounds * BATCH, rows };
}

export function report({ sizes, turns, rows }) {
  return `One turn of one token on a conversation of that many messages of 200 characters, \`chat()\` read to its end, against the
bare graph's \`stream()\` in all modes: milliseconds, medians of ${turns} turns. "Loaded cold" has nothing of the conversation at
hand but what is stored, as in a process that sees it for the first time.

${table(
  [
    "",
    ...sizes.map((size) => `${whole(size)} messages`),
    ...sizes.slice(1).map((size) => `${whole(size)} to ${sizes[0]}`),
  ],
  rows.map(({ name, ms, to2 }) => [
    name,
    ...sizes.map((size) => figure(ms[size].median)),
    ...sizes.slice(1).map((size) => ratio(to2[size])),
  ]),
)}

What is kept of a conversation of that many messages, grown turn by turn with 400 characters each: KB.

${table(
  ["", ...sizes.map((size) => `${whole(size)} messages`)],
  rows
    .filter(({ kept }) => kept !== undefined)
    .map(({ name, kept }) => [name, ...sizes.map((size) => figure(kept[size] / 1024))]),
)}`;
}

const short = (name) => name.replace(/^.*?, /, "");

export function charts({ sizes, rows }) {
  const x = { label: "messages in the conversation", log: true };
  return [
    lineChart({
      name: "history",
      title: "One turn against the length of the conversation",
      x,
      y: { label: "ms", log: true },
      series: rows.map(({ name, ms }) => ({
        name: short(name),
        points: sizes.map((size) => [size, ms[size].median]),
      })),
    }),
    lineChart({
      name: "history-kept",
      title: "What is kept of a conversation, turn by turn",
      x,
      y: { label: "KB", log: true },
      series: rows
        .filter(({ kept }) => kept !== undefined)
        .map(({ name, kept }) => ({
          name: short(name),
          points: sizes.filter((size) => size in kept).map((size) => [size, kept[size] / 1024]),
        })),
    }),
  ];
}

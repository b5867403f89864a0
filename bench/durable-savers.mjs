/** What does keeping a conversation in an engine cost, a turn of model, tool, model on the same agent? */
import { createAgent, tool } from "langchain";
import { MemorySaver } from "@langchain/langgraph";
import { RUN_KEY } from "agent-sessions";
import pg from "pg";
import { installPeers } from "./support/peers.mjs";
import { alternate, median, medianRatioInterval } from "./support/measure.mjs";
import { history, messages as own, ToolModel } from "./support/model.mjs";
import {
  countRoundTrips,
  labelRoundTrips,
  lease,
  officialBytes,
  openStore,
  startEngines,
  storedBytes,
} from "./support/stores.mjs";
import { lookUp } from "./support/tool-model.mjs";
import { lineChart } from "./support/chart.mjs";
import { table, whole } from "./support/format.mjs";

export const title = "What does keeping a conversation in an engine cost?";
export const minutes = 5;

const BATCH = 4;
const SIZES = [2, 40, 160, 200];
const TURNS = 40;
const TEXT = "What is the weather like, and should I take a coat?";

let threads = 0;

async function drain(stream) {
  const iterator = stream[Symbol.asyncIterator]();
  while (!(await iterator.next()).done);
}

function turn(graph, configurable) {
  return graph
    .stream({ messages: [{ role: "user", content: TEXT }] }, { configurable, durability: "sync" })
    .then(drain);
}

const agentOn = (checkpointer) =>
  createAgent({ model: new ToolModel(), tools: [tool(...lookUp)], checkpointer }).graph;

/** A graph without leases: LangGraph's own savers. */
function plain(name, graph, messages, rest = {}) {
  return {
    name,
    trips: () => 0,
    bytes: () => undefined,
    ...rest,
    open: async (count) => {
      const configurable = { thread_id: `thread-${threads++}` };
      await graph.updateState({ configurable }, { messages: history(count, 200, messages) });
      return configurable.thread_id;
    },
    turn: async (thread_id) => {
      const from = performance.now();
      await turn(graph, { thread_id });
      return performance.now() - from;
    },
  };
}

async function official(url) {
  const { messages: theirs, officialGraph } = await import("./peers/postgres-saver.mjs");
  const pool = new pg.Pool({ connectionString: url, max: 10 });
  let trips = 0;
  countRoundTrips(pool, () => (trips += 1));
  return plain("official PostgresSaver", await officialGraph(pool), theirs, {
    trips: () => trips,
    bytes: (thread) => officialBytes(pool, thread),
    close: () => pool.end(),
  });
}

/**
 * Our saver, under a lease that is taken and given back outside the measured time. With several stores they take
 * turns, as processes do between which a session moves: each has to read what the others wrote.
 */
async function ours(name, url, stores = 1) {
  const opened = await Promise.all(Array.from({ length: stores }, () => openStore(url)));
  let trips = 0;
  const graphs = opened.map(({ store, client }) => {
    labelRoundTrips(store);
    countRoundTrips(client, (label) => (trips += label.startsWith("checkpointer.") ? 1 : 0));
    return agentOn(store.checkpointer);
  });
  let next = 0;
  const leased = async (sessionId, work) => {
    const at = next++ % stores;
    const held = await lease(opened[at].store, sessionId);
    const from = performance.now();
    await work(graphs[at], { thread_id: held.threadId, [RUN_KEY]: held.run });
    const took = performance.now() - from;
    await held.end();
    return took;
  };
  return {
    name,
    trips: () => trips,
    bytes: (sessionId) => storedBytes(opened[0].client, `s.${sessionId}`),
    open: async (count) => {
      const sessionId = `session-${threads++}`;
      await leased(sessionId, (graph, configurable) =>
        graph.updateState({ configurable }, { messages: history(count, 200, own) }),
      );
      return sessionId;
    },
    turn: (sessionId) => leased(sessionId, turn),
    close: () => Promise.all(opened.map(({ close }) => close())),
  };
}

/** Many turns of one conversation: what each sends, and what is kept in the end. */
async function kept(contestant, turns) {
  const thread = await contestant.open(2);
  const trips = [];
  for (let index = 0; index < turns; index += 1) {
    const before = contestant.trips();
    await contestant.turn(thread);
    trips.push(contestant.trips() - before);
  }
  return {
    tripsPerTurn: median(trips),
    mostTrips: Math.max(...trips),
    bytes: await contestant.bytes(thread),
  };
}

export async function run({ quick = false, progress = () => {} } = {}) {
  installPeers(progress);
  const rounds = quick ? 4 : 20;
  const [postgres, redis] = await startEngines();
  const contestants = [
    await official(postgres.url),
    await ours("Postgres", postgres.url),
    await ours("Postgres, another process each turn", postgres.url, 2),
    await ours("Redis", redis.url),
    await ours("Redis, another process each turn", redis.url, 2),
    plain("MemorySaver", agentOn(new MemorySaver()), own),
  ];
  const rows = contestants.map(({ name }) => ({ name, ms: {}, toOfficial: {} }));
  for (const [index, contestant] of contestants.entries()) {
    progress(`${TURNS} turns, ${contestant.name}`);
    Object.assign(rows[index], await kept(contestant, TURNS));
  }
  for (const size of SIZES) {
    progress(`${size} messages`);
    const batches = contestants.map((contestant) => async () => {
      const took = [];
      for (let index = 0; index < BATCH; index += 1) {
        const thread = await contestant.open(size);
        took.push(await contestant.turn(thread));
      }
      return median(took);
    });
    await alternate(Math.ceil(rounds / 5), batches); // the compiler's warm-up
    const samples = await alternate(rounds, batches);
    for (const [index, row] of rows.entries()) {
      row.ms[size] = median(samples[index]);
      row.toOfficial[size] = medianRatioInterval(samples[index].map((ms, at) => [ms, samples[0][at]]));
    }
  }
  for (const contestant of contestants) await contestant.close?.();
  return { turns: TURNS, sizes: SIZES, rounds, rows };
}

export function report({ turns, sizes, rows }) {
  return `A turn of model, tool, model through one \`createAgent\` graph with \`durability: "sync"\`, on conversations of that many
messages of 200 characters, against LangGraph's PostgresSaver on the same server: milliseconds, with the ratio to it.
Round trips are those of the saver, the median of ${turns} turns of one conversation; what is kept is the size of its rows
(\`pg_column_size\`) or keys (\`MEMORY USAGE\`) after them. "Another process each turn" reads what the other one wrote.

${table(
  [
    "saver",
    "round trips a turn",
    ...sizes.map((size) => `${size} messages`),
    `kept after ${turns} turns, KB`,
  ],
  rows.map(({ name, tripsPerTurn, ms: took, toOfficial, bytes }, index) => [
    name,
    tripsPerTurn === 0 ? "" : tripsPerTurn,
    ...sizes.map(
      (size) => `${took[size].toFixed(1)}${index === 0 ? "" : `, ${toOfficial[size].median.toFixed(2)}`}`,
    ),
    bytes === undefined ? "" : whole(bytes / 1024),
  ]),
)}`;
}

export function charts({ sizes, rows }) {
  return [
    lineChart({
      name: "durable-savers",
      title: "A turn of model, tool, model on each saver",
      x: { label: "messages in the conversation" },
      y: { label: "ms a turn" },
      series: rows
        .filter(({ name }) => !name.includes("another process"))
        .map(({ name, ms: took }) => ({ name, points: sizes.map((size) => [size, took[size]]) })),
    }),
  ];
}

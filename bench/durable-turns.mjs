/** What do lease, run ledger and event log in an engine add to a turn, over the same graph with only the saver? */
import { ChatService, memoryStore, RUN_KEY } from "agent-sessions";
import { createAgent, tool } from "langchain";
import { alternate, median } from "./support/measure.mjs";
import { ToolModel } from "./support/model.mjs";
import { countRoundTrips, labelRoundTrips, lease, openStore, startEngines } from "./support/stores.mjs";
import { lookUp } from "./support/tool-model.mjs";
import { ms, table } from "./support/format.mjs";

export const title = "What do lease, run ledger and event log add to a turn?";
export const minutes = 3;

/** Turns of one fresh session; the first, which begins it, is not measured. */
const TURNS = 6;
const tools = [tool(...lookUp)];
let sessions = 0;

async function drain(stream) {
  const iterator = stream[Symbol.asyncIterator]();
  while (!(await iterator.next()).done);
}

async function turnsOf(turn) {
  const sessionId = `session-${sessions++}`;
  const took = [];
  for (let index = 0; index < TURNS; index += 1) took.push(await turn(sessionId));
  return median(took.slice(1));
}

/** The whole service. A turn has ended when its last event was read. */
async function service(name, { store, client, close }) {
  const trips = new Map();
  if (client !== undefined) {
    labelRoundTrips(store);
    countRoundTrips(client, (label) => trips.set(label, (trips.get(label) ?? 0) + 1));
  }
  const chat = await ChatService.create({ model: new ToolModel(), tools, store, maxAgents: 10_000 });
  const turn = async (sessionId) => {
    const from = performance.now();
    await drain(chat.chat({ sessionId, message: "What is the weather like?" }));
    return performance.now() - from;
  };
  return {
    name,
    trips,
    turn,
    round: () => turnsOf(turn),
    close: async () => {
      await chat.close();
      await close?.();
    },
  };
}

/** The same agent's graph under a lease that costs no time. */
function graphOnly({ store, close }) {
  const { graph } = createAgent({ model: new ToolModel(), tools, checkpointer: store.checkpointer });
  return {
    round: () =>
      turnsOf(async (sessionId) => {
        const held = await lease(store, sessionId);
        const configurable = { thread_id: held.threadId, [RUN_KEY]: held.run };
        const input = { messages: [{ role: "user", content: "What is the weather like?" }] };
        const from = performance.now();
        await drain(await graph.stream(input, { configurable, durability: "sync" }));
        const took = performance.now() - from;
        await held.end();
        return took;
      }),
    close,
  };
}

/** Round trips of one turn: the median, so that looks from time to time and heartbeats are left out. */
async function tripsOf({ trips, turn }, turns) {
  const sessionId = `session-${sessions++}`;
  await turn(sessionId);
  const counted = [];
  for (let index = 0; index < turns; index += 1) {
    trips.clear();
    await turn(sessionId);
    // What follows the end of a turn belongs to it.
    await new Promise((resolve) => setTimeout(resolve, 50));
    counted.push(new Map(trips));
  }
  const labels = [...new Set(counted.flatMap((one) => [...one.keys()]))].sort();
  const byMethod = Object.fromEntries(
    labels.map((label) => [label, median(counted.map((one) => one.get(label) ?? 0))]),
  );
  const sum = (...parts) =>
    Object.entries(byMethod)
      .filter(([label]) => parts.includes(label.split(".")[0]))
      .reduce((total, [, count]) => total + count, 0);
  return { saver: sum("checkpointer"), ledger: sum("runs", "sessions"), events: sum("events"), byMethod };
}

export async function run({ quick = false, progress = () => {} } = {}) {
  const rounds = quick ? 10 : 60;
  const [postgres, redis] = await startEngines();
  const memory = () => ({ store: memoryStore({ maxSessions: 100_000 }) });
  const pairs = [
    ["memory", await service("memory", memory()), graphOnly(memory())],
    [
      "Postgres",
      await service("Postgres", await openStore(postgres.url)),
      graphOnly(await openStore(postgres.url, { schema: "graph_only" })),
    ],
    [
      "Redis",
      await service("Redis", await openStore(redis.url)),
      graphOnly(await openStore(redis.url, { prefix: "graph-only" })),
    ],
  ];
  const trips = [];
  for (const [name, whole] of pairs) {
    progress(`round trips, ${name}`);
    trips.push(name === "memory" ? undefined : await tripsOf(whole, quick ? 10 : 30));
  }
  progress("times");
  const contestants = pairs.flatMap(([, whole, graph]) => [whole.round, graph.round]);
  await alternate(Math.ceil(rounds / 3), contestants); // the compiler's warm-up
  const samples = await alternate(rounds, contestants);
  for (const [, ...both] of pairs) for (const one of both) await one.close?.();
  return pairs.map(([name], index) => {
    const [whole, graph] = [samples[2 * index], samples[2 * index + 1]];
    return {
      name,
      turns: rounds * (TURNS - 1),
      serviceMs: median(whole),
      graphMs: median(graph),
      addedMs: median(whole.map((ms, at) => ms - graph[at])),
      trips: trips[index],
    };
  });
}

export function report(rows) {
  return `\`chat()\` read to its end, against the same agent's \`graph.stream()\` with only the store's saver, a turn of model, tool and 20
tokens. In memory it is what the service itself costs.

${table(
  ["store", "service, ms", "graph, ms", "added ms", "round trips: saver", "lease and ledger", "event log"],
  rows.map(({ name, serviceMs, graphMs, addedMs, trips }) => [
    name,
    ms(serviceMs),
    ms(graphMs),
    ms(addedMs),
    ...(trips === undefined ? ["", "", ""] : [trips.saver, trips.ledger, trips.events]),
  ]),
)}`;
}

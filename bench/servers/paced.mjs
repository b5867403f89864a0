/**
 * Many streams at a model's pace in one process. All begin, then all write; over a window in which nothing begins or
 * ends it tells how late the tokens were at their readers, the CPU, and the memory.
 */
import { MemorySaver } from "@langchain/langgraph";
import { ChatService } from "agent-sessions";
import { createAgent } from "langchain";
import { percentile } from "../support/measure.mjs";
import { now, sleep, StampingModel, stampsOf } from "../support/stamping-model.mjs";

const { kind, streams, msPerToken, settleMs, windowMs } = JSON.parse(process.argv[2]);
process.once("disconnect", () => process.exit());
process.send({ ready: true });
// Those of the window, those before it, and some that come late.
const tokens = Math.ceil((settleMs + windowMs * 1.5) / msPerToken);

let write;
const begin = new Promise((resolve) => (write = resolve));
let allAsked;
const asking = new Promise((resolve) => (allAsked = resolve));
let asked = 0;
const model = new StampingModel({
  tokens,
  msPerToken,
  begin,
  asked: () => {
    asked += 1;
    if (asked === streams) allAsked();
  },
});

const STARTS = {
  /** What the models alone take. */
  model: () => async () => {
    for await (const { content } of await model.stream("hello")) read(content);
  },
  bare: () => {
    const agent = createAgent({ model, tools: [], checkpointer: new MemorySaver() });
    return async (index) => {
      const stream = await agent.graph.stream(
        { messages: [{ role: "user", content: "hello" }] },
        { configurable: { thread_id: `thread-${index}` }, streamMode: "messages" },
      );
      for await (const [message] of stream) read(message.content);
    };
  },
  ours: async () => {
    const chat = await ChatService.create({ model, tools: [], maxAgents: streams });
    return async (index) => {
      for await (const event of chat.chat({ sessionId: "main", userId: `user-${index}`, message: "hello" })) {
        if (event.type === "text-delta") read(event.delta);
      }
    };
  },
};

let from = Infinity;
let to = Infinity;
const added = [];
const late = [];
/** Tokens that came together are one delta. */
function read(delta) {
  const at = now();
  if (at < from || at >= to || delta === "") return;
  const stamps = delta.trim().split(" ");
  for (let index = 0; index < stamps.length; index += 2) {
    const { due, written } = stampsOf(`${stamps[index]} ${stamps[index + 1]}`);
    added.push(at - written);
    late.push(at - due);
  }
}

async function memory() {
  if (globalThis.gc === undefined) return undefined;
  globalThis.gc();
  await sleep(20);
  const { heapUsed, rss } = process.memoryUsage();
  return { heapUsed, rss };
}

const before = await memory();
const start = await STARTS[kind]();
const answered = Array.from({ length: streams }, (_, index) => start(index));
await asking;
write();
await sleep(settleMs);
from = now();
const cpuFrom = process.cpuUsage();
await sleep(windowMs);
to = now();
const { user, system } = process.cpuUsage(cpuFrom);
const during = await memory();
process.send({
  measured: true,
  streams,
  addedP50: percentile(added, 0.5),
  addedP99: percentile(added, 0.99),
  lateP50: percentile(late, 0.5),
  lateP99: percentile(late, 0.99),
  tokensPerSecond: (added.length * 1000) / (to - from),
  cpuShare: (user + system) / 1000 / (to - from),
  cpuPerToken: (user + system) / added.length,
  ...(before === undefined
    ? {}
    : { heapBytes: during.heapUsed - before.heapUsed, rssBytes: during.rss - before.rss }),
});
// What is left of the streams is not waited for.
for (const one of answered) one.catch(() => undefined);

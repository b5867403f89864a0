/**
 * Where a turn's CPU time goes: self time by package, in the stack's own frames.
 *
 *   node bench/profile.mjs own|bare [messages] [turns]
 *
 * `own` is a turn through `chat()`, `bare` one through the same graph's `stream()` with MemorySaver and four stream
 * modes. A third of the turns warms up. Needs a build (`npm run build`).
 */
import { Session } from "node:inspector/promises";
import { MemorySaver } from "@langchain/langgraph";
import { ChatService, memoryStore, RUN_KEY } from "agent-sessions";
import { createAgent } from "langchain";
import { history, InstantModel } from "./support/model.mjs";

const [contestant = "own", messages = 2, turns = 1500] = process.argv
  .slice(2)
  .map((argument, index) => (index === 0 ? argument : Number(argument)));
const BATCH = 50;
const FUNCTIONS = 25;

async function drain(stream) {
  const iterator = stream[Symbol.asyncIterator]();
  while (!(await iterator.next()).done);
}

function bare() {
  const { graph } = createAgent({ model: new InstantModel(1), tools: [], checkpointer: new MemorySaver() });
  let threads = 0;
  return {
    open: async (seed) => {
      const config = { configurable: { thread_id: `thread-${threads++}` } };
      await graph.updateState(config, { messages: seed });
      return config;
    },
    turn: async (config) => {
      const streamMode = ["messages", "updates", "tools", "custom"];
      await drain(
        await graph.stream({ messages: [{ role: "user", content: "hello" }] }, { ...config, streamMode }),
      );
    },
  };
}

async function own() {
  const store = memoryStore({ maxSessions: 1_000_000, liveBytes: 1_000_000_000, maxBytes: 4_000_000_000 });
  const model = new InstantModel(1);
  const chat = await ChatService.create({ model, tools: [], maxAgents: 10_000, store });
  const { graph: seeder } = createAgent({ model, tools: [], checkpointer: store.checkpointer });
  let sessions = 0;
  return {
    close: () => chat.close(),
    open: async (seed) => {
      const session = { sessionId: `session-${sessions++}` };
      await chat.withAgent(session, async (_agent, { lease, turnId }) => {
        const configurable = { thread_id: lease.threadId, [RUN_KEY]: { lease, turnId } };
        await seeder.updateState({ configurable }, { messages: seed });
      });
      return session;
    },
    turn: (session) => drain(chat.chat({ ...session, message: "hello" })),
  };
}

/** The package that a frame belongs to. */
function ownerOf({ functionName, url }) {
  if (functionName === "(garbage collector)" || functionName === "(program)") return functionName;
  if (url === "") return "(native)";
  if (url.startsWith("node:")) return "node";
  const [, name] = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url) ?? [];
  return name ?? (url.includes("/bench/") ? "(this benchmark)" : "agent-sessions");
}

const { open, turn, close } = contestant === "bare" ? bare() : await own();
const session = new Session();
session.connect();
await session.post("Profiler.enable");
await session.post("Profiler.setSamplingInterval", { interval: 200 });
const byOwner = new Map();
const byFunction = new Map();
let total = 0;
for (let done = 0; done < turns; done += BATCH) {
  const opened = [];
  for (let index = 0; index < BATCH; index += 1) opened.push(await open(history(messages)));
  const isWarm = done >= turns / 3;
  if (isWarm) await session.post("Profiler.start");
  for (const one of opened) await turn(one);
  if (!isWarm) continue;
  const { profile } = await session.post("Profiler.stop");
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
  for (const [index, id] of profile.samples.entries()) {
    const frame = frames.get(id);
    // Neither work nor the profiler's own.
    if (frame.functionName === "(idle)" || frame.functionName === "dispatch") continue;
    const time = profile.timeDeltas[index];
    total += time;
    const owner = ownerOf(frame);
    byOwner.set(owner, (byOwner.get(owner) ?? 0) + time);
    const file = frame.url.split("/").slice(-2).join("/");
    const name = `${owner} ${frame.functionName || "(anonymous)"} ${file}:${frame.lineNumber + 1}`;
    byFunction.set(name, (byFunction.get(name) ?? 0) + time);
  }
}
await close?.();
for (const [title, times] of [
  ["self time by package", byOwner],
  ["self time by function", byFunction],
]) {
  console.log(`${title}, ${contestant}, ${messages} messages:`);
  for (const [name, time] of [...times].sort(([, a], [, b]) => b - a).slice(0, FUNCTIONS)) {
    console.log(`${((100 * time) / total).toFixed(1).padStart(6)} %  ${name}`);
  }
}

/** What does an idle live agent cost, beside its conversation? */
import { ChatService, memoryStore } from "agent-sessions";
import { createAgent } from "langchain";
import { MemorySaver } from "@langchain/langgraph";
import { heapUsed, timed } from "./support/measure.mjs";
import { InstantModel } from "./support/model.mjs";
import { table, whole } from "./support/format.mjs";

export const title = "What does an idle agent cost?";
export const minutes = 5;

/** One turn in each of `count` sessions; what closing the agents, then dropping the conversations, gives back. */
async function ours(count) {
  // No message objects beside what is stored, and no runs that are only retained: they are not the agents'.
  const store = memoryStore({
    maxSessions: count + 1,
    liveBytes: 1,
    maxRetainedRuns: 1,
    maxEventBytes: 1_000_000,
  });
  const before = await heapUsed();
  const chat = await ChatService.create({ model: new InstantModel(), tools: [], maxAgents: count, store });
  const session = (index) => ({ sessionId: `session-${index}`, userId: `user-${index}` });
  await chat.chat({ ...session(0), message: "warm-up" }).result;
  const turns = async (from, to) => {
    for (let index = from; index < to; index += 200) {
      const runs = [];
      for (let one = index; one < Math.min(to, index + 200); one += 1) {
        runs.push(chat.chat({ ...session(one), message: "hello" }).result);
      }
      await Promise.all(runs);
    }
  };
  await turns(0, count);
  const withAgents = await heapUsed();
  const { totalAgents } = chat.manager.getStats();
  const closed = await chat.manager.cleanupOldestAgents(count);
  const withoutAgents = await heapUsed();
  let lookups = 0;
  const at = Math.min(count, 1_000);
  for (let index = 0; index < at; index += 1) await chat.manager.getAgent(session(index));
  const { wall } = await timed(async () => {
    for (let round = 0; round < 500; round += 1) {
      for (let index = 0; index < at; index += 1) {
        await chat.manager.getAgent(session(index));
        lookups += 1;
      }
    }
  });
  await chat.close();
  return {
    agents: totalAgents,
    closed,
    bytesPerIdleAgent: (withAgents - withoutAgents) / closed,
    bytesPerSession: (withAgents - before) / closed,
    getAgentPerSecond: (lookups / wall) * 1000,
  };
}

/** The usual map of agents, one `createAgent` per user on a shared model. */
async function mapOfAgents(count) {
  const model = new InstantModel();
  const agents = new Map();
  const saver = new MemorySaver();
  const before = await heapUsed();
  for (let index = 0; index < count; index += 1) {
    agents.set(`session-${index}`, createAgent({ model, tools: [], checkpointer: saver }));
  }
  const after = await heapUsed();
  return { agents: agents.size, bytesPerAgent: (after - before) / count };
}

export async function run({ quick = false, progress = () => {} } = {}) {
  await ours(200); // the compiler's warm-up
  const own = [];
  for (const count of quick ? [1_000, 5_000] : [1_000, 10_000, 100_000]) {
    progress(`${count} sessions`);
    own.push(await ours(count));
  }
  progress("a map of createAgent");
  const map = await mapOfAgents(quick ? 500 : 2_000);
  return { own, map };
}

export function report({ own, map }) {
  return `One turn in each session, then the agents are closed and the conversations kept; against a \`Map\` of \`createAgent\` per
session on one shared model. A session has its agent, a conversation of one turn, its places in ledger and directory.

${table(
  ["", "agents", "bytes of an idle agent", "bytes of a session", "`getAgent` of a live session, a second"],
  [
    ...own.map((row) => [
      "agent-sessions",
      whole(row.closed),
      whole(row.bytesPerIdleAgent),
      whole(row.bytesPerSession),
      whole(row.getAgentPerSecond),
    ]),
    ["a map of `createAgent`", whole(map.agents), whole(map.bytesPerAgent), "", ""],
  ],
)}`;
}

/** What does a turn through `chat()` cost over the same compiled graph's own `stream()`? */
import { MemorySaver } from "@langchain/langgraph";
import { ChatService, memoryStore, RUN_KEY } from "agent-sessions";
import { createAgent } from "langchain";
import { alternate, median, medianRatioInterval, timed } from "./support/measure.mjs";
import { history, InstantModel } from "./support/model.mjs";

const BATCH = 20;
const FEW_MODES = ["updates", "custom"];
const ALL_MODES = ["messages", "updates", "tools", "custom"];

async function drain(stream) {
  const iterator = stream[Symbol.asyncIterator]();
  while (!(await iterator.next()).done);
}

function bare(modes, tokens) {
  const { graph } = createAgent({
    model: new InstantModel(tokens),
    tools: [],
    checkpointer: new MemorySaver(),
  });
  let threads = 0;
  return {
    open: async (messages) => {
      const config = { configurable: { thread_id: `thread-${threads++}` } };
      await graph.updateState(config, { messages });
      return config;
    },
    turn: async (config, text) => {
      await drain(
        await graph.stream({ messages: [{ role: "user", content: text }] }, { ...config, streamMode: modes }),
      );
    },
  };
}

async function ours(tokens) {
  const store = memoryStore({ maxSessions: 1_000_000, liveBytes: 1_000_000_000, maxBytes: 4_000_000_000 });
  const chat = await ChatService.create({
    model: new InstantModel(tokens),
    tools: [],
    maxAgents: 10_000,
    store,
  });
  const { graph: seeder } = createAgent({
    model: new InstantModel(tokens),
    tools: [],
    checkpointer: store.checkpointer,
  });
  let sessions = 0;
  return {
    close: () => chat.close(),
    open: async (messages) => {
      const session = { sessionId: `session-${sessions++}` };
      await chat.withAgent(session, async (_agent, { lease, turnId }) => {
        const configurable = { thread_id: lease.threadId, [RUN_KEY]: { lease, turnId } };
        await seeder.updateState({ configurable }, { messages });
      });
      return session;
    },
    turn: async (session, text) => {
      await drain(chat.chat({ ...session, message: text }));
    },
  };
}

/** One batch: `BATCH` fresh conversations with `messages` of history, one measured turn in each. */
function batches(contestant, messages) {
  const seed = history(messages);
  return async () => {
    const opened = [];
    for (let index = 0; index < BATCH; index += 1) opened.push(await contestant.open(seed));
    await new Promise((resolve) => setImmediate(resolve));
    const { cpu, wall } = await timed(async () => {
      for (const one of opened) await contestant.turn(one, "hello");
    });
    return { cpu: cpu / BATCH, wall: wall / BATCH };
  };
}

export async function run({ quick = false, progress = () => {} } = {}) {
  const rounds = quick ? 10 : 100;
  const rows = [];
  for (const [messages, tokens] of [
    [2, 1],
    [2, 50],
    [200, 1],
    [1000, 1],
  ]) {
    progress(`turn-overhead: ${messages} messages, ${tokens} tokens`);
    const service = await ours(tokens);
    const contestants = [
      batches(service, messages),
      batches(bare(FEW_MODES, tokens), messages),
      batches(bare(ALL_MODES, tokens), messages),
    ];
    const count = messages > 200 ? Math.ceil(rounds / 5) : rounds;
    await alternate(Math.ceil(count / 4), contestants); // the compiler's warm-up
    const [own, few, all] = await alternate(count, contestants);
    await service.close();
    const cpu = (samples) => median(samples.map((sample) => sample.cpu));
    const added = (others) => median(own.map((sample, index) => sample.cpu - others[index].cpu));
    const wall = (others) =>
      medianRatioInterval(own.map((sample, index) => [sample.wall, others[index].wall]));
    rows.push({
      messages,
      tokens,
      turns: count * BATCH,
      ownCpuMs: cpu(own),
      fewModesCpuMs: cpu(few),
      allModesCpuMs: cpu(all),
      addedCpuOverFewModesMs: added(few),
      addedCpuOverAllModesMs: added(all),
      wallToFewModes: wall(few),
      wallToAllModes: wall(all),
    });
  }
  return rows;
}

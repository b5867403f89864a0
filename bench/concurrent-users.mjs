/** What do N users need who are all answered in the same second, at a model's pace of 50 tokens of 20 ms? */
import { ChatService } from "agent-sessions";
import { heapUsed, percentile, timed } from "./support/measure.mjs";
import { InstantModel } from "./support/model.mjs";

const TOKENS = 50;
const MS_PER_TOKEN = 20;

async function users(count, turns) {
  const before = await heapUsed();
  const chat = await ChatService.create({
    model: new InstantModel(TOKENS, MS_PER_TOKEN),
    tools: [],
    maxAgents: count,
  });
  const firsts = [];
  let peak = 0;
  const watch = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().heapUsed);
  }, 50);
  const one = async (index) => {
    // People do not press the key in the same millisecond.
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 1000));
    for (let turn = 0; turn < turns; turn += 1) {
      const from = performance.now();
      const run = chat.chat({ sessionId: "main", userId: `user-${index}`, message: "hello" });
      const text = run.textStream[Symbol.asyncIterator]();
      await text.next();
      const first = performance.now() - from;
      while (!(await text.next()).done);
      if (turn > 0) firsts.push(first);
    }
  };
  const { cpu, wall } = await timed(() =>
    Promise.all(Array.from({ length: count }, (_, index) => one(index))),
  );
  clearInterval(watch);
  await chat.close();
  return {
    users: count,
    tokensPerSecond: (count * turns * TOKENS * 1000) / wall,
    coreShare: cpu / wall,
    firstP50: percentile(firsts, 0.5) - MS_PER_TOKEN,
    firstP99: percentile(firsts, 0.99) - MS_PER_TOKEN,
    heapPeakMb: (peak - before) / 1e6,
  };
}

export async function run({ quick = false, progress = () => {} } = {}) {
  const rows = [];
  await users(50, 2); // the compiler's warm-up
  for (const count of quick ? [100] : [100, 300, 1000]) {
    progress(`concurrent-users: ${count}`);
    rows.push(await users(count, 5));
  }
  return rows;
}

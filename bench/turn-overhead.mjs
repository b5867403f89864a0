/** What does a turn through `chat()` cost over the same compiled graph's own `stream()`? */
import { alternate, median, medianRatioInterval, timed } from "./support/measure.mjs";
import { history } from "./support/model.mjs";
import { ALL_MODES, bare, FEW_MODES, ours } from "./support/turns.mjs";
import { lineChart } from "./support/chart.mjs";
import { ms, ratio, table } from "./support/format.mjs";

export const title = "What does a turn cost over LangGraph itself?";
export const minutes = 6;

const BATCH = 20;

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
    progress(`${messages} messages, ${tokens} tokens`);
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

export function report(rows) {
  return `\`chat()\` read to its end, against the same agent's own \`graph.stream()\` on LangGraph's MemorySaver, one turn on a
conversation of that many messages of 200 characters. "All modes": \`messages\`, \`updates\`, \`tools\`, \`custom\`, which is what it
takes to get the same events; "few modes": \`updates\`, \`custom\`, which give no tokens.

${table(
  [
    "messages",
    "tokens",
    "turns",
    "ours, CPU ms",
    "all modes, CPU ms",
    "few modes, CPU ms",
    "wall, ours to all modes",
    "to few modes",
  ],
  rows.map((row) => [
    row.messages,
    row.tokens,
    row.turns,
    ms(row.ownCpuMs),
    ms(row.allModesCpuMs),
    ms(row.fewModesCpuMs),
    ratio(row.wallToAllModes),
    ratio(row.wallToFewModes),
  ]),
)}`;
}

export function charts(rows) {
  const points = (key) => rows.filter(({ tokens }) => tokens === 1).map((row) => [row.messages, row[key]]);
  return [
    lineChart({
      name: "turn-overhead",
      title: "One turn of one token: CPU against the length of the conversation",
      x: { label: "messages in the conversation", log: true },
      y: { label: "CPU, ms", log: true },
      series: [
        { name: "agent-sessions", points: points("ownCpuMs") },
        { name: "LangGraph, all modes", points: points("allModesCpuMs") },
        { name: "LangGraph, updates only", points: points("fewModesCpuMs") },
      ],
    }),
  ];
}

/** What does one more token cost, in the run and on its way to a client? */
import { TextEncoder } from "node:util";
import { UiChunkMapper } from "agent-sessions/http";
import { barChart } from "./support/chart.mjs";
import { figure, ratio, spread, table } from "./support/format.mjs";
import { alternate, medianRatioInterval, quartiles, timed } from "./support/measure.mjs";
import { ALL_MODES, bare, FEW_MODES, ours } from "./support/turns.mjs";

export const title = "What does a token cost?";
export const minutes = 3;

const BATCH = 10;
const FEW = 1;
const MANY = 401;
const FRAMES = 20_000;

/** Microseconds of CPU that each token beyond the first adds to a turn. */
async function perToken(make) {
  const [few, many] = [await make(FEW), await make(MANY)];
  const turns = (contestant) => async () => {
    const opened = [];
    for (let index = 0; index < BATCH; index += 1) opened.push(await contestant.open([]));
    const { cpu } = await timed(async () => {
      for (const one of opened) await contestant.turn(one, "hello");
    });
    return cpu;
  };
  const [short, long] = [turns(few), turns(many)];
  return {
    sample: async () => {
      const without = await short();
      return (((await long()) - without) * 1000) / (BATCH * (MANY - FEW));
    },
    close: async () => {
      await few.close?.();
      await many.close?.();
    },
  };
}

/** Events of a run as a reader gets them, to the bytes of the AI SDK's stream: the mapping and framing alone. */
async function framing() {
  const events = Array.from({ length: FRAMES }, (_, index) => ({
    type: "text-delta",
    id: "message-1",
    delta: `tok${index % 50} `,
    seq: index + 3,
  }));
  const mapper = new UiChunkMapper();
  mapper.map({ type: "run-started", runId: "run-1", attempt: 1, seq: 1 });
  mapper.map({ type: "text-start", id: "message-1", seq: 2 });
  const encoder = new TextEncoder();
  let bytes = 0;
  const { cpu } = await timed(() => {
    for (const event of events) {
      for (const chunk of mapper.map(event)) {
        bytes += encoder.encode(`data: ${JSON.stringify(chunk)}\n\n`).length;
      }
    }
  });
  if (bytes < FRAMES * 20) throw new Error(`Expected ${FRAMES} frames, got ${bytes} bytes`);
  return (cpu * 1000) / FRAMES;
}

export async function run({ quick = false, progress = () => {} } = {}) {
  const rounds = quick ? 6 : 40;
  const contestants = [
    await perToken(ours),
    await perToken((tokens) => bare(ALL_MODES, tokens)),
    await perToken((tokens) => bare(FEW_MODES, tokens)),
  ];
  const samplers = [...contestants.map(({ sample }) => sample), framing];
  progress("warming up");
  await alternate(Math.ceil(rounds / 3), samplers);
  progress(`${rounds} rounds of ${BATCH} turns of ${MANY} tokens`);
  const [own, all, few, frames] = await alternate(rounds, samplers);
  for (const { close } of contestants) await close();
  const toOwn = (samples) => medianRatioInterval(own.map((value, index) => [value, samples[index]]));
  return {
    turns: rounds * BATCH,
    tokens: MANY,
    frames: quartiles(frames),
    rows: [
      { name: "agent-sessions", ...quartiles(own) },
      { name: "createAgent, four modes", ...quartiles(all), ratio: toOwn(all) },
      { name: "createAgent, updates and custom", ...quartiles(few), ratio: toOwn(few) },
    ],
  };
}

export function report({ turns, tokens, rows, frames }) {
  return `CPU of a turn of ${tokens} tokens less that of a turn of one, for each token between, read by one reader in the same process;
${turns} turns each. The modes are those of the turns above; "updates and custom" gives no tokens at all. Mapping an event to
the AI SDK's stream and its frame to bytes is a cost of each client: ${figure(frames.median)} µs (${figure(frames.low)} to ${figure(frames.high)}).

${table(
  ["", "µs a token (quartiles)", "ours to it"],
  rows.map(({ name, ratio: toOwn, ...took }) => [
    name,
    spread(took),
    toOwn === undefined ? "" : ratio(toOwn),
  ]),
)}`;
}

export function charts({ rows, frames }) {
  const bars = [...rows, { name: "mapping and framing, AI SDK", ...frames }];
  return [
    barChart({
      name: "token-cost",
      title: "CPU of one token",
      unit: "µs",
      groups: bars.map(({ name, median: value }) => ({ label: name, values: [value] })),
    }),
  ];
}

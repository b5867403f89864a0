/** How late are tokens when hundreds of answers are written at once, at a model's pace? */
import { lineChart } from "./support/chart.mjs";
import { Member } from "./support/cluster.mjs";
import { figure, ratio, table, whole } from "./support/format.mjs";
import { median, medianRatioInterval } from "./support/measure.mjs";

export const title = "How late are the tokens of many answers at once?";
export const minutes = 6;

const MS_PER_TOKEN = 100;
const NAMES = { ours: "agent-sessions", bare: "LangGraph `stream`, messages", model: "the models alone" };

const paced = (kind, streams, windowMs) =>
  Member.ask("paced", { kind, streams, msPerToken: MS_PER_TOKEN, settleMs: 2_000, windowMs });

/** As many streams as are written on time: the 99th of 100 tokens is there before the next one is due. */
const keepsUp = ({ lateP99 }) => lateP99 < MS_PER_TOKEN;

function middle(samples) {
  const keys = Object.keys(samples[0]).filter((key) => typeof samples[0][key] === "number");
  return Object.fromEntries(keys.map((key) => [key, median(samples.map((sample) => sample[key]))]));
}

export async function run({ quick = false, progress = () => {} } = {}) {
  const windowMs = quick ? 3_000 : 8_000;
  const rows = [];
  for (const streams of quick ? [300] : [300, 600]) {
    const kinds = ["ours", "bare", "model"];
    const samples = Object.fromEntries(kinds.map((kind) => [kind, []]));
    for (let round = 1; round <= (quick ? 3 : 5); round += 1) {
      for (const kind of kinds) {
        progress(`${streams} streams, round ${round}, ${kind}`);
        samples[kind].push(await paced(kind, streams, windowMs));
      }
    }
    const toBare = medianRatioInterval(
      samples.ours.map(({ addedP99 }, index) => [addedP99, samples.bare[index].addedP99]),
    );
    for (const kind of kinds) {
      rows.push({ kind, ...middle(samples[kind]), ...(kind === "ours" ? { toBare } : {}) });
    }
  }
  const saturation = {};
  for (const kind of ["ours", "bare"]) {
    let [most, least, step] = [0, undefined, 1_200];
    // Twice as many until they are late, then between the two.
    while (least === undefined || least - most > (quick ? 600 : 150)) {
      const streams = least === undefined ? step : (most + least) / 2;
      progress(`saturation of ${kind}: ${streams} streams`);
      const sample = await paced(kind, streams, windowMs);
      rows.push({ kind, ...sample });
      if (keepsUp(sample)) most = streams;
      else least = streams;
      step *= 2;
    }
    saturation[kind] = { most, least };
  }
  return { rows, saturation };
}

export function report({ rows, saturation }) {
  const { ours, bare } = saturation;
  return `So many answers at once in one process, each a token every ${MS_PER_TOKEN} ms, read in the same process; a window of some seconds in
which none begins or ends. "Added" is from the moment when the model wrote a token until its reader had it; "late" is from the
moment when it was due, so that it tells when a process no longer keeps up. Ours hands on together what was written in one turn
of the event loop, which spares CPU: of tokens that are due at once the first wait for the last, as "added" says, while the
bare graph makes the last wait for the first to be dealt with, before they are written, as "late" says. CPU is with the models' own, which
the last lines show alone. Rows of 300 and 600 are medians of five processes, the others, which look for the end, of one.

${table(
  [
    "",
    "streams",
    "added ms, p50",
    "p99",
    "p99 to bare",
    "late ms, p99",
    "share of a core",
    "CPU a token, µs",
  ],
  [...rows]
    .sort(
      (a, b) =>
        Object.keys(NAMES).indexOf(a.kind) - Object.keys(NAMES).indexOf(b.kind) || a.streams - b.streams,
    )
    .map((row) => [
      NAMES[row.kind],
      whole(row.streams),
      figure(row.addedP50),
      figure(row.addedP99),
      row.toBare === undefined ? "" : ratio(row.toBare),
      figure(row.lateP99),
      row.cpuShare.toFixed(2),
      whole(row.cpuPerToken),
    ]),
)}

On time (99 of 100 tokens there before the next one is due): ours up to ${whole(ours.most)} streams, late at ${whole(ours.least)}; bare
LangGraph up to ${whole(bare.most)}, late at ${whole(bare.least)}.`;
}

export function charts({ rows }) {
  const points = (kind) =>
    rows
      .filter((row) => row.kind === kind)
      .sort((a, b) => a.streams - b.streams)
      .map(({ streams, lateP99 }) => [streams, lateP99]);
  return [
    lineChart({
      name: "paced-streams",
      title: "99 of 100 tokens are there within, by streams at 10 tokens a second each",
      x: { label: "streams in one process" },
      y: { label: "ms after they were due", log: true },
      series: ["ours", "bare"].map((kind) => ({
        name: NAMES[kind].replaceAll("`", ""),
        points: points(kind),
      })),
    }),
  ];
}

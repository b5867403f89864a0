/** One user sends 500 messages at once: what do the others feel? */
import { barChart } from "./support/chart.mjs";
import { Member } from "./support/cluster.mjs";
import { figure, table, whole } from "./support/format.mjs";
import { percentile } from "./support/measure.mjs";
import { sleep } from "./support/stamping-model.mjs";

export const title = "What do others feel of a user who floods?";
export const minutes = 4;

const TOKENS = 10;
const USERS = 20;
const EVERY_MS = 400;
const MESSAGES = 500;
const SESSIONS = 100;
const LIMIT = 8;
const PACES = [20, 0];
const CONTESTANTS = [
  { name: "agent-sessions, default: no limit per user", kind: "ours" },
  {
    name: `agent-sessions, \`maxConcurrentRunsPerUser: ${LIMIT}\``,
    kind: "ours",
    maxConcurrentRunsPerUser: LIMIT,
  },
  { name: "hand-written Express route", kind: "hand-written" },
];

/** Others ask all the time; the floods come in between. */
async function flooded(contestant, msPerToken, floods, quietMs) {
  const server = await Member.start({ ...contestant, tokens: TOKENS, msPerToken }, "fair-server");
  const { port } = await server.heard("port");
  const [others, flooder] = await Promise.all([
    Member.start({ port, tokens: TOKENS }, "fair-clients"),
    Member.start({ port, tokens: TOKENS }, "fair-clients"),
  ]);
  const spans = [];
  flooder.tell("flood", { messages: 200, sessions: SESSIONS }); // the compiler's warm-up
  await flooder.heard("flooded");
  others.tell("ask", { users: USERS, everyMs: EVERY_MS });
  await sleep(1_000);
  for (let flood = 1; flood <= floods; flood += 1) {
    await sleep(quietMs);
    flooder.tell("flood", { messages: MESSAGES, sessions: SESSIONS });
    spans.push(await flooder.heard("flooded", flood + 1));
    await sleep(1_000);
  }
  others.tell("stop");
  const { samples } = await others.heard("samples");
  await Promise.all([server, others, flooder].map((member) => member.kill()));
  // Turns that a flood began in the middle of belong to neither.
  const quiet = samples.filter(({ at, took }) =>
    spans.some(({ from }) => at >= from - quietMs && at + took <= from),
  );
  const during = samples.filter(({ at }) => spans.some(({ from, to }) => at >= from && at < to));
  const times = (of) => of.map(({ took }) => took);
  return { quiet: times(quiet), during: times(during), floodMs: spans.map(({ from, to }) => to - from) };
}

export async function run({ quick = false, progress = () => {} } = {}) {
  const rows = [];
  for (const msPerToken of PACES) {
    const taken = CONTESTANTS.map(() => ({ quiet: [], during: [], floodMs: [] }));
    for (let round = 1; round <= (quick ? 1 : 3); round += 1) {
      for (const [index, contestant] of CONTESTANTS.entries()) {
        progress(`${msPerToken} ms per token, round ${round}, ${contestant.name}`);
        const sample = await flooded(contestant, msPerToken, quick ? 1 : 2, 3_000);
        for (const key of Object.keys(sample)) taken[index][key].push(...sample[key]);
      }
    }
    for (const [index, { name }] of CONTESTANTS.entries()) {
      const { quiet, during, floodMs } = taken[index];
      const [quietP99, floodedP99] = [quiet, during].map((times) => percentile(times, 0.99));
      rows.push({
        name,
        msPerToken,
        turns: during.length,
        quietP50: percentile(quiet, 0.5),
        floodedP50: percentile(during, 0.5),
        quietP99,
        floodedP99,
        ratio: floodedP99 / quietP99,
        floodMs: percentile(floodMs, 0.5),
      });
    }
  }
  return rows;
}

export function report(rows) {
  return `${USERS} users ask over HTTP all the time, each on a connection that is kept, a turn of ${TOKENS} tokens every ${EVERY_MS} ms or so, and one more sends ${MESSAGES} messages at once, in
${SESSIONS} sessions of his and on new connections. The others' turns while the flood is being answered, beside those of the seconds before it; no
turn of theirs has anything to do with the flooder's sessions. With the model that answers at once a turn is nothing but CPU.

${table(
  [
    "server",
    "ms per token",
    "others' p50 ms before",
    "flooded",
    "p99 ms before",
    "flooded",
    "p99, flooded to before",
    "the flood took, s",
  ],
  rows.map((row) => [
    row.name,
    row.msPerToken,
    figure(row.quietP50),
    figure(row.floodedP50),
    figure(row.quietP99),
    figure(row.floodedP99),
    row.ratio.toFixed(2),
    (row.floodMs / 1000).toFixed(1),
  ]),
)}

Each row is of ${whole(Math.min(...rows.map(({ turns }) => turns)))} flooded turns or more.`;
}

export function charts(rows) {
  return [
    barChart({
      name: "fairness",
      title: "p99 of the others' turns while one user floods",
      unit: "ms",
      series: ["before", "flooded"],
      groups: rows.map(({ name, msPerToken, quietP99, floodedP99 }) => ({
        label: `${name.replaceAll("`", "")}, ${msPerToken} ms/token`,
        values: [quietP99, floodedP99],
      })),
    }),
  ];
}

/** What do more processes on one engine bring, and what does a turn cost then? */
import { barChart } from "./support/chart.mjs";
import { Member } from "./support/cluster.mjs";
import * as engines from "./support/engines.mjs";
import { figure, table, whole } from "./support/format.mjs";
import { median, percentile } from "./support/measure.mjs";

export const title = "What do more processes bring?";
export const minutes = 8;

const CLIENTS = 16;
const TOKENS = 20;
/** Processes that share nothing but the machine: what they cost each other there is none of an engine's. */
const NO_ENGINE = { name: "none, in memory" };

async function measured(engine, processes, { warmUpTurns, windowMs }) {
  const options = { url: engine.url, clients: CLIENTS, tokens: TOKENS, warmUpTurns, windowMs };
  const members = await Promise.all(
    Array.from({ length: processes }, (_, index) => Member.start({ ...options, name: `p${index}` }, "scale")),
  );
  await Promise.all(members.map((member) => member.heard("warm")));
  for (const member of members) member.tell("go");
  await Promise.all(members.map((member) => member.heard("from")));
  const cpuMs = () => (engine === NO_ENGINE ? 0 : engines.cpuMsOf(engine));
  const before = cpuMs();
  const counted = await Promise.all(members.map((member) => member.heard("counted")));
  const engineMs = cpuMs() - before;
  await Promise.all(members.map((member) => member.kill()));
  const sum = (key) => counted.reduce((total, one) => total + one[key], 0);
  const turns = sum("turns");
  return {
    turnsPerSecond: counted.reduce((total, one) => total + one.turns / one.seconds, 0),
    appMsPerTurn: sum("cpuMs") / turns,
    commandsPerTurn: sum("commands") / turns,
    engineMsPerTurn: engineMs / turns,
    appCores: sum("cpuMs") / 1000 / counted[0].seconds,
    engineCores: engineMs / 1000 / counted[0].seconds,
    p50: percentile(
      counted.flatMap(({ took }) => took),
      0.5,
    ),
  };
}

export async function run({ quick = false, progress = () => {} } = {}) {
  const times = quick ? { warmUpTurns: 300, windowMs: 4_000 } : { warmUpTurns: 800, windowMs: 8_000 };
  const rows = [];
  for (const start of [() => NO_ENGINE, engines.startRedis, engines.startPostgres]) {
    const samples = new Map([1, 2, 4].map((processes) => [processes, []]));
    let name;
    for (let round = 1; round <= (quick ? 1 : 3); round += 1) {
      for (const [processes, taken] of samples) {
        // A fresh engine each time, so that nobody works on what others left.
        const engine = await start();
        name = engine.name;
        progress(`${name}, ${processes} processes, round ${round}`);
        taken.push(await measured(engine, processes, times));
      }
    }
    for (const [processes, taken] of samples) {
      const middle = (key) => median(taken.map((sample) => sample[key]));
      rows.push({
        name,
        processes,
        ...Object.fromEntries(Object.keys(taken[0]).map((key) => [key, middle(key)])),
      });
    }
  }
  return { clients: CLIENTS, tokens: TOKENS, rows };
}

/** The arithmetic of what one engine can carry, on a core of its own for each process. */
function onPaper(rows, name) {
  const of = rows.filter((row) => row.name === name);
  const { appMsPerTurn: app, engineMsPerTurn: engine } = of.find(({ processes }) => processes === 2);
  const perCore = 1000 / app;
  const cores = name === "Redis" ? "its one core" : "each of its cores";
  return `- **${name}**: a turn takes ${figure(app)} ms of an app's CPU and ${figure(engine)} ms of the engine's (two processes). A core of app gives
  1000 / ${figure(app)} = ${figure(perCore)} turns/s; ${cores} carries 1000 / ${figure(engine)} = ${figure(1000 / engine)} turns/s, which is ${figure(app / engine)} app cores.`;
}

export function report({ clients, tokens, rows }) {
  const names = [...new Set(rows.map(({ name }) => name))];
  const alone = names.includes(NO_ENGINE.name)
    ? " The first rows share nothing else: by so much the CPU of a turn grows where processes only have caches and cores in common."
    : "";
  return `Processes on one engine, each with ${clients} clients that ask turn after turn in sessions of their own, ${tokens} tokens at once: turns
of a window of seconds, medians of rounds on fresh engines. Processes and engine share the cores of this machine: where the
columns of cores add up to all that it has, turns/s cannot grow, and CPU and commands per turn tell what more machines would
bring.${alone} Commands are what the clients of the engine send: statements of Postgres, commands of Redis (a script is one).

${table(
  [
    "engine",
    "processes",
    "turns/s",
    "p50 ms",
    "app CPU a turn, ms",
    "to one",
    "commands a turn",
    "to one",
    "engine CPU a turn, ms",
    "app cores busy",
    "engine cores busy",
  ],
  rows.map((row) => {
    const one = rows.find(({ name, processes }) => name === row.name && processes === 1);
    return [
      row.name,
      row.processes,
      whole(row.turnsPerSecond),
      figure(row.p50),
      figure(row.appMsPerTurn),
      (row.appMsPerTurn / one.appMsPerTurn).toFixed(2),
      ...(row.commandsPerTurn === 0
        ? ["", "", ""]
        : [
            row.commandsPerTurn.toFixed(1),
            (row.commandsPerTurn / one.commandsPerTurn).toFixed(2),
            figure(row.engineMsPerTurn),
          ]),
      row.appCores.toFixed(2),
      row.engineCores.toFixed(2),
    ];
  }),
)}

On paper, with a core for each process and the engine on a machine of its own:

${names
  .filter((name) => name !== NO_ENGINE.name)
  .map((name) => onPaper(rows, name))
  .join("\n")}

That leaves out the network, and supposes that a turn costs the engine the same however many processes there are, which
holds as far as the rows above do.`;
}

export function charts({ rows }) {
  return [
    barChart({
      name: "scale-out",
      title: "CPU of a turn, by processes on one engine",
      unit: "ms of CPU a turn",
      series: ["app", "engine"],
      groups: rows.map(({ name, processes, appMsPerTurn, engineMsPerTurn }) => ({
        label: `${name}, ${processes}`,
        values: [appMsPerTurn, engineMsPerTurn],
      })),
    }),
  ];
}

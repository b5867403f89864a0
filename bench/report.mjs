/** Writes README.md from results.json: the tables hold what was measured, and nothing is typed by hand. */
import { readFileSync, writeFileSync } from "node:fs";

const at = (name) => new URL(name, import.meta.url);
const results = JSON.parse(readFileSync(at("results.json"), "utf8"));

/** When, with what and how the table under it was made. */
function made(question, env = "") {
  const { environment, note } = results[question];
  return `_\`${env}npm run bench -- ${question}\`, ${environment.date}: Node ${environment.node}, @langchain/langgraph ${environment.langgraph}, langchain ${environment.langchain}, @langchain/core ${environment.core}; ${environment.cpu}${note === undefined ? "" : `; ${note}`}_`;
}

const ms = (value) => value.toFixed(2);
const ratio = ({ median, low, high }) => `${median.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
const whole = (value) => Math.round(value).toLocaleString("en-US");

function table(head, rows) {
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

const turns = results["turn-overhead"].result;
const { own, map } = results["idle-agents"].result;
const imports = results["import-time"].result;

writeFileSync(
  at("README.md"),
  `# Benchmarks

\`npm run bench\` makes all of this anew; \`npm run bench -- --quick\` takes a look, \`npm run bench -- turn-overhead\` asks one
question. Each question runs in a process of its own; contestants take turns, A B A B …, so that drift of the machine's
speed hits all alike; medians are shown, and ratios with a 95 % interval. Absolute times depend on the machine: compare
within a table only. The model answers at once, so that what is measured is everything but the model.

## What does a turn cost over LangGraph itself?

\`chat()\` read to its end, against the same agent's own \`graph.stream()\` on LangGraph's MemorySaver, one turn on a
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
    "added CPU ms over all modes",
    "over few modes",
    "wall, ours to all modes",
    "to few modes",
  ],
  turns.map((row) => [
    row.messages,
    row.tokens,
    row.turns,
    ms(row.ownCpuMs),
    ms(row.allModesCpuMs),
    ms(row.fewModesCpuMs),
    ms(row.addedCpuOverAllModesMs),
    ms(row.addedCpuOverFewModesMs),
    ratio(row.wallToAllModes),
    ratio(row.wallToFewModes),
  ]),
)}

${made("turn-overhead")}

## What does an idle agent cost?

One turn in each of ${whole(own.agents)} sessions, then the agents are closed and the conversations kept; against a \`Map\` of
\`createAgent\` per session on one shared model.

${table(
  ["", "agents", "bytes each"],
  [
    ["idle agent of the LangGraph factory", whole(own.closed), whole(own.bytesPerIdleAgent)],
    [
      "whole session: agent, conversation of one turn, ledger, directory",
      whole(own.closed),
      whole(own.bytesPerSession),
    ],
    ["a map of `createAgent`", whole(map.agents), whole(map.bytesPerAgent)],
  ],
)}

\`getAgent\` of a live session: ${whole(own.getAgentPerSecond)} a second.

${made("idle-agents")}

## What do concurrent users need?

So many users at once in one process, each answered five times with 50 tokens, one every 20 ms, as real models write. The
time to the first token is what is added to the model's own 20 ms.

${table(
  [
    "users at once",
    "tokens/s",
    "share of one core",
    "first token p50, added ms",
    "p99, added ms",
    "peak of heap, MB",
  ],
  results["concurrent-users"].result.map((row) => [
    row.users,
    whole(row.tokensPerSecond),
    row.coreShare.toFixed(2),
    whole(row.firstP50),
    whole(row.firstP99),
    whole(row.heapPeakMb),
  ]),
)}

${made("concurrent-users")}

## How does it do over HTTP?

200 sessions x 5 turns of 50 tokens, 32 at once, each turn on a connection of its own; every server in a fresh process,
"cold" its first thousand turns and "warm" its second; medians of three rounds. The hand-written route is one shared
\`createAgent\` on a MemorySaver behind Express; LangGraph's two servers are of @langchain/langgraph-api 1.5.1. Nobody
but agent-sessions knows of users here, or keeps two messages of one session apart.

${table(
  [
    "server",
    "ms per token",
    "cold: turns/s",
    "p50 ms",
    "p99 ms",
    "first token p50",
    "warm: turns/s",
    "p50 ms",
    "p99 ms",
    "first token p50",
  ],
  results.http.result.map(({ name, msPerToken, cold, warm }) => [
    name,
    msPerToken,
    ...[cold, warm].flatMap((part) => [
      whole(part.turnsPerSecond),
      whole(part.p50),
      whole(part.p99),
      whole(part.firstP50),
    ]),
  ]),
)}

${made("http", results.http.result.every(({ msPerToken }) => msPerToken === 0) ? "BENCH_PACES=0 " : "")}

## How long does the import take?

${table(
  ["module", "ms, median of fresh processes"],
  Object.entries(imports).map(([name, value]) => [`\`${name}\``, ms(value)]),
)}

${made("import-time")}
`,
);

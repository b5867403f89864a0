/**
 * What the tables are held to: each goal with what was measured, and, where it is not reached, what stands in the way.
 * All is read from results.json, so that a goal can be lost as well as reached.
 */
import { figure, table } from "./support/format.mjs";

const OURS = "agent-sessions, Express";
const ROUTE = "hand-written Express route";
const atMost = (wanted, value, unit = "") => ({
  wanted: `at most ${wanted}${unit}`,
  measured: `${figure(value)}${unit}`,
  isReached: value <= wanted,
});
const atLeast = (wanted, value, unit = "") => ({
  wanted: `at least ${wanted}${unit}`,
  measured: `${figure(value)}${unit}`,
  isReached: value >= wanted,
});

const FLOOR = "LangGraph's own work: [the profile](notes/profile.md)";

/** By question: what is wanted of its result. */
const GOALS = {
  "turn-overhead": (rows) => {
    const at = (messages, tokens) =>
      rows.find((row) => row.messages === messages && row.tokens === tokens).wallToAllModes.median;
    return [
      ["a turn of one token to bare LangGraph, 2 messages", atMost(0.9, at(2, 1)), FLOOR],
      ["a turn of 50 tokens to bare LangGraph, 2 messages", atMost(0.9, at(2, 50)), FLOOR],
      ["a turn of one token to bare LangGraph, 200 messages", atMost(0.2, at(200, 1)), FLOOR],
      ["a turn of one token to bare LangGraph, 1,000 messages", atMost(0.05, at(1000, 1)), FLOOR],
    ];
  },
  "token-cost": ({ rows, frames }) => [
    [
      "CPU of a token to `createAgent` in four modes",
      atMost(0.6, rows[1].ratio?.median ?? rows[0].median / rows[1].median),
    ],
    ["mapping and frame of a token", atMost(4, frames.median, " µs")],
  ],
  history: ({ rows }) => {
    const to2 = (name, size) => rows.find((row) => row.name === name).to2[size].median;
    return [
      [
        "a turn at 1,000 messages to that at 2, in memory, live",
        atMost(1.25, to2("agent-sessions, memory", 1000)),
      ],
      [
        "a turn at 1,000 messages to that at 2, in memory, loaded cold",
        atMost(4, to2("agent-sessions, memory, loaded cold", 1000)),
      ],
      ["a turn at 160 messages to that at 2, Postgres", atMost(1.3, to2("agent-sessions, Postgres", 160))],
      ["a turn at 160 messages to that at 2, Redis", atMost(1.3, to2("agent-sessions, Redis", 160))],
    ];
  },
  "idle-agents": ({ own: [{ bytesPerIdleAgent }] }) => [
    ["an idle agent", atMost(500, bytesPerIdleAgent, " bytes")],
  ],
  memory: ({ characters, stored, conversations }) => [
    ["a stored turn of 400 characters", atMost(1.5 * characters + 1024, stored.bytesPerTurn, " bytes")],
    [
      "10,000 sessions of 20 turns, right after them",
      atMost(350, conversations.heap[20] / 1e6, " MB"),
      "the records and events of the last 20 runs of each, kept for ten minutes so that ids run once and readers can come back",
    ],
    ...(conversations.rested === undefined
      ? []
      : [["10,000 sessions of 20 turns, ten minutes later", atMost(350, conversations.rested / 1e6, " MB")]]),
  ],
  "paced-streams": ({ rows }) => [
    [
      "300 paced streams: p99 of what is added to a token, to bare LangGraph",
      atMost(2, rows.find(({ kind, toBare }) => kind === "ours" && toBare !== undefined).toBare.median),
      "tokens of one turn of the event loop are handed on together, which halves their CPU: the first wait for the last, and all are less late than bare LangGraph's",
    ],
  ],
  fairness: (rows) => {
    const [free, limited] = rows.filter(
      ({ name, msPerToken }) => msPerToken > 0 && name.startsWith("agent-sessions"),
    );
    return [
      [
        "others' p99 while a user floods, to that before, default",
        atMost(1.5, free.ratio),
        "without a limit per user all of the flood is at work at once, and one core is what they share",
      ],
      ["others' p99 while a user floods, `maxConcurrentRunsPerUser: 8`", atMost(1.5, limited.ratio)],
    ];
  },
  http: ({ rows }) => {
    const find = (name, phase, msPerToken = 0, kept = false) =>
      rows.find(
        (row) =>
          row.name === name &&
          row.phase === phase &&
          row.clients === 32 &&
          row.tokens === 50 &&
          row.msPerToken === msPerToken &&
          row.kept === kept,
      );
    const warm = find(OURS, "warm");
    const over = (name, key = "turnsPerSecond") => warm[key] / find(name, "warm")[key];
    const kept = find(OURS, "warm", 0, true);
    const keptRoute = find(ROUTE, "warm", 0, true);
    const paced = find(OURS, "warm", 5);
    const pacedRoute = find(ROUTE, "warm", 5);
    return [
      [
        "HTTP, 50 tokens at once, turns/s warm to the hand-written route",
        atLeast(1.5, warm.turnsRatio.median),
        FLOOR,
      ],
      [
        "HTTP, turns/s cold to the hand-written route",
        atLeast(1.3, find(OURS, "cold").turnsRatio.median),
        "more code to compile in the first turns",
      ],
      ["HTTP, turns/s warm to `createEmbedServer`", atLeast(3, over("createEmbedServer")), FLOOR],
      [
        "HTTP, turns/s warm to LangGraph's in-memory server",
        atLeast(6, over("LangGraph's in-memory server")),
        FLOOR,
      ],
      ["HTTP, turns/s warm to Mastra", atLeast(3, over("Mastra")), FLOOR],
      ["HTTP, turns/s warm to CopilotKit", atLeast(1, over("CopilotKit")), FLOOR],
      [
        "HTTP, turns/s warm to AI SDK's ToolLoopAgent",
        atLeast(1, over("AI SDK, Express route")),
        "it has no graph underneath",
      ],
      ["HTTP on kept connections, p50 to the route's", atMost(1, kept.p50 / keptRoute.p50), FLOOR],
      ["HTTP on kept connections, p99 to the route's", atMost(0.33, kept.p99 / keptRoute.p99), FLOOR],
      ["HTTP on kept connections, p99 to p50", atMost(2.5, kept.p99 / kept.p50)],
      ["HTTP, 5 ms a token, turns/s to the route", atLeast(1, paced.turnsRatio.median)],
      [
        "HTTP, 5 ms a token, first token (p50) to the route's",
        atMost(0.5, paced.firstP50 / pacedRoute.firstP50),
        "a start waits for four turns of the event loop, in which the tokens of answers at work come first",
      ],
    ];
  },
  "durable-savers": ({ rows }) =>
    ["Postgres", "Redis"].flatMap((name) => {
      const row = rows.find((one) => one.name === name);
      return [
        [`round trips of the saver a turn, ${name}`, atMost(5, row.tripsPerTurn)],
        [
          `a turn at 160 messages to the official PostgresSaver, ${name}`,
          atMost(0.35, row.toOfficial[160].median),
        ],
        [`kept after 40 turns, ${name}`, atMost(60, row.bytes / 1000, " KB")],
      ];
    }),
  "durable-turns": (rows) => {
    const added = (name) => rows.find((row) => row.name === name).addedMs;
    const why =
      "the service itself, as in memory, and two answers of the engine to wait for: one before the turn, one after";
    return [
      ["lease, ledger and event log a turn, Postgres", atMost(5, added("Postgres"), " ms"), why],
      ["lease, ledger and event log a turn, Redis", atMost(2, added("Redis"), " ms"), why],
    ];
  },
  "durable-follow": (rows) => {
    const most = (name) =>
      Math.max(...rows.filter((row) => row.name === name).map(({ addedP50 }) => addedP50));
    return [
      [
        "200 streams followed from another process, added at the median, Postgres",
        atMost(50, most("Postgres"), " ms"),
      ],
      [
        "200 streams followed from another process, added at the median, Redis",
        atMost(5, most("Redis"), " ms"),
      ],
    ];
  },
  "durable-takeover": (rows) =>
    rows.map(({ name, lastMs, leaseMs }) => [
      `200 runs of a killed process go on, ${name}`,
      atMost((leaseMs + 1000) / 1000, lastMs / 1000, " s"),
    ]),
  "durable-many-sessions": (rows) => [
    [
      "a million sessions to a thousand, the slowest step",
      atMost(1.5, Math.max(...rows.map(({ ratio }) => ratio.median))),
    ],
  ],
  "scale-out": ({ rows }) =>
    ["Postgres", "Redis"].flatMap((name) => {
      const [one, two] = [1, 2].map((processes) =>
        rows.find((row) => row.name === name && row.processes === processes),
      );
      const why = "in part the caches and cores of the machine, which the processes and the engine share";
      return [
        [
          `CPU of a turn, two processes to one, ${name}`,
          atMost(1.1, two.appMsPerTurn / one.appMsPerTurn),
          why,
        ],
        [
          `commands of a turn, two processes to one, ${name}`,
          atMost(1.1, two.commandsPerTurn / one.commandsPerTurn),
          "hints and claims for what the other process has taken",
        ],
      ];
    }),
};

/** The section of README.md. */
export function goals(results) {
  const rows = Object.entries(GOALS)
    .filter(([question]) => results[question] !== undefined)
    .flatMap(([question, goalsOf]) => goalsOf(results[question].result));
  const reached = rows.filter(([, { isReached }]) => isReached);
  const missed = rows.filter(([, { isReached }]) => !isReached);
  return `## What was aimed for

${reached.length} of ${rows.length} goals are reached. Those that are not:

${table(
  ["goal", "wanted", "measured", "what stands in the way"],
  missed.map(([what, { wanted, measured }, why = ""]) => [what, wanted, measured, why]),
)}

Reached:

${table(
  ["goal", "wanted", "measured"],
  reached.map(([what, { wanted, measured }]) => [what, wanted, measured]),
)}`;
}

/** Many clients over HTTP: 200 sessions x 5 turns of 50 tokens, 32 at once, each turn on a connection of its own. */
import { execFileSync, fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import http from "node:http";
import { fileURLToPath } from "node:url";
import { median, percentile } from "./support/measure.mjs";

const SESSIONS = 200;
const TURNS = 5;
const CLIENTS = 32;
const path = (name) => fileURLToPath(new URL(name, import.meta.url));

const langgraphRun = (session) => ({
  path: `/threads/${session}/runs/stream`,
  body: {
    assistant_id: "agent",
    input: { messages: [{ role: "user", content: "hello" }] },
    stream_mode: ["messages-tuple"],
    if_not_exists: "create",
  },
});
const ours = (session) => ({
  path: "/agent_backend/chat",
  headers: { "x-user": session },
  body: { session_id: session, message: "hello" },
});

const CONTESTANTS = {
  "agent-sessions, Express": { script: "servers/ours-express.mjs", request: ours },
  "agent-sessions, fetch handler": { script: "servers/ours-fetch.mjs", request: ours },
  "hand-written Express route": {
    script: "servers/hand-written.mjs",
    request: (session) => ({ path: "/chat", body: { session_id: session, message: "hello" } }),
  },
  createEmbedServer: { script: "peers/embed.mjs", request: langgraphRun },
  "LangGraph's in-memory server": { script: "peers/langgraph-server.mjs", request: langgraphRun },
};

function start({ script }, msPerToken) {
  return new Promise((resolve, reject) => {
    const child = fork(path(script), {
      env: { ...process.env, MS_PER_TOKEN: String(msPerToken), LOG_LEVEL: "error" },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    child.once("message", ({ port }) => resolve({ child, port }));
    child.once("exit", (code) => reject(new Error(`${script} ended with ${code}`)));
  });
}

/** One turn; milliseconds to the first token and to the end. */
function turn(port, { path: target, headers = {}, body }) {
  return new Promise((resolve, reject) => {
    const from = performance.now();
    let first;
    let text = "";
    const request = http.request(
      {
        host: "127.0.0.1",
        port,
        path: target,
        method: "POST",
        agent: false,
        headers: { "content-type": "application/json", accept: "text/event-stream", ...headers },
      },
      (response) => {
        response.setEncoding("utf8");
        response.on("data", (data) => {
          text += data;
          if (first === undefined && text.includes("tok0 ")) first = performance.now() - from;
        });
        response.on("end", () => {
          if (response.statusCode !== 200 || !text.includes("tok49 ")) {
            reject(new Error(`${target}: ${response.statusCode} ${text.slice(0, 300)}`));
          } else resolve({ first, total: performance.now() - from });
        });
        response.on("error", reject);
      },
    );
    request.on("error", reject);
    request.end(JSON.stringify(body));
  });
}

/** All turns of fresh sessions; a session's turns follow one another. */
async function load(port, { request }) {
  const sessions = Array.from({ length: SESSIONS }, () => ({ id: randomUUID(), last: Promise.resolve() }));
  const jobs = Array.from({ length: TURNS }, () => sessions).flat();
  const samples = [];
  const from = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      for (let job = jobs[next++]; job !== undefined; job = jobs[next++]) {
        await job.last;
        const done = turn(port, request(job.id));
        job.last = done.catch(() => undefined);
        samples.push(await done);
      }
    }),
  );
  const seconds = (performance.now() - from) / 1000;
  const totals = samples.map(({ total }) => total);
  return {
    turnsPerSecond: samples.length / seconds,
    p50: percentile(totals, 0.5),
    p99: percentile(totals, 0.99),
    firstP50: percentile(
      samples.map(({ first }) => first),
      0.5,
    ),
  };
}

const middle = (rounds) =>
  Object.fromEntries(Object.keys(rounds[0]).map((key) => [key, median(rounds.map((round) => round[key]))]));

export async function run({ quick = false, progress = () => {} } = {}) {
  if (!existsSync(path("peers/node_modules"))) {
    progress("http: installing what to compare with");
    execFileSync("npm", ["ci", "--no-audit", "--no-fund", "--prefix", path("peers")], { stdio: "ignore" });
  }
  const rows = [];
  // At once, and at the pace of a quick model; BENCH_PACES=0 asks for less.
  const paces = (process.env.BENCH_PACES ?? (quick ? "0" : "0,5")).split(",").map(Number);
  for (const msPerToken of paces) {
    const names = Object.keys(CONTESTANTS).filter((_, index) => msPerToken === 0 || index < 3);
    const taken = Object.fromEntries(names.map((name) => [name, { cold: [], warm: [] }]));
    for (let round = 0; round < (quick ? 1 : 3); round += 1) {
      for (const name of names) {
        progress(`http: ${name}, ${msPerToken} ms per token, round ${round + 1}`);
        const contestant = CONTESTANTS[name];
        const { child, port } = await start(contestant, msPerToken);
        try {
          taken[name].cold.push(await load(port, contestant));
          taken[name].warm.push(await load(port, contestant));
        } finally {
          child.removeAllListeners("exit");
          child.kill("SIGKILL");
        }
      }
    }
    for (const name of names) {
      rows.push({ name, msPerToken, cold: middle(taken[name].cold), warm: middle(taken[name].warm) });
    }
  }
  return rows;
}

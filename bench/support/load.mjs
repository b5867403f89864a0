/**
 * The clients, in a process of their own with nothing in it but node:http: so many of them at once, each turn on a
 * connection of its own or all on kept ones, a session's turns one after another. A turn counts when its response held every token.
 */
import { randomUUID } from "node:crypto";
import http from "node:http";
import { CONTESTANTS } from "./contestants.mjs";
import { percentile } from "./measure.mjs";

/** One turn; milliseconds to the first token and to the end. */
export function turn(port, { path, headers = {}, body }, tokens, agent = false) {
  return new Promise((resolve, reject) => {
    const from = performance.now();
    let first;
    let text = "";
    const request = http.request(
      {
        host: "127.0.0.1",
        port,
        path,
        method: "POST",
        agent,
        timeout: 60_000,
        headers: { "content-type": "application/json", accept: "text/event-stream", ...headers },
      },
      (response) => {
        response.setEncoding("utf8");
        response.on("data", (data) => {
          text += data;
          if (first === undefined && text.includes("tok0 ")) first = performance.now() - from;
        });
        response.on("end", () => {
          const total = performance.now() - from;
          if (response.statusCode === 200 && holdsAll(text, tokens)) {
            resolve({ first, total, bytes: text.length });
          } else reject(new Error(`${path}: ${response.statusCode} ${text.slice(0, 300)}`));
        });
        response.on("error", reject);
      },
    );
    request.on("timeout", () => request.destroy(new Error(`${path}: no answer`)));
    request.on("error", reject);
    request.end(JSON.stringify(body));
  });
}

function holdsAll(text, tokens) {
  let at = 0;
  for (let index = 0; index < tokens; index += 1) {
    at = text.indexOf(`tok${index} `, at);
    if (at === -1) return false;
  }
  return true;
}

/** `turns` turns of each of `sessions` fresh sessions by `clients` clients, or as many as begin within `maxMs`. */
async function load({ port, contestant, sessions, turns, clients, tokens, kept = false, maxMs }) {
  // As a browser or a proxy keeps its connections: one a client.
  const agent = kept && new http.Agent({ keepAlive: true, maxSockets: clients });
  const { request } = CONTESTANTS[contestant];
  const all = Array.from({ length: sessions }, () => ({ id: randomUUID(), last: Promise.resolve() }));
  const jobs = Array.from({ length: turns }, (_, number) =>
    all.map((session) => ({ session, number })),
  ).flat();
  const samples = [];
  const cpu = process.cpuUsage();
  const from = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: clients }, async () => {
      for (let job = jobs[next++]; job !== undefined; job = jobs[next++]) {
        if (performance.now() - from > maxMs) return;
        await job.session.last;
        const done = turn(port, request(job.session.id, job.number, tokens), tokens, agent);
        job.session.last = done.catch(() => undefined);
        samples.push(await done);
      }
    }),
  );
  const ms = performance.now() - from;
  if (agent !== false) agent.destroy();
  const { user, system } = process.cpuUsage(cpu);
  const totals = samples.map(({ total }) => total);
  const firsts = samples.map(({ first }) => first);
  return {
    turns: samples.length,
    turnsPerSecond: (samples.length / ms) * 1000,
    p50: percentile(totals, 0.5),
    p99: percentile(totals, 0.99),
    firstP50: percentile(firsts, 0.5),
    firstP99: percentile(firsts, 0.99),
    bytesPerTurn: samples.reduce((sum, { bytes }) => sum + bytes, 0) / samples.length,
    clientsCpuShare: (user + system) / 1000 / ms,
  };
}

/** So many messages to one fresh session at once, then one more; how many of the burst were answered in full. */
async function burst({ port, contestant, tokens, messages }) {
  const { request } = CONTESTANTS[contestant];
  const id = randomUUID();
  const send = (number) => turn(port, request(id, number, tokens), tokens);
  const answers = await Promise.allSettled(Array.from({ length: messages }, () => send(0)));
  await send(1);
  return { answered: answers.filter(({ status }) => status === "fulfilled").length };
}

// Forked, it does what it is told; imported, it does nothing.
if (process.argv[2] === "clients") {
  process.once("disconnect", () => process.exit());
  process.on("message", (asked) => {
    (asked.messages === undefined ? load(asked) : burst(asked)).then(
      (result) => process.send({ result }),
      (error) => process.send({ error: String(error.message) }),
    );
  });
}

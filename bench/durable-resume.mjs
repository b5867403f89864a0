/** After a reload of the page, how soon does its stream go on, on the same process and on another? */
import http from "node:http";
import { Member } from "./support/cluster.mjs";
import * as engines from "./support/engines.mjs";
import { figure, table } from "./support/format.mjs";
import { percentile } from "./support/measure.mjs";
import { sleep } from "./support/stamping-model.mjs";

export const title = "When does a stream go on after a reload?";
export const minutes = 2;

const MS_PER_TOKEN = 50;
const AWAY_MS = 500;

/** Reads a stream until so many events have come; what it took to the first, and their numbers. */
function read(port, session, { count, after }) {
  return new Promise((resolve, reject) => {
    const from = performance.now();
    const asked = after === undefined;
    const request = http.request(
      {
        host: "127.0.0.1",
        port,
        path: asked ? "/chat?format=events" : `/chat/${session}/stream?format=events`,
        method: asked ? "POST" : "GET",
        agent: false,
        headers: {
          "x-user": session,
          accept: "text/event-stream",
          ...(asked ? { "content-type": "application/json" } : { "last-event-id": after }),
        },
      },
      (response) => {
        let text = "";
        let firstMs;
        response.setEncoding("utf8");
        response.on("data", (data) => {
          text += data;
          const ids = [...text.matchAll(/^id: ?(.+)$/gm)].map(([, id]) => id);
          if (ids.length > 0) firstMs ??= performance.now() - from;
          if (ids.length < count) return;
          response.destroy();
          resolve({ firstMs, ids });
        });
        response.on("error", reject);
        response.on("end", () => reject(new Error(`${response.statusCode} ${text.slice(0, 300)}`)));
      },
    );
    request.on("error", reject);
    request.end(asked ? JSON.stringify({ session_id: session, message: "hello" }) : undefined);
  });
}

const numberOf = (id) => Number(id.slice(id.lastIndexOf(":") + 1));

async function reload(session, first, second) {
  const { ids } = await read(first, session, { count: 10 });
  const after = ids.at(-1);
  await sleep(AWAY_MS);
  const again = await read(second, session, { count: 3, after });
  if (numberOf(again.ids[0]) !== numberOf(after) + 1) {
    throw new Error(`Expected event ${numberOf(after) + 1} of ${session}, got ${again.ids[0]}`);
  }
  return again.firstMs;
}

export async function run({ quick = false, progress = () => {} } = {}) {
  const sessions = quick ? 30 : 200;
  const rows = [];
  for (const start of [undefined, "startPostgres", "startRedis"]) {
    const { name, url } = start === undefined ? { name: "memory" } : await engines[start]();
    const options = { url, tokens: 400, msPerToken: MS_PER_TOKEN, maxAgents: 2 * sessions + 10 };
    const one = await Member.start(options, "resumable");
    const members = [one];
    const { port } = await one.heard("port");
    for (const elsewhere of start === undefined ? [false] : [false, true]) {
      progress(`${name}, ${elsewhere ? "another" : "the same"} process`);
      let second = port;
      if (elsewhere) {
        // It could have taken runs itself before; those that it takes now are read in the other process first.
        const other = await Member.start(options, "resumable");
        members.push(other);
        second = (await other.heard("port")).port;
      }
      const took = [];
      const reloads = [];
      for (let index = 0; index < sessions; index += 1) {
        reloads.push(reload(`${elsewhere}-${index}`, port, second).then((ms) => took.push(ms)));
        await sleep(20);
      }
      await Promise.all(reloads);
      rows.push({
        name,
        process: elsewhere ? "another" : "the same",
        sessions,
        p50: percentile(took, 0.5),
        p99: percentile(took, 0.99),
      });
    }
    await Promise.all(members.map((member) => member.kill()));
  }
  return rows;
}

export function report(rows) {
  return `A reader over HTTP leaves in the middle of an answer of a token every ${MS_PER_TOKEN} ms, is away for ${AWAY_MS} ms, and asks again with
\`Last-Event-ID\`: from the request, its connection included, until the next event is there. No event is lost or comes twice,
which is checked.

${table(
  ["store", "asks again at", "reloads", "ms, p50", "p99"],
  rows.map(({ name, process: where, sessions, p50, p99 }) => [
    name,
    `${where} process`,
    sessions,
    figure(p50),
    figure(p99),
  ]),
)}`;
}

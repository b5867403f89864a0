/** How much later does a reader in another process see a token? */
import { Member } from "./support/cluster.mjs";
import * as engines from "./support/engines.mjs";
import { median, percentile } from "./support/measure.mjs";
import { table } from "./support/format.mjs";

export const title = "How much later does a reader in another process see a token?";
export const minutes = 3;

/** Readers beside the model, or in another process, of as many runs at once. */
async function late({ url, sessions, tokens, msPerToken, elsewhere }) {
  const options = { url, sessions, tokens, msPerToken, leaseMs: 10_000, maxAgents: sessions + 1 };
  const writer = await Member.start(options);
  writer.tell("run", { read: !elsewhere });
  await writer.heard("asked", sessions);
  // Only now, or it would have taken some of the runs itself.
  const reader = elsewhere ? await Member.start(options) : writer;
  if (elsewhere) reader.tell("follow");
  await reader.heard("reading", sessions);
  await new Promise((resolve) => setTimeout(resolve, 500));
  writer.tell("write");
  const { late } = await reader.heard("late");
  await Promise.all([writer.kill(), reader.kill()]);
  if (late.length !== sessions * tokens)
    throw new Error(`Expected ${sessions * tokens} tokens, got ${late.length}`);
  return { p50: median(late), p99: percentile(late, 0.99) };
}

export async function run({ quick = false, progress = () => {} } = {}) {
  const sessions = quick ? 50 : 200;
  const tokens = quick ? 20 : 60;
  const rows = [];
  for (const start of ["startPostgres", "startRedis"]) {
    for (const msPerToken of quick ? [100] : [200, 100]) {
      const row = { sessions, msPerToken };
      for (const elsewhere of [false, true]) {
        // A server of its own each time: nobody else's runs are there.
        const { name, url } = await engines[start]();
        progress(`${name}, ${msPerToken} ms per token, ${elsewhere ? "another" : "same"} process`);
        row.name = name;
        row[elsewhere ? "another" : "same"] = await late({ url, sessions, tokens, msPerToken, elsewhere });
      }
      rows.push({
        ...row,
        addedP50: row.another.p50 - row.same.p50,
        addedP99: row.another.p99 - row.same.p99,
      });
    }
  }
  return rows;
}

export function report(rows) {
  return `From the moment when the model wrote a token until a reader had it, in the process of the run and in another one.

${table(
  ["store", "streams", "ms per token", "same process, p50", "p99", "another process, p50", "p99"],
  rows.map(({ name, sessions, msPerToken, same, another }) => [
    name,
    sessions,
    msPerToken,
    ...[same, another].flatMap(({ p50, p99 }) => [p50.toFixed(1), p99.toFixed(1)]),
  ]),
)}`;
}

/** After `kill -9` of a process, when does a reader elsewhere learn that its run goes on? */
import * as engines from "./support/engines.mjs";
import { Member } from "./support/cluster.mjs";
import { median } from "./support/measure.mjs";
import { table, whole } from "./support/format.mjs";

export const title = "When does a run go on whose process was killed?";
export const minutes = 2;

export async function run({ quick = false, progress = () => {} } = {}) {
  const sessions = quick ? 50 : 200;
  const leaseMs = quick ? 3_000 : 10_000;
  const rows = [];
  for (const start of ["startPostgres", "startRedis"]) {
    const { name, url } = await engines[start]();
    progress(`${name}, ${sessions} sessions`);
    const options = { url, sessions, tokens: 20, msPerToken: 50, leaseMs, maxAgents: sessions + 50 };
    const victim = await Member.start(options);
    victim.tell("run", { read: false });
    // Its models wait for `write`, which it is never told.
    await victim.heard("asked", sessions);
    // Only now, or it would have taken some of the runs itself.
    const survivor = await Member.start(options);
    survivor.tell("write");
    survivor.tell("follow");
    await survivor.heard("reading", sessions);
    // Leases have been renewed, each at its own time.
    await new Promise((resolve) => setTimeout(resolve, leaseMs));
    const killedAt = performance.timeOrigin + performance.now();
    await victim.kill();
    const { resumed } = await survivor.heard("late");
    await survivor.kill();
    const after = resumed.map((at) => at - killedAt);
    rows.push({
      name,
      sessions,
      leaseMs,
      resumed: resumed.length,
      firstMs: Math.min(...after),
      medianMs: median(after),
      lastMs: Math.max(...after),
    });
  }
  return rows;
}

export function report(rows) {
  return `A process with that many runs is killed with \`kill -9\`; another one reads them all and takes them over. From the kill
until \`run-resumed\` was read.

${table(
  ["store", "runs taken over", "lease, ms", "first, ms", "median, ms", "last, ms"],
  rows.map(({ name, resumed, leaseMs, firstMs, medianMs, lastMs }) => [
    name,
    resumed,
    ...[leaseMs, firstMs, medianMs, lastMs].map(whole),
  ]),
)}`;
}

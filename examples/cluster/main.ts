// A cluster that loses a process in mid-answer and then rolls the others, and what its users saw of that: nothing.
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Checks, runExample } from "../support/checks.js";
import { openEngine } from "./engine.js";
import { Fleet } from "./fleet.js";
import { Page } from "./page.js";
import { startProxy } from "./proxy.js";
import { startStandIn, storyOf } from "./stand-in-model.js";
import { User, type Seen } from "./user.js";

const USERS = 12;
const NAMES = ["A", "B", "C"] as const;
const checks = new Checks();

async function main(): Promise<void> {
  const stays = process.argv.includes("--stay");
  const engine = await openEngine(process.argv.includes("--redis") ? "redis" : "postgres");
  const model = await startStandIn(stays ? 6 : 16);
  const fleet = new Fleet({
    ENGINE_URL: engine.url,
    OPENAI_API_KEY: "stand-in",
    OPENAI_BASE_URL: `${model.url}/v1`,
  });
  const page = new Page(fleet);
  const proxy = await startProxy(fleet, page.serve);
  try {
    console.log(
      `\n${engine.name}, ${String(NAMES.length)} processes, ${String(USERS)} users, no sticky sessions\n`,
    );
    // All at once, on an empty database: each wants to create the tables.
    await Promise.all(NAMES.map((name) => fleet.start(name)));
    // A TCP server that listens has one.
    const origin = `http://127.0.0.1:${String((proxy.address() as AddressInfo).port)}`;
    if (stays) {
      console.log(`Open ${origin}  (Ctrl+C stops it)`);
      await new Promise((resolve) => process.once("SIGINT", resolve));
      checks.that("the page was served until it was told to stop", true);
      return;
    }
    const users = Array.from({ length: USERS }, (_, i) => new User(`user-${String(i + 1)}`, origin));
    await killOne(fleet, users);
    await rollAll(fleet, users);
    await lookBack(users);
  } finally {
    await page.close();
    proxy.closeAllConnections();
    proxy.close();
    await fleet.stop();
    await model.stop();
    await engine.stop();
  }
}

/** All users ask; in mid-answer a process is killed, and later started again. */
async function killOne(fleet: Fleet, users: readonly User[]): Promise<void> {
  console.log("Everybody asks. In mid-answer, kill -9 of process A.");
  const answers = askAll(users, "ship");
  await until(() => users.every(({ received }) => received > 0));
  await fleet.kill("A");
  const seen = await answers;
  await fleet.start("A");
  report(users, seen);
  checkWhole(users, seen, "ship");
  checks.that(
    "some answers were taken over from the dead process, some streams broke",
    seen.some(({ takeovers }) => takeovers > 0) && seen.some(({ reconnects }) => reconnects > 0),
  );
}

/** All users ask again; meanwhile each process is told to stop and is replaced, as in a deploy. */
async function rollAll(fleet: Fleet, users: readonly User[]): Promise<void> {
  console.log("\nEverybody asks again. Meanwhile each process is stopped with SIGTERM and started anew.");
  const answers = askAll(users, "steamship");
  await until(() => users.every(({ received }) => received > 0));
  const codes: (number | null)[] = [];
  for (const name of NAMES) codes.push(await fleet.roll(name));
  const seen = await answers;
  report(users, seen);
  checkWhole(users, seen, "steamship");
  checks.that(
    "each process ended by itself, in time",
    codes.every((code) => code === 0),
    String(codes),
  );
}

/** The conversations as any process has them now. */
async function lookBack(users: readonly User[]): Promise<void> {
  console.log("\nThe histories:");
  const histories = await Promise.all(users.map((user) => user.history()));
  const shapes = histories.map((messages) => messages.map(({ role }) => role).join(" "));
  const turn = "user assistant tool assistant";
  checks.that(
    "each holds each message once, in order, and nothing of anybody else",
    shapes.every((shape) => shape === `${turn} ${turn}`) &&
      histories.every((messages, i) => {
        const text = JSON.stringify(messages);
        return (
          text.includes(`ship s${String(i + 1)}x`) &&
          text.match(/ship s\d+x/g)?.every((ship) => ship === `ship s${String(i + 1)}x`)
        );
      }),
    shapes.find((shape) => shape !== `${turn} ${turn}`),
  );
}

function askAll(users: readonly User[], kind: string): Promise<Seen[]> {
  return Promise.all(users.map((user, i) => user.ask(`What of ${kind} s${String(i + 1)}x?`)));
}

function checkWhole(users: readonly User[], seen: readonly Seen[], kind: string): void {
  const broken = users.filter((_, i) => seen[i]?.text !== storyOf(`s${String(i + 1)}x`));
  checks.that(
    `all ${String(users.length)} answers about a ${kind} are whole: no character lost, none twice`,
    broken.length === 0,
    broken.map(({ name }) => name).join(", "),
  );
  checks.that(
    "every event came once and in order, and each run ended once, as completed",
    seen.every(({ gaps, outcome }) => gaps === 0 && outcome === "completed"),
    seen.map(({ gaps, outcome }) => `${outcome}/${String(gaps)}`).join(" "),
  );
}

function report(users: readonly User[], seen: readonly Seen[]): void {
  for (const [i, { name }] of users.entries()) {
    const one = seen[i];
    if (one === undefined) continue;
    const news = [
      `${String(one.text.length)} characters`,
      `by way of ${one.servedBy.join(" → ")}`,
      ...(one.reconnects > 0 ? ["the stream broke and went on"] : []),
      ...(one.takeovers > 0 ? [`taken over`] : []),
    ];
    console.log(`  ${name.padEnd(8)} ${news.join(", ")}`);
  }
  const waits = seen.flatMap(({ resumedAfterMs }) => (resumedAfterMs === undefined ? [] : [resumedAfterMs]));
  if (waits.length > 0)
    console.log(`  The longest wait for a run to go on: ${(Math.max(...waits) / 1000).toFixed(1)} s`);
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(20);
}

await runExample(checks, main, process.argv.includes("--stay") ? 2_147_483_647 : 120_000);

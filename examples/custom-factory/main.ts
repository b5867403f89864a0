import { AgentManager, ChatService } from "agent-sessions";
import { Checks, runExample } from "../support/checks.js";
import { CalculatorAgent } from "./calculator-agent.js";

const USERS = Array.from({ length: 8 }, (_, index) => ({
  userId: `user${String(index)}`,
  number: index + 1,
}));
const MAX_AGENTS = 3;

/** All processes that were ever started, and the most of them that were alive at one time. */
const pids = new Set<number>();
let mostAlive = 0;

function count(pid: number): void {
  pids.add(pid);
  mostAlive = Math.max(mostAlive, alive());
}

/** Asks the operating system which of the processes are there. */
function alive(): number {
  return [...pids].filter((pid) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  }).length;
}

const checks = new Checks();

await runExample(checks, async () => {
  const manager = new AgentManager({
    factory: (context) => new CalculatorAgent(context, count),
    maxAgents: MAX_AGENTS,
  });
  const chat = new ChatService({ manager });
  const evictions = { count: 0 };
  manager.on("agent:evicted", () => {
    evictions.count += 1;
  });
  const ask = async (userId: string, message: string): Promise<string> =>
    (await chat.chat({ sessionId: "sums", userId, message }).result).text;

  try {
    console.log(
      `${String(USERS.length)} users, at most ${String(MAX_AGENTS)} agents, a process for each agent`,
    );
    console.log("");
    console.log("Each user sets an x of their own, all at once:");
    const set = await Promise.all(
      USERS.map(({ userId, number }) => ask(userId, `x = ${String(number)} * 100`)),
    );
    console.log(`  ${set.join(" ")}`);
    checks.that(
      "each got the own number",
      USERS.every(({ number }, index) => set[index] === String(number * 100)),
    );

    console.log("");
    console.log("Most of those processes are gone by now. Each user goes on:");
    const got = await Promise.all(USERS.map(({ userId }) => ask(userId, "x + 1")));
    console.log(`  ${got.join(" ")}`);
    checks.that(
      "each x outlived its process, and is still its own user's",
      USERS.every(({ number }, index) => got[index] === String(number * 100 + 1)),
      got.join(" "),
    );

    console.log("");
    console.log("A statement that never ends is cancelled:");
    const userId = "user0";
    const endless = chat.chat({ sessionId: "sums", userId, message: "forever" });
    await endless.accepted;
    setTimeout(() => void endless.cancel(), 300);
    const { outcome } = await endless.result;
    const after = await ask(userId, "x + 2");
    console.log(`  ${outcome}, and x + 2 is ${after}`);
    checks.that("the run ended, and the session goes on", outcome === "cancelled" && after === "102", after);

    console.log("");
    const stranger = await ask("stranger", "x");
    checks.that("who never set an x has none", stranger === "there is no x here", stranger);
    checks.that(
      `never more than ${String(MAX_AGENTS)} processes at a time`,
      mostAlive > 0 && mostAlive <= MAX_AGENTS,
      String(mostAlive),
    );
    checks.that(
      "agents were evicted on the way",
      evictions.count >= USERS.length - MAX_AGENTS,
      String(evictions.count),
    );
  } finally {
    await chat.close();
    await manager.close();
  }
  console.log("");
  console.log(`Closed. ${String(pids.size)} processes were started in all.`);
  checks.that("none is left", pids.size > 0 && alive() === 0, String(alive()));
});

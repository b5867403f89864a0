/*
 * Agents that own a real child process, counted by the operating system: whatever happens to agents, there are
 * never more processes than `maxAgents`, and none is left over.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { AgentManager, ChatService, isAgentError, type Agent, type AgentContext } from "../../src/index.js";
import { ManualClock } from "../../src/testing/index.js";

/** What the kernel lists as children of this process, by whichever of its threads started them. */
function childIds(): string[] {
  const threads = readdirSync("/proc/self/task");
  return threads.flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, "utf8").trim().split(" ").filter(Boolean),
  );
}

/** The living children of this process of that name, zombies not counted. */
function childrenNow(): number[] {
  return childIds().flatMap((id) => {
    try {
      // pid (name) state …; the name may hold anything but comes in brackets.
      const [, command, state] = /^\d+ \((.*)\) (\S) /s.exec(readFileSync(`/proc/${id}/stat`, "utf8"))!;
      return command === "cat" && state !== "Z" ? [Number(id)] : [];
    } catch {
      // Gone in between.
      return [];
    }
  });
}

/** A kernel may be built without that list. */
const listsChildren = existsSync(`/proc/self/task/${String(process.pid)}/children`);

/** A seeded sequence of numbers from 0 to 1, so that a failure can be seen again. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

interface Trouble {
  /** How likely a creation fails; a third of those after its process has started. */
  readonly failing: number;
  /** How likely a close hangs for ever, after it ended its process. */
  readonly hanging: number;
  readonly throwing: number;
}

/** Makes agents whose every message goes through a process of their own. */
class ProcessAgents {
  readonly #next = random(20_260_101);
  readonly #trouble: Trouble;

  constructor(trouble: Trouble) {
    this.#trouble = trouble;
  }

  readonly create = async ({ sessionId }: AgentContext): Promise<Agent> => {
    const chance = this.#next();
    const { failing, hanging, throwing } = this.#trouble;
    await sleep(this.#next() * 4);
    if (chance < failing * 0.67) throw new Error("no process today");
    const child = spawn("cat", { stdio: ["pipe", "pipe", "ignore"] });
    await once(child, "spawn");
    const end = async (): Promise<void> => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.stdin.destroy();
      await ended;
    };
    if (chance < failing) {
      await end();
      throw new Error("the process was no good");
    }
    const fate = this.#next();
    const pause = this.#next() * 4;
    return {
      async *stream(input) {
        const word = input.kind === "message" ? `${sessionId} ${JSON.stringify(input.message.content)}` : "";
        child.stdin.write(word);
        const [echo] = (await once(child.stdout, "data")) as [Buffer];
        yield { type: "text-start", id: "1" };
        yield { type: "text-delta", id: "1", delta: echo.toString() };
        yield { type: "text-end", id: "1" };
      },
      async close() {
        await sleep(pause);
        await end();
        if (fate < hanging) await new Promise<never>(() => undefined);
        if (fate < hanging + throwing) throw new Error("a bad end");
      },
    };
  };
}

/** Counts again and again while something works. */
async function mostChildrenDuring(work: Promise<unknown>): Promise<number> {
  let most = 0;
  const now = { working: true };
  work.then(
    () => (now.working = false),
    () => (now.working = false),
  );
  while (now.working) {
    most = Math.max(most, childrenNow().length);
    await sleep(5);
  }
  return most;
}

function shuffled(count: number, rounds: number): string[] {
  const next = random(7);
  const ids = Array.from({ length: count * rounds }, (_, n) => `s${String(n % count)}`);
  return ids
    .map((id) => ({ id, key: next() }))
    .sort((a, b) => a.key - b.key)
    .map(({ id }) => id);
}

describe.skipIf(!listsChildren)("processes of agents", () => {
  it("are never more than the cap for 1,000 sessions in random order, slow, failing and hanging ones among them", async () => {
    const agents = new ProcessAgents({ failing: 0.1, hanging: 0.01, throwing: 0.05 });
    // An agent that takes longer counts no more, so only those may that hang.
    const manager = new AgentManager({ factory: agents.create, maxAgents: 10, closeTimeoutMs: 5_000 });
    const chat = new ChatService({ manager });
    const failures: string[] = [];
    manager.on("agent:failed", ({ phase }) => failures.push(phase));

    const asked = shuffled(1_000, 1).map(async (sessionId, n) => {
      // Direct use among the runs: a quarter asks for the agent alone.
      if (n % 4 === 0) return manager.getAgent({ sessionId }).then(() => "got");
      const { text } = await chat.chat({ sessionId, message: `m${String(n)}` }).result;
      expect(text).toBe(`${sessionId} "m${String(n)}"`);
      return "answered";
    });
    const all = Promise.allSettled(asked);
    const most = await mostChildrenDuring(all);
    const ends = new Map<string, number>();
    for (const one of await all) {
      const end =
        one.status === "fulfilled"
          ? one.value
          : isAgentError(one.reason)
            ? one.reason.code
            : String(one.reason);
      ends.set(end, (ends.get(end) ?? 0) + 1);
    }

    expect(most).toBeLessThanOrEqual(10);
    expect(most).toBeGreaterThanOrEqual(8);
    // Saturation fails no run, and nothing fails but what the factory threw.
    expect(
      [...ends.keys()].filter(
        (end) => !["got", "answered", "AGENT_CREATE_FAILED", "CAPACITY_EXCEEDED"].includes(end),
      ),
    ).toEqual([]);
    expect(ends.get("answered")).toBeGreaterThan(600);
    expect(new Set(failures)).toEqual(new Set(["create", "close"]));

    const { activeAgents, totalAgents } = manager.getStats();
    expect(activeAgents).toBe(0);
    expect(totalAgents).toBeLessThanOrEqual(10);
    await chat.close();
    await manager.close().catch((error: unknown) => {
      expect(error).toBeInstanceOf(AggregateError);
    });
    expect(childrenNow()).toEqual([]);
    expect(manager.getStats().totalAgents).toBe(0);
  }, 240_000);

  it("go with the TTL, and a message finds a fresh one", async () => {
    const agents = new ProcessAgents({ failing: 0, hanging: 0, throwing: 0 });
    const clock = new ManualClock();
    const manager = new AgentManager({
      factory: agents.create,
      clock,
      agentTtlMs: 60_000,
      cleanupIntervalMs: 30_000,
    });
    const chat = new ChatService({ manager });
    const ids = Array.from({ length: 8 }, (_, n) => `s${String(n)}`);
    await Promise.all(ids.map((sessionId) => chat.chat({ sessionId, message: "hi" }).result));
    expect(childrenNow()).toHaveLength(8);
    await clock.advance(120_000);
    await expect.poll(childrenNow).toEqual([]);
    expect((await chat.chat({ sessionId: "s0", message: "again" }).result).text).toBe('s0 "again"');
    await chat.close();
    await manager.close();
    expect(childrenNow()).toEqual([]);
  });

  it("are none after a close in the middle of everything", async () => {
    for (const afterMs of [0, 2, 5, 20, 60]) {
      const agents = new ProcessAgents({ failing: 0.1, hanging: 0.05, throwing: 0.1 });
      const manager = new AgentManager({ factory: agents.create, maxAgents: 10, closeTimeoutMs: 1_000 });
      const chat = new ChatService({ manager });
      const asked = shuffled(30, 2).map(async (sessionId, n) =>
        n % 3 === 0 ? manager.getAgent({ sessionId }) : chat.chat({ sessionId, message: "hi" }).result,
      );
      const ended = Promise.allSettled(asked);
      await sleep(afterMs);
      await chat.close({ drainMs: 0 });
      await manager.close({ drainMs: 0 }).catch(() => undefined);
      await ended;
      // One that took longer than closeTimeoutMs may still be at it.
      await expect.poll(childrenNow).toEqual([]);
    }
  });
});

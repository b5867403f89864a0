import { describe, expect, test } from "vitest";
import { AgentManager } from "../../src/index.js";

function managerOf(maxAgents: number) {
  const told: string[] = [];
  const closed: string[] = [];
  const manager = new AgentManager({
    factory: ({ sessionId }) => ({
      async *stream() {},
      close: () => {
        closed.push(sessionId);
      },
    }),
    maxAgents,
  });
  manager.on("agent:evicted", ({ session, reason }) => {
    told.push(`${session.sessionId} ${reason}`);
  });
  return { manager, told, closed };
}

describe("an idle agent that leaves is closed once and told of once, with its reason", () => {
  test("when its place is needed", async () => {
    const { manager, told, closed } = managerOf(1);
    await manager.getAgent({ sessionId: "a" });
    await manager.getAgent({ sessionId: "b" });
    expect([told, closed]).toEqual([["a capacity"], ["a"]]);
    await manager.close();
  });

  test("when the oldest are cleaned up", async () => {
    const { manager, told, closed } = managerOf(2);
    await manager.getAgent({ sessionId: "a" });
    await manager.getAgent({ sessionId: "b" });
    expect(await manager.cleanupOldestAgents(1)).toBe(1);
    expect([told, closed]).toEqual([["a removed"], ["a"]]);
    await manager.close();
  });

  test("when the manager is closed", async () => {
    const { manager, told, closed } = managerOf(2);
    await manager.getAgent({ sessionId: "a" });
    await manager.close();
    expect([told, closed]).toEqual([["a closed"], ["a"]]);
  });
});

import { afterEach, describe, expect, it, vi } from "vitest";
import { AgentManager, defaults, optionsFromEnv, type AgentManagerOptions } from "../../src/index.js";
import { FakeFactory } from "../support/fake-agent.js";

afterEach(() => {
  vi.unstubAllEnvs();
});

describe("optionsFromEnv", () => {
  it("gives the defaults when nothing, or nothing but blanks, is set", () => {
    const { maxAgents, agentTtlMs, cleanupIntervalMs } = defaults;
    expect(optionsFromEnv({})).toEqual({ maxAgents, agentTtlMs, cleanupIntervalMs });
    expect(optionsFromEnv({ AGENT_MAX_INSTANCES: "", AGENT_TTL_SECONDS: " " })).toEqual({
      maxAgents: 100,
      agentTtlMs: 3_600_000,
      cleanupIntervalMs: 300_000,
    });
  });

  it("reads seconds into milliseconds, from the process's environment unless told otherwise", async () => {
    vi.stubEnv("AGENT_MAX_INSTANCES", "7");
    vi.stubEnv("AGENT_TTL_SECONDS", " 60 ");
    vi.stubEnv("AGENT_CLEANUP_INTERVAL", "0");
    const options = optionsFromEnv();
    expect(options).toEqual({ maxAgents: 7, agentTtlMs: 60_000, cleanupIntervalMs: 0 });
    const manager = new AgentManager({ factory: new FakeFactory(), ...options });
    expect(manager.getStats()).toMatchObject({ maxAgents: 7, agentTtlMs: 60_000 });
    await manager.close();
  });

  it.each([
    [
      { AGENT_MAX_INSTANCES: "0" },
      "Expected `AGENT_MAX_INSTANCES` to be an integer from 1 up, got `0` (number)",
    ],
    [
      { AGENT_MAX_INSTANCES: "ten" },
      'Expected AGENT_MAX_INSTANCES to be a whole number from 1 up, got "ten"',
    ],
    [{ AGENT_TTL_SECONDS: "-1" }, 'Expected AGENT_TTL_SECONDS to be a whole number from 1 up, got "-1"'],
    [{ AGENT_TTL_SECONDS: "1.5" }, 'Expected AGENT_TTL_SECONDS to be a whole number from 1 up, got "1.5"'],
    [
      { AGENT_CLEANUP_INTERVAL: "5m" },
      'Expected AGENT_CLEANUP_INTERVAL to be a whole number from 0 up, got "5m"',
    ],
    [{ AGENT_MAX_INSTANCES: "99999999999999999999" }, "AGENT_MAX_INSTANCES"],
  ])("refuses %o", (env, message) => {
    expect(() => optionsFromEnv(env)).toThrow(RangeError);
    expect(() => optionsFromEnv(env)).toThrow(message);
  });
});

describe("AgentManager's options", () => {
  const wrong: readonly (readonly [Record<string, unknown>, new () => Error, string])[] = [
    [{ maxAgents: 0 }, RangeError, "Expected `maxAgents` to be an integer from 1 up, got `0` (number)"],
    [{ maxAgents: -3 }, RangeError, "Expected `maxAgents` to be an integer from 1 up, got `-3` (number)"],
    [{ maxAgents: 1.5 }, RangeError, "Expected `maxAgents` to be an integer from 1 up, got `1.5` (number)"],
    [{ maxAgents: Infinity }, RangeError, "got `Infinity` (number)"],
    [{ maxAgents: 1e9 }, RangeError, "Expected `maxAgents` to be at most 1000000, got `1000000000` (number)"],
    [{ maxAgents: "10" }, TypeError, 'Expected `maxAgents` to be an integer from 1 up, got `"10"` (string)'],
    [{ maxAgents: null }, TypeError, "Expected `maxAgents` to be an integer from 1 up, got `null` (object)"],
    [{ agentTtlMs: 0 }, RangeError, "Expected `agentTtlMs` to be an integer from 1 up"],
    [{ cleanupIntervalMs: -1 }, RangeError, "Expected `cleanupIntervalMs` to be an integer from 0 up"],
    [{ createTimeoutMs: 0 }, RangeError, "Expected `createTimeoutMs` to be an integer from 1 up"],
    [
      { closeTimeoutMs: true },
      TypeError,
      "Expected `closeTimeoutMs` to be an integer from 1 up, got `true` (boolean)",
    ],
    [
      { factory: undefined },
      TypeError,
      "Expected `factory` to be a function or an object with a `create` method",
    ],
    [{ factory: {} }, TypeError, "Expected `factory` to be"],
    [{ maxAgent: 5 }, TypeError, "Unknown option `maxAgent` of AgentManager. Known: factory, store"],
  ];

  it.each(wrong)("%o are refused", (options, kind, message) => {
    // What a caller in plain JavaScript may give.
    const all = { factory: new FakeFactory(), ...options } as AgentManagerOptions;
    expect(() => new AgentManager(all)).toThrow(kind);
    expect(() => new AgentManager(all)).toThrow(message);
  });

  it("may be undefined, which means the default", async () => {
    const manager = new AgentManager({ factory: new FakeFactory(), maxAgents: undefined, clock: undefined });
    expect(manager.getStats()).toMatchObject({ maxAgents: 100, agentTtlMs: 3_600_000, totalAgents: 0 });
    await manager.close();
  });

  it("of close: a wrong drainMs is refused and closes nothing", async () => {
    const manager = new AgentManager({ factory: new FakeFactory() });
    expect(() => manager.close({ drainMs: -1 })).toThrow("Expected `drainMs` to be an integer from 0 up");
    await manager.getAgent({ sessionId: "a" });
    await manager.close();
  });
});

describe("getAgent's arguments", () => {
  it.each([
    [{ sessionId: "" }],
    [{ sessionId: ".." }],
    [{ sessionId: "a\u0000b" }],
    [{ sessionId: "x".repeat(201) }],
    [{ sessionId: 7 }],
    [{ sessionId: "a", userId: "" }],
    [{}],
  ])("refuses the session %o and makes nothing", async (session) => {
    const factory = new FakeFactory();
    const manager = new AgentManager({ factory });
    // What a caller in plain JavaScript may give.
    await expect(manager.getAgent(session as never)).rejects.toMatchObject({ code: "INVALID_INPUT" });
    await expect(manager.removeAgent(session as never)).rejects.toMatchObject({ code: "INVALID_INPUT" });
    expect(factory.calls).toBe(0);
    await manager.close();
  });

  it.each([["gpt"], [null], [["m"]], [{ model: () => "m" }], [{ model: NaN }]])(
    "refuses the config %o and makes nothing",
    async (config) => {
      const factory = new FakeFactory();
      const manager = new AgentManager({ factory });
      await expect(manager.getAgent({ sessionId: "a" }, config as never)).rejects.toMatchObject({
        code: "INVALID_INPUT",
      });
      expect(factory.calls).toBe(0);
      await manager.close();
    },
  );

  it("keeps odd but lawful ids apart", async () => {
    const manager = new AgentManager({ factory: new FakeFactory() });
    const refs = [
      { sessionId: "__proto__" },
      { sessionId: "constructor" },
      { sessionId: "a.b" },
      { sessionId: "b", userId: "a" },
      { sessionId: "a%2eb" },
      { sessionId: "用户 1" },
      { sessionId: "s.a" },
    ];
    const agents = await Promise.all(refs.map((ref) => manager.getAgent(ref)));
    expect(new Set(agents).size).toBe(refs.length);
    expect(await Promise.all(refs.map((ref) => manager.getAgent(ref)))).toEqual(agents);
    await manager.close();
  });
});

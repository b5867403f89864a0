import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { MANAGER_OPTION_KEYS } from "../../src/agent-manager.js";
import { CHAT_OPTION_KEYS } from "../../src/service/service-options.js";
import { createHttpHandler, httpDefaults, type HttpHandlerOptions } from "../../src/http/index.js";
import {
  defaults,
  memoryStore,
  memoryStoreDefaults,
  optionsFromEnv,
  type ChatService,
} from "../../src/index.js";
import { createLangGraphFactory, langGraphDefaults } from "../../src/langgraph/index.js";
import { postgresStore, postgresStoreDefaults } from "../../src/store/postgres/index.js";
import {
  redisEventLog,
  redisEventLogDefaults,
  redisStore,
  redisStoreDefaults,
} from "../../src/store/redis/index.js";

const text = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8");

/** The rows of the table under a heading: option and default as they stand there. Some rows name several options. */
function table(heading: string): Map<string, string> {
  const section = text.split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
  const rows = [...section.matchAll(/^\| (`\w+`(?:, `\w+`)*) \| (.+?) \|/gm)];
  return new Map(
    rows.flatMap(([, names = "", value = ""]) =>
      [...names.matchAll(/\w+/g)].map(([name]) => [name, value.replaceAll('"', "")] as const),
    ),
  );
}

/** What a function takes, as it says itself when it is given something else. */
function knownOptions(make: (options: object) => unknown): string[] {
  try {
    make({ unheardOf: true });
  } catch (error) {
    return /Known: ([\w, ]+)/.exec((error as Error).message)?.[1]?.split(", ") ?? [];
  }
  return [];
}

function numbersOf(rows: Map<string, string>): Record<string, string> {
  return Object.fromEntries([...rows].filter(([, value]) => /^(\d+|enqueue)$/.test(value)));
}

function asText(values: Record<string, unknown>, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.filter((name) => name in values).map((name) => [name, String(values[name])]),
  );
}

describe("docs/operations.md", () => {
  test("says how long events wait for company", () => {
    const operations = readFileSync(new URL("../../docs/operations.md", import.meta.url), "utf8");
    const no = () => undefined;
    const pool = { query: no, connect: no, on: no, end: no };
    const client = { call: no, duplicate: no, options: {} };
    const { batch: postgres } = postgresStore(pool as never).events;
    const { batch: redis } = redisStore(client as never).events;
    expect(operations).toContain(`up to ${String(postgres?.events)} tokens go in one`);
    expect(redis?.events).toBe(postgres?.events);
    expect(operations).toContain(`${String(redis?.ms)} ms (Redis), ${String(postgres?.ms)} ms (Postgres)`);
  });
});

describe("docs/configuration.md", () => {
  test("names every option of AgentManager with its default", () => {
    const rows = table("AgentManager");
    expect([...rows.keys()].sort()).toEqual([...MANAGER_OPTION_KEYS].sort());
    expect(numbersOf(rows)).toEqual(asText(defaults, MANAGER_OPTION_KEYS));
  });

  test("names every option of ChatService with its default", () => {
    const rows = table("ChatService");
    expect([...rows.keys()].sort()).toEqual([...CHAT_OPTION_KEYS].sort());
    expect(numbersOf(rows)).toEqual(asText(defaults, CHAT_OPTION_KEYS));
    expect(text).toContain(`wait ${String(defaults.drainMs)} by default`);
  });

  test("names every option of memoryStore with its default", () => {
    const rows = table("memoryStore");
    expect([...rows.keys()].sort()).toEqual(knownOptions(memoryStore).sort());
    expect(numbersOf(rows)).toMatchObject(asText(memoryStoreDefaults, Object.keys(memoryStoreDefaults)));
  });

  test.each([
    ["postgresStore", (options: object) => postgresStore({} as never, options), postgresStoreDefaults],
    ["redisStore", (options: object) => redisStore({} as never, options), redisStoreDefaults],
    ["redisEventLog", (options: object) => redisEventLog({} as never, options), redisEventLogDefaults],
  ])("names every option of %s with its default", (heading, make, own) => {
    const rows = table(heading);
    expect([...rows.keys()].sort()).toEqual(knownOptions(make).sort());
    expect(Object.fromEntries(rows)).toMatchObject(asText(own, Object.keys(own)));
    // Conversations are kept in the same way everywhere.
    const { history, forkableRuns, liveBytes } = Object.fromEntries(table("memoryStore"));
    if (rows.has("history"))
      expect(Object.fromEntries(rows)).toMatchObject({ history, forkableRuns, liveBytes });
  });

  test("names every option of the LangGraph factory", () => {
    const rows = table("LangGraph factory");
    const known = [
      ...knownOptions(createLangGraphFactory),
      ...knownOptions((options) => createLangGraphFactory({ ...options, graph: () => ({}) as never })),
    ];
    // The clock comes from the manager's options.
    const named = new Set(known.filter((name) => name !== "clock"));
    expect([...rows.keys()].sort()).toEqual([...named].sort());
    expect(numbersOf(rows)).toEqual(asText(langGraphDefaults, Object.keys(langGraphDefaults)));
  });

  test("names every option of the HTTP handler with its default", () => {
    const rows = table("createHttpHandler");
    // As much of a service as is looked at before the options are.
    const chat = { follow: () => undefined, defaultConfig: {} } as unknown as ChatService;
    const known = knownOptions((options) => createHttpHandler(chat, options as HttpHandlerOptions));
    expect([...rows.keys()].sort()).toEqual(known.sort());
    expect(numbersOf(rows)).toEqual(asText(httpDefaults, ["maxBodyBytes", "heartbeatMs"]));
    expect(rows.get("basePath")).toBe(httpDefaults.basePath);
  });

  test("gives the environment's defaults", () => {
    const { maxAgents, agentTtlMs, cleanupIntervalMs } = optionsFromEnv({});
    expect(numbersOf(table("Environment"))).toEqual({
      AGENT_MAX_INSTANCES: String(maxAgents),
      AGENT_TTL_SECONDS: String(agentTtlMs / 1000),
      AGENT_CLEANUP_INTERVAL: String(cleanupIntervalMs / 1000),
    });
  });
});

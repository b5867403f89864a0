import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { MANAGER_OPTION_KEYS } from "../../src/agent-manager.js";
import { CHAT_OPTION_KEYS } from "../../src/chat-service.js";
import { defaults, memoryStoreDefaults, optionsFromEnv } from "../../src/index.js";

const text = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8");

/** The rows of the table under a heading: option and default as they stand there. */
function table(heading: string): Map<string, string> {
  const section = text.split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
  const rows = [...section.matchAll(/^\| `(\w+)` \| (.+?) \|/gm)];
  return new Map(rows.map(([, name = "", value = ""]) => [name, value.replaceAll('"', "")]));
}

function numbersOf(rows: Map<string, string>): Record<string, string> {
  return Object.fromEntries([...rows].filter(([, value]) => /^(\d+|enqueue)$/.test(value)));
}

function asText(values: Record<string, unknown>, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.filter((name) => name in values).map((name) => [name, String(values[name])]),
  );
}

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

  test("gives every default of memoryStore", () => {
    expect(numbersOf(table("memoryStore"))).toMatchObject(
      asText(memoryStoreDefaults, Object.keys(memoryStoreDefaults)),
    );
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

import { describe, expect, it } from "vitest";
import { memoryStore } from "../../src/store/memory/memory-store.js";
import { ManualClock, storeConformance } from "../../src/testing/index.js";
import type { Break } from "../support/broken-stores/break.js";
import { brokenAlong, goingAlong } from "../support/broken-stores/along.js";
import { brokenLedgers } from "../support/broken-stores/ledgers.js";
import { rememberingLedgers } from "../support/broken-stores/remembering-ledgers.js";
import { brokenParts } from "../support/broken-stores/other-parts.js";
import { brokenProcesses } from "../support/broken-stores/processes.js";
import { MemoryProcessRegistry } from "../support/shared-store.js";

/** The kit over a memory store that breaks a rule. */
function casesOf(breakIt: Break) {
  let clock = new ManualClock();
  return storeConformance({
    createStore: (limits) => {
      clock = new ManualClock();
      return breakIt({ ...memoryStore({ clock, ...limits }), processes: new MemoryProcessRegistry(clock) });
    },
    parts: ["runs", "sessions", "checkpointer", "events", "processes"],
    advance: (ms) => clock.advance(ms),
    patienceMs: 50,
  });
}

describe("a store that breaks a rule fails that rule's case", () => {
  it.each(
    Object.entries({
      ...brokenLedgers,
      ...rememberingLedgers,
      ...brokenParts,
      ...brokenAlong,
      ...brokenProcesses,
    }),
  )("%s", async (rule, breakIt) => {
    const broken = casesOf(breakIt).find(({ name }) => name === rule);
    if (broken === undefined) throw new Error(`there is no case named ${rule}`);
    await expect(broken.run()).rejects.toThrow(`${rule}: `);
  });
});

const keepsAll: Break = (store) => store;

describe("a registry of processes that breaks nothing keeps", () => {
  const kept = casesOf(keepsAll).filter(({ name }) => name.startsWith("processes: "));
  it.each(kept)("$name", async ({ run }) => {
    await run();
  });

  it("rules that each have a store that breaks them", () => {
    expect(Object.keys(brokenProcesses).sort()).toEqual(kept.map(({ name }) => name).sort());
  });
});

it.each(casesOf(goingAlong).filter(({ name }) => /along|told|end with events|from ending/.test(name)))(
  "a store whose events go along keeps: $name",
  async ({ run }) => {
    await run();
  },
);

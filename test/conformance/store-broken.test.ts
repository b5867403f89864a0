import { describe, expect, it } from "vitest";
import { memoryStore } from "../../src/store/memory/memory-store.js";
import { ManualClock, storeConformance } from "../../src/testing/index.js";
import type { Break } from "../support/broken-stores/break.js";
import { brokenAlong, goingAlong } from "../support/broken-stores/along.js";
import { carelessParts } from "../support/broken-stores/careless-parts.js";
import { disorderlyLedgers } from "../support/broken-stores/disorderly-ledgers.js";
import { handingOut } from "../support/broken-stores/handing-out.js";
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

const broken = {
  ...brokenLedgers,
  ...rememberingLedgers,
  ...disorderlyLedgers,
  ...handingOut,
  ...brokenParts,
  ...carelessParts,
  ...brokenAlong,
  ...brokenProcesses,
};

describe("a store that breaks a rule fails that rule's case", () => {
  it.each(Object.entries(broken))("%s", async (rule, breakIt) => {
    const found = casesOf(breakIt).find(({ name }) => name === rule);
    if (found === undefined) throw new Error(`there is no case named ${rule}`);
    await expect(found.run()).rejects.toThrow(`${rule}: `);
  });
});

const keepsAll: Break = (store) => store;
const cases = casesOf(keepsAll);

it("each rule of the kit has a store that breaks it", () => {
  expect(Object.keys(broken).sort()).toEqual(cases.map(({ name }) => name).sort());
});

// The other parts are tested where their stores are.
it.each(cases.filter(({ name }) => name.startsWith("processes: ")))(
  "a registry of processes that breaks nothing keeps: $name",
  async ({ run }) => {
    await run();
  },
);

it.each(casesOf(goingAlong).filter(({ name }) => /along|told|end with events|from ending/.test(name)))(
  "a store whose events go along keeps: $name",
  async ({ run }) => {
    await run();
  },
);

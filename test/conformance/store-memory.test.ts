import { describe, it } from "vitest";
import { memoryStore } from "../../src/store/memory/memory-store.js";
import { ManualClock, storeConformance } from "../../src/testing/index.js";

let clock = new ManualClock();

const cases = storeConformance({
  createStore: (limits) => {
    clock = new ManualClock();
    return memoryStore({ clock, ...limits });
  },
  parts: ["runs", "sessions", "checkpointer", "events"],
  advance: (ms) => clock.advance(ms),
});

describe("memoryStore", () => {
  for (const { name, skip, run } of cases) it.skipIf(skip !== undefined)(name, run);
});

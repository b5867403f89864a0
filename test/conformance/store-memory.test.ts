import { describe, it } from "vitest";
import { memoryStore } from "../../src/store/memory/memory-store.js";
import { ManualClock, storeConformance } from "../../src/testing/index.js";

let clock = new ManualClock();

// Without live bytes every conversation is packed between its runs.
describe.each([undefined, 0])("memoryStore with `liveBytes` of %s", (liveBytes) => {
  const cases = storeConformance({
    createStore: (limits) => {
      clock = new ManualClock();
      return memoryStore({ clock, liveBytes, ...limits });
    },
    parts: ["runs", "sessions", "checkpointer", "events"],
    advance: (ms) => clock.advance(ms),
  });
  for (const { name, skip, run } of cases) it.skipIf(skip !== undefined)(name, run);
});

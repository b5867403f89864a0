import {
  deltaChannelHistoryTests,
  getTupleTests,
  putTests,
  putWritesTests,
  validate,
} from "@langchain/langgraph-checkpoint-validation";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { homes, houseSaver } from "../support/conversation-savers.js";
import { MemoryConversationSaver } from "../../src/store/conversation/memory-saver.js";

// The suite expects the runner's functions as globals.
Object.assign(globalThis, { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it });

describe.each(homes)("a saver that keeps all history in %s", (home) => {
  const initializer = {
    checkpointerName: `history all in ${home}`,
    createCheckpointer: () => houseSaver(home, { history: "all" }).saver,
  };
  validate(initializer);
  deltaChannelHistoryTests(initializer);
});

describe("a saver that keeps all history and no live messages", () => {
  const initializer = {
    checkpointerName: "MemoryConversationSaver(all, cold)",
    createCheckpointer: () => new MemoryConversationSaver({ history: "all", liveBytes: 0 }),
  };
  getTupleTests(initializer);
  putTests(initializer);
});

// Not `list` and the delta histories: they read checkpoints that this mode drops on purpose. And of `put` one
// test demands that values missing from `newVersions` be forgotten, which would lose state here.
describe.each(homes)("a saver that keeps fork points in %s", (home) => {
  const initializer = {
    // By this name the suite leaves out that one test.
    checkpointerName: "MemorySaver",
    createCheckpointer: () => houseSaver(home).saver,
  };
  getTupleTests(initializer);
  putTests(initializer);
  putWritesTests(initializer);
});

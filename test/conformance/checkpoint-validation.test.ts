import {
  deltaChannelHistoryTests,
  getTupleTests,
  putTests,
  putWritesTests,
  validate,
} from "@langchain/langgraph-checkpoint-validation";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { MemoryConversationSaver } from "../../src/store/memory/conversation-saver.js";

// The suite expects the runner's functions as globals.
Object.assign(globalThis, { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it });

describe("a saver that keeps all history", () => {
  const initializer = {
    checkpointerName: "MemoryConversationSaver(all)",
    createCheckpointer: () => new MemoryConversationSaver({ history: "all" }),
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
describe("a saver that keeps fork points", () => {
  const initializer = {
    checkpointerName: "MemorySaver",
    createCheckpointer: () => new MemoryConversationSaver(),
  };
  getTupleTests(initializer);
  putTests(initializer);
  putWritesTests(initializer);
});

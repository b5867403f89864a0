import { describe, expect, test } from "vitest";
import { memoryStore } from "../../../src/store/memory/memory-store.js";
import type { Store } from "../../../src/store/store.js";
import { agents, customChat, eventsOf, say } from "../../support/chat.js";

const session = { sessionId: "s", userId: "u" };

describe("a store of which parts are left out", () => {
  const parts: [string, (whole: Store) => Store][] = [
    ["directory and events", ({ runs, checkpointer }) => ({ runs, checkpointer })],
    ["the directory", ({ runs, checkpointer, events }) => ({ runs, checkpointer, events })],
    ["the events", ({ runs, checkpointer, sessions }) => ({ runs, checkpointer, sessions })],
  ];

  test.each(parts)("%s: in-process ones take their place", async (_, partsOf) => {
    const factory = agents(async function* () {
      yield* say("hello");
    });
    const { chat } = customChat(factory, { store: partsOf(memoryStore()) });
    const run = chat.chat({ ...session, message: "hi" });
    expect((await run.result).text).toBe("hello");
    expect((await eventsOf(run)).at(-1)).toMatchObject({ type: "run-finished", outcome: "completed" });
    expect((await chat.listSessions({ userId: "u" })).sessions).toMatchObject([session]);
    expect(await chat.deleteSession(session)).toBe(true);
    expect((await chat.listSessions()).sessions).toEqual([]);
  });
});

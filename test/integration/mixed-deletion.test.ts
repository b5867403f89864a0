import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import type { EventLog } from "../../src/store/store.js";
import { agents, customChat, eventsOf, say, textOfInput } from "../support/chat.js";
import { describeWithRedis, startRedis, type RedisServer } from "../support/engines/index.js";
import { gate } from "../support/fake-agent.js";
import { freshPrefix, RedisStores } from "../support/redis-stores.js";

const session = { sessionId: "s" };

const echo = agents(async function* (input) {
  await Promise.resolve();
  yield* say(`re: ${textOfInput(input)}`);
});

describeWithRedis("deleting a session whose events are in a log beside its store", () => {
  let server: RedisServer;
  const stores = new RedisStores(() => server.url);

  beforeAll(async () => {
    server = await startRedis();
  });

  afterEach(async () => {
    await stores.close();
  });

  afterAll(async () => {
    await server.stop();
  });

  it("takes nothing of what began after another process had ended the same deletion", async () => {
    const prefix = freshPrefix();
    const [stateOfA, stateOfB] = stores.pair();
    const log = stores.log({ prefix });
    const [reached, go] = [gate(), gate()];
    const stopping = (step: () => Promise<void>) => async (): Promise<void> => {
      reached.open();
      await go.opened;
      await step();
    };
    const ofB = stores.log({ prefix });
    // B stops for long between its look at the tombstone and the rest.
    const slow: EventLog = {
      ...ofB,
      delete: (threadId) => stopping(() => ofB.delete(threadId))(),
      deletion: async (threadId) =>
        stopping((await ofB.deletion?.(threadId)) ?? (() => ofB.delete(threadId))),
    };
    const part = ({ runs, sessions, checkpointer }: typeof stateOfA) => ({ runs, sessions, checkpointer });
    const a = customChat(echo, { store: { ...part(stateOfA), events: log } }).chat;
    const b = customChat(echo, { store: { ...part(stateOfB), events: slow } }).chat;
    const old = a.chat({ ...session, message: "old" });
    await old.result;

    const late = b.deleteSession(session);
    await reached.opened;
    expect(await a.deleteSession(session)).toBe(true);
    expect((await log.read("s.s", old.id, { after: 0, limit: 10 })).last).toBe(0);
    const run = a.chat({ ...session, message: "new" });
    expect((await run.result).text).toBe("re: new");
    go.open();
    await late;
    expect((await eventsOf(b.follow({ ...session, runId: run.id }))).map(({ type }) => type)).toEqual([
      ...["run-started", "text-start", "text-delta", "text-end", "run-finished"],
    ]);
    // Before their store is.
    for (const chat of [a, b]) await chat.close({ drainMs: 0 });
  });
});

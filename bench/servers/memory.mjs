/**
 * Fills a store in memory turn by turn and answers with the heap on the way, and once the store has forgotten the finished
 * runs, as it does when they are ten minutes old. Start with --expose-gc.
 */
import { ChatService, memoryStore } from "agent-sessions";
import { heapUsed } from "../support/measure.mjs";
import { InstantModel } from "../support/model.mjs";

const { sessions, turns, characters, every, options, maxAgents } = JSON.parse(process.argv[2]);
process.once("disconnect", () => process.exit());
process.send({ ready: true });

/** A text of its own each time, as texts of users and models are. */
const text = (letter) => Buffer.alloc(characters / 2, letter).toString();

class OwnTextModel extends InstantModel {
  async *_streamResponseChunks(...args) {
    this.tokens = [text("y")];
    yield* super._streamResponseChunks(...args);
  }
}

/** By how much the store's clock is put forward. */
let aheadMs = 0;
const clock = {
  now: () => Date.now() + aheadMs,
  monotonic: () => performance.now() + aheadMs,
  setTimeout: (callback, ms) => setTimeout(callback, ms).unref(),
  clearTimeout,
};
const store = memoryStore({ ...options, clock });
const chat = await ChatService.create({
  model: new OwnTextModel(),
  tools: [],
  store,
  ...(maxAgents === undefined ? {} : { maxAgents }),
});
const ask = (index) =>
  chat.chat({ sessionId: `session-${index}`, userId: `user-${index}`, message: text("x") }).result;

// The compiler has done its work, and what is not made per session is there.
for (let turn = 0; turn < 40; turn += 1) {
  await Promise.all(Array.from({ length: 50 }, (_, index) => ask(index)));
}
for (let index = 0; index < 50; index += 1) {
  await chat.deleteSession({ sessionId: `session-${index}`, userId: `user-${index}` });
}
const before = await heapUsed();
const heap = {};
for (let turn = 1; turn <= turns; turn += 1) {
  for (let from = 0; from < sessions; from += 200) {
    const to = Math.min(sessions, from + 200);
    await Promise.all(Array.from({ length: to - from }, (_, index) => ask(from + index)));
  }
  if (turn === 1 || turn % every === 0) heap[turn] = (await heapUsed()) - before;
}
const { usage } = store;
const { rss } = process.memoryUsage();
aheadMs = 11 * 60_000;
await store.sweep();
const rested = (await heapUsed()) - before;
if (store.usage.sessions !== sessions) {
  throw new Error(`Expected ${sessions} sessions, got ${store.usage.sessions}`);
}
process.send({ measured: true, sessions, turns, heap, usage, rss, rested });

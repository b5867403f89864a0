/*
 * Losing an agent loses nothing: whatever takes it away between two turns, the model is given the same conversation
 * as if it had stayed.
 */
import { MemorySaver } from "@langchain/langgraph";
import { tool } from "langchain";
import { afterEach, describe, expect, it } from "vitest";
import { z } from "zod";
import {
  AgentManager,
  ChatService,
  isAgentError,
  memoryStore,
  type BusyPolicy,
  type Store,
} from "../../src/index.js";
import { createLangGraphFactory } from "../../src/langgraph/index.js";
import { ManualClock, ScriptedChatModel } from "../../src/testing/index.js";
import { gate } from "../support/fake-agent.js";

const TTL_MS = 1_000;
const closables: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closables.splice(0).reverse()) await close();
});

function setUp(storeOf: (clock: ManualClock) => Store) {
  const clock = new ManualClock();
  const hold = { opened: Promise.resolve(), open: (): void => undefined };
  const model = new ScriptedChatModel(async (messages) => {
    const last = messages.at(-1);
    await hold.opened;
    if (last?.type === "tool") return `looked up after ${String(messages.length)}`;
    const text = JSON.stringify(last?.content);
    return text.includes("look")
      ? { toolCalls: [{ name: "look", args: { at: text } }] }
      : `answer ${String(messages.length)}`;
  });
  const look = tool(({ at }) => `saw ${at}`, {
    name: "look",
    description: "Looks.",
    schema: z.object({ at: z.string() }),
  });
  const factory = createLangGraphFactory({ model, tools: [look] });
  const store = storeOf(clock);
  const manager = new AgentManager({
    factory,
    store,
    clock,
    maxAgents: 2,
    agentTtlMs: TTL_MS,
    cleanupIntervalMs: 0,
  });
  const chat = new ChatService({ manager });
  const evictions: string[] = [];
  manager.on("agent:evicted", ({ session, reason }) => evictions.push(`${session.sessionId} ${reason}`));
  closables.push(
    () => manager.close(),
    () => chat.close(),
  );
  return { clock, hold, model, manager, chat, evictions };
}

type SetUp = ReturnType<typeof setUp>;

const session = { sessionId: "s", userId: "u" };

/** Everything that takes an idle agent away. */
const evictions: Record<string, (context: SetUp) => Promise<unknown>> = {
  nothing: async () => undefined,
  removed: ({ manager }) => manager.removeAgent(session),
  "removed as oldest": ({ manager }) => manager.cleanupOldestAgents(5),
  ttl: async ({ clock, manager }) => {
    await clock.advance(TTL_MS + 1);
    await manager.cleanupExpiredAgents();
  },
  "ttl seen at the next use": ({ clock }) => clock.advance(TTL_MS + 1),
  capacity: async ({ chat }) => {
    for (const sessionId of ["x", "y"]) await chat.chat({ sessionId, message: "hello" }).result;
  },
  config: ({ manager }) => manager.getAgent(session, { modelOptions: { temperature: 0 } }),
};

const policies: readonly BusyPolicy[] = ["enqueue", "reject", "interrupt", "rollback"];
type Case = [string, BusyPolicy, (clock: ManualClock) => Store];

const cases: Case[] = [
  ...policies.map((onBusy): Case => ["the memory store", onBusy, (clock) => memoryStore({ clock })]),
  ["LangGraph's own MemorySaver", "enqueue", () => ({ checkpointer: new MemorySaver() })],
];

const messages = ["one", "please look", "look again"];

/** What the model was given at each call on behalf of the session, how runs ended, and the history in the end. */
async function converse(context: SetUp, onBusy: BusyPolicy, evict: (context: SetUp) => Promise<unknown>) {
  const { chat, model, hold } = context;
  const given: string[][] = [];
  const ends: string[] = [];
  for (const message of messages) {
    const before = model.calls.length;
    // The second message finds the first one at work.
    Object.assign(hold, gate());
    const first = chat.chat({ ...session, message });
    await expect.poll(() => model.calls.length, { interval: 1 }).toBe(before + 1);
    const second = chat.chat({ ...session, message: `${message}, and more`, onBusy });
    await second.accepted.catch(() => undefined);
    hold.open();
    for (const { result } of [first, second]) {
      const end = await result.then(
        ({ outcome, text }) => `${outcome} ${text}`,
        (error: unknown) => (isAgentError(error) ? error.code : String(error)),
      );
      ends.push(end);
    }
    for (const call of model.calls.slice(before)) {
      given.push(call.messages.map((one) => `${one.type}: ${JSON.stringify(one.content)}`));
    }
    await evict(context);
  }
  const history = (await chat.getHistory(session)).messages.map(({ role, content }) => ({ role, content }));
  return { given, ends, history };
}

describe("a conversation goes on after any eviction as if nothing had happened", () => {
  it.each(cases)("with %s and onBusy %s", async (_, onBusy, storeOf) => {
    const undisturbed = await converse(setUp(storeOf), onBusy, async () => undefined);
    expect(undisturbed.ends.filter((end) => end.startsWith("completed")).length).toBeGreaterThanOrEqual(3);
    for (const [name, evict] of Object.entries(evictions)) {
      const context = setUp(storeOf);
      expect(await converse(context, onBusy, evict), name).toEqual(undisturbed);
      const own = context.evictions.filter((eviction) => eviction.startsWith("s "));
      if (name !== "nothing") expect(own.length, name).toBeGreaterThanOrEqual(2);
    }
  });
});

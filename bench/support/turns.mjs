/** Turns of one process, through `chat()` and through a bare graph's own `stream()`. */
import { MemorySaver } from "@langchain/langgraph";
import { ChatService, memoryStore, RUN_KEY } from "agent-sessions";
import { createAgent } from "langchain";
import { InstantModel } from "./model.mjs";

export const FEW_MODES = ["updates", "custom"];
/** What it takes to get the events that a run of ours gives. */
export const ALL_MODES = ["messages", "updates", "tools", "custom"];

export async function drain(stream) {
  const iterator = stream[Symbol.asyncIterator]();
  while (!(await iterator.next()).done);
}

/** LangGraph by itself, with its MemorySaver. */
export function bare(modes, tokens) {
  const saver = new MemorySaver();
  const { graph } = createAgent({ model: new InstantModel(tokens), tools: [], checkpointer: saver });
  let threads = 0;
  return {
    saver,
    open: async (messages) => {
      const config = { configurable: { thread_id: `thread-${threads++}` } };
      await graph.updateState(config, { messages });
      return config;
    },
    turn: async (config, text) => {
      await drain(
        await graph.stream({ messages: [{ role: "user", content: text }] }, { ...config, streamMode: modes }),
      );
    },
  };
}

const ROOMY = { maxSessions: 1_000_000, liveBytes: 1_000_000_000, maxBytes: 4_000_000_000 };

/** The whole service on a store, in memory unless told otherwise. */
export async function ours(tokens, store = memoryStore(ROOMY)) {
  const chat = await ChatService.create({
    model: new InstantModel(tokens),
    tools: [],
    maxAgents: 10_000,
    store,
  });
  const { graph: seeder } = createAgent({
    model: new InstantModel(tokens),
    tools: [],
    checkpointer: store.checkpointer,
  });
  let sessions = 0;
  return {
    close: () => chat.close(),
    open: async (messages) => {
      const session = { sessionId: `session-${sessions++}` };
      await chat.withAgent(session, async (_agent, { lease, turnId }) => {
        const configurable = { thread_id: lease.threadId, [RUN_KEY]: { lease, turnId } };
        await seeder.updateState({ configurable }, { messages });
      });
      return session;
    },
    turn: async (session, text) => {
      await drain(chat.chat({ ...session, message: text }));
    },
  };
}

import { HumanMessage } from "@langchain/core/messages";
import { createAgent, tool } from "langchain";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { RecordsConversationSaver } from "../../src/store/conversation/records-saver.js";
import { RUN_KEY } from "../../src/store/store.js";
import { ScriptedChatModel } from "../../src/testing/index.js";
import { createChat } from "../support/chat.js";
import { InMemoryRecords } from "../support/in-memory-records.js";
import { ReplyingModel } from "../support/saver-model.js";

const lookUp = tool(({ key }: { key: string }) => `value of ${key}`, {
  name: "look_up",
  description: "looks up",
  schema: z.object({ key: z.string() }),
});

/** Turns of model, tool, model, each under a lease of its own. */
function conversation(liveBytes?: number) {
  const records = new InMemoryRecords();
  const saver = new RecordsConversationSaver(records, { liveBytes });
  const model = new ReplyingModel((messages) => {
    const n = String(messages.length);
    if (messages.at(-1)?.type !== "human") return `The answer number ${n}, in a sentence of usual length.`;
    return { calls: [{ id: `call-${n}`, name: "look_up", args: { key: n } }] };
  });
  const agent = createAgent({ model, tools: [lookUp], checkpointer: saver });
  let epoch = 0;
  const say = async () => {
    epoch += 1;
    const lease = { threadId: "t", epoch, owner: `process:${crypto.randomUUID()}` };
    await agent.invoke(
      { messages: [new HumanMessage(`Question number ${String(epoch)}, about something or other.`)] },
      {
        configurable: { thread_id: "t", [RUN_KEY]: { lease, turnId: crypto.randomUUID() } },
        durability: "sync",
      },
    );
  };
  return { records, say };
}

describe("a turn of model, tool, model", () => {
  it("costs one look and at most four commits", async () => {
    const { records, say } = conversation();
    for (let turn = 0; turn < 5; turn += 1) {
      records.resetCounts();
      await say();
      const { load, unchanged, commit, refused } = records.counts;
      // Only the first turn of all has anything to read.
      expect({ load, unchanged, refused }).toEqual(
        turn === 0 ? { load: 1, unchanged: 0, refused: 0 } : { load: 0, unchanged: 1, refused: 0 },
      );
      expect(commit).toBeLessThanOrEqual(4);
    }
  });

  it("writes what it adds, however long the history is", async () => {
    const { records, say } = conversation();
    const written: number[] = [];
    for (let turn = 0; turn < 60; turn += 1) {
      records.resetCounts();
      await say();
      const texts = records.commits.flatMap(({ puts }) =>
        puts.map(([key, text]) => key.length + text.length),
      );
      written.push(texts.reduce((sum, length) => sum + length, 0));
    }
    expect(written[59]).toBeLessThan(written[12]! * 1.1);
  });

  it("leaves at most 60 KB after 40 of them, with fork points", async () => {
    const { records, say } = conversation();
    for (let turn = 0; turn < 40; turn += 1) await say();
    const dump = records.dump("t");
    expect(Object.keys(dump).filter((key) => key.startsWith("m"))).toHaveLength(160);
    expect(records.bytes("t")).toBeLessThan(60_000);
  });
});

describe("a message under an id of the caller's own", () => {
  it("costs no look more, in a session that is new, live, or read anew", async () => {
    const trips = async (message: (turn: string) => string | { id: string; content: string }) => {
      const records = new InMemoryRecords();
      const told: object[] = [];
      for (const process of ["1", "2"]) {
        const checkpointer = new RecordsConversationSaver(records);
        const chat = await createChat({
          model: new ScriptedChatModel(() => "Yes."),
          store: { checkpointer },
        });
        for (const turn of ["1", "2", "3"]) {
          records.resetCounts();
          await chat.chat({ sessionId: "s", message: message(`${process}.${turn}`) }).result;
          const { load, unchanged, commit, refused } = records.counts;
          told.push({ load, unchanged, commit, refused });
        }
      }
      return told;
    };
    const named = await trips((turn) => ({ id: turn, content: "Well?" }));
    expect(named).toEqual(await trips(() => "Well?"));
    expect(named).toMatchObject([
      { load: 1 },
      { load: 0 },
      { load: 0 },
      { load: 1 },
      { load: 0 },
      { load: 0 },
    ]);
  });
});

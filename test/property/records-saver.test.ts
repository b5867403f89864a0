import { AIMessage, ChatMessage, HumanMessage } from "@langchain/core/messages";
import { type CheckpointTuple, emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemoryConversationSaver } from "../../src/store/conversation/memory-saver.js";
import { RecordsConversationSaver } from "../../src/store/conversation/records-saver.js";
import { type ForkingSaver, RUN_KEY } from "../../src/store/store.js";
import { InMemoryRecords } from "../support/in-memory-records.js";

/*
 * A saver over records and one in memory are given the same, in namespaces of all kinds, with delta channels, writes
 * before and after their checkpoints, restores and deletes; the former loses its cache at random. They must never
 * differ in anything that can be read.
 */

const NAMESPACES = ["", "stable", "node:1", "node:1|inner"] as const;

const namespace = fc.constantFrom(...NAMESPACES, "", "");
const value = fc.oneof(
  fc.record({ type: fc.constant("messages" as const), count: fc.nat(5) }),
  fc.record({ type: fc.constant("sends" as const), count: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ type: fc.constant("json" as const), value: fc.jsonValue({ maxDepth: 2 }) }),
  fc.record({ type: fc.constant("bytes" as const), value: fc.uint8Array({ maxLength: 8 }) }),
  fc.record({ type: fc.constant("text" as const), value: fc.string({ unit: "binary", maxLength: 8 }) }),
  fc.constant({ type: "map" as const }),
  fc.constant({ type: "undefined" as const }),
);
const step = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.record({
      type: fc.constant("put" as const),
      namespace,
      newTurn: fc.boolean(),
      isInput: fc.boolean(),
      /** Whether the messages are left to the ancestors, as a delta channel does. */
      isDelta: fc.boolean(),
      value,
    }),
  },
  {
    weight: 15,
    arbitrary: fc.record({
      type: fc.constant("writes" as const),
      namespace,
      isAhead: fc.boolean(),
      channels: fc.array(fc.constantFrom("messages", "x", "__error__", "__interrupt__"), { maxLength: 3 }),
      task: fc.constantFrom("a", "b"),
      value,
    }),
  },
  {
    weight: 7,
    arbitrary: fc.record({ type: fc.constant("restore" as const), turn: fc.nat(8) }),
  },
  { weight: 9, arbitrary: fc.constant({ type: "restart" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "delete" as const }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type Value = typeof value extends fc.Arbitrary<infer T> ? T : never;

const lease = { threadId: "t", epoch: 1, owner: "me" };

class Pair {
  readonly memory: MemoryConversationSaver;
  readonly records = new InMemoryRecords();
  recorded: RecordsConversationSaver;
  private count = 0;
  private turn = 0;
  private messages: (HumanMessage | AIMessage | ChatMessage)[] = [];
  private nextId: string | undefined;

  constructor(
    private readonly options: { history: "forks" | "all"; forkableRuns: number; liveBytes: number },
  ) {
    this.memory = new MemoryConversationSaver({ ...options, liveBytes: 0 });
    this.recorded = this.process();
  }

  async take(one: Step): Promise<void> {
    if (one.type === "restart") this.recorded = this.process();
    else if (one.type === "put") await this.put(one);
    else if (one.type === "writes") await this.write(one);
    else if (one.type === "delete") await this.both((saver) => saver.deleteThread("t"));
    else {
      const [here, there] = await this.both((saver) => saver.restore(lease, `turn ${String(one.turn)}`));
      expect(there).toBe(here);
    }
    const [here, there] = await this.both((saver) => this.look(saver));
    expect(there).toEqual(here);
    this.checkRecords();
  }

  /** Every message that is stored is in something, and the other way round. */
  private checkRecords(): void {
    const records = Object.entries(this.records.dump("t"));
    const stored = records.filter(([key]) => key.startsWith("m")).map(([key]) => parseInt(key.slice(1), 36));
    const used = new Set<number>();
    for (const [key, text] of records) {
      if (key.startsWith("m")) continue;
      for (const [, number] of text.matchAll(/\["m",(\d+)\]/g)) used.add(Number(number));
      for (const [, ranges] of text.matchAll(/\["l"((?:,\d+)*)\]/g)) {
        const numbers = ranges!.split(",").slice(1).map(Number);
        for (let i = 0; i < numbers.length; i += 2)
          for (let n = 0; n < numbers[i + 1]!; n += 1) used.add(numbers[i]! + n);
      }
    }
    expect([...used].sort((a, b) => a - b)).toEqual(stored.sort((a, b) => a - b));
  }

  async finish(): Promise<void> {
    await this.both((saver) => saver.deleteThread("t"));
    expect(this.records.bytes()).toBe(0);
  }

  private process(): RecordsConversationSaver {
    return RecordsConversationSaver.unfenced(this.records, this.options);
  }

  private both<T>(act: (saver: ForkingSaver) => Promise<T>): Promise<[T, T]> {
    return Promise.all([act(this.memory), act(this.recorded)]);
  }

  private async put({ namespace: ns, newTurn, isInput, isDelta, value: what }: Step & { type: "put" }) {
    if (newTurn) this.turn += 1;
    this.count += 1;
    const head = await this.memory.getTuple({ configurable: { thread_id: "t", checkpoint_ns: ns } });
    const parent = head?.checkpoint.id;
    const built = this.build(what);
    const old = head?.checkpoint.channel_values["kept"];
    const checkpoint = {
      ...emptyCheckpoint(),
      id: this.nextId ?? uuid6(1),
      channel_values: {
        ...(isDelta ? {} : { messages: [...this.messages] }),
        value: built,
        kept: old ?? "first",
      },
      channel_versions: { messages: this.count, value: this.count, kept: 1 },
    };
    this.nextId = undefined;
    const metadata = {
      source: isInput ? ("input" as const) : ("loop" as const),
      step: this.count,
      parents: (ns === "" ? {} : { "": parent ?? "" }) as Record<string, string>,
      ...(isDelta ? { counters_since_delta_snapshot: { messages: [1, 1] as [number, number] } } : {}),
    };
    const versions = { messages: this.count, value: this.count, ...(old === undefined ? { kept: 1 } : {}) };
    await this.both((saver) => saver.put(this.config(ns, parent), checkpoint, metadata, versions));
  }

  private async write({ namespace: ns, isAhead, channels, task, value: what }: Step & { type: "writes" }) {
    const head = await this.memory.getTuple({ configurable: { thread_id: "t", checkpoint_ns: ns } });
    if (isAhead) this.nextId ??= uuid6(1);
    const id = isAhead ? this.nextId : head?.checkpoint.id;
    if (id === undefined) return;
    const writes = channels.map((channel): [string, unknown] => [channel, this.build(what)]);
    await this.both((saver) => saver.putWrites(this.config(ns, id), writes, task, `~${task}`));
  }

  private build(what: Value): unknown {
    switch (what.type) {
      case "messages":
        for (let i = 0; i < what.count; i += 1) this.messages.push(this.message());
        return this.messages.slice(-3);
      case "sends":
        return Array.from({ length: what.count }, (_, n) => ({
          node: "n",
          args: { messages: [...this.messages], n },
        }));
      case "map":
        return new Map([[1, { when: new Date(0) }]]);
      case "undefined":
        return undefined;
      case "json":
      case "bytes":
      case "text":
        return what.value;
    }
  }

  private message() {
    this.count += 1;
    const id = `m${String(this.count % 40)}`;
    const content = `text "${String(this.count)}" \u0000 \ud800 \\`;
    if (this.count % 7 === 0) return new ChatMessage({ id, content, role: "narrator" });
    return this.count % 2 ? new HumanMessage({ id, content }) : new AIMessage({ id, content });
  }

  private config(ns: string, id: string | undefined) {
    const run = this.turn === 0 ? {} : { [RUN_KEY]: { lease, turnId: `turn ${String(this.turn)}` } };
    return { configurable: { thread_id: "t", checkpoint_ns: ns, checkpoint_id: id, ...run } };
  }

  private async look(saver: ForkingSaver): Promise<unknown> {
    const tuples: CheckpointTuple[] = [];
    for await (const tuple of saver.list({ configurable: { thread_id: "t" } })) tuples.push(tuple);
    tuples.sort((a, b) => (a.checkpoint.id < b.checkpoint.id ? 1 : -1));
    const heads = NAMESPACES.map((ns) =>
      saver.getTuple({ configurable: { thread_id: "t", checkpoint_ns: ns } }),
    );
    const deltas = NAMESPACES.map((checkpoint_ns) =>
      saver.getDeltaChannelHistory({
        config: { configurable: { thread_id: "t", checkpoint_ns } },
        channels: ["messages", "value"],
      }),
    );
    return {
      tuples,
      heads: await Promise.all(heads),
      deltas: await Promise.all(deltas),
      forks: await saver.forkPoints("t"),
    };
  }
}

describe("a saver over records that loses its cache at random", () => {
  it("shows what a saver in memory shows", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("forks" as const, "all" as const),
        fc.nat(3),
        fc.constantFrom(0, 20_000, 10_000_000),
        fc.array(step, { minLength: 1, maxLength: 20 }),
        async (history, forkableRuns, liveBytes, steps) => {
          const pair = new Pair({ history, forkableRuns, liveBytes });
          for (const one of steps) await pair.take(one);
          await pair.finish();
        },
      ),
      { numRuns: 200 },
    );
  }, 240_000);
});

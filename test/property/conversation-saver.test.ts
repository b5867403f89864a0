import { AIMessage, type BaseMessage, ChatMessage, HumanMessage } from "@langchain/core/messages";
import { emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ForkingSaver, RUN_KEY } from "../../src/store/store.js";
import { type Home, type HousedSaver, homes, houseSaver } from "../support/conversation-savers.js";

/*
 * A conversation edited at random, as LangGraph would: the list is read, changed and put. Beside it a model
 * that keeps every list whole.
 */

interface Said {
  readonly id: string;
  readonly kind: "human" | "ai" | "chat";
  readonly content: string;
}

type Edit =
  | { readonly type: "append"; readonly kinds: readonly Said["kind"][] }
  | { readonly type: "replace" | "remove" | "assign"; readonly at: number }
  | { readonly type: "rewrite"; readonly keep: number }
  | { readonly type: "prepend" }
  | { readonly type: "same" };

type Step =
  | {
      readonly type: "put";
      readonly newTurn: boolean;
      readonly reread: boolean;
      readonly edits: readonly Edit[];
    }
  | { readonly type: "restore"; readonly back: number }
  /** The process ends, and another one goes on; in memory the thread rests. */
  | { readonly type: "restart" };

const kind = fc.constantFrom<Said["kind"]>("human", "ai", "ai", "chat");
const edit: fc.Arbitrary<Edit> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constant("append" as const),
      kinds: fc.array(kind, { minLength: 1, maxLength: 40 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constantFrom("replace" as const, "remove" as const, "assign" as const),
      at: fc.nat(200),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("rewrite" as const), keep: fc.nat(10) }) },
  { weight: 1, arbitrary: fc.constantFrom({ type: "prepend" as const }, { type: "same" as const }) },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant("put" as const),
      newTurn: fc.boolean(),
      reread: fc.boolean(),
      edits: fc.array(edit, { maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant("restore" as const), back: fc.integer({ min: 1, max: 6 }) }),
  },
  { weight: 1, arbitrary: fc.constant({ type: "restart" as const }) },
);

function build({ id, kind: type, content }: Said): BaseMessage {
  if (type === "human") return new HumanMessage({ id, content });
  if (type === "ai") return new AIMessage({ id, content });
  return new ChatMessage({ id, content, role: "narrator" });
}

function read(messages: readonly BaseMessage[]): Said[] {
  return messages.map((message) => ({
    id: message.id ?? "",
    kind: message.type === "generic" ? "chat" : (message.type as Said["kind"]),
    content: message.text,
  }));
}

class Conversation {
  private readonly housed: HousedSaver;
  private saver: ForkingSaver;
  private readonly lease = { threadId: "t", epoch: 1, owner: "me" };
  private count = 0;
  private checkpointId: string | undefined;
  private objects: BaseMessage[] = [];
  /** The model: the list, and the list before each turn that can be undone. */
  private list: Said[] = [];
  private forks: { turnId: string; before: Said[]; checkpointId: string | undefined }[] = [];

  constructor(
    private readonly home: Home,
    liveBytes: number,
    private readonly forkableRuns: number,
  ) {
    this.housed = houseSaver(home, { liveBytes, forkableRuns });
    this.saver = this.housed.saver;
  }

  async take(step: Step): Promise<void> {
    if (step.type === "restore") await this.restore(step.back);
    else if (step.type === "put") await this.put(step);
    else this.saver = this.housed.restart("t");
    expect(read(await this.fetch())).toEqual(this.list);
    const present = new Set(this.list.map(({ id }) => id));
    expect(await this.saver.forkPoints("t")).toEqual(
      this.forks.map(({ turnId, before }, i) => {
        const known = new Set(before.map(({ id }) => id));
        const after = this.forks[i + 1]?.before ?? this.list;
        const messageIds = after.map(({ id }) => id).filter((id) => !known.has(id) && present.has(id));
        return { turnId, messageIds };
      }),
    );
  }

  /** Nothing may be left that a restore to the beginning does not take away. */
  async finish(): Promise<void> {
    const [first] = this.forks;
    if (first?.checkpointId !== undefined || first === undefined) return;
    await this.saver.restore(this.lease, first.turnId);
    expect(this.housed.bytes("t")).toBeLessThan(500);
    if (this.home !== "memory") return;
    const { pool } = (
      this.saver as unknown as { source: { peek(id: string): { pool: Map<string, unknown> } } }
    ).source.peek("t");
    expect([...pool.keys()]).toEqual([]);
  }

  private async put({ newTurn, reread, edits }: Step & { type: "put" }): Promise<void> {
    if (reread) this.objects = await this.fetch();
    if (newTurn || this.forks.length === 0) {
      this.forks.push({
        turnId: `turn ${String((this.count += 1))}`,
        before: this.list,
        checkpointId: this.checkpointId,
      });
      while (this.forks.length > this.forkableRuns + 1) this.forks.shift();
    }
    let objects = [...this.objects];
    for (const one of edits) objects = this.apply(one, objects);
    this.objects = objects;
    this.list = read(objects);
    const checkpoint = { ...emptyCheckpoint(), id: uuid6(1), channel_values: { messages: [...objects] } };
    checkpoint.channel_versions = { messages: this.count };
    const config = await this.saver.put(
      this.config(this.checkpointId),
      checkpoint,
      { source: "loop", step: 0, parents: {} },
      { messages: this.count },
    );
    this.checkpointId = config.configurable?.["checkpoint_id"] as string;
  }

  private apply(one: Edit, objects: BaseMessage[]): BaseMessage[] {
    const said = (type: Said["kind"]): Said => {
      this.count += 1;
      return { id: `m${String(this.count)}`, kind: type, content: `text ${String(this.count)}` };
    };
    if (one.type === "append") return [...objects, ...one.kinds.map((type) => build(said(type)))];
    if (one.type === "prepend") return [build(said("ai")), ...objects];
    if (one.type === "rewrite")
      return [build(said("human")), ...objects.slice(Math.max(0, objects.length - one.keep))];
    if (one.type === "same" || objects.length === 0) return objects;
    const index = one.at % objects.length;
    const message = objects[index]!;
    if (one.type === "remove") return objects.filter((_, i) => i !== index);
    if (one.type === "replace") return objects.with(index, build({ ...said("ai"), id: message.id! }));
    message.content = said("ai").content;
    return objects;
  }

  private async restore(back: number): Promise<void> {
    const index = this.forks.length - back;
    const fork = this.forks[index];
    await expect(this.saver.restore(this.lease, fork?.turnId ?? "unknown")).resolves.toBe(fork !== undefined);
    if (fork === undefined) return;
    this.forks = this.forks.slice(0, index);
    this.list = fork.before;
    this.checkpointId = fork.checkpointId;
    this.objects = await this.fetch();
  }

  private async fetch(): Promise<BaseMessage[]> {
    const tuple = await this.saver.getTuple(this.config());
    expect(tuple?.checkpoint.id).toBe(this.checkpointId);
    return (tuple?.checkpoint.channel_values["messages"] ?? []) as BaseMessage[];
  }

  private config(checkpointId?: string) {
    const turnId = this.forks.at(-1)?.turnId;
    const run = turnId === undefined ? {} : { [RUN_KEY]: { lease: this.lease, turnId } };
    return { configurable: { thread_id: "t", checkpoint_ns: "", checkpoint_id: checkpointId, ...run } };
  }
}

describe("a conversation edited at random", () => {
  it("is what a plain copy of every list would be", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...homes),
        fc.constantFrom(0, 5_000, 10_000_000),
        fc.nat(4),
        fc.array(step, { minLength: 1, maxLength: 25 }),
        async (home, liveBytes, forkableRuns, steps) => {
          const conversation = new Conversation(home, liveBytes, forkableRuns);
          for (const one of steps) await conversation.take(one);
          await conversation.finish();
        },
      ),
      { numRuns: 250 },
    );
  }, 240_000);
});

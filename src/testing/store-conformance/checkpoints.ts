import { HumanMessage, type BaseMessage } from "@langchain/core/messages";
import { uuid6, type BaseCheckpointSaver, type Checkpoint } from "@langchain/langgraph-checkpoint";
import { RUN_KEY, type ForkingSaver, type Lease } from "../../store/store.js";
import { rulesOf, times, type Bench } from "./bench.js";
import { acceptedOf, attemptOf, expectEqual, expectRefused, expectThat } from "./expectations.js";
import { completion, difficultJson, difficultTexts, threadOf } from "./requests.js";

const thread = threadOf("s");

/** Checkpoints of one thread, each put on top of the one before. */
class Writer {
  readonly #saver: BaseCheckpointSaver;
  readonly #threadId: string;
  #version = 0;
  #head: string | undefined;

  constructor(bench: Bench, threadId = thread) {
    this.#saver = bench.checkpointer;
    this.#threadId = threadId;
  }

  /** Puts a checkpoint with these values, of which `messages` is made of the texts. */
  async put(
    lease: Lease | undefined,
    turnId: string,
    texts: readonly string[],
    values: object = {},
  ): Promise<void> {
    this.#version += 1;
    const channels: Record<string, unknown> = { messages: messagesOf(texts), ...values };
    const versions = Object.fromEntries(Object.keys(channels).map((channel) => [channel, this.#version]));
    const checkpoint: Checkpoint = {
      v: 4,
      id: uuid6(this.#version),
      ts: "2026-01-01T00:00:00.000Z",
      channel_values: channels,
      channel_versions: versions,
      versions_seen: {},
    };
    const metadata = { source: "loop" as const, step: this.#version, parents: {} };
    const config = this.#config(lease, turnId);
    await this.#saver.put(config, checkpoint, metadata, versions);
    this.#head = checkpoint.id;
  }

  async putWrites(lease: Lease | undefined, turnId: string, value: unknown, taskId = "task"): Promise<void> {
    await this.#saver.putWrites(this.#config(lease, turnId), [["messages", value]], taskId);
  }

  /** A writer that goes on from the same checkpoint. */
  on(bench: Bench): Writer {
    const writer = new Writer(bench, this.#threadId);
    writer.#version = this.#version;
    writer.#head = this.#head;
    return writer;
  }

  #config(lease: Lease | undefined, turnId: string) {
    const run = lease === undefined ? {} : { [RUN_KEY]: { lease, turnId } };
    const parent = this.#head === undefined ? {} : { checkpoint_id: this.#head };
    return { configurable: { thread_id: this.#threadId, checkpoint_ns: "", ...parent, ...run } };
  }
}

function messagesOf(texts: readonly string[]): BaseMessage[] {
  return texts.map((text, i) => new HumanMessage({ id: `m${String(i)}`, content: text }));
}

/** The stored head of a thread, and the texts of its messages. */
async function head(bench: Bench, threadId = thread) {
  return bench.checkpointer.getTuple({ configurable: { thread_id: threadId, checkpoint_ns: "" } });
}

async function textsOf(bench: Bench, threadId = thread): Promise<unknown> {
  const messages: unknown = (await head(bench, threadId))?.checkpoint.channel_values["messages"];
  return Array.isArray(messages) ? messages.map((message: BaseMessage) => message.content) : messages;
}

function forks(bench: Bench): ForkingSaver {
  const saver = bench.checkpointer as Partial<ForkingSaver>;
  if (typeof saver.forkPoints === "function" && typeof saver.restore === "function")
    return saver as ForkingSaver;
  throw new Error("The store's checkpointer has no `forkPoints` and `restore`, which runs of a ledger need.");
}

/** Three turns of two messages each; the last is still at work. */
async function threeTurns(bench: Bench): Promise<{ readonly writer: Writer; readonly lease: Lease }> {
  const writer = new Writer(bench);
  const said: string[] = [];
  for (const turn of ["t1", "t2", "t3"]) {
    const claimed = await bench.begin("s", turn);
    for (const what of ["question", "answer"]) {
      said.push(`${what} of ${turn}`);
      await writer.put(claimed.lease, turn, said);
    }
    if (turn === "t3") return { writer, lease: claimed.lease };
    await bench.finish(claimed);
  }
  throw new Error("unreachable");
}

/** Conversation state, fenced by the ledger's leases. */
export const checkpointRules = rulesOf(["checkpointer", "runs"], {
  "checkpointer: it is of the ledger's engine": (bench) => {
    const { engine } = bench.checkpointer as ForkingSaver;
    expectThat(engine !== undefined && engine === bench.runs.engine, "one `engine` of both", engine);
    return Promise.resolve();
  },

  "checkpointer: what was put is read back, by other processes too": async (bench) => {
    const other = await bench.other();
    expectEqual(await head(bench), undefined, "the head of an unknown thread");
    const { lease } = await bench.begin("s", "a");
    const writer = new Writer(bench);
    await writer.put(lease, "a", ["one"]);
    expectEqual(await textsOf(other), ["one"], "the messages that another process reads");
    await writer.put(lease, "a", ["one", "two"], { count: 2 });
    for (const reader of [bench, other]) {
      expectEqual(await textsOf(reader), ["one", "two"], "the messages");
      expectEqual((await head(reader))?.checkpoint.channel_values["count"], 2, "the other channel");
    }
  },

  "checkpointer: pending writes come with their checkpoint": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    const writer = new Writer(bench);
    await writer.put(lease, "a", ["one"]);
    await writer.putWrites(lease, "a", "first", "task-1");
    await writer.putWrites(lease, "a", { second: ["你好 👋"] }, "task-2");
    const wanted = [
      ["task-1", "messages", "first"],
      ["task-2", "messages", { second: ["你好 👋"] }],
    ];
    const written = (await head(await bench.other()))?.pendingWrites ?? [];
    const sorted = [...written].sort(([a], [b]) => a.localeCompare(b));
    expectEqual(sorted, wanted, "the pending writes");
    await writer.put(lease, "a", ["one", "two"]);
    expectEqual((await head(bench))?.pendingWrites ?? [], [], "the pending writes of the next checkpoint");
  },

  "checkpointer: texts and values of every kind come back unchanged": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    const writer = new Writer(bench);
    const texts = Object.values(difficultTexts);
    await writer.put(lease, "a", texts, { value: difficultJson() });
    expectEqual(await textsOf(bench), texts, "the texts of the messages");
    const other = await bench.other();
    expectEqual(await textsOf(other), texts, "the texts that another process reads");
    expectEqual(
      (await head(other))?.checkpoint.channel_values["value"],
      difficultJson(),
      "the other channel",
    );
  },

  "checkpointer: a message of 200 KB comes back unchanged": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    const text = "0123456789 你好👋 ".repeat(12_000);
    await new Writer(bench).put(lease, "a", ["small", text]);
    const texts = (await textsOf(await bench.other())) as readonly string[];
    expectThat(texts[0] === "small" && texts[1] === text, "both messages", texts);
  },

  "checkpointer: a checkpoint without a lease is refused": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    const writer = new Writer(bench);
    await writer.put(lease, "a", ["one"]);
    await expectRefused(() => writer.put(undefined, "a", ["two"]), "LEASE_LOST", "a checkpoint");
    expectEqual(await textsOf(bench), ["one"], "the messages");
  },

  "checkpointer: writes without a lease are refused": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    const writer = new Writer(bench);
    await writer.put(lease, "a", ["one"]);
    await expectRefused(() => writer.putWrites(undefined, "a", "two"), "LEASE_LOST", "writes");
    expectEqual((await head(bench))?.pendingWrites ?? [], [], "the pending writes");
  },

  "checkpointer: the lease of another thread is refused": async (bench) => {
    await bench.submit("s", "a");
    await bench.submit("t", "b");
    const own = await bench.claim();
    const foreign = await bench.claim();
    const writer = new Writer(bench);
    await writer.put(own.lease, "a", ["one"]);
    await expectRefused(() => writer.put(foreign.lease, "a", ["two"]), "LEASE_LOST", "a checkpoint");
    await expectRefused(() => writer.putWrites(foreign.lease, "a", "two"), "LEASE_LOST", "writes");
    expectEqual(await textsOf(bench), ["one"], "the messages");
    expectEqual(await head(bench, threadOf("t")), undefined, "the head of the other thread");
  },

  "checkpointer: a stale owner cannot put checkpoints": async (bench) => {
    const stale = await bench.begin("s", "a", { leaseMs: bench.leaseMs });
    const writer = new Writer(bench);
    await writer.put(stale.lease, "a", ["one"]);
    await bench.expire();
    const other = await bench.other();
    const fresh = await other.claim({ processId: "process-2" });
    await expectRefused(() => writer.put(stale.lease, "a", ["stale"]), "LEASE_LOST", "a checkpoint");
    await writer.on(other).put(fresh.lease, "a", ["one", "fresh"]);
    await expectRefused(() => writer.put(stale.lease, "a", ["stale"]), "LEASE_LOST", "a checkpoint");
    for (const reader of [bench, other]) expectEqual(await textsOf(reader), ["one", "fresh"], "the messages");
  },

  "checkpointer: a stale owner cannot put writes": async (bench) => {
    const stale = await bench.begin("s", "a", { leaseMs: bench.leaseMs });
    const writer = new Writer(bench);
    await writer.put(stale.lease, "a", ["one"]);
    await bench.expire();
    await bench.claim({ processId: "process-2" });
    await expectRefused(() => writer.putWrites(stale.lease, "a", "stale"), "LEASE_LOST", "writes");
    expectEqual((await head(bench))?.pendingWrites ?? [], [], "the pending writes");
  },

  "checkpointer: nothing is put outside of a run": async (bench) => {
    const claimed = await bench.begin("s", "a");
    const writer = new Writer(bench);
    await writer.put(claimed.lease, "a", ["one"]);
    await bench.finish(claimed, completion());
    await expectRefused(() => writer.put(claimed.lease, "a", ["late"]), "LEASE_LOST", "a checkpoint");
    await expectRefused(() => writer.putWrites(claimed.lease, "a", "late"), "LEASE_LOST", "writes");
    expectEqual(await textsOf(bench), ["one"], "the messages");
  },

  "checkpointer: a session that is being deleted takes no checkpoints": async (bench) => {
    const { lease } = await bench.begin("s", "a");
    const writer = new Writer(bench);
    await writer.put(lease, "a", ["one"]);
    await bench.runs.tombstone(thread);
    await expectRefused(() => writer.put(lease, "a", ["late"]), "LEASE_LOST", "a checkpoint");
    await expectRefused(() => writer.putWrites(lease, "a", "late"), "LEASE_LOST", "writes");
    await bench.checkpointer.deleteThread(thread);
    await expectRefused(() => writer.put(lease, "a", ["late"]), "LEASE_LOST", "a checkpoint");
    expectEqual(await head(await bench.other()), undefined, "the head");
  },

  "checkpointer: a deletion wins every race with its owner's writes": async (bench) => {
    const other = await bench.other();
    for (let round = 0; round < 5; round++) {
      const id = `s${String(round)}`;
      const threadId = threadOf(id);
      const { lease } = await bench.begin(id, "a");
      const writer = new Writer(bench, threadId);
      await writer.put(lease, "a", ["one"]);
      const writing = times(6, (i) => attemptOf(() => writer.on(bench).put(lease, "a", ["one", String(i)])));
      await other.runs.tombstone(threadId);
      await other.checkpointer.deleteThread(threadId);
      acceptedOf(await writing, ["LEASE_LOST"], "a checkpoint");
      for (const reader of [bench, other]) expectEqual(await head(reader, threadId), undefined, "the head");
      await other.runs.purge(threadId);
      await expectRefused(
        () => writer.put(lease, "a", ["back"]),
        "LEASE_LOST",
        "a checkpoint after the purge",
      );
    }
  },

  "checkpointer: of a stale and a fresh owner that race, the fresh one's state stays": async (bench) => {
    const other = await bench.other();
    for (let round = 0; round < 3; round++) {
      const id = `s${String(round)}`;
      const threadId = threadOf(id);
      const stale = await bench.begin(id, "a", { leaseMs: bench.leaseMs });
      const writer = new Writer(bench, threadId);
      await writer.put(stale.lease, "a", ["one"]);
      await bench.expire();
      const writing = times(6, (i) =>
        attemptOf(() => writer.on(bench).put(stale.lease, "a", ["one", String(i)])),
      );
      const fresh = await other.claim({ processId: "process-2" });
      await writer.on(other).put(fresh.lease, "a", ["one", "fresh"], { by: "fresh" });
      acceptedOf(await writing, ["LEASE_LOST"], "a stale owner's checkpoint");
      const seen = (await head(bench, threadId))?.checkpoint.channel_values["by"];
      expectEqual(seen, "fresh", "who put the head");
      await other.finish(fresh);
    }
  },

  "checkpointer: threads are kept apart, and deleted alone": async (bench) => {
    const [first, second] = [await bench.begin("s", "a"), await bench.begin("t", "b")];
    await new Writer(bench).put(first.lease, "a", ["of s"]);
    await new Writer(bench, threadOf("t")).put(second.lease, "b", ["of t"]);
    expectEqual(await textsOf(bench), ["of s"], "the messages of s");
    await bench.checkpointer.deleteThread(thread);
    await bench.checkpointer.deleteThread(threadOf("nobody"));
    expectEqual(await head(await bench.other()), undefined, "the head of the deleted thread");
    expectEqual(await textsOf(bench, threadOf("t")), ["of t"], "the messages of t");
  },

  "checkpointer: a turn's first checkpoint makes a fork point": async (bench) => {
    expectEqual(await forks(bench).forkPoints(thread), [], "the fork points of an unknown thread");
    await threeTurns(bench);
    const points = await forks(await bench.other()).forkPoints(thread);
    const wanted = [
      { turnId: "t1", messageIds: ["m0", "m1"] },
      { turnId: "t2", messageIds: ["m2", "m3"] },
      { turnId: "t3", messageIds: ["m4", "m5"] },
    ];
    expectEqual(points, wanted, "the fork points, oldest first");
  },

  "checkpointer: it knows the ids of the messages that are there, and of no others": async (bench) => {
    const { lease } = await threeTurns(bench);
    for (const saver of [forks(bench), forks(await bench.other())]) {
      // A saver may leave it to the reader.
      if (saver.hasMessage === undefined) return;
      const has = async (id: string): Promise<boolean | undefined> => saver.hasMessage?.(lease, id);
      expectEqual([await has("m0"), await has("m5"), await has("m6")], [true, true, false], "m0, m5, m6");
      const nowhere = { ...lease, threadId: threadOf("nobody") };
      expectEqual(await saver.hasMessage(nowhere, "m0"), false, "m0 in an unknown thread");
    }
    await forks(bench).restore(lease, "t2");
    const saver = forks(bench);
    const left = [await saver.hasMessage?.(lease, "m1"), await saver.hasMessage?.(lease, "m2")];
    expectEqual(left, [true, false], "m1 and m2 once the conversation is back to before t2");
  },

  "checkpointer: restore puts the thread back to before a turn": async (bench) => {
    const { writer, lease } = await threeTurns(bench);
    const other = await bench.other();
    expectEqual(await forks(bench).restore(lease, "t2"), true, "what restore gave");
    const before = ["question of t1", "answer of t1"];
    for (const reader of [bench, other]) expectEqual(await textsOf(reader), before, "the messages");
    const left = (await forks(other).forkPoints(thread)).map((point) => point.turnId);
    expectEqual(left, ["t1"], "the turns of the fork points that are left");
    await writer.on(bench).put(lease, "t3", [...before, "again"]);
    expectEqual(await textsOf(other), [...before, "again"], "the messages of the turn that goes on");
  },

  "checkpointer: restoring the first turn leaves an empty thread": async (bench) => {
    const { lease } = await threeTurns(bench);
    expectEqual(await forks(bench).restore(lease, "t1"), true, "what restore gave");
    expectEqual(await head(await bench.other()), undefined, "the head");
    expectEqual(await forks(bench).forkPoints(thread), [], "the fork points");
  },

  "checkpointer: an unknown fork point restores nothing": async (bench) => {
    const { lease } = await threeTurns(bench);
    const before = await textsOf(bench);
    expectEqual(await forks(bench).restore(lease, "unknown"), false, "what restore gave");
    expectEqual(await textsOf(bench), before, "the messages");
  },

  "checkpointer: a stale owner cannot restore": async (bench) => {
    const { lease } = await threeTurns(bench);
    await bench.runs.release(lease, "t3");
    const fresh = await bench.claim({ processId: "process-2" });
    const before = await textsOf(bench);
    await expectRefused(() => forks(bench).restore(lease, "t2"), "LEASE_LOST", "the stale owner's restore");
    expectEqual(await textsOf(bench), before, "the messages");
    await bench.runs.tombstone(thread);
    await expectRefused(
      () => forks(bench).restore(fresh.lease, "t2"),
      "LEASE_LOST",
      "restore after a tombstone",
    );
  },
});

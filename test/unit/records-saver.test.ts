import { HumanMessage } from "@langchain/core/messages";
import { type Checkpoint, emptyCheckpoint, JsonPlusSerializer, uuid6 } from "@langchain/langgraph-checkpoint";
import { describe, expect, it } from "vitest";
import { AgentError, isAgentError } from "../../src/errors.js";
import { deferred } from "../../src/internal/deferred.js";
import {
  RecordsConversationSaver,
  type RecordsConversationSaverOptions,
} from "../../src/store/conversation/records-saver.js";
import { timeOfId } from "../../src/store/conversation/checkpoint-time.js";
import { type EventRide, type Lease, RUN_KEY } from "../../src/store/store.js";
import { ManualClock } from "../../src/testing/manual-clock.js";
import { InMemoryRecords } from "../support/in-memory-records.js";

const metadata = { source: "loop", step: 0, parents: {} } as const;

function checkpointWith(values: Record<string, unknown>, id = uuid6(1)): Checkpoint {
  const versions = Object.fromEntries(Object.keys(values).map((channel) => [channel, 1]));
  return { ...emptyCheckpoint(), id, channel_values: values, channel_versions: versions };
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "nothing was thrown";
  } catch (error) {
    return isAgentError(error) ? error.code : String(error);
  }
}

/** One owner of thread "t": writes one checkpoint after another under its lease. */
class Owner {
  checkpointId: string | undefined;

  constructor(
    readonly saver: RecordsConversationSaver,
    readonly lease: Lease | undefined,
    readonly turnId = "turn",
  ) {}

  get config() {
    const run = this.lease === undefined ? {} : { [RUN_KEY]: { lease: this.lease, turnId: this.turnId } };
    return { configurable: { thread_id: "t", checkpoint_ns: "", checkpoint_id: this.checkpointId, ...run } };
  }

  async put(values: Record<string, unknown>, source: "loop" | "input" = "loop"): Promise<void> {
    const checkpoint = checkpointWith(values);
    const config = this.config;
    this.checkpointId = checkpoint.id;
    await this.saver.put(config, checkpoint, { ...metadata, source }, checkpoint.channel_versions);
  }

  async write(taskId: string, value: unknown): Promise<void> {
    await this.saver.putWrites(this.config, [["a", value]], taskId);
  }

  /** The head as this owner sees it; goes on from there. */
  async read(): Promise<unknown> {
    const { configurable } = this.config;
    const tuple = await this.saver.getTuple({
      configurable: { ...configurable, checkpoint_id: undefined },
    });
    this.checkpointId = tuple?.checkpoint.id;
    return tuple?.checkpoint.channel_values;
  }
}

/** An engine, and processes that use it. Leases of the epoch `state.epoch` are good. */
function cluster(options: RecordsConversationSaverOptions = {}) {
  const state = { epoch: 1 };
  const records = new InMemoryRecords({
    fence({ epoch }) {
      if (epoch !== state.epoch) throw new AgentError("LEASE_LOST", "The lease is stale.");
    },
  });
  const process = () => new RecordsConversationSaver(records, options);
  const lease = (epoch = state.epoch): Lease => ({ threadId: "t", epoch, owner: `owner ${String(epoch)}` });
  /** What the engine has, seen by nobody in particular. */
  const stored = () => new Owner(RecordsConversationSaver.unfenced(records), undefined).read();
  return { state, records, process, lease, stored };
}

const unavailable = new AgentError("STORE_UNAVAILABLE", "The engine is away.");

describe("writes of one turn of the event loop", () => {
  it("go in one commit, and resolve when it is done", async () => {
    const { records, process, lease } = cluster();
    const owner = new Owner(process(), lease());
    let committed = false;
    records.onStep = async (step) => {
      if (step !== "commit") return;
      await new Promise((resolve) => setImmediate(resolve));
      committed = true;
    };
    const done = [owner.put({ a: 1 }), owner.write("one", 1), owner.write("two", 2)];
    await Promise.race(done);
    expect(committed).toBe(true);
    await Promise.all(done);
    expect(records.counts.commit).toBe(1);
  });

  it("that come while a commit is under way go in the next one", async () => {
    const { records, process, lease, stored } = cluster();
    const owner = new Owner(process(), lease());
    await owner.read();
    const later: Promise<void>[] = [];
    records.onStep = (step) => {
      if (step === "commit" && later.length === 0) later.push(owner.put({ a: 2 }), owner.put({ a: 3 }));
    };
    await owner.put({ a: 1 });
    await Promise.all(later);
    expect(records.counts.commit).toBe(2);
    expect(await stored()).toEqual({ a: 3 });
  });

  it("of different threads don't wait for each other", async () => {
    const records = new InMemoryRecords();
    const saver = RecordsConversationSaver.unfenced(records);
    const put = (threadId: string) => {
      const checkpoint = checkpointWith({ a: 1 });
      return saver.put({ configurable: { thread_id: threadId } }, checkpoint, metadata, { a: 1 });
    };
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    let first = true;
    records.onStep = () => {
      if (!first) return;
      first = false;
      return gate;
    };
    const slow = put("slow");
    await put("quick");
    expect(records.dump("slow")).toEqual({});
    release();
    await slow;
  });

  it("that change nothing cost no commit", async () => {
    const { records, process, lease } = cluster();
    const owner = new Owner(process(), lease());
    await owner.put({ a: 1 });
    await expect(owner.saver.restore(lease(), "unknown")).resolves.toBe(false);
    await owner.saver.putWrites(owner.config, [], "task");
    expect(records.counts.commit).toBe(1);
  });
});

describe("the results of a step", () => {
  /** An owner whose events reach their log when the test says so. */
  function eventful() {
    const { records, process, lease, stored } = cluster();
    const saver = process();
    const events = deferred<undefined>();
    const configurable = {
      thread_id: "t",
      [RUN_KEY]: { lease: lease(), turnId: "turn", flush: () => events.promise },
    };
    const put = (values: Record<string, unknown>, source: "loop" | "input" = "loop") => {
      const checkpoint = checkpointWith(values);
      return saver.put({ configurable }, checkpoint, { ...metadata, source }, checkpoint.channel_versions);
    };
    const write = () =>
      saver.putWrites({ configurable: { ...configurable, checkpoint_id: uuid6(1) } }, [["a", 1]], "task");
    return { records, events, put, write, stored };
  }

  it("are not stored before the log has the events that tell of them", async () => {
    const { records, events, put, write, stored } = eventful();
    const steps = Promise.all([put({ a: 1 }), write()]);
    await new Promise((resolve) => setImmediate(resolve));
    expect(records.counts.commit).toBe(0);
    events.resolve(undefined);
    await steps;
    expect(records.counts.commit).toBe(1);
    expect(await stored()).toEqual({ a: 1 });
  });

  it("are not stored at all when those events are lost", async () => {
    const { records, events, put, write } = eventful();
    events.reject(new AgentError("STORE_UNAVAILABLE", "The log failed."));
    expect(await codeOf(put({ a: 1 }))).toBe("STORE_UNAVAILABLE");
    expect(await codeOf(write())).toBe("STORE_UNAVAILABLE");
    expect(records.counts.commit).toBe(0);
  });

  /** A run whose events ride with commits of the records' engine, or of another one. */
  function riding(engineOf: (records: InMemoryRecords) => object) {
    const { records, process, lease } = cluster();
    const saver = process();
    const batch = { runId: "run", events: [{ type: "text-delta", id: "t", delta: "x", seq: 1 }] } as const;
    const rides: boolean[] = [];
    const flushed: string[] = [];
    const ride: EventRide = {
      engine: engineOf(records),
      ready: () => Promise.resolve(),
      run: async (step) => {
        const isDone = await step(batch);
        rides.push(isDone);
        return isDone;
      },
    };
    const flush = async () => {
      flushed.push("flushed");
    };
    const configurable = { thread_id: "t", [RUN_KEY]: { lease: lease(), turnId: "turn", flush, ride } };
    const put = () => {
      const checkpoint = checkpointWith({ a: 1 });
      return saver.put({ configurable }, checkpoint, metadata, checkpoint.channel_versions);
    };
    return { records, batch, rides, flushed, put };
  }

  it("are stored in one commit with the events that tell of them", async () => {
    const { records, batch, rides, flushed, put } = riding((own) => own.engine);
    await put();
    expect(records.commits.map(({ events }) => events)).toEqual([batch]);
    expect({ rides, flushed }).toEqual({ rides: [true], flushed: [] });
  });

  it("say so when another writer was first, so that the events are not taken for stored", async () => {
    const { records, rides, put } = riding((own) => own.engine);
    records.fail("commit", { type: "conflict" });
    expect(await codeOf(put())).toBe("LEASE_LOST");
    expect(rides).toEqual([false]);
  });

  it("wait for events of another engine, and take none of them", async () => {
    const { records, rides, flushed, put } = riding(() => ({}));
    await put();
    expect(records.commits.map(({ events }) => events)).toEqual([undefined]);
    expect({ rides, flushed }).toEqual({ rides: [], flushed: ["flushed"] });
  });

  it("come after the input, which waits for no events", async () => {
    const { events, put, stored } = eventful();
    await put({ a: 1 }, "input");
    const step = put({ a: 2 });
    events.resolve(undefined);
    await step;
    expect(await stored()).toEqual({ a: 2 });
  });

  it("of a stale owner are refused though they come too late to change anything", async () => {
    const { state, process, lease } = cluster();
    const old = new Owner(process(), lease());
    await old.put({ a: 1 });
    const early = uuid6(1);
    state.epoch = 2;
    const next = new Owner(process(), lease());
    await next.read();
    await next.put({ a: 2 });
    const { configurable } = old.config;
    const late = old.saver.putWrites(
      { configurable: { ...configurable, checkpoint_id: early } },
      [["a", 3]],
      "x",
    );
    expect(await codeOf(late)).toBe("LEASE_LOST");
  });
});

describe("the input of a leased run", () => {
  it("is acknowledged before it is stored, and stored with what follows", async () => {
    const { records, process, lease, stored } = cluster();
    const owner = new Owner(process(), lease());
    await owner.read();
    await owner.put({ a: "input" }, "input");
    expect(records.commits).toHaveLength(0);
    await owner.put({ a: "first step" });
    expect(records.counts.commit).toBe(1);
    expect(await stored()).toEqual({ a: "first step" });
  });

  it.each(["before", "after"] as const)(
    "that did not get stored is not built upon (error %s the effect)",
    async (type) => {
      const { records, process, lease, state, stored } = cluster();
      const saver = process();
      const owner = new Owner(saver, lease());
      await owner.put({ a: "old" });
      records.fail("commit", { type, error: unavailable });
      await owner.put({ a: "input" }, "input");
      expect(await codeOf(owner.put({ a: "first step" }))).toBe("STORE_UNAVAILABLE");
      // The engine is back, but this lease stays without trust.
      expect(await codeOf(owner.write("task", 1))).toBe("STORE_UNAVAILABLE");
      expect(await codeOf(owner.put({ a: "second step" }))).toBe("STORE_UNAVAILABLE");
      expect(await codeOf(saver.restore(lease(), "turn"))).toBe("STORE_UNAVAILABLE");
      expect(records.counts.commit).toBe(type === "before" ? 1 : 2);
      const expected = { a: type === "before" ? "old" : "first step" };
      expect(await stored()).toEqual(expected);
      state.epoch = 2;
      const next = new Owner(saver, lease(), "next");
      expect(await next.read()).toEqual(expected);
      await next.put({ a: "new" });
      expect(await stored()).toEqual({ a: "new" });
    },
  );

  it("of a host tool waits for the engine", async () => {
    const records = new InMemoryRecords();
    const tool = new Owner(RecordsConversationSaver.unfenced(records), undefined);
    await tool.put({ a: "input" }, "input");
    expect(records.counts.commit).toBe(1);
  });
});

describe("a failed commit", () => {
  it.each([
    ["a lost connection", { type: "before", error: unavailable }, "STORE_UNAVAILABLE"],
    ["a lost answer", { type: "after", error: unavailable }, "STORE_UNAVAILABLE"],
    ["another writer", { type: "conflict" }, "LEASE_LOST"],
  ] as const)("by %s fails all that waited for it, and what came meanwhile", async (_name, fault, code) => {
    const { records, process, lease } = cluster();
    const owner = new Owner(process(), lease());
    await owner.put({ a: 1 });
    records.fail("commit", fault);
    const later: Promise<string>[] = [];
    records.onStep = (step) => {
      if (step === "commit" && later.length === 0) later.push(codeOf(owner.put({ a: 4 })));
    };
    const results = await Promise.all([codeOf(owner.put({ a: 2 })), codeOf(owner.write("task", 3))]);
    expect([...results, ...(await Promise.all(later))]).toEqual([code, code, code]);
    expect(records.commits).toHaveLength(2);
  });

  it("of a load is the reader's, and the next read is none the worse", async () => {
    const { records, process, lease } = cluster();
    const owner = new Owner(process(), lease());
    records.fail("load", { type: "before", error: unavailable });
    expect(await codeOf(owner.read())).toBe("STORE_UNAVAILABLE");
    await owner.put({ a: 1 });
    expect(await owner.read()).toEqual({ a: 1 });
  });
});

describe("leases", () => {
  it("are demanded of every write, and of its own thread", async () => {
    const { records, process, lease } = cluster();
    for (const wrong of [undefined, { ...lease(), threadId: "other" }]) {
      const owner = new Owner(process(), wrong);
      expect(await codeOf(owner.put({ a: 1 }))).toBe("LEASE_LOST");
      expect(
        await codeOf(
          owner.saver.putWrites(
            { configurable: { ...owner.config.configurable, checkpoint_id: "c" } },
            [],
            "task",
          ),
        ),
      ).toBe("LEASE_LOST");
    }
    expect(records.commits).toHaveLength(0);
  });

  it("fence every commit in the engine", async () => {
    const { records, process, lease, state, stored } = cluster();
    const owner = new Owner(process(), lease());
    await owner.put({ a: 1 });
    const stale = lease();
    state.epoch = 2;
    expect(await codeOf(owner.put({ a: 2 }))).toBe("LEASE_LOST");
    expect(await codeOf(process().restore(stale, "turn"))).toBe("LEASE_LOST");
    expect(records.commits.every((commit) => commit.lease?.threadId === "t")).toBe(true);
    expect(await stored()).toEqual({ a: 1 });
  });
});

describe("a takeover", () => {
  it("goes on from what the dead owner stored, and the one that wakes up changes nothing", async () => {
    const { process, lease, state, stored } = cluster();
    const dead = new Owner(process(), lease());
    await dead.put({ messages: [new HumanMessage({ id: "1", content: "one" })] });
    await dead.write("task", "finished");
    state.epoch = 2;
    const heir = new Owner(process(), lease());
    expect(await heir.read()).toMatchObject({ messages: [{ content: "one" }] });
    const tuple = await heir.saver.getTuple(heir.config);
    expect(tuple?.pendingWrites).toEqual([["task", "a", "finished"]]);
    await heir.put({ a: "heir" });
    expect(await codeOf(dead.put({ a: "dead" }))).toBe("LEASE_LOST");
    expect(await stored()).toEqual({ a: "heir" });
  });

  it("within one process lets the old owner's writes fail, and only those", async () => {
    const { process, lease, state, stored } = cluster();
    const saver = process();
    const old = new Owner(saver, lease());
    await old.put({ a: 1 });
    const oldWrite = codeOf(old.put({ a: "stale" }));
    state.epoch = 2;
    const heir = new Owner(saver, lease());
    expect(await heir.read()).toEqual({ a: 1 });
    await heir.put({ a: 2 });
    expect(await oldWrite).toBe("LEASE_LOST");
    expect(await codeOf(old.put({ a: "staler" }))).toBe("LEASE_LOST");
    await heir.put({ a: 3 });
    expect(await stored()).toEqual({ a: 3 });
  });

  it("sees what others wrote since, also where an old copy is cached", async () => {
    const { records, process, lease, state } = cluster();
    const [one, two] = [process(), process()];
    await new Owner(one, lease()).put({ a: 1 });
    state.epoch = 2;
    const second = new Owner(two, lease());
    await second.read();
    await second.put({ a: 2 });
    state.epoch = 3;
    const third = new Owner(one, lease());
    records.resetCounts();
    expect(await third.read()).toEqual({ a: 2 });
    expect(await third.read()).toEqual({ a: 2 });
    await third.put({ a: 3 });
    expect(records.counts).toMatchObject({ load: 1, unchanged: 0, commit: 1 });
  });

  it("may begin with a write, also where an old copy is cached", async () => {
    const { process, lease, state, stored } = cluster();
    const [one, two] = [process(), process()];
    await new Owner(one, lease()).put({ a: 1 });
    state.epoch = 2;
    await new Owner(two, lease()).put({ a: 2 });
    state.epoch = 3;
    await new Owner(one, lease()).put({ a: 3 });
    expect(await stored()).toEqual({ a: 3 });
  });
});

describe("reads without a lease", () => {
  it("ask the engine each time, and read anew only what has changed", async () => {
    const { records, process, lease } = cluster();
    const [one, two] = [process(), process()];
    const owner = new Owner(one, lease());
    const reader = new Owner(two, undefined);
    await owner.put({ a: 1 });
    records.resetCounts();
    expect([await reader.read(), await reader.read()]).toEqual([{ a: 1 }, { a: 1 }]);
    expect(records.counts).toMatchObject({ load: 1, unchanged: 1 });
    await owner.put({ a: 2 });
    expect(await reader.read()).toEqual({ a: 2 });
    expect(records.counts).toMatchObject({ load: 2, unchanged: 1 });
  });

  it("don't disturb a run in the same process", async () => {
    const { records, process, lease, stored } = cluster();
    const saver = process();
    const owner = new Owner(saver, lease());
    const reader = new Owner(saver, undefined);
    await owner.read();
    for (let i = 0; i < 10; i += 1)
      await Promise.all([owner.put({ a: i }), reader.read(), owner.write("task", i)]);
    expect(await stored()).toEqual({ a: 9 });
    expect(records.counts.refused).toBe(0);
  });
});

describe("writers without a lease", () => {
  it("are all heard when they race", async () => {
    const records = new InMemoryRecords();
    const base = new Owner(RecordsConversationSaver.unfenced(records), undefined);
    await base.put({ messages: [new HumanMessage({ id: "m", content: "once" })] });
    const writers = Array.from({ length: 5 }, () => RecordsConversationSaver.unfenced(records));
    for (const saver of writers) await saver.getTuple(base.config);
    await Promise.all(
      writers.map((saver, i) => saver.putWrites(base.config, [["a", i]], `task ${String(i)}`)),
    );
    const tuple = await RecordsConversationSaver.unfenced(records).getTuple(base.config);
    expect(tuple?.pendingWrites?.map(([, , value]) => value)).toEqual([0, 1, 2, 3, 4]);
    expect(records.counts.refused).toBeGreaterThan(0);
    expect(Object.keys(records.dump("t")).filter((key) => key.startsWith("m"))).toHaveLength(1);
  });

  it("give up at last", async () => {
    const records = new InMemoryRecords();
    const owner = new Owner(RecordsConversationSaver.unfenced(records), undefined);
    records.fail("commit", ...Array.from({ length: 100 }, () => ({ type: "conflict" as const })));
    expect(await codeOf(owner.put({ a: 1 }))).toBe("STORE_UNAVAILABLE");
    expect(records.counts.refused).toBeLessThan(100);
  });
});

describe("a message", () => {
  it("that one commit took away is stored anew when another one has it again", async () => {
    const records = new InMemoryRecords();
    const serialising = deferred<undefined>();
    const serde = new (class extends JsonPlusSerializer {
      override async dumpsTyped(value: unknown): Promise<[string, Uint8Array]> {
        if (value === "slow") await serialising.promise;
        return super.dumpsTyped(value);
      }
    })();
    const saver = RecordsConversationSaver.unfenced(records, { serde });
    const [first, second, third] = [uuid6(1), uuid6(2), uuid6(3)];
    const put = (id: string, values: Record<string, unknown>, parent?: string) => {
      const checkpoint = checkpointWith(values, id);
      const config = { configurable: { thread_id: "t", checkpoint_ns: "", checkpoint_id: parent } };
      return saver.put(config, checkpoint, metadata, checkpoint.channel_versions);
    };
    const message = new HumanMessage({ id: "m", content: "again" });
    await put(first, { messages: [message] });
    const [key] = Object.keys(records.dump("t")).filter((name) => name.startsWith("m"));
    // Encoded while the message is there, and stored when it is not.
    const slow = put(third, { messages: [message], a: "slow" }, first);
    await put(second, { messages: [new HumanMessage({ id: "n", content: "other" })] }, first);
    expect(Object.keys(records.dump("t"))).not.toContain(key);
    serialising.resolve(undefined);
    await slow;
    const read = await new Owner(RecordsConversationSaver.unfenced(records), undefined).read();
    expect(read).toMatchObject({ messages: [{ id: "m", content: "again" }], a: "slow" });
  });
});

describe("deleting a thread", () => {
  it("leaves nothing, and its owner's next write fails", async () => {
    const { records, process, lease, stored } = cluster();
    const owner = new Owner(process(), lease());
    await owner.put({ a: 1 });
    await process().deleteThread("t");
    expect(records.dump("t")).toEqual({});
    expect(await codeOf(owner.put({ a: 2 }))).toBe("LEASE_LOST");
    expect(await stored()).toBeUndefined();
  });

  it("comes after what was put before it", async () => {
    const records = new InMemoryRecords();
    const owner = new Owner(RecordsConversationSaver.unfenced(records), undefined);
    const putting = owner.put({ a: 1 });
    await new Promise((resolve) => setImmediate(resolve));
    await owner.saver.deleteThread("t");
    await putting;
    expect(records.dump("t")).toEqual({});
    expect(await owner.read()).toBeUndefined();
  });
});

describe("a thread that is put back to before its first turn", () => {
  it("holds nothing, and can go on", async () => {
    const { records, process, lease, stored } = cluster();
    const owner = new Owner(process(), lease());
    await owner.put({ messages: [new HumanMessage({ id: "m", content: "hi" })] });
    await expect(owner.saver.restore(lease(), "turn")).resolves.toBe(true);
    expect(records.bytes("t")).toBeLessThan(10);
    expect(await stored()).toBeUndefined();
    const again = new Owner(process(), lease());
    await again.put({ a: 1 });
    expect(await stored()).toEqual({ a: 1 });
  });
});

describe("a head that has not the greatest id", () => {
  it("is the head after a restart too", async () => {
    const records = new InMemoryRecords();
    const [earlier, later] = [uuid6(1), uuid6(1)];
    const put = (id: string) =>
      RecordsConversationSaver.unfenced(records, { forkableRuns: 1 }).put(
        { configurable: { thread_id: "t", [RUN_KEY]: { turnId: id } } },
        checkpointWith({ id }, id),
        metadata,
        { id: 1 },
      );
    await put(later);
    await put(earlier);
    expect(await new Owner(RecordsConversationSaver.unfenced(records), undefined).read()).toEqual({
      id: earlier,
    });
    await put(uuid6(1));
    expect(records.dump("t")["h"]).toBeUndefined();
  });
});

describe("list", () => {
  it("goes through all threads of the engine", async () => {
    const records = new InMemoryRecords();
    const saver = RecordsConversationSaver.unfenced(records);
    for (let i = 0; i < 205; i += 1) {
      const checkpoint = checkpointWith({ i });
      await saver.put({ configurable: { thread_id: `t${String(i)}` } }, checkpoint, metadata, { i: 1 });
    }
    const seen = new Set<unknown>();
    for await (const { checkpoint } of saver.list({})) seen.add(checkpoint.channel_values["i"]);
    expect(seen.size).toBe(205);
  });
});

describe("clocks that differ", () => {
  it("tell the time of an id", () => {
    const before = Date.now();
    const time = timeOfId(uuid6(3));
    expect(time).toBeGreaterThanOrEqual(before);
    expect(time).toBeLessThanOrEqual(Date.now() + 1);
    expect(timeOfId("1ef66b60-0000-1000-8000-000000000000")).toBeUndefined();
    expect(timeOfId("step 7")).toBeUndefined();
  });

  it("refuse a checkpoint that would not come after its parent", async () => {
    const { records, process, lease } = cluster();
    const owner = new Owner(process(), lease());
    const earlier = uuid6(1);
    await owner.put({ a: 1 });
    const late = owner.saver.put(owner.config, checkpointWith({ a: 2 }, earlier), metadata, { a: 1 });
    expect(await codeOf(late)).toBe("CLOCK_SKEW");
    expect(records.counts.commit).toBe(1);
  });

  /** A conversation whose last checkpoint was made `aheadMs` ahead of the clock of whoever takes over. */
  async function ahead(aheadMs: number) {
    const { process, lease, state, records } = cluster();
    const first = new Owner(process(), lease());
    await first.put({ a: 1 });
    state.epoch = 2;
    const clock = new ManualClock(timeOfId(first.checkpointId!)! - aheadMs);
    const heir = new Owner(new RecordsConversationSaver(records, { clock }), lease());
    return { clock, heir, lease };
  }

  it("make a new owner wait until its ids are greater", async () => {
    const { clock, heir } = await ahead(2_000);
    let value: unknown = "nothing yet";
    const reading = heir.read().then((read) => (value = read));
    await clock.advance(2_000);
    expect(value).toBe("nothing yet");
    await clock.advance(1);
    await reading;
    expect(value).toEqual({ a: 1 });
    expect(clock.pending).toBe(0);
  });

  it("also one that first goes back to before a turn", async () => {
    const { process, lease, state, records } = cluster();
    const first = new Owner(process(), lease());
    await first.put({ a: 1 });
    const second = new Owner(first.saver, lease(), "the next turn");
    await second.read();
    await second.put({ a: 2 });
    state.epoch = 2;
    const clock = new ManualClock(timeOfId(first.checkpointId!)! - 500);
    const heir = new Owner(new RecordsConversationSaver(records, { clock }), lease());
    await expect(heir.saver.restore(lease(), "the next turn")).resolves.toBe(true);
    let value: unknown = "nothing yet";
    const reading = heir.read().then((read) => (value = read));
    await clock.advance(500);
    expect(value).toBe("nothing yet");
    await clock.advance(1);
    await reading;
    expect(value).toEqual({ a: 1 });
  });

  it("but not for ever", async () => {
    const { clock, heir } = await ahead(10_001);
    expect(await codeOf(heir.read())).toBe("CLOCK_SKEW");
    expect(clock.pending).toBe(0);
  });

  it("nor longer than the run's signal lets it", async () => {
    const { clock, heir } = await ahead(5_000);
    const controller = new AbortController();
    const reading = heir.saver.getTuple({ ...heir.config, signal: controller.signal });
    await clock.advance(10);
    controller.abort(new Error("stopped"));
    await expect(reading).rejects.toThrow("stopped");
    expect(clock.pending).toBe(0);
  });
});

describe("options", () => {
  it.each([
    [{ maxClockSkewMs: -1 }, "Expected `maxClockSkewMs` to be an integer from 0 up"],
    [{ fence: () => undefined }, "Unknown option `fence` of RecordsConversationSaver"],
  ])("are checked: %o", (options, message) => {
    expect(() => new RecordsConversationSaver(new InMemoryRecords(), options as never)).toThrow(message);
  });
});

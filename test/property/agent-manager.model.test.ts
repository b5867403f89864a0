import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AgentManager, ChatService, isAgentError } from "../../src/index.js";
import { ManualClock } from "../../src/testing/index.js";
import { FakeFactory, recordEvents, type FakeAgent, type FakeConfig } from "../support/fake-agent.js";

const CAP = 3;
const TTL_MS = 1_000;
const CLOSE_TIMEOUT_MS = 500;
const CREATE_TIMEOUT_MS = 2_000;

const sessionIds = fc.constantFrom("a", "b", "c", "d", "e");
const tones = fc.constantFrom(undefined, "dry", "warm");

function build() {
  const clock = new ManualClock();
  const factory = new FakeFactory();
  const manager = new AgentManager<FakeConfig>({
    factory,
    clock,
    maxAgents: CAP,
    agentTtlMs: TTL_MS,
    closeTimeoutMs: CLOSE_TIMEOUT_MS,
    createTimeoutMs: CREATE_TIMEOUT_MS,
    cleanupIntervalMs: 0,
  });
  return { clock, factory, manager, chat: new ChatService({ manager }), events: recordEvents(manager) };
}

type Real = ReturnType<typeof build>;

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "ok";
  } catch (error) {
    return isAgentError(error) ? error.code : String(error);
  }
}

/*
 * One thing after another: the model is a map in the order of use, and says every event beforehand.
 */
class Model {
  now = 0;
  failing = false;
  /** Least recently used first. */
  readonly live = new Map<string, { tone: string | undefined; since: number }>();
  readonly sticky = new Map<string, string>();
  #events: string[] = [];

  takeEvents(): string[] {
    return this.#events.splice(0);
  }

  evict(id: string, reason: string): void {
    this.live.delete(id);
    this.#events.push(`evicted ${id} ${reason}`);
  }

  isExpired(id: string): boolean {
    return this.now - (this.live.get(id)?.since ?? this.now) > TTL_MS;
  }

  /** Takes the agent, or makes it; false when that fails. */
  use(id: string, tone: string | undefined, byRun: boolean, exact: boolean): boolean {
    if (this.isExpired(id)) this.evict(id, "ttl");
    const live = this.live.get(id);
    if (live !== undefined && (!exact || live.tone === tone)) {
      this.live.delete(id);
      this.live.set(id, live);
      if (byRun) this.#events.push(`reused ${id}`);
    } else {
      if (live !== undefined) this.evict(id, "config");
      const [oldest] = this.live.keys();
      if (this.live.size >= CAP && oldest !== undefined) this.evict(oldest, "capacity");
      if (this.failing) {
        this.#events.push(`failed ${id} create AGENT_CREATE_FAILED`);
        return false;
      }
      this.live.set(id, { tone, since: this.now });
      this.#events.push(`created ${id}`);
    }
    const used = this.live.get(id);
    if (byRun && used !== undefined) used.since = this.now;
    return true;
  }
}

abstract class Step implements fc.AsyncCommand<Model, Real> {
  check(): boolean {
    return true;
  }

  async run(model: Model, real: Real): Promise<void> {
    await this.step(model, real);
    expect(real.events.splice(0).sort()).toEqual(model.takeEvents().sort());
    expect(real.manager.getStats()).toMatchObject({
      totalAgents: model.live.size,
      idleAgents: model.live.size,
      closingAgents: 0,
    });
    expect([...real.factory.alive].map(({ context }) => context.sessionId).sort()).toEqual(
      [...model.live.keys()].sort(),
    );
    expect(real.factory.faults).toEqual([]);
  }

  abstract step(model: Model, real: Real): Promise<void>;
}

class Get extends Step {
  constructor(
    readonly id: string,
    readonly tone: string | undefined,
  ) {
    super();
  }
  async step(model: Model, { manager }: Real): Promise<void> {
    const tone = this.tone ?? model.sticky.get(this.id);
    const ok = model.use(this.id, tone, false, this.tone !== undefined);
    const config = this.tone === undefined ? undefined : { tone: this.tone };
    const got = await manager.getAgent({ sessionId: this.id }, config).catch((error: unknown) => error);
    if (ok) expect(got).toMatchObject({ config: { ...tonePart(model.live.get(this.id)?.tone) } });
    else expect(got).toMatchObject({ code: "AGENT_CREATE_FAILED" });
  }
  override toString = () => `get(${this.id}, ${String(this.tone)})`;
}

class Chat extends Step {
  constructor(
    readonly id: string,
    readonly tone: string | undefined,
  ) {
    super();
  }
  async step(model: Model, { chat, manager }: Real): Promise<void> {
    if (this.tone !== undefined) model.sticky.set(this.id, this.tone);
    const ok = model.use(this.id, model.sticky.get(this.id), true, true);
    const run = chat.chat({ sessionId: this.id, message: "hi", config: { tone: this.tone } });
    expect(await codeOf(run.result)).toBe(ok ? "ok" : "AGENT_CREATE_FAILED");
    if (ok)
      expect((await manager.getAgent({ sessionId: this.id })).config).toEqual(
        tonePart(model.sticky.get(this.id)),
      );
  }
  override toString = () => `chat(${this.id}, ${String(this.tone)})`;
}

class Remove extends Step {
  constructor(readonly id: string) {
    super();
  }
  async step(model: Model, { manager }: Real): Promise<void> {
    const there = model.live.has(this.id);
    const expired = model.isExpired(this.id);
    if (there) model.evict(this.id, expired ? "ttl" : "removed");
    expect(await manager.removeAgent({ sessionId: this.id })).toBe(there && !expired);
  }
  override toString = () => `remove(${this.id})`;
}

class CleanUpOldest extends Step {
  constructor(readonly count: number) {
    super();
  }
  async step(model: Model, { manager }: Real): Promise<void> {
    const oldest = [...model.live.keys()].slice(0, this.count);
    for (const id of oldest) model.evict(id, "removed");
    expect(await manager.cleanupOldestAgents(this.count)).toBe(oldest.length);
  }
  override toString = () => `cleanupOldest(${String(this.count)})`;
}

class CleanUpExpired extends Step {
  async step(model: Model, { manager }: Real): Promise<void> {
    const expired = [...model.live.keys()].filter((id) => model.isExpired(id));
    for (const id of expired) model.evict(id, "ttl");
    expect(await manager.cleanupExpiredAgents()).toBe(expired.length);
  }
  override toString = () => "cleanupExpired()";
}

class Advance extends Step {
  constructor(readonly ms: number) {
    super();
  }
  async step(model: Model, { clock }: Real): Promise<void> {
    model.now += this.ms;
    await clock.advance(this.ms);
  }
  override toString = () => `advance(${String(this.ms)})`;
}

class Fail extends Step {
  constructor(readonly failing: boolean) {
    super();
  }
  async step(model: Model, { factory }: Real): Promise<void> {
    model.failing = this.failing;
    factory.onCreate = () => {
      if (model.failing) throw new Error("no luck");
    };
  }
  override toString = () => `fail(${String(this.failing)})`;
}

function tonePart(tone: string | undefined): FakeConfig {
  return tone === undefined ? {} : { tone };
}

/*
 * All at once, with creations and closings that hang: the model only knows what must hold at any time and in the end.
 */
type Act =
  | { readonly do: "get" | "chat"; readonly id: string; readonly tone: string | undefined }
  | { readonly do: "remove"; readonly id: string }
  | { readonly do: "oldest" | "advance"; readonly n: number }
  | { readonly do: "expired" | "hop" }
  | { readonly do: "create"; readonly how: "well" | "badly" | "slowly" }
  | { readonly do: "close"; readonly how: "well" | "badly" | "never" }
  | { readonly do: "work"; readonly slowly: boolean };

const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant("get" as const), id: sessionIds, tone: tones }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("chat" as const), id: sessionIds, tone: tones }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("remove" as const), id: sessionIds }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("oldest" as const), n: fc.integer({ min: 0, max: 3 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("advance" as const),
      n: fc.constantFrom(0, 1, 60, 499, 1_001, 2_100),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("expired" as const) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("hop" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("create" as const),
      how: fc.constantFrom("well", "badly", "slowly"),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("close" as const),
      how: fc.constantFrom("well", "badly", "never"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("work" as const), slowly: fc.boolean() }) },
);

const MAY_FAIL = ["AGENT_CREATE_FAILED"];
const GET_MAY_FAIL = [...MAY_FAIL, "CAPACITY_EXCEEDED", "SESSION_BUSY"];

async function playAll(acts: readonly Act[]): Promise<void> {
  const real = build();
  const { clock, factory, manager, chat, events } = real;
  const how = { create: "well", close: "well", slowly: false };
  /** When closing began; after CLOSE_TIMEOUT_MS an agent is let go. */
  const closingSince = new Map<FakeAgent, number>();
  const held = new Set<() => void>();
  const hold = (): Promise<void> =>
    new Promise((resolve) => {
      held.add(resolve);
    });
  const turns = new Map<string, number>();
  /** Of agents that came when nobody waited for them any more, and are closed at once: another may have been made. */
  const late = new Set<FakeAgent["context"]>();
  factory.onCreate = async (context) => {
    if (how.create === "badly") throw new Error("no luck");
    if (how.create !== "slowly") return;
    const since = clock.monotonic();
    await hold();
    if (clock.monotonic() - since >= CREATE_TIMEOUT_MS) late.add(context);
  };
  factory.onStream = async ({ context }) => {
    const slowly = how.slowly;
    // The agent's memory outlives it.
    const before = ((await context.state.get()) as number | undefined) ?? 0;
    if (slowly) await hold();
    await context.state.set(before + 1);
    turns.set(context.threadId, before + 1);
  };
  factory.onClose = (agent) => {
    closingSince.set(agent, clock.monotonic());
    if (how.close === "badly") throw new Error("a bad end");
    return how.close === "never" ? new Promise<never>(() => undefined) : undefined;
  };
  const counted = (): FakeAgent[] =>
    [...factory.alive].filter((agent) => {
      const since = closingSince.get(agent);
      return since === undefined || clock.monotonic() - since < CLOSE_TIMEOUT_MS;
    });
  const look = (): void => {
    const alive = counted();
    expect(alive.length).toBeLessThanOrEqual(CAP);
    const wanted = alive.filter(({ context }) => !late.has(context));
    expect(new Set(wanted.map(({ context }) => context.threadId)).size).toBe(wanted.length);
    const { totalAgents, activeAgents, idleAgents, closingAgents } = manager.getStats();
    expect(totalAgents).toBeLessThanOrEqual(CAP);
    expect(activeAgents + idleAgents + closingAgents).toBe(totalAgents);
    expect(factory.faults).toEqual([]);
  };

  const runs = new Map<string, Promise<string>[]>();
  const gets: Promise<string>[] = [];
  const others: Promise<unknown>[] = [];
  for (const one of acts) {
    if (one.do === "get")
      gets.push(
        codeOf(
          manager.getAgent({ sessionId: one.id }, one.tone === undefined ? undefined : { tone: one.tone }),
        ),
      );
    else if (one.do === "chat") {
      const run = chat.chat({ sessionId: one.id, message: "hi", config: { tone: one.tone } });
      const ends = runs.get(one.id) ?? [];
      ends.push(codeOf(run.result));
      runs.set(one.id, ends);
    } else if (one.do === "remove") others.push(manager.removeAgent({ sessionId: one.id }));
    else if (one.do === "oldest") others.push(manager.cleanupOldestAgents(one.n));
    else if (one.do === "expired") others.push(manager.cleanupExpiredAgents());
    else if (one.do === "advance") await clock.advance(one.n);
    else if (one.do === "hop") await new Promise((resolve) => setImmediate(resolve));
    else if (one.do === "create") how.create = one.how;
    else if (one.do === "close") how.close = one.how;
    else if ("slowly" in one) how.slowly = one.slowly;
    // Whatever is slow has its end at some time.
    if (one.do === "advance" && one.n > 1_000) for (const open of held) open();
    look();
  }
  Object.assign(how, { create: "well", close: "well", slowly: false });
  for (let round = 0; round < 20; round++) {
    for (const open of held) open();
    held.clear();
    await clock.advance(CREATE_TIMEOUT_MS);
    look();
  }
  // Every waiter has ended by now, and saturation has failed no run.
  for (const [id, ends] of runs) {
    const codes = await Promise.all(ends);
    expect(codes.filter((code) => code !== "ok" && !MAY_FAIL.includes(code))).toEqual([]);
    expect(turns.get(`s.${id}`) ?? 0).toBe(codes.filter((code) => code === "ok").length);
  }
  for (const code of await Promise.all(gets)) expect(["ok", ...GET_MAY_FAIL]).toContain(code);
  await Promise.all(others);
  expect(manager.getStats()).toMatchObject({ activeAgents: 0, closingAgents: 0 });
  await chat.close({ drainMs: 0 });
  await manager.close({ drainMs: 0 });
  expect(counted()).toEqual([]);
  expect(manager.getStats().totalAgents).toBe(0);
  // One pair for each agent.
  const open = new Map<string, number>();
  for (const event of events) {
    const [what, id = ""] = event.split(" ");
    const change = what === "created" ? 1 : what === "evicted" ? -1 : 0;
    open.set(id, (open.get(id) ?? 0) + change);
    expect([0, 1]).toContain(open.get(id));
  }
  expect([...open.values()].filter((count) => count !== 0)).toEqual([]);
  // Nothing waits for a time that does not come.
  expect(clock.pending).toBe(0);
}

/** An agent that comes too late and does not end, while the next one of its session is there. */
const LATE_AND_HANGING: Act[] = [
  { do: "create", how: "slowly" },
  { do: "chat", id: "a", tone: undefined },
  { do: "advance", n: 499 },
  { do: "close", how: "never" },
  { do: "chat", id: "a", tone: undefined },
  { do: "advance", n: 2100 },
  { do: "hop" },
];

describe("manager and service against a model", () => {
  it("one thing after another: every event, every answer, every agent is as the model says", async () => {
    const commands = fc.commands(
      [
        fc.tuple(sessionIds, tones).map(([id, tone]) => new Get(id, tone)),
        fc.tuple(sessionIds, tones).map(([id, tone]) => new Chat(id, tone)),
        sessionIds.map((id) => new Remove(id)),
        fc.integer({ min: 0, max: CAP }).map((count) => new CleanUpOldest(count)),
        fc.constant(new CleanUpExpired()),
        fc.constantFrom(1, TTL_MS - 1, TTL_MS + 1).map((ms) => new Advance(ms)),
        fc.boolean().map((failing) => new Fail(failing)),
      ],
      { maxCommands: 40 },
    );
    await fc.assert(
      fc.asyncProperty(commands, async (steps) => {
        const real = build();
        try {
          await fc.asyncModelRun(() => ({ model: new Model(), real }), steps);
        } finally {
          await real.chat.close({ drainMs: 0 });
          await real.manager.close({ drainMs: 0 });
        }
        expect(real.factory.alive.size).toBe(0);
      }),
      { numRuns: 150, interruptAfterTimeLimit: 40_000 },
    );
  });

  it("all at once, slow, failing and hanging: the cap holds, every waiter ends, nothing is left", async () => {
    await fc.assert(fc.asyncProperty(fc.array(act, { maxLength: 50, size: "max" }), playAll), {
      numRuns: 60,
      interruptAfterTimeLimit: 40_000,
      examples: [[LATE_AND_HANGING]],
    });
  });
});

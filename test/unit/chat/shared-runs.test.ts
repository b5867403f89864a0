import { describe, expect, test } from "vitest";
import { AgentError } from "../../../src/errors.js";
import type { RunEvent } from "../../../src/run-event.js";
import {
  agents,
  codeOf,
  eventsOf,
  eventually,
  say,
  settle,
  textOfInput,
  untilAbort,
} from "../../support/chat.js";
import { gate } from "../../support/fake-agent.js";
import { Processes } from "../../support/processes.js";

const session = { sessionId: "s" };
const echo = agents(async function* (input) {
  await settle(1);
  yield* say(input.kind === "message" ? `re: ${textOfInput(input)}` : input.kind);
});
const hanging = agents(async function* (_, { signal }) {
  yield* say("begun");
  await untilAbort(signal);
});

function kinds(events: readonly RunEvent[]): string[] {
  return events.map((event) => (event.type === "run-finished" ? event.outcome : event.type));
}

describe("what a turn costs", () => {
  test("a turn takes submit, two claims and finish, and waiting for it nothing", async () => {
    const processes = new Processes();
    const { chat, store } = processes.start(echo);
    await processes.clock.advance(0);
    for (const message of ["first", "second"]) {
      store.takeLedgerCalls();
      const run = chat.chat({ ...session, message });
      const events = eventsOf(run);
      expect((await run.result).text).toBe(`re: ${message}`);
      expect(kinds(await events).at(-1)).toBe("completed");
      await settle();
      expect(store.takeLedgerCalls().sort()).toEqual(["claim", "claim", "finish", "submit"]);
      expect(store.calls.filter((call) => call.startsWith("sessions."))).toEqual([]);
    }
  });

  test("many messages at once cost little more than a claim each", async () => {
    const processes = new Processes();
    const { chat, store } = processes.start(echo);
    await processes.clock.advance(0);
    store.takeLedgerCalls();
    await Promise.all(
      Array.from({ length: 50 }, (_, i) => chat.chat({ sessionId: `s${String(i)}`, message: "x" }).result),
    );
    const claims = store.takeLedgerCalls().filter((call) => call === "claim");
    expect(claims.length).toBeLessThanOrEqual(60);
  });
});

describe("hints that are lost", () => {
  test("a run waits no longer than a look takes", async () => {
    const processes = new Processes();
    const a = processes.start(echo, { maxConcurrentRuns: 1 });
    const b = processes.start(echo);
    b.store.hints = false;
    const held = gate();
    const used = a.chat.withAgent({ sessionId: "held" }, () => held.opened);
    await settle();
    const run = a.chat.chat({ ...session, message: "hi" });
    await processes.until(async () => (await a.chat.getRun(session))?.status === "completed", 700);
    held.open();
    await used;
    // Nor does who waits for it: the end of a run elsewhere is looked for.
    a.store.hints = false;
    expect((await processes.outcome(run.result, 600)).text).toBe("re: hi");
  });

  test("the ends of many runs that are waited for are all told after one look", async () => {
    const processes = new Processes();
    const a = processes.start(echo, {}, (store) => {
      // It submits and does not work.
      store.before = (call) => (call === "runs.claim" ? new Promise(() => undefined) : undefined);
      store.hints = false;
    });
    const runs = Array.from({ length: 100 }, (_, n) =>
      a.chat.chat({ sessionId: `s${String(n)}`, message: "hi" }),
    );
    await Promise.all(runs.map(({ accepted }) => accepted));
    const b = processes.start(echo, { maxAgents: 200 });
    await processes.until(async () => {
      const sessions = await Promise.all(runs.map(({ sessionId }) => b.chat.getSession({ sessionId })));
      return sessions.every((known) => known?.state === "idle");
    });
    const results = Promise.all(runs.map(({ result }) => result));
    expect(await processes.outcome(results, 600)).toHaveLength(100);
  });

  test("a stop is told with the renewal of the lease", async () => {
    const processes = new Processes();
    const a = processes.start(hanging);
    const run = a.chat.chat({ ...session, message: "hi" });
    await eventually(async () => (await a.chat.getRun(session))?.status === "running");
    const b = processes.start(hanging);
    a.store.hints = b.store.hints = false;
    const stopped = processes.outcome(b.chat.cancel(session), 1_200);
    expect((await stopped).status).toBe("cancelled");
    expect((await processes.outcome(run.result)).outcome).toBe("cancelled");
  });
});

describe("room", () => {
  test("a process that is full tells the others at once, and no more often than ten times a second", async () => {
    const processes = new Processes();
    const a = processes.start(hanging, { maxConcurrentRuns: 1 });
    const b = processes.start(echo);
    await processes.clock.advance(0);
    a.chat.chat({ sessionId: "0", message: "x" });
    await eventually(async () => (await a.chat.getRun({ sessionId: "0" }))?.status === "running");
    a.store.takeLedgerCalls();
    const runs = Array.from({ length: 20 }, (_, i) =>
      a.chat.chat({ sessionId: `s${String(i)}`, message: "x" }),
    );
    await Promise.all(runs.map(({ accepted }) => accepted));
    await settle(300);
    expect(b.store.calls.filter((call) => call === "runs.finish").length).toBeGreaterThan(0);
    expect(a.store.takeLedgerCalls().filter((call) => call === "announce")).toHaveLength(1);
    await processes.outcome(Promise.all(runs.map(({ result }) => result)));
  });

  test("200 sessions of a process that died are taken over at the first look after their leases", async () => {
    const processes = new Processes();
    const ids = Array.from({ length: 200 }, (_, i) => `s${String(i)}`);
    const a = processes.start(hanging, { maxAgents: 300 });
    for (const sessionId of ids) a.chat.chat({ sessionId, message: "x" });
    await processes.until(async () => (await a.chat.getStats()).activeRuns === 200);
    const b = processes.start(hanging, { maxAgents: 300 });
    await processes.clock.advance(0);
    a.crash();
    // Without any waiting of its own, what is left is work.
    await processes.until(async () => (await b.chat.getStats()).activeRuns === 200, 3_000);
    const events = b.chat.follow({ sessionId: "s199" });
    const seen: string[] = [];
    for await (const { type } of events) {
      seen.push(type);
      if (type === "run-resumed") break;
    }
    expect(seen).toContain("run-resumed");
  });

  test("a stopped process asks for nothing more", async () => {
    const processes = new Processes();
    const { chat, store } = processes.start(echo);
    await chat.chat({ ...session, message: "x" }).result;
    await chat.close();
    store.calls.length = 0;
    await processes.clock.advance(20_000);
    expect(store.calls).toEqual([]);
  });
});

describe("an engine out of reach", () => {
  test("a run is not failed by it: it goes on elsewhere, once its lease has expired", async () => {
    const processes = new Processes();
    const reached = gate();
    const spoken = gate();
    const factory = agents(async function* (input, { attempt }) {
      yield* say(`${input.kind} ${String(attempt)}`);
      spoken.open();
      if (attempt === 1) await reached.opened;
      yield { type: "data", name: "note", data: attempt };
    });
    const a = processes.start(factory);
    const run = a.chat.chat({ ...session, message: "x" });
    await spoken.opened;
    await settle();
    const b = processes.start(factory);
    a.store.reach = "down";
    reached.open();
    await settle();
    expect(a.errors).toContain("STORE_UNAVAILABLE");
    const seen = eventsOf(b.chat.follow({ ...session, runId: run.id }));
    await processes.until(async () => (await b.chat.getRun(session))?.status === "completed", 3_000);
    expect(kinds(await seen)).toEqual([
      ...["run-started", "text-start", "text-delta", "text-end"],
      ...["run-resumed", "text-start", "text-delta", "text-end", "data", "completed"],
    ]);
    a.store.reach = "ok";
    // Its waiter had no answer meanwhile, and was not told that the run failed.
    expect((await processes.outcome(run.result)).outcome).toBe("completed");
  });

  test("a run that breaks the store wherever it works is given up after maxAttempts", async () => {
    const processes = new Processes();
    const a = processes.start(echo, { maxAttempts: 3 });
    a.store.before = (call) => {
      if (call === "events.append") throw new Error("disk full");
    };
    const run = a.chat.chat({ ...session, message: "x" });
    expect(await codeOf(processes.outcome(run.result, 20_000))).toBe("RUN_ABANDONED");
    expect(a.store.calls.filter((call) => call === "events.append").length).toBe(3);
  });

  test("an end whose answer was lost is not written twice, and the answer is whole", async () => {
    const processes = new Processes();
    const a = processes.start(echo);
    let lost = 0;
    a.store.after = (call) => {
      if (call === "runs.finish" && lost++ === 0) throw new Error("connection lost");
    };
    const run = a.chat.chat({ ...session, message: "x" });
    expect(await processes.outcome(run.result)).toMatchObject({ outcome: "completed", text: "re: x" });
    expect(kinds(await processes.outcome(eventsOf(run))).filter((kind) => kind === "completed")).toHaveLength(
      1,
    );
  });

  test("an end that was never stored is made again with the text that the first attempt wrote", async () => {
    const processes = new Processes();
    const factory = agents(
      async function* (input) {
        await settle(1);
        if (input.kind === "message") yield* say("the answer");
      },
      { conversation: endedConversation },
    );
    const a = processes.start(factory);
    let lost = 0;
    a.store.before = (call) => {
      if (call === "runs.finish" && lost++ === 0) throw new Error("connection lost");
    };
    const run = a.chat.chat({ ...session, message: "x", runId: "r" });
    expect(await processes.outcome(run.result)).toMatchObject({ outcome: "completed", text: "the answer" });
  });

  test.each([
    { kept: "its last pieces are", steps: 1, most: 3, known: true, text: "a long answer" },
    { kept: "its last pieces are, and nobody knows the rest", steps: 1, most: 3, known: false, text: "" },
    { kept: "nothing of it is", steps: 1, most: 1, known: true, text: "a long answer" },
    {
      kept: "all of it is, and not of an earlier step",
      steps: 2,
      most: 6,
      known: false,
      text: "a long answer",
    },
  ])("its text is whole or none where $kept kept", async ({ steps, most, known, text }) => {
    const processes = new Processes({ maxEventsPerRun: most });
    const history = [
      { id: "0", role: "assistant", content: "an answer of before" },
      { id: "1", role: "user", content: "x" },
      ...(known ? [{ id: "2", role: "assistant", content: [{ type: "text", text }] } as const] : []),
    ] as const;
    const factory = agents(
      async function* (input) {
        await settle(1);
        if (input.kind !== "message") return;
        for (let step = 1; step <= steps; step++) {
          yield { type: "step-started", step };
          yield { type: "text-start", id: "1" };
          for (const delta of ["a ", "long ", "answer"]) yield { type: "text-delta", id: "1", delta };
          yield { type: "text-end", id: "1" };
        }
      },
      { conversation: { ...endedConversation, history: () => Promise.resolve(history) } },
    );
    const a = processes.start(factory);
    let lost = 0;
    a.store.before = (call) => {
      if (call === "runs.finish" && lost++ === 0) throw new Error("connection lost");
    };
    const run = a.chat.chat({ ...session, message: "x", runId: "r" });
    expect(await processes.outcome(run.result)).toMatchObject({ outcome: "completed", text });
  });

  test("all that wait in a session are refused with the first of them, and the next one tries anew", async () => {
    const processes = new Processes();
    const a = processes.start(echo);
    await a.chat.chat({ ...session, message: "x" }).result;
    let tries = 0;
    a.store.before = async (call) => {
      if (call !== "runs.submit") return;
      tries += 1;
      await new Promise((resolve) => processes.clock.setTimeout(resolve as () => void, 5_000));
      throw new AgentError("STORE_UNAVAILABLE", "The engine is down.");
    };
    const waiting = Array.from({ length: 6 }, () =>
      codeOf(a.chat.chat({ ...session, message: "y" }).accepted),
    );
    const began = processes.clock.monotonic();
    const refused = await processes.outcome(Promise.all(waiting), 60_000);
    expect(refused).toEqual(refused.map(() => "STORE_UNAVAILABLE"));
    expect(processes.clock.monotonic() - began).toBeLessThan(6_000);
    expect(tries).toBe(1);
    a.store.before = undefined;
    expect((await processes.outcome(a.chat.chat({ ...session, message: "z" }).result)).text).toBe("re: z");
  });

  test("no more than its queue may hold wait in a session while the engine is silent", async () => {
    const processes = new Processes();
    const a = processes.start(echo, { queueLimit: 200 });
    await a.chat.chat({ ...session, message: "x" }).result;
    a.store.reach = "hangs";
    const waiting = Array.from({ length: 300 }, () =>
      codeOf(a.chat.chat({ ...session, message: "y" }).accepted),
    );
    const others = codeOf(a.chat.chat({ sessionId: "other", message: "y" }).accepted);
    a.store.reach = "ok";
    const codes = await processes.outcome(Promise.all(waiting));
    expect(codes.slice(0, 201)).not.toContain("QUEUE_FULL");
    expect(codes.slice(201)).toEqual(codes.slice(201).map(() => "QUEUE_FULL"));
    expect(await processes.outcome(others)).toBe("none");
  });

  test("down at the start: not ready, refuses as STORE_UNAVAILABLE, and recovers by itself", async () => {
    const processes = new Processes();
    const a = processes.start(echo);
    await a.chat.chat({ sessionId: "earlier", message: "x" }).result;
    await a.chat.close();
    const b = processes.start(echo, {}, (store) => {
      store.reach = "down";
    });
    await processes.clock.advance(5_000);
    expect(await b.chat.getHealth()).toMatchObject({
      status: "unavailable",
      ready: false,
      store: "unavailable",
    });
    expect(await codeOf(b.chat.chat({ ...session, message: "x" }).result)).toBe("STORE_UNAVAILABLE");
    // One word of it, not one per look.
    expect(b.errors).toEqual(["STORE_UNAVAILABLE"]);
    b.store.reach = "ok";
    expect((await b.chat.chat({ ...session, message: "x" }).result).text).toBe("re: x");
    await processes.clock.advance(5_000);
    expect(await b.chat.getHealth()).toMatchObject({ status: "ok", ready: true, processes: 1 });
  });
});

/** One in which the turn of run `r` has begun. */
const endedConversation = {
  history: () => Promise.resolve([]),
  pending: () => Promise.resolve([]),
  head: () => Promise.resolve(undefined),
  turns: () => Promise.resolve([{ turnId: "r", before: "r", messageIds: [] }]),
  restore: () => Promise.resolve(),
  repair: () => Promise.resolve(),
};

describe("a question that nobody is to answer", () => {
  const asking = agents(async function* (input) {
    await settle(1);
    if (input.kind === "message" && textOfInput(input) === "ask")
      yield { type: "interrupt", id: "i", kind: "input", value: "which?" };
    else yield* say("re");
  });

  test("a cancel that comes while the question is being stored ends the run as cancelled", async () => {
    const processes = new Processes();
    const [a, b] = [processes.start(asking), processes.start(asking)];
    const [reached, go] = [gate(), gate()];
    a.store.before = (call) => {
      if (call !== "runs.finish") return undefined;
      reached.open();
      return go.opened;
    };
    const run = a.chat.chat({ ...session, message: "ask" });
    await reached.opened;
    const cancelled = b.chat.cancel(session);
    await settle();
    go.open();
    expect((await processes.outcome(cancelled)).status).toBe("cancelled");
    expect(await processes.outcome(run.result)).toMatchObject({ outcome: "cancelled", interrupts: [] });
    expect(kinds(await eventsOf(run)).at(-1)).toBe("cancelled");
    expect(await b.chat.getRun(session)).toMatchObject({ status: "cancelled", interrupts: [] });
    expect((await b.chat.getSession(session))?.state).not.toBe("interrupted");
    expect(await codeOf(b.chat.resume({ ...session, answers: { i: 1 } }).accepted)).toBe("INTERRUPT_STALE");
    a.store.before = undefined;
    expect((await processes.outcome(b.chat.chat({ ...session, message: "x" }).result)).text).toBe("re");
  });

  test("one that was closed without an answer is told no more", async () => {
    const processes = new Processes();
    const { chat } = processes.start(asking);
    const asked = chat.chat({ ...session, message: "ask" });
    expect((await processes.outcome(asked.result)).interrupts).toHaveLength(1);
    expect((await chat.getRun(session))?.interrupts).toHaveLength(1);
    await processes.outcome(chat.cancel(session));
    expect(await chat.getRun(session)).toMatchObject({ runId: asked.id, interrupts: [] });
  });
});

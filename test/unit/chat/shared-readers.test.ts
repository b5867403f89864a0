import { expect, it } from "vitest";
import { AgentError } from "../../../src/errors.js";
import { systemClock } from "../../../src/internal/clock.js";
import { RunJournal } from "../../../src/runs/run-journal.js";
import { RunReader } from "../../../src/runs/run-reader.js";
import { SummaryBuilder } from "../../../src/runs/run-summary.js";
import { RunWatch } from "../../../src/runs/run-watch.js";
import { identify } from "../../../src/session.js";
import type { RunEvent } from "../../../src/run-event.js";
import type { Claim, EventLog } from "../../../src/store/store.js";
import { agents, eventsOf, say, textOfInput, untilAbort } from "../../support/chat.js";
import { Processes } from "../../support/processes.js";

const session = { sessionId: "s", userId: "u" };

it("a cancelled run whose last append was done but not answered still ends with run-finished for who reads it", async () => {
  const processes = new Processes();
  const factory = agents(async function* (_input, { signal }) {
    yield { type: "text-start", id: "1" };
    yield { type: "text-delta", id: "1", delta: "half" };
    await untilAbort(signal);
  });
  const a = processes.start(factory);
  const run = a.chat.chat({ ...session, message: "Hello" });
  const read = eventsOf(run);
  await processes.until(() => a.store.calls.filter((call) => call === "events.append").length >= 3);
  a.store.after = (call) => {
    if (call === "events.append") throw new AgentError("STORE_UNAVAILABLE", "The answer got lost.");
  };
  const cancelled = await processes.outcome(a.chat.cancel(session));
  expect(cancelled.status).toBe("cancelled");
  const events = await processes.outcome(read);
  expect(events.map(({ type }) => type)).toEqual([
    ...["run-started", "text-start", "text-delta", "text-end", "run-finished"],
  ]);
  expect(events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
  // Whoever comes back: behind the last event there is the end, and behind the end nothing.
  const after = (seq: number) => eventsOf(a.chat.follow({ ...session, runId: run.id, after: seq }));
  expect(await after(4)).toMatchObject([{ seq: 5, type: "run-finished", outcome: "cancelled" }]);
  expect(await after(5)).toEqual([]);
});

it("who reads its own run asks the ledger for nothing, and the log for nothing more once the run has ended", async () => {
  const processes = new Processes();
  const a = processes.start(
    agents(async function* (input) {
      yield* say(textOfInput(input));
      // Its reader has all of that before the end.
      for (let turns = 0; turns < 10; turns++) await new Promise((resolve) => setImmediate(resolve));
    }),
  );
  const events = await processes.outcome(eventsOf(a.chat.chat({ ...session, message: "Hello" })));
  expect(events.at(-1)).toMatchObject({ type: "run-finished", outcome: "completed" });
  const calls = a.store.calls.filter((call) => /^(runs|events)\./.test(call));
  expect(calls.filter((call) => call === "runs.get")).toEqual([]);
  expect(calls.slice(calls.lastIndexOf("runs.finish") + 1).filter((call) => call === "events.read")).toEqual(
    [],
  );
});

it("a run whose first owner died before it had told anything begins with run-started all the same", async () => {
  const processes = new Processes();
  const echo = agents(async function* (input) {
    await Promise.resolve();
    yield* say(textOfInput(input));
  });
  const a = processes.start(echo);
  a.store.before = (call) => {
    if (call === "events.append") a.crash();
    // What it had begun hangs with it.
    return a.store.reach === "hangs" ? new Promise(() => undefined) : undefined;
  };
  const run = a.chat.chat({ ...session, message: "Hello" });
  await run.accepted;
  await processes.until(() => a.store.reach === "hangs");
  const b = processes.start(echo);
  const events = await processes.outcome(eventsOf(b.chat.follow({ ...session, runId: run.id })));
  expect(events.slice(0, 3)).toMatchObject([
    { type: "run-started", runId: run.id, messageId: run.id },
    { type: "run-resumed", attempt: 2 },
    { type: "text-start" },
  ]);
  expect(events.at(-1)).toMatchObject({ type: "run-finished", outcome: "completed" });
});

it("a log that is behind the record for a look is not taken for one that has forgotten", async () => {
  const processes = new Processes();
  const a = processes.start(
    agents(async function* (input) {
      await Promise.resolve();
      yield* say(textOfInput(input));
    }),
  );
  const run = a.chat.chat({ ...session, message: "Hello" });
  await processes.outcome(run.result);
  const { threadId } = identify(session);
  const { runs, events } = a.chat.manager.store;
  let behind = 2;
  const lagging: EventLog = {
    append: events.append.bind(events),
    delete: events.delete.bind(events),
    watch: events.watch.bind(events),
    read: async (thread, id, options) => {
      const page = await events.read(thread, id, options);
      return options.after === 2 && behind-- > 0 ? { events: [], last: 2, trimmed: false } : page;
    },
  };
  const watch = new RunWatch({
    runs,
    clock: systemClock,
    isActive: () => false,
    isUntold: () => false,
    onQueue: () => undefined,
    onRun: () => undefined,
  });
  const reader = new RunReader({ runs, events: lagging, watch }, threadId, run.id, 2);
  const types: string[] = [];
  for await (const { type } of reader) types.push(type);
  expect(behind).toBeLessThanOrEqual(0);
  expect(types.at(-1)).toBe("run-finished");
  expect(types).toContain("text-end");
  watch.close();
});

it("who takes a run over goes on behind what the log has, though this process knows less of it for one look", async () => {
  const written: RunEvent[] = [
    { seq: 1, type: "run-started", runId: "r" },
    { seq: 2, type: "text-start", id: "1" },
    { seq: 3, type: "run-resumed", attempt: 2 },
  ];
  let looks = 0;
  const appended: number[] = [];
  const log: EventLog = {
    append: (_lease, _run, events) => void appended.push(...events.map(({ seq }) => seq)),
    delete: () => Promise.resolve(),
    watch: () => () => undefined,
    // The first two looks are answered from what is kept here: two events, and that there are no more.
    read: (_thread, _run, { after }) => {
      const last = ++looks <= 2 ? 2 : 3;
      return { events: written.slice(after, last), last, trimmed: false };
    },
  };
  const lease = { threadId: "t", epoch: 3, owner: "o" };
  const claim = { run: { threadId: "t", runId: "r", attempt: 3 }, lease } as unknown as Claim;
  const journal = await RunJournal.open(log, claim, systemClock, new SummaryBuilder());
  await journal.writer.push({ type: "run-resumed", attempt: 3 });
  expect(appended).toEqual([4]);
});

it("a reader of another process whose session is deleted is told that the run ended, though its events went first", async () => {
  const processes = new Processes();
  const factory = agents(async function* (_input, { signal }) {
    yield { type: "text-start", id: "1" };
    yield { type: "text-delta", id: "1", delta: "half" };
    await untilAbort(signal);
  });
  const a = processes.start(factory);
  const run = a.chat.chat({ ...session, message: "Hello" });
  await run.accepted;
  const b = processes.start(factory);
  const reader = b.chat.follow({ ...session, runId: run.id })[Symbol.asyncIterator]();
  const next = async () => (await processes.outcome(reader.next())).value?.type;
  expect(await next()).toBe("run-started");
  // It reads on when the events are gone and the record is not: the deletion stands still between the two.
  let purge: (() => void) | undefined;
  a.store.before = (call) =>
    call === "runs.purge" ? new Promise<void>((resolve) => (purge = resolve)) : undefined;
  b.store.before = (call) => (call === "events.read" && purge === undefined ? until(() => purge) : undefined);
  const deleted = a.chat.deleteSession(session);
  const types = [];
  for (let type = await next(); type !== undefined; type = await next()) types.push(type);
  expect(types.at(-1)).toBe("run-finished");
  expect(purge).toBeDefined();
  purge?.();
  expect(await processes.outcome(deleted)).toBe(true);

  async function until(what: () => unknown): Promise<void> {
    while (what() === undefined) await new Promise((resolve) => setImmediate(resolve));
  }
});

import { spawnSync } from "node:child_process";
import { setMaxListeners } from "node:events";
import { buildSync } from "esbuild";
import { describe, expect, test, vi } from "vitest";
import { AgentError } from "../../../src/errors.js";
import type { BatchIterator } from "../../../src/internal/lazy-iterator.js";
import type { RunEvent } from "../../../src/run-event.js";
import { RunEngine } from "../../../src/runs/run-engine.js";
import { memoryStore } from "../../../src/store/memory/memory-store.js";
import type { EventLog } from "../../../src/store/store.js";
import {
  agents,
  codeOf,
  customChat,
  eventsOf,
  say,
  settle,
  textOfInput,
  untilAbort,
} from "../../support/chat.js";

const session = { sessionId: "s" };

/** Waits for its signal on "wait", fails on "fail", answers all else. */
const worker = agents(async function* (input, { signal }) {
  const text = textOfInput(input);
  yield { type: "text-start", id: "1" };
  yield { type: "text-delta", id: "1", delta: "half " };
  if (text === "wait") await untilAbort(signal);
  if (text === "fail") throw new AgentError("MODEL_RATE_LIMITED", "Slow down.", { retryAfterMs: 7 });
  if (text === "crash") throw new Error("secret of the provider");
  yield { type: "text-delta", id: "1", delta: text };
  yield { type: "text-end", id: "1" };
});

describe("a handle", () => {
  test("gives what is at hand in one go, the end included, and nothing twice", async () => {
    const { chat } = customChat(worker);
    const run = chat.chat({ ...session, message: "hi" });
    await run.result;
    const one = await eventsOf(run);
    for (const limit of [1, 2, 100]) {
      const events = run[Symbol.asyncIterator]() as BatchIterator<RunEvent>;
      expect(events.take?.(limit)).toEqual([]);
      const seen: RunEvent[] = [];
      for (let next = await events.next(); next.done !== true; next = await events.next()) {
        const batch = events.take?.(limit) ?? [];
        expect(batch.length).toBeLessThanOrEqual(limit);
        seen.push(next.value, ...batch);
      }
      expect(seen).toEqual(one);
    }
  });

  test("is no thenable: awaiting it gives the handle itself", async () => {
    const { chat } = customChat(worker);
    const run = chat.chat({ ...session, message: "hi" });
    // What any async function that returns a handle would do.
    expect(await Promise.resolve(run)).toBe(run);
    expect("then" in run).toBe(false);
    expect((await run.result).text).toBe("half hi");
  });

  test("is given whatever is asked; refusals reject accepted, result, each iteration and cancel", async () => {
    const { chat } = customChat(worker);
    const wrong: unknown[] = [
      undefined,
      null,
      7,
      {},
      { sessionId: "" },
      { sessionId: "s", message: "" },
      { sessionId: "s", message: "hi", runId: "" },
      { sessionId: "s", message: "hi", signal: {} },
      { sessionId: "s", message: "hi", config: [] },
    ];
    for (const request of wrong) {
      const run = chat.chat(request as never);
      expect(await codeOf(run.accepted)).toBe("INVALID_INPUT");
      expect(await codeOf(run.result)).toBe("INVALID_INPUT");
      expect(await codeOf(eventsOf(run))).toBe("INVALID_INPUT");
      expect(await codeOf(run.textStream[Symbol.asyncIterator]().next())).toBe("INVALID_INPUT");
      expect(await codeOf(run.cancel())).toBe("INVALID_INPUT");
    }
    expect((await chat.listSessions()).sessions).toEqual([]);
  });

  test("has every iteration begin at event 1, during the run and after it", async () => {
    const { chat } = customChat(worker);
    const run = chat.chat({ ...session, message: "hi" });
    const both = await Promise.all([eventsOf(run), eventsOf(run)]);
    const after = await eventsOf(run);
    expect(both).toEqual([after, after]);
    expect(after.map(({ seq, type }) => `${String(seq)} ${type}`)).toEqual([
      "1 run-started",
      "2 text-start",
      "3 text-delta",
      "4 text-delta",
      "5 text-end",
      "6 run-finished",
    ]);
  });

  test("goes on when its iteration is left, and when nobody ever looks", async () => {
    const { chat } = customChat(worker);
    const run = chat.chat({ ...session, message: "hi" });
    for await (const event of run) if (event.seq === 2) break;
    expect((await run.result).outcome).toBe("completed");
  });

  test("ends an iteration at once on return(), though a next() waits", async () => {
    const { chat } = customChat(worker);
    const run = chat.chat({ ...session, message: "wait" });
    const iterator = run[Symbol.asyncIterator]();
    for (let seq = 1; seq <= 3; seq++) await iterator.next();
    const waiting = iterator.next();
    await settle();
    await iterator.return?.();
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
    expect((await chat.getRun(session))?.status).toBe("running");
  });

  test("answers next() calls that overlap in their order", async () => {
    const { chat } = customChat(worker);
    const run = chat.chat({ ...session, message: "hi" });
    const iterator = run[Symbol.asyncIterator]();
    const steps = await Promise.all(Array.from({ length: 8 }, () => iterator.next()));
    expect(steps.map(({ value }) => value?.seq)).toEqual([1, 2, 3, 4, 5, 6, undefined, undefined]);
    expect(steps.at(-1)?.done).toBe(true);
  });

  test("of a failed run: iteration ends with run-finished, result and textStream reject with the whole error", async () => {
    const { chat } = customChat(worker);
    const failed = chat.chat({ ...session, message: "fail" });
    const events = await eventsOf(failed);
    expect(events.at(-1)).toEqual({
      seq: 5,
      type: "run-finished",
      outcome: "failed",
      error: { code: "MODEL_RATE_LIMITED", message: "Slow down.", retryable: true, retryAfterMs: 7 },
    });
    expect(events.at(-2)).toMatchObject({ type: "text-end", id: "1" });
    await expect(failed.result).rejects.toMatchObject({ code: "MODEL_RATE_LIMITED", retryAfterMs: 7 });
    const texts: string[] = [];
    const read = async (): Promise<void> => {
      for await (const text of failed.textStream) texts.push(text);
    };
    expect(await codeOf(read())).toBe("MODEL_RATE_LIMITED");
    expect(texts).toEqual(["half "]);
    // What is not ours is masked in events; the host has it as the cause.
    const crashed = chat.chat({ ...session, message: "crash" });
    expect(JSON.stringify(await eventsOf(crashed))).not.toContain("secret");
    await expect(crashed.result).rejects.toMatchObject({
      code: "AGENT_FAILED",
      cause: { message: "secret of the provider" },
    });
  });

  test("of a run that was cancelled resolves with what was there", async () => {
    const { chat } = customChat(worker);
    const run = chat.chat({ ...session, message: "wait" });
    for await (const event of run) if (event.type === "text-delta") break;
    await run.cancel();
    expect(await run.result).toMatchObject({ outcome: "cancelled", text: "half " });
    expect((await chat.getRun(session))?.status).toBe("cancelled");
    await run.cancel();
    expect((await eventsOf(run)).filter(({ type }) => type === "run-finished")).toHaveLength(1);
  });

  test("never kills the process, however many are dropped", () => {
    const script = `
      import { AgentManager, ChatService } from "./src/index.ts";
      const manager = new AgentManager({ factory: () => ({ stream: async function* () { throw new Error("no"); } }) });
      const chat = new ChatService({ manager, queueLimit: 1 });
      chat.chat();
      chat.chat({ sessionId: "" , message: "x" });
      for (let i = 0; i < 9; i++) chat.chat({ sessionId: "s", message: "x" });
      chat.chat({ sessionId: "t", message: "x", signal: AbortSignal.abort() });
      chat.resume({ sessionId: "t", answers: {} });
      chat.chat({ sessionId: "u", message: "x" }).textStream[Symbol.asyncIterator]();
      const left = chat.chat({ sessionId: "u", message: "x" });
      void left.cancel().catch(() => {});
      chat.on("error", () => { throw new Error("listener"); });
      setTimeout(async () => { await chat.close(); await manager.close(); console.log("alive"); }, 200);
    `;
    const built = buildSync({
      stdin: { contents: script, resolveDir: process.cwd(), loader: "ts" },
      bundle: true,
      platform: "node",
      format: "esm",
      packages: "external",
      write: false,
    });
    const child = spawnSync(process.execPath, ["--input-type=module", "-"], {
      input: built.outputFiles[0]?.text ?? "",
      encoding: "utf8",
      timeout: 100_000,
    });
    expect(child.stderr.split("\n").filter((line) => line.includes("Error"))).toEqual([]);
    expect(child.stdout.trim()).toBe("alive");
    expect(child.status).toBe(0);
  }, 120_000);
});

describe("follow", () => {
  test("reads from any event on, and nothing after the last", async () => {
    const { chat } = customChat(worker);
    const run = chat.chat({ ...session, message: "hi" });
    const all = await eventsOf(run);
    for (let after = 0; after <= 6; after++) {
      expect(await eventsOf(chat.follow({ ...session, runId: run.id, after }))).toEqual(all.slice(after));
    }
    expect(await eventsOf(chat.follow({ ...session, after: 99 }))).toEqual([]);
  });

  test("without a run id means the running run, else the oldest queued, else the last", async () => {
    const { chat } = customChat(worker);
    expect(await codeOf(eventsOf(chat.follow(session)))).toBe("RUN_NOT_FOUND");
    expect(await codeOf(eventsOf(chat.follow({ ...session, runId: "none" })))).toBe("RUN_NOT_FOUND");
    await chat.chat({ ...session, message: "one", runId: "one" }).result;
    expect(await firstRunId(chat.follow(session))).toBe("one");
    const wait = chat.chat({ ...session, message: "wait", runId: "two" });
    await chat.chat({ ...session, message: "three", runId: "three" }).accepted;
    expect(await firstRunId(chat.follow(session))).toBe("two");
    await wait.cancel();
    await chat.chat({ ...session, message: "four", runId: "four" }).result;
    expect(await firstRunId(chat.follow(session))).toBe("four");
  });

  async function firstRunId(events: ReturnType<ReturnType<typeof customChat>["chat"]["follow"]>) {
    for await (const event of events) return event.type === "run-started" ? event.runId : event.type;
    return "none";
  }

  test("its signal ends it and leaves the run alone", async () => {
    const { chat } = customChat(worker);
    const run = chat.chat({ ...session, message: "wait" });
    await run.accepted;
    const controller = new AbortController();
    const reading = eventsOf(chat.follow({ ...session, signal: controller.signal }));
    await settle();
    controller.abort(new Error("enough"));
    await expect(reading).rejects.toThrow("enough");
    expect((await chat.getRun(session))?.status).toBe("running");
  });

  test("says EVENTS_TRIMMED when what is asked for is gone, also to a reader that fell behind", async () => {
    const many = agents(async function* () {
      for (let index = 0; index < 2000; index++) {
        yield { type: "data", name: "n", data: index };
        if (index % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    });
    const { chat } = customChat(many, { store: memoryStore({ maxEventsPerRun: 50 }) });
    const run = chat.chat({ ...session, message: "go" });
    const slow = run[Symbol.asyncIterator]();
    expect((await slow.next()).value?.seq).toBe(1);
    await run.result;
    expect(await codeOf(eventsOf(run))).toBe("EVENTS_TRIMMED");
    const rest = async (): Promise<void> => {
      while ((await slow.next()).done !== true);
    };
    expect(await codeOf(rest())).toBe("EVENTS_TRIMMED");
    expect(await eventsOf(chat.follow({ ...session, after: 1990 }))).toHaveLength(12);
  });

  test("a reader that comes back to a run that was forgotten meanwhile is not told a wrong end", async () => {
    const { chat } = customChat(
      agents(async function* () {
        for (let index = 0; index < 300; index++) yield { type: "data", name: "n", data: index };
        await Promise.resolve();
      }),
      { store: memoryStore({ maxRetainedRuns: 1 }) },
    );
    const run = chat.chat({ ...session, message: "go" });
    const slow = run[Symbol.asyncIterator]();
    await run.result;
    await slow.next();
    for (let turn = 0; turn < 3; turn++) await chat.chat({ ...session, message: "more" }).result;
    const types: string[] = [];
    const rest = async (): Promise<void> => {
      for (let step = await slow.next(); step.done !== true; step = await slow.next())
        types.push(step.value.type);
    };
    expect(await codeOf(rest())).toBe("EVENTS_TRIMMED");
    expect(types).not.toContain("run-finished");
  });
});

describe("a run id", () => {
  test("sent again with the same input runs once, whatever it is sent at", async () => {
    let calls = 0;
    const { chat } = customChat(
      agents(async function* (input) {
        calls += 1;
        await settle(3);
        yield* say(textOfInput(input));
      }),
    );
    const request = { ...session, message: "hi", runId: "r" };
    const runs = Array.from({ length: 10 }, () => chat.chat(request));
    const accepted = await Promise.all(runs.map((run) => run.accepted));
    expect(accepted.map(({ created }) => created)).toEqual([true, ...Array.from({ length: 9 }, () => false)]);
    for (const run of [...runs, chat.chat(request)]) expect((await run.result).text).toBe("hi");
    expect(calls).toBe(1);
    expect(await codeOf(chat.chat({ ...request, message: "other" }).accepted)).toBe("RUN_ID_CONFLICT");
    expect(await codeOf(chat.chat({ ...request, model: "other" }).accepted)).toBe("RUN_ID_CONFLICT");
    // Another session's run of that id is another run.
    expect((await chat.chat({ ...request, sessionId: "t" }).accepted).created).toBe(true);
  });

  test("the signal of a second caller ends only what that caller waits for", async () => {
    const { chat } = customChat(worker);
    const first = chat.chat({ ...session, message: "wait", runId: "r" });
    const controller = new AbortController();
    const second = chat.chat({ ...session, message: "wait", runId: "r", signal: controller.signal });
    expect((await second.accepted).created).toBe(false);
    const reading = eventsOf(second);
    await settle();
    controller.abort(new Error("gone"));
    await expect(reading).rejects.toThrow("gone");
    await expect(second.result).rejects.toThrow("gone");
    expect((await chat.getRun(session))?.status).toBe("running");
    await first.cancel();
    expect((await first.result).outcome).toBe("cancelled");
  });
});

describe("a signal given to chat", () => {
  test("cancels its run, running or queued", async () => {
    const { chat } = customChat(worker);
    const [one, two] = [new AbortController(), new AbortController()];
    const running = chat.chat({ ...session, message: "wait", signal: one.signal });
    const queued = chat.chat({ ...session, message: "hi", signal: two.signal });
    await queued.accepted;
    two.abort();
    expect((await queued.result).outcome).toBe("cancelled");
    one.abort();
    expect((await running.result).outcome).toBe("cancelled");
  });

  test("that has aborted already refuses the run with its reason, and nothing is stored", async () => {
    const { chat } = customChat(worker);
    const run = chat.chat({ ...session, message: "hi", signal: AbortSignal.abort(new Error("too late")) });
    await expect(run.accepted).rejects.toThrow("too late");
    await expect(run.result).rejects.toThrow("too late");
    expect((await chat.listSessions()).sessions).toEqual([]);
  });
});

test("nothing is left of a thousand handles: no listener, watcher, attachment or timer", async () => {
  const store = memoryStore();
  let listeners = 0;
  const counted = <T extends unknown[]>(watch: (...args: T) => () => void) => {
    return (...args: T): (() => void) => {
      listeners += 1;
      const stop = watch(...args);
      let stopped = false;
      return () => {
        if (!stopped) listeners -= 1;
        stopped = true;
        stop();
      };
    };
  };
  const { events } = store;
  const log: EventLog = {
    append: (lease, runId, list) => events.append(lease, runId, list),
    read: (threadId, runId, options) => events.read(threadId, runId, options),
    watch: counted((threadId: string, runId: string, listener: () => void) =>
      events.watch(threadId, runId, listener),
    ),
    delete: (threadId) => events.delete(threadId),
  };
  const { chat } = customChat(worker, { store: { ...store, events: log }, maxAgents: 1000 });
  const submit = vi.spyOn(RunEngine.prototype, "submit");
  const controller = new AbortController();
  let attached = 0;
  const { signal } = controller;
  setMaxListeners(0, signal);
  const count = (name: "addEventListener" | "removeEventListener", by: number): void => {
    const original = signal[name].bind(signal) as (...args: unknown[]) => void;
    signal[name] = (...args: unknown[]) => {
      attached += by;
      original(...args);
    };
  };
  count("addEventListener", 1);
  count("removeEventListener", -1);
  await Promise.all(
    Array.from({ length: 300 }, async (_, index) => {
      const run = chat.chat({
        sessionId: String(index),
        message: ["hi", "fail", "crash"][index % 3] ?? "hi",
        signal,
        context: { index },
      });
      const left = run[Symbol.asyncIterator]();
      await left.next();
      if (index % 2 === 0) await left.return?.();
      await Promise.allSettled([
        run.result,
        eventsOf(run),
        eventsOf(chat.follow({ sessionId: String(index) })),
      ]);
      while ((await left.next()).done !== true);
    }),
  );
  const engine = submit.mock.contexts[0] as RunEngine<object, unknown> | undefined;
  submit.mockRestore();
  const left = () => ({
    listeners,
    attached,
    watched: engine?.watch.size,
    attachments: engine?.attachedCount,
  });
  // The last ones may still be letting go.
  for (let rounds = 0; rounds < 100 && Object.values(left()).some((count) => count !== 0); rounds += 1) {
    await settle();
  }
  expect(left()).toEqual({ listeners: 0, attached: 0, watched: 0, attachments: 0 });
});

test("follow, getRun and cancel see a run whose submission was begun before them", async () => {
  const { chat } = customChat(worker);
  const first = chat.chat({ ...session, message: "wait" });
  const events = chat.follow({ ...session, runId: first.id });
  expect(await chat.getRun(session)).toMatchObject({ runId: first.id });
  expect((await events.next()).value).toMatchObject({ type: "run-started", seq: 1 });
  await events.return?.();
  await first.cancel();
  const second = chat.chat({ sessionId: "another", message: "wait" });
  expect(await chat.cancel({ sessionId: "another" })).toMatchObject({
    runId: second.id,
    status: "cancelled",
  });
});

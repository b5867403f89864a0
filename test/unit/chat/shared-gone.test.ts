/* A run's record is gone before who waits for it has learned how it ended. */
import { describe, expect, test } from "vitest";
import { identify } from "../../../src/session.js";
import { agents, codeOf, eventsOf, say, settle, textOfInput, untilAbort } from "../../support/chat.js";
import { gate } from "../../support/fake-agent.js";
import { Processes } from "../../support/processes.js";

const session = { sessionId: "s", userId: "u" };
const { threadId } = identify(session);

const echo = agents(async function* (input) {
  await Promise.resolve();
  yield* say(textOfInput(input));
});

const halting = agents(async function* (_input, { signal }) {
  yield* say("begun");
  await untilAbort(signal);
});

describe("more runs ended than are kept, while their sender was cut off", () => {
  test("each that is known tells its answer, each that is not says so, and none is said to be cancelled", async () => {
    const processes = new Processes();
    const sender = processes.start(echo, { maxConcurrentRuns: 1 });
    // It submits and does not work.
    sender.store.before = (call) => (call === "runs.claim" ? new Promise(() => undefined) : undefined);
    const runs = Array.from({ length: 40 }, (_, n) =>
      sender.chat.chat({ ...session, message: `m${String(n)}` }),
    );
    await Promise.all(runs.map((run) => run.accepted));
    sender.store.reach = "down";
    const worker = processes.start(echo);
    await processes.until(async () => (await worker.chat.getSession(session))?.state === "idle");
    sender.store.reach = "ok";

    for (const [n, run] of runs.entries()) {
      const ended = await processes.outcome(run.result.catch((error: unknown) => error as { code: string }));
      // A session's surplus goes with its next step.
      if (n < 19) expect(ended).toMatchObject({ code: "RUN_NOT_FOUND", retryable: false });
      else expect(ended).toMatchObject({ outcome: "completed", text: `m${String(n)}` });
      const read = codeOf(eventsOf(run));
      expect(await processes.outcome(read)).toBe(n < 19 ? "RUN_NOT_FOUND" : "none");
    }
  });
});

describe("more runs ended here than are kept", () => {
  test("all of a burst tell their answers, however late these are asked for", async () => {
    const processes = new Processes();
    const { chat } = processes.start(echo);
    const send = (_: unknown, n: number) => chat.chat({ ...session, message: `m${String(n)}` });
    const runs = Array.from({ length: 60 }, send);
    await processes.outcome(runs.at(-1)!.result);
    await settle();
    for (const [n, { result }] of runs.entries()) expect((await result).text).toBe(`m${String(n)}`);
  });

  test("one that ended, and was forgotten, before its acceptance was answered tells its answer too", async () => {
    const processes = new Processes();
    const owner = processes.start(echo);
    const answered = gate();
    owner.store.after = (call) => (call === "runs.submit" ? answered.opened : undefined);
    const early = owner.chat.chat({ ...session, message: "early" });
    const stored = () => processes.shared.store.runs.get(threadId, early.id);
    await processes.until(async () => (await stored())?.status === "completed");
    const other = processes.start(echo);
    // It submits and does not work.
    other.store.before = (call) => (call === "runs.claim" ? new Promise(() => undefined) : undefined);
    for (let n = 0; n < 25; n++) {
      await processes.outcome(other.chat.chat({ ...session, message: `m${String(n)}` }).result);
    }
    expect(await stored()).toBeUndefined();
    answered.open();
    expect((await processes.outcome(early.result)).text).toBe("early");
  });
});

describe("a store that loses a session in mid-run", () => {
  test("its owner reports LEASE_LOST, and who waits gets RUN_NOT_FOUND, wherever", async () => {
    const processes = new Processes();
    const owner = processes.start(halting);
    const ends: string[] = [];
    owner.chat.on("run:finished", ({ outcome }) => ends.push(outcome));
    const run = owner.chat.chat({ ...session, message: "x" });
    const here = codeOf(eventsOf(run));
    await processes.until(async () => (await owner.chat.getSession(session))?.state === "running");
    const other = processes.start(halting);
    const there = codeOf(eventsOf(other.chat.follow({ ...session, runId: run.id })));
    await settle();
    await processes.shared.lose(threadId);
    const codes = [codeOf(run.result), here, there];
    expect(await processes.outcome(Promise.all(codes))).toEqual(codes.map(() => "RUN_NOT_FOUND"));
    await processes.until(() => owner.errors.length > 0);
    expect([owner.errors, ends]).toEqual([["LEASE_LOST"], []]);
  });

  test("the one that was deleted meanwhile ends as cancelled, wherever", async () => {
    const processes = new Processes();
    const owner = processes.start(halting);
    const run = owner.chat.chat({ ...session, message: "x" });
    await processes.until(async () => (await owner.chat.getSession(session))?.state === "running");
    const other = processes.start(halting);
    const there = eventsOf(other.chat.follow({ ...session, runId: run.id }));
    await settle();
    owner.store.hints = other.store.hints = false;
    const deleter = processes.start(halting);
    await deleter.chat.deleteSession(session);
    expect((await processes.outcome(run.result)).outcome).toBe("cancelled");
    expect((await processes.outcome(there)).at(-1)).toMatchObject({ outcome: "cancelled" });
  });
});

import { describe, expect, it } from "vitest";
import type { RunEvent } from "../../../src/run-event.js";
import type { SessionRef } from "../../../src/session.js";
import { assertIsolation, type IsolationTarget } from "../../../src/testing/index.js";

interface Fake extends IsolationTarget {
  readonly inputs: string[][];
}

/** A service that answers with the last thing said, and keys its histories as it is told. */
function fakeService(options: {
  key: (ref: SessionRef) => string;
  answer?: (said: string, log: readonly string[]) => readonly string[];
  outcome?: "failed";
  prompt?: (key: string, log: readonly string[]) => string[];
  forget?: boolean;
}): Fake {
  const logs = new Map<string, string[]>();
  const inputs: string[][] = [];
  return {
    inputs,
    chat({ message, ...ref }) {
      const key = options.key(ref);
      const log = logs.get(key) ?? [];
      logs.set(key, log);
      log.push(message);
      inputs.push(options.prompt?.(key, log) ?? [...log]);
      const deltas = options.answer?.(message, log) ?? [message];
      const result = Promise.resolve({ outcome: options.outcome ?? ("completed" as const), text: "ok" });
      return {
        result,
        async *[Symbol.asyncIterator](): AsyncGenerator<RunEvent> {
          await Promise.resolve();
          for (const [index, delta] of deltas.entries())
            yield { type: "text-delta", id: "t", delta, seq: index + 1 };
        },
      };
    },
    getHistory: (ref) =>
      Promise.resolve(options.forget === true ? [] : [...(logs.get(options.key(ref)) ?? [])]),
  };
}

const byPair = (ref: SessionRef) => JSON.stringify([ref.userId, ref.sessionId]);
const check = (fake: Fake) =>
  assertIsolation(fake, { sessions: 8, turns: 2, modelInputs: () => fake.inputs });

describe("assertIsolation", () => {
  it("passes a service that keeps sessions apart", async () => {
    const fake = fakeService({ key: byPair });
    await check(fake);
    expect(fake.inputs).toHaveLength(16);
  });

  it("finds a service that keys by session id alone", async () => {
    await expect(check(fakeService({ key: (ref) => ref.sessionId }))).rejects.toThrow(
      /The history of session \d \(`session-\d` of user `user-\d`\) held a word of session \d/,
    );
  });

  it("finds a word in events though it is cut over two deltas", async () => {
    let first: string | undefined;
    const fake = fakeService({
      key: byPair,
      answer: (said) => {
        first ??= said;
        return [first.slice(0, 30), first.slice(30)];
      },
    });
    await expect(check(fake)).rejects.toThrow(/The events of session \d .* held a word of session 0/);
  });

  it("finds a model call that holds words of two sessions", async () => {
    const seen: string[] = [];
    const fake = fakeService({
      key: byPair,
      prompt: (_, log) => {
        seen.push(...log);
        return [...seen];
      },
    });
    await expect(check(fake)).rejects.toThrow(/The model input of session \d .* held a word of session/);
    await assertIsolation(fake, { sessions: 2, turns: 1 });
  });

  it("finds lost histories, failed runs and a model that was never seen", async () => {
    await expect(check(fakeService({ key: byPair, forget: true }))).rejects.toThrow(
      "lacked 2 of its 2 own words",
    );
    await expect(check(fakeService({ key: byPair, outcome: "failed" }))).rejects.toThrow(
      "turn 0 of session 0",
    );
    const fake = fakeService({ key: byPair });
    await expect(assertIsolation(fake, { modelInputs: () => [] })).rejects.toThrow(
      "no call of the model was seen",
    );
  });

  it("reports a rejected call with its session", async () => {
    const fake = fakeService({ key: byPair });
    const broken: IsolationTarget = { ...fake, getHistory: () => Promise.reject(new Error("no store")) };
    await expect(assertIsolation(broken, { sessions: 2 })).rejects.toThrow(
      "session 0 (`session-0` of user `user-0`) failed: Error: no store",
    );
  });

  it("refuses wrong options", async () => {
    const fake = fakeService({ key: byPair });
    await expect(assertIsolation(fake, { sessions: 1 })).rejects.toThrow(
      "Expected `sessions` to be an integer from 2 up, got `1` (number)",
    );
    await expect(assertIsolation(fake, { message: () => "hello" })).rejects.toThrow(TypeError);
  });
});

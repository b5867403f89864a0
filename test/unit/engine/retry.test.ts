import { describe, expect, it, vi } from "vitest";
import { AgentError } from "../../../src/errors.js";
import { closingController, pause, retrying, type Failure } from "../../../src/store/engine/retry.js";
import { ManualClock } from "../../../src/testing/manual-clock.js";

const error = new AgentError("STORE_UNAVAILABLE", "away");
const cut: Failure = { error, transient: true, untouched: false };
const notSent: Failure = { error, transient: true, untouched: true };
const refused: Failure = { error, transient: false, untouched: true };

function failing(times: number): () => Promise<string> {
  let calls = 0;
  return () => (calls++ < times ? Promise.reject(new Error("x")) : Promise.resolve("done"));
}

describe("retrying", () => {
  it("goes on until it works, in delays that grow to half a second", async () => {
    const clock = new ManualClock();
    const attempt = vi.fn(failing(9));
    const done = retrying(attempt, () => cut, true, { retryMs: 5_000, clock, random: () => 1 });
    const starts: number[] = [];
    attempt.mock.calls.length = 0;
    for (let ms = 0; ms < 4_000; ms += 10) {
      const before = attempt.mock.calls.length;
      await clock.advance(10);
      if (attempt.mock.calls.length > before) starts.push(ms + 10);
    }
    expect(await done).toBe("done");
    expect(starts.map((at, i) => at - (starts[i - 1] ?? 0))).toEqual([
      20, 40, 80, 160, 320, 500, 500, 500, 500,
    ]);
    expect(clock.pending).toBe(0);
  });

  it("gives up after retryMs with the last error", async () => {
    const clock = new ManualClock();
    const attempt = vi.fn(failing(Infinity));
    const done = retrying(attempt, () => cut, true, { retryMs: 100, clock, random: () => 1 });
    const result = expect(done).rejects.toBe(error);
    await clock.advance(1_000);
    await result;
    expect(attempt).toHaveBeenCalledTimes(3);
  });

  it.each([
    ["a cut connection, when doing it again may do harm", cut, false, 1],
    ["a statement that was not sent, when doing it again may do harm", notSent, false, 2],
    ["a refusal", refused, true, 1],
  ])("decides on %s", async (_, failure, harmless, calls) => {
    const clock = new ManualClock();
    const attempt = vi.fn(failing(1));
    const done = retrying(attempt, () => failure, harmless, { retryMs: 1_000, clock });
    const settled = Promise.allSettled([done]);
    await clock.advance(100);
    const [result] = await settled;
    expect(result.status).toBe(calls === 1 ? "rejected" : "fulfilled");
    expect(attempt).toHaveBeenCalledTimes(calls);
  });

  it("ends its waiting when the signal aborts", async () => {
    const clock = new ManualClock();
    const closing = new AbortController();
    const done = retrying(failing(Infinity), () => cut, true, {
      retryMs: 1e9,
      clock,
      signal: closing.signal,
    });
    const result = expect(done).rejects.toBe(error);
    await clock.advance(0);
    closing.abort();
    await result;
    expect(clock.pending).toBe(0);
  });
});

describe("closingController", () => {
  it("lets a hundred steps wait without a warning, and ends them all", async () => {
    const warnings: Error[] = [];
    const note = (warning: Error): void => void warnings.push(warning);
    process.on("warning", note);
    const clock = new ManualClock();
    const closing = closingController();
    const waiting = Array.from({ length: 100 }, () => pause(60_000, clock, closing.signal));
    // Warnings come with the next turn.
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", note);
    expect(warnings).toEqual([]);
    closing.abort();
    await Promise.all(waiting);
    expect(clock.pending).toBe(0);
  });
});

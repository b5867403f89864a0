import { describe, expect, it, vi } from "vitest";
import { ManualClock } from "../../../src/testing/index.js";

const sleep = (clock: ManualClock, ms: number) =>
  new Promise<void>((resolve) => {
    clock.setTimeout(resolve, ms);
  });

describe("ManualClock", () => {
  it("fires timers in order of their due time, equal ones in order of creation, each at its own time", async () => {
    const clock = new ManualClock(1_000);
    const fired: [string, number, number][] = [];
    const note = (name: string) => () => fired.push([name, clock.now(), clock.monotonic()]);
    clock.setTimeout(note("c"), 30);
    clock.setTimeout(note("a"), 10);
    clock.setTimeout(note("b"), 10);
    clock.setTimeout(note("late"), 41);
    await clock.advance(40);
    expect(fired).toEqual([
      ["a", 1_010, 10],
      ["b", 1_010, 10],
      ["c", 1_030, 30],
    ]);
    expect(clock.now()).toBe(1_040);
    expect(clock.pending).toBe(1);
  });

  it("lets awaiting code go on between timers, over microtasks and setImmediate", async () => {
    const clock = new ManualClock();
    const seen: number[] = [];
    const work = (async () => {
      for (let step = 0; step < 5; step++) {
        await sleep(clock, 100);
        await new Promise((resolve) => setImmediate(resolve));
        seen.push(clock.monotonic());
      }
    })();
    await clock.advance(350);
    expect(seen).toEqual([100, 200, 300]);
    await clock.advance(150);
    await work;
    expect(seen).toEqual([100, 200, 300, 400, 500]);
  });

  it("counts timers that are set before advance() has begun to move time", async () => {
    const clock = new ManualClock();
    const done = vi.fn();
    void Promise.resolve()
      .then(() => sleep(clock, 5))
      .then(done);
    await clock.advance(5);
    expect(done).toHaveBeenCalledOnce();
  });

  it("forgets cleared timers, and ignores undefined, fired and foreign handles", async () => {
    const clock = new ManualClock();
    const fired = vi.fn();
    const cleared = clock.setTimeout(fired, 1);
    clock.clearTimeout(cleared);
    clock.clearTimeout(cleared);
    clock.clearTimeout(undefined);
    clock.clearTimeout({});
    expect(clock.pending).toBe(0);
    await clock.advance(10);
    expect(fired).not.toHaveBeenCalled();
  });

  it("does not hang on a timer that re-arms itself without delay", async () => {
    const clock = new ManualClock();
    let ticks = 0;
    const tick = () => {
      ticks++;
      clock.setTimeout(tick, 0);
    };
    tick();
    await clock.advance(20);
    expect(ticks).toBe(21);
  });

  it("does overlapping advances one after another", async () => {
    const clock = new ManualClock();
    const at: number[] = [];
    clock.setTimeout(() => at.push(clock.monotonic()), 15);
    await Promise.all([clock.advance(10), clock.advance(10)]);
    expect(at).toEqual([15]);
    expect(clock.monotonic()).toBe(20);
  });

  it("rejects with what a callback throws and can go on afterwards", async () => {
    const clock = new ManualClock();
    const later = vi.fn();
    clock.setTimeout(() => {
      throw new Error("boom");
    }, 5);
    clock.setTimeout(later, 6);
    await expect(clock.advance(10)).rejects.toThrow("boom");
    expect(clock.monotonic()).toBe(5);
    await clock.advance(1);
    expect(later).toHaveBeenCalledOnce();
  });

  it("runs under a test runner's fake timers", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "setImmediate", "Date", "performance"] });
    try {
      const clock = new ManualClock();
      const fired = vi.fn();
      clock.setTimeout(fired, 5);
      await clock.advance(5);
      expect(fired).toHaveBeenCalledOnce();
    } finally {
      vi.useRealTimers();
    }
  });

  it.each([-1, Number.NaN, Number.POSITIVE_INFINITY])("refuses advance(%s)", (ms) => {
    expect(() => new ManualClock().advance(ms)).toThrow(
      new RangeError(`Expected \`ms\` to be a finite number from 0 up, got \`${String(ms)}\` (number)`),
    );
  });
});

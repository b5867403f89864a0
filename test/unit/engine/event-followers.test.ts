import { describe, expect, it, vi } from "vitest";
import { deferred } from "../../../src/internal/deferred.js";
import type { RunEvent } from "../../../src/run-event.js";
import { EventFollowers } from "../../../src/store/engine/event-followers.js";
import { EventTails } from "../../../src/store/engine/event-tails.js";
import { Gatherer } from "../../../src/store/engine/gatherer.js";
import type { EventPage } from "../../../src/store/store.js";

function events(from: number, to: number, delta = "x"): RunEvent[] {
  return Array.from({ length: to - from + 1 }, (_, i) => ({
    type: "text-delta",
    id: "t",
    delta,
    seq: from + i,
  }));
}

const seqs = (page: EventPage | undefined) => page?.events.map((event) => event.seq);

describe("EventTails", () => {
  it("has the newest events of a run, and sends readers on who want older ones", () => {
    const tails = new EventTails({ maxBytes: 1e6, maxEvents: 10 });
    for (let n = 1; n <= 30; n++) tails.add("s", "r", events(n, n));
    expect(seqs(tails.read("s", "r", 28, 100))).toEqual([29, 30]);
    expect(seqs(tails.read("s", "r", 25, 2))).toEqual([26, 27]);
    expect(tails.read("s", "r", 0, 100)).toBeUndefined();
    expect(tails.read("s", "other", 0, 100)).toBeUndefined();
    expect(tails.read("s", "r", 31, 100)).toBeUndefined();
  });

  it("says once that there is nothing more, until it grows", () => {
    const tails = new EventTails({ maxBytes: 1e6, maxEvents: 10 });
    tails.add("s", "r", events(1, 2));
    expect(tails.read("s", "r", 2, 9)).toEqual({ events: [], last: 2, trimmed: false });
    expect(tails.read("s", "r", 2, 9)).toBeUndefined();
    tails.add("s", "r", events(3, 3));
    expect(tails.read("s", "r", 3, 9)).toEqual({ events: [], last: 3, trimmed: false });
  });

  it("begins anew when somebody else wrote in between", () => {
    const tails = new EventTails({ maxBytes: 1e6, maxEvents: 10 });
    tails.add("s", "r", events(1, 2));
    tails.add("s", "r", events(5, 6));
    expect(tails.read("s", "r", 1, 9)).toBeUndefined();
    expect(seqs(tails.read("s", "r", 4, 9))).toEqual([5, 6]);
  });

  it("never takes more than maxBytes, and counts back to nothing", () => {
    const tails = new EventTails({ maxBytes: 20_000, maxEvents: 100 });
    for (let n = 1; n <= 500; n++) {
      tails.add("s", `r${String(n % 40)}`, events(n, n + 1, "x".repeat((n * 7919) % 3000)));
      expect(tails.bytes).toBeLessThanOrEqual(20_000);
    }
    tails.clear();
    expect(tails.bytes).toBe(0);
  });
});

describe("EventFollowers", () => {
  const page: EventPage = { events: [], last: 0, trimmed: false };

  it("asks the engine once for readers who ask the same, but not for those who ask after a change", async () => {
    const answers = [deferred<EventPage>(), deferred<EventPage>()];
    let asked = 0;
    const read = vi.fn(() => answers[asked++]?.promise ?? Promise.resolve(page));
    const followers = new EventFollowers({
      maxBytes: 1e6,
      maxEvents: 9,
      read,
      onFirst: () => () => undefined,
    });
    const stop = followers.watch("s", "r", () => undefined);
    const first = [followers.read("s", "r", 0, 9), followers.read("s", "r", 0, 9)];
    expect(read).toHaveBeenCalledTimes(1);
    followers.changed("s", "r");
    const later = followers.read("s", "r", 0, 9);
    expect(read).toHaveBeenCalledTimes(2);
    for (const answer of answers) answer.resolve(page);
    await Promise.all([...first, later]);
    stop();
  });

  it("watches the engine while somebody follows, and keeps nothing after", () => {
    const off = vi.fn();
    const onFirst = vi.fn(() => off);
    const followers = new EventFollowers({
      maxBytes: 1e6,
      maxEvents: 9,
      read: () => Promise.resolve(page),
      onFirst,
    });
    const listener = vi.fn(() => {
      throw new Error("not the log's matter");
    });
    const stops = [
      followers.watch("s", "r", listener),
      followers.watch("s", "r", listener),
      followers.watch("t", "r", listener),
    ];
    expect(onFirst).toHaveBeenCalledTimes(1);
    followers.appended("s", "r", events(1, 1));
    expect(listener).toHaveBeenCalledTimes(2);
    for (const thread of ["s", "t"]) followers.threadChanged(thread);
    expect(listener).toHaveBeenCalledTimes(5);
    for (const stop of [...stops, ...stops]) stop();
    expect(off).toHaveBeenCalledTimes(1);
    expect(followers.size).toBe(0);
  });
});

describe("Gatherer", () => {
  it("sends at once what comes alone, and together what comes while it is busy", async () => {
    const groups: number[][] = [];
    const gates = [deferred<undefined>(), deferred<undefined>()];
    const gatherer = new Gatherer<number, number>({
      lanes: 1,
      maxItems: 3,
      run: async (items) => {
        groups.push([...items]);
        await gates[groups.length - 1]?.promise;
        return items.map((item) => (item === 3 ? { error: new Error("three") } : { value: item * 2 }));
      },
    });
    const results = Promise.allSettled([1, 2, 3, 4, 5].map((item) => gatherer.add(item)));
    expect(groups).toEqual([[1]]);
    gates[0]?.resolve(undefined);
    await vi.waitFor(() => {
      expect(groups).toEqual([[1], [2, 3, 4]]);
    });
    gates[1]?.resolve(undefined);
    expect((await results).map((one) => (one.status === "fulfilled" ? one.value : "failed"))).toEqual([
      2,
      4,
      "failed",
      8,
      10,
    ]);
    expect(groups).toEqual([[1], [2, 3, 4], [5]]);
  });

  it("fails all of a group whose step fails, and goes on", async () => {
    let fails = true;
    const gatherer = new Gatherer<number, number>({
      lanes: 1,
      maxItems: 9,
      run: (items) =>
        fails ? Promise.reject(new Error("away")) : Promise.resolve(items.map((value) => ({ value }))),
    });
    await expect(Promise.allSettled([gatherer.add(1), gatherer.add(2)])).resolves.toMatchObject([
      { status: "rejected" },
      { status: "rejected" },
    ]);
    fails = false;
    expect(await gatherer.add(3)).toBe(3);
  });
});

import { describe, expect, it, vi } from "vitest";
import { AgentError } from "../../src/errors.js";
import type { RunEvent } from "../../src/run-event.js";
import { MemoryEventLog } from "../../src/store/memory/event-log.js";
import type { Lease } from "../../src/store/store.js";

const lease: Lease = { threadId: "s.a", epoch: 1, owner: "p1:1" };
const trusting = (): void => {};

function events(from: number, to: number, delta = "x"): RunEvent[] {
  return Array.from({ length: to - from + 1 }, (_, i) => ({
    type: "text-delta",
    id: "t",
    delta,
    seq: from + i,
  }));
}

function seqs(log: MemoryEventLog, runId: string, after = 0, limit = 1000): number[] {
  return log.read(lease.threadId, runId, { after, limit }).events.map((event) => event.seq);
}

describe("the in-memory event log", () => {
  it("pages through a run without gap or duplicate while it grows", () => {
    const log = new MemoryEventLog({ fence: trusting });
    const seen: number[] = [];
    for (let n = 1; n <= 100; n++) {
      log.append(lease, "r", events(3 * n - 2, 3 * n));
      const page = log.read(lease.threadId, "r", { after: seen.length, limit: 2 });
      seen.push(...page.events.map((event) => event.seq));
      expect(page).toMatchObject({ last: 3 * n, trimmed: false });
    }
    seen.push(...seqs(log, "r", seen.length));
    expect(seen).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
    expect(seqs(log, "r", 300)).toEqual([]);
    expect(seqs(log, "r", 500)).toEqual([]);
  });

  it("knows nothing of runs without events, and keeps runs and threads apart", () => {
    const log = new MemoryEventLog({ fence: trusting });
    log.append(lease, "r", events(1, 1));
    const none = { events: [], last: 0, trimmed: false };
    expect(log.read(lease.threadId, "q", { after: 0, limit: 9 })).toEqual(none);
    expect(log.read("s.b", "r", { after: 0, limit: 9 })).toEqual(none);
    log.append({ ...lease, threadId: "s.b" }, "r", events(1, 2));
    expect(log.last(lease.threadId, "r")).toBe(1);
  });

  it("adds all of a batch or, when its numbers do not follow, nothing", () => {
    const log = new MemoryEventLog({ fence: trusting });
    const lost = expect.objectContaining({ code: "LEASE_LOST" }) as unknown;
    expect(() => {
      log.append(lease, "r", events(2, 3));
    }).toThrow(lost);
    log.append(lease, "r", events(1, 2));
    for (const batch of [events(2, 3), events(4, 5), [...events(3, 3), ...events(5, 5)]]) {
      expect(() => {
        log.append(lease, "r", batch);
      }).toThrow(lost);
    }
    expect(seqs(log, "r")).toEqual([1, 2]);
  });

  it("lets exactly one of two racing writers have each number", async () => {
    const log = new MemoryEventLog({ fence: trusting });
    const writer = async (delta: string): Promise<number> => {
      let written = 0;
      for (let i = 0; i < 50; i++) {
        const next = log.last(lease.threadId, "r") + 1;
        await Promise.resolve();
        try {
          log.append(lease, "r", events(next, next, delta));
          written++;
        } catch (error) {
          expect(error).toBeInstanceOf(AgentError);
        }
      }
      return written;
    };
    const written = await Promise.all([writer("a"), writer("b")]);
    expect(seqs(log, "r")).toEqual(Array.from({ length: written[0] + written[1] }, (_, i) => i + 1));
    expect(written[0] + written[1]).toBeLessThan(100);
  });

  it("asks the fence about the lease and the run before anything is added", () => {
    const fence = vi.fn(() => {
      throw new AgentError("LEASE_LOST", "lost");
    });
    const log = new MemoryEventLog({ fence });
    expect(() => {
      log.append(lease, "r", events(1, 1));
    }).toThrow("lost");
    expect(fence).toHaveBeenCalledWith(lease, "r");
    expect(log.bytes).toBe(0);
  });

  it("keeps the newest maxEventsPerRun of a run and says that older ones are gone", () => {
    const log = new MemoryEventLog({ maxEventsPerRun: 10, fence: trusting });
    for (let n = 1; n <= 95; n++) log.append(lease, "r", events(n, n));
    expect(seqs(log, "r", 85)).toEqual([86, 87, 88, 89, 90, 91, 92, 93, 94, 95]);
    const at = (after: number) => log.read(lease.threadId, "r", { after, limit: 1 });
    expect(at(0)).toMatchObject({ trimmed: true, last: 95, events: [{ seq: 86 }] });
    expect(at(84).trimmed).toBe(true);
    expect(at(85).trimmed).toBe(false);
    expect(at(90)).toMatchObject({ trimmed: false, events: [{ seq: 91 }] });
  });

  it("never holds more than maxEventBytes, whoever writes", () => {
    const maxEventBytes = 20_000;
    for (const fence of [trusting, undefined]) {
      const log = new MemoryEventLog({ maxEventBytes, fence });
      for (let n = 1; n <= 500; n++) {
        const size = (n * 7919) % 3000;
        log.append(
          { ...lease, threadId: `s.${String(n % 40)}` },
          `r${String(n)}`,
          events(1, 2, "x".repeat(size)),
        );
        expect(log.bytes).toBeLessThanOrEqual(maxEventBytes);
      }
      expect(log.bytes).toBeGreaterThan(maxEventBytes / 2);
    }
  });

  it("lets go of finished runs first, of the one that finished longest ago before the others", () => {
    const log = new MemoryEventLog({ maxEventBytes: 40_000, fence: trusting });
    const text = "x".repeat(500);
    for (const run of ["open", "f2", "f1", "f3"]) log.append(lease, run, events(1, 5, text));
    for (const run of ["f1", "f2", "f3"]) log.finished(lease.threadId, run);
    log.append(lease, "new", events(1, 8, text));
    log.append(lease, "newer", events(1, 8, text));
    expect(["open", "f1", "f2", "f3", "new", "newer"].map((run) => seqs(log, run).length)).toEqual([
      5, 0, 5, 5, 8, 8,
    ]);
    const page = log.read(lease.threadId, "f1", { after: 0, limit: 1 });
    expect(page).toEqual({ events: [], last: 5, trimmed: true });
    expect(log.read(lease.threadId, "f1", { after: 5, limit: 1 }).trimmed).toBe(false);
  });

  it("holds nothing of a run without events whose end is known elsewhere, and tells of it all the same", () => {
    const ends = new Map<string, number>();
    const log = new MemoryEventLog({
      maxEventBytes: 40_000,
      fence: trusting,
      endOf: (_threadId, runId) => ends.get(runId),
    });
    const text = "x".repeat(500);
    const end = (run: string) => {
      ends.set(run, 5);
      log.finished(lease.threadId, run);
    };
    for (const run of ["f1", "f2", "open"]) log.append(lease, run, events(1, 5, text));
    const stop = log.watch(lease.threadId, "f2", () => undefined);
    for (const run of ["f1", "f2"]) end(run);
    for (let n = 1; n <= 5; n++) log.append(lease, `new ${String(n)}`, events(1, 8, text));
    // Of the open one all went before it ended, and of `f2` while somebody watched it.
    expect(log.size).toBe(7);
    end("open");
    stop();
    expect(log.size).toBe(5);
    const gone = { events: [], last: 5, trimmed: true };
    for (const run of ["f1", "f2", "open"]) {
      expect(log.read(lease.threadId, run, { after: 4, limit: 9 })).toEqual(gone);
      expect(log.read(lease.threadId, run, { after: 5, limit: 9 })).toEqual({ ...gone, trimmed: false });
      const stopWatching = log.watch(lease.threadId, run, () => undefined);
      expect(log.read(lease.threadId, run, { after: 0, limit: 9 })).toEqual(gone);
      stopWatching();
    }
    expect(log.size).toBe(5);
  });

  it("gives one noisy run a quarter at most, so that the others keep theirs", () => {
    const log = new MemoryEventLog({ maxEventBytes: 40_000, fence: trusting });
    log.append(lease, "quiet", events(1, 20));
    for (let n = 1; n <= 200; n++) log.append(lease, "noisy", events(n, n, "x".repeat(400)));
    expect(seqs(log, "quiet")).toHaveLength(20);
    expect(log.bytes).toBeLessThan(20_000);
    expect(log.read(lease.threadId, "noisy", { after: 0, limit: 1 })).toMatchObject({
      last: 200,
      trimmed: true,
    });
    log.append(lease, "noisy", events(201, 201, "x".repeat(400_000)));
    expect(seqs(log, "quiet")).toHaveLength(20);
    log.append(lease, "noisy", events(202, 202));
    expect(seqs(log, "noisy", 201)).toEqual([202]);
  });

  it("forgets a thread, one run of it, and gives all bytes back", async () => {
    const log = new MemoryEventLog({ fence: trusting });
    log.append(lease, "a", events(1, 3));
    log.append(lease, "b", events(1, 3));
    log.forget(lease.threadId, "a");
    expect([seqs(log, "a"), seqs(log, "b").length]).toEqual([[], 3]);
    log.append({ ...lease, threadId: "s.b" }, "a", events(1, 3));
    await log.delete(lease.threadId);
    expect(seqs(log, "b")).toEqual([]);
    expect(log.last("s.b", "a")).toBe(3);
    await log.delete("s.b");
    expect(log.bytes).toBe(0);
  });

  it("tells the watchers of a run that there is more, also those who came before its first event", () => {
    const log = new MemoryEventLog({ fence: trusting });
    const heard: string[] = [];
    const stopThrowing = log.watch(lease.threadId, "r", () => {
      throw new Error("watcher");
    });
    const stop = log.watch(lease.threadId, "r", () => heard.push("r"));
    log.watch(lease.threadId, "q", () => heard.push("q"));
    log.append(lease, "r", events(1, 2));
    log.append(lease, "r", events(3, 3));
    expect(heard).toEqual(["r", "r"]);
    stop();
    stop();
    stopThrowing();
    log.append(lease, "r", events(4, 4));
    expect(heard).toEqual(["r", "r"]);
    expect(seqs(log, "r")).toEqual([1, 2, 3, 4]);
  });

  it("keeps nothing of a run that was only watched, and nothing at all without a fence once its events are gone", () => {
    const log = new MemoryEventLog({ fence: trusting });
    log.watch(lease.threadId, "r", () => {})();
    expect(log.size).toBe(0);
    const open = new MemoryEventLog({ maxEventBytes: 10_000 });
    for (let n = 0; n < 1000; n++) open.append(lease, `r${String(n)}`, events(1, 1));
    expect(open.size).toBeLessThan(50);
  });

  it("without a fence takes up a run that another process has begun", () => {
    const log = new MemoryEventLog();
    log.append(lease, "r", events(5, 6));
    expect(log.read(lease.threadId, "r", { after: 0, limit: 9 })).toMatchObject({ last: 6, trimmed: true });
    expect(seqs(log, "r", 4)).toEqual([5, 6]);
    expect(() => {
      log.append(lease, "r", events(9, 9));
    }).toThrow(expect.objectContaining({ code: "LEASE_LOST" }) as unknown);
  });
});

/*
 * Runs around every test file and fails it when, after its last hook, something that it started is left over:
 * an armed timer that the library set (a manager, service or store that was not closed has one), a listening
 * server, a child process. Timers of the runner and of other packages do not count.
 */
import { ChildProcess } from "node:child_process";
import { Server } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll } from "vitest";

/** What a closing process or server may still need. */
const GRACE_MS = 20_000;
const SOURCE = /[\\/]src[\\/]/;

interface LiveTimer {
  readonly timer: NodeJS.Timeout;
  readonly setBy: string;
}

const timers = new Set<LiveTimer>();
const before = new Set(handles());

globalThis.setTimeout = tracked(globalThis.setTimeout);
globalThis.setInterval = tracked(globalThis.setInterval);

afterAll(async () => {
  const deadline = performance.now() + GRACE_MS;
  let left = leftovers();
  while (left.length > 0 && performance.now() < deadline) {
    await sleep(20);
    left = leftovers();
  }
  if (left.length > 0) throw new Error(`The tests of this file left over:\n- ${left.join("\n- ")}`);
});

function tracked<T extends typeof setTimeout | typeof setInterval>(original: T): T {
  const set = (callback: () => void, ms?: number, ...args: never[]) => {
    // Both overload sets give a Timeout; `apply` alone does not know.
    const timer = Reflect.apply(original, globalThis, [callback, ms, ...args]) as NodeJS.Timeout;
    const frames = new Error().stack?.split("\n") ?? [];
    const setBy = frames.filter((frame) => SOURCE.test(frame) && !frame.includes("node_modules"));
    if (setBy.length > 0) {
      if (timers.size > 1_000) for (const live of timers) if (isDone(live.timer)) timers.delete(live);
      timers.add({ timer, setBy: setBy.map((frame) => frame.trim()).join(" ") });
    }
    return timer;
  };
  // `util.promisify(setTimeout)` hangs on a property of the function. With it the stand-in is of the same type.
  return Object.defineProperties(set, Object.getOwnPropertyDescriptors(original)) as unknown as T;
}

function leftovers(): string[] {
  const armed = [...timers].filter(({ timer }) => !isDone(timer)).map(({ setBy }) => `a timer, set ${setBy}`);
  const open = handles().flatMap((handle) => {
    if (before.has(handle)) return [];
    if (handle instanceof ChildProcess)
      return `the child process ${String(handle.pid)} (${handle.spawnfile})`;
    if (handle instanceof Server) return `a listening server (${JSON.stringify(handle.address())})`;
    return [];
  });
  return [...new Set([...armed, ...open])];
}

/** Whether a timer has fired for the last time or was cleared. */
function isDone(timer: NodeJS.Timeout): boolean {
  return (timer as NodeJS.Timeout & { readonly _destroyed: boolean })._destroyed;
}

/** Undocumented, but without a documented twin: `getActiveResourcesInfo` only counts kinds. */
function handles(): readonly object[] {
  return (process as typeof process & { _getActiveHandles(): object[] })._getActiveHandles();
}

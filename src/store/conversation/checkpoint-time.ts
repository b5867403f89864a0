import { AgentError } from "../../errors.js";
import { throwIfAborted } from "../../internal/abort.js";
import type { Clock } from "../../internal/clock.js";
import { withTimeLimit } from "../../internal/time-limit.js";
import type { ConversationThread } from "./thread.js";

/*
 * LangGraph makes checkpoint ids from the clock of the process (UUID version 6: 100 ns since 1582, then a counter) and
 * takes order by id for order in time. Among processes whose clocks differ that holds only if nobody makes an id before
 * its clock has passed the time of the last one.
 */

const UUID_6 = /^([0-9a-f]{8})-([0-9a-f]{4})-6([0-9a-f]{3})-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** From the beginning of UUID time, in October 1582, to 1970. */
const EPOCH_OFFSET_MS = 12_219_292_800_000;

/** When an id was made, in milliseconds since 1970; `undefined` when it is no UUID of version 6. */
export function timeOfId(id: string): number | undefined {
  const [, high, mid, low] = UUID_6.exec(id) ?? [];
  if (high === undefined || mid === undefined || low === undefined) return undefined;
  return Number(BigInt(`0x${high}${mid}${low}`) / 10_000n) - EPOCH_OFFSET_MS;
}

/**
 * Waits until this process makes greater ids than those of the thread's heads.
 *
 * @throws {AgentError} `CLOCK_SKEW` when that would take longer than `maxWaitMs`.
 */
export async function waitForClock(
  thread: ConversationThread,
  clock: Clock,
  maxWaitMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  let latest = -Infinity;
  for (const { head } of thread.spaces) {
    latest = Math.max(latest, (head === undefined ? undefined : timeOfId(head)) ?? -Infinity);
  }
  const deadline = clock.monotonic() + maxWaitMs;
  for (let now = clock.now(); now <= latest; now = clock.now()) {
    const waitMs = latest + 1 - now;
    if (clock.monotonic() + waitMs > deadline) {
      throw new AgentError(
        "CLOCK_SKEW",
        `The conversation was last written by a process whose clock is ${String(waitMs)} ms ahead of this one's. Set the clocks of all processes by NTP.`,
      );
    }
    await withTimeLimit(new Promise<never>(() => undefined), waitMs, clock, signal);
    throwIfAborted(signal);
  }
}

/** @throws {AgentError} `CLOCK_SKEW` when a checkpoint's id does not come after its parent's. */
export function checkOrder(id: string, parentId: unknown): void {
  if (typeof parentId !== "string" || id > parentId) return;
  throw new AgentError(
    "CLOCK_SKEW",
    `Checkpoint ${JSON.stringify(id)} has an id that is not greater than that of the one it follows: the clock of this process is behind, or was set back.`,
  );
}

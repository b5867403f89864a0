import type { Clock } from "../../internal/clock.js";
import type { RecordsConversationSaverOptions } from "../conversation/records-saver.js";

/** How conversations are kept. */
export interface ConversationOptions {
  /** Whether all checkpoints are kept, or the head and what undoing takes. @defaultValue "forks" */
  readonly history?: "forks" | "all" | undefined;
  /** How many finished turns can be undone. @defaultValue 10 */
  readonly forkableRuns?: number | undefined;
  /** About the bytes of conversations kept in this process, so as not to read them again. @defaultValue 64 MB */
  readonly liveBytes?: number | undefined;
  /** How far the clocks of two processes may be apart; beyond it a turn fails with `CLOCK_SKEW`. @defaultValue 10,000 */
  readonly maxClockSkewMs?: number | undefined;
}

export const CONVERSATION_OPTIONS: readonly string[] = [
  "history",
  "forkableRuns",
  "liveBytes",
  "maxClockSkewMs",
];

/** Those of a store's options that are its saver's. */
export function conversationOptions(
  options: ConversationOptions & { readonly clock?: Clock | undefined },
): RecordsConversationSaverOptions {
  const { history, forkableRuns, liveBytes, maxClockSkewMs, clock } = options;
  return { history, forkableRuns, liveBytes, maxClockSkewMs, clock };
}

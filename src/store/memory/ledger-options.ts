import type { Clock } from "../../internal/clock.js";
import type { RunRecord } from "../store.js";

/** How a ledger in memory is built, and what it tells the other parts of its store. */
export interface MemoryRunLedgerOptions {
  /** @defaultValue the system's clock */
  readonly clock?: Clock | undefined;
  /** How long a finished run stays known. @defaultValue 600,000 */
  readonly runRetentionMs?: number | undefined;
  /** The most finished runs kept per session; runs that ended in one step stay until the next. @defaultValue 20 */
  readonly maxRetainedRuns?: number | undefined;
  /** The longest JSON text of a state slot, in bytes of UTF-8. @defaultValue 1,048,576 */
  readonly maxStateBytes?: number | undefined;
  /** The last event of a run, asked for when the ledger itself ends a run that had begun. */
  readonly lastSeq?: ((threadId: string, runId: string) => number) | undefined;
  /** A run has been accepted. Must not throw. */
  readonly onAccept?: ((run: RunRecord) => void) | undefined;
  /** Nobody holds the session's lease any more. Must not throw. */
  readonly onFree?: ((threadId: string) => void) | undefined;
  /** A run has ended and is retained. Must not throw. */
  readonly onRetain?: ((threadId: string, runId: string) => void) | undefined;
  /** A run is no longer known. Must not throw. */
  readonly onForget?: ((threadId: string, runId: string) => void) | undefined;
  /** After each step, before its hints. Must not throw. */
  readonly onStep?: (() => void) | undefined;
}

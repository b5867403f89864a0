import type { Clock } from "../../internal/clock.js";
import { LinkedList } from "../../internal/linked-list.js";
import type { LedgerRun, LedgerSessionEntry } from "./ledger-session.js";

interface RunRetentionOptions {
  readonly clock: Clock;
  readonly retentionMs: number;
  /** Per session. */
  readonly maxRetained: number;
  readonly onRetain: ((threadId: string, runId: string) => void) | undefined;
  readonly onForget: (run: LedgerRun) => void;
}

/**
 * Keeps finished runs for a while, in the order in which they ended, and forgets the oldest first: no scan, no
 * timer. A session's surplus goes at the beginning of its next step and not at once, so that whoever waits for
 * one of many runs that a single step cancelled still finds it.
 */
export class RunRetention {
  readonly #options: RunRetentionOptions;
  readonly #runs = new LinkedList<LedgerRun>();

  constructor(options: RunRetentionOptions) {
    this.#options = options;
  }

  retain(run: LedgerRun): void {
    const { session } = run;
    run.since = this.#options.clock.monotonic();
    this.#runs.push(run);
    if (session.newestRetained === undefined) session.oldestRetained = run;
    else session.newestRetained.newerRetained = run;
    session.newestRetained = run;
    session.retained++;
    this.#options.onRetain?.(session.threadId, run.record.runId);
  }

  /** Forgets what a session has over its limit. */
  trim(session: LedgerSessionEntry): void {
    while (session.retained > this.#options.maxRetained) this.#forgetOldest(session);
  }

  /** Forgets up to `limit` runs that are past retention; how many. */
  expire(limit: number): number {
    const before = this.#options.clock.monotonic() - this.#options.retentionMs;
    let forgotten = 0;
    for (let run = this.#runs.first; run !== undefined && run.since <= before; run = this.#runs.first) {
      if (forgotten === limit) break;
      // The oldest of all is the oldest of its session: both are in the order of `retain`.
      this.#forgetOldest(run.session);
      forgotten++;
    }
    return forgotten;
  }

  /** Forgets all of a session's finished runs. */
  clear(session: LedgerSessionEntry): void {
    while (session.oldestRetained !== undefined) this.#forgetOldest(session);
  }

  #forgetOldest(session: LedgerSessionEntry): void {
    const run = session.oldestRetained;
    if (run === undefined) return;
    session.oldestRetained = run.newerRetained;
    if (session.oldestRetained === undefined) session.newestRetained = undefined;
    session.retained--;
    this.#runs.remove(run);
    session.runs?.delete(run.record.runId);
    if (session.runs?.size === 0) session.runs = undefined;
    this.#options.onForget(run);
  }
}

import type { Clock } from "../../internal/clock.js";
import { abandonedError } from "../engine/refusals.js";
import type { Claim, ClaimRequest } from "../store.js";
import type { LedgerRun } from "./ledger-session.js";
import type { LedgerState } from "./ledger-state.js";
import type { RunRetention } from "./run-retention.js";

interface RunClaimsOptions {
  readonly clock: Clock;
  readonly retention: RunRetention;
  readonly state: LedgerState;
}

/** Finds the run that a process is to work on next: first those whose process has gone silent, then those that wait. */
export class RunClaims {
  readonly #clock: Clock;
  readonly #retention: RunRetention;
  readonly #state: LedgerState;

  constructor({ clock, retention, state }: RunClaimsOptions) {
    this.#clock = clock;
    this.#retention = retention;
    this.#state = state;
  }

  next(request: ClaimRequest): Claim | undefined {
    return this.#takeOver(request) ?? this.#takeNext(request);
  }

  /** Deals with the leases that have expired, until one of their runs is to be gone on with. */
  #takeOver({ processId, leaseMs, maxAttempts }: ClaimRequest): Claim | undefined {
    const { leases } = this.#state;
    const now = this.#clock.monotonic();
    for (let session = leases.peek(); session !== undefined; session = leases.peek()) {
      const run = session.running;
      if (run === undefined || (session.lease?.expiresAt ?? Infinity) > now) return undefined;
      const { affinity } = run.record;
      // The only process that could go on with it has gone silent.
      const orphaned = affinity !== undefined && affinity !== processId;
      if (!session.tombstone && !orphaned && attemptsOf(run) < maxAttempts) {
        return this.#state.grant(run, processId, leaseMs);
      }
      this.#abandon(run, orphaned);
    }
    return undefined;
  }

  #takeNext({ processId, leaseMs, maxAttempts, maxConcurrentRunsPerUser }: ClaimRequest): Claim | undefined {
    const { rotation } = this.#state;
    for (;;) {
      const session = rotation.next(processId, maxConcurrentRunsPerUser);
      const run = session?.runnable;
      if (session === undefined || run === undefined) return undefined;
      if (attemptsOf(run) < maxAttempts) return this.#state.grant(run, processId, leaseMs);
      this.#abandon(run, false);
    }
  }

  /** Ends a run that nobody is to try again: as failed, or as cancelled if that is what it had been told. */
  #abandon(run: LedgerRun, orphaned: boolean): void {
    const { cancelRequested, runId, sessionId, status } = run.record;
    const end = status === "running" ? "endRunning" : "endQueued";
    this.#retention.trim(run.session);
    if (cancelRequested !== undefined) this.#state[end](run, "cancelled");
    else {
      const error = abandonedError(runId, sessionId, orphaned ? "orphaned" : attemptsOf(run));
      this.#state[end](run, "failed", error);
    }
    this.#state.settle(run.session);
  }
}

/** How often it was begun, but for what was handed over. */
function attemptsOf({ record, releases }: LedgerRun): number {
  return record.attempt - releases;
}

import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import { systemClock } from "../../internal/clock.js";
import type {
  Claim,
  ClaimRequest,
  EventLog,
  Lease,
  LedgerSession,
  ProcessRegistry,
  RunCompletion,
  RunLedger,
  RunRecord,
  SessionStore,
  Store,
  Submission,
} from "../../store/store.js";
import { broken } from "./expectations.js";
import { claimRequest, completion, interrupted, submission, threadOf } from "./requests.js";

/** The parts of a {@link Store} that have rules. */
export type StorePart = "runs" | "sessions" | "checkpointer" | "events" | "processes";

/** Limits of a store that some rules need to be small. The names are those of `memoryStore`'s options. */
export interface ConformanceLimits {
  /** How long a finished run stays known, in milliseconds. */
  readonly runRetentionMs?: number;
  /** The most finished runs kept per session. */
  readonly maxRetainedRuns?: number;
  readonly sessionTtlMs?: number;
  /** The most events kept per run. */
  readonly maxEventsPerRun?: number;
  /** The longest JSON text of a state slot, in bytes of UTF-8. */
  readonly maxStateBytes?: number;
}

/** One promise, and how to see whether it is kept. */
export interface Rule {
  readonly name: string;
  readonly needs: readonly StorePart[];
  /** The limits that the store is to be made with. */
  readonly limits?: ConformanceLimits;
  readonly check: (bench: Bench) => Promise<void>;
}

export interface BenchOptions {
  readonly store: Store;
  /** Opens a store on the same data, as another process would. */
  readonly open: () => Promise<Store>;
  readonly parts: readonly StorePart[];
  readonly leaseMs: number;
  readonly patienceMs: number;
  readonly advance: ((ms: number) => Promise<void>) | undefined;
}

/** How often a condition is looked at, in milliseconds. */
const LOOK_MS = 5;

/** What one rule works with: a fresh store, and short words for the steps that rules are made of. */
export class Bench {
  /** What leases that are to expire are claimed with. */
  readonly leaseMs: number;
  readonly patienceMs: number;
  readonly store: Store;
  readonly #options: BenchOptions;
  #other: Promise<Bench> | undefined;
  #ids = 0;

  constructor(options: BenchOptions) {
    this.#options = options;
    this.store = options.store;
    this.leaseMs = options.leaseMs;
    this.patienceMs = options.patienceMs;
  }

  get runs(): RunLedger {
    return this.store.runs ?? missing("runs");
  }

  get sessions(): SessionStore {
    return this.store.sessions ?? missing("sessions");
  }

  get checkpointer(): BaseCheckpointSaver {
    return this.store.checkpointer ?? missing("checkpointer");
  }

  get events(): EventLog {
    return this.store.events ?? missing("events");
  }

  get processes(): ProcessRegistry {
    return this.store.processes ?? missing("processes");
  }

  /** A run id that no run of this bench has. */
  newRunId(): string {
    this.#ids += 1;
    return `run-${String(this.#ids)}`;
  }

  has(part: StorePart): boolean {
    return this.#options.parts.includes(part);
  }

  /** The same data as another process sees it; the same store when there can be no other process. */
  other(): Promise<Bench> {
    return (this.#other ??= this.#options.open().then((store) => new Bench({ ...this.#options, store })));
  }

  /** Lets time go by. */
  async pass(ms: number): Promise<void> {
    const { advance } = this.#options;
    if (advance !== undefined) await advance(ms);
    else await sleep(ms);
  }

  /** Lets leases of `leaseMs` expire. */
  async expire(): Promise<void> {
    await this.pass(Math.ceil(this.leaseMs * 1.2) + 10);
  }

  /** Waits until something is so, as long as patience lasts. */
  async eventually(
    isSo: () => boolean | Promise<boolean>,
    expected: string,
    seen: () => unknown,
  ): Promise<void> {
    const deadline = systemClock.monotonic() + this.patienceMs;
    while (!(await isSo())) {
      if (systemClock.monotonic() >= deadline) {
        broken(`${expected} within ${String(this.patienceMs)} ms`, seen());
      }
      await sleep(LOOK_MS);
    }
  }

  async submit(sessionId: string, runId: string, changes: Partial<Submission> = {}): Promise<RunRecord> {
    return (await this.runs.submit(submission(sessionId, runId, changes))).run;
  }

  tryClaim(changes: Partial<ClaimRequest> = {}): Promise<Claim | undefined> {
    return this.runs.claim(claimRequest(changes));
  }

  async claim(changes: Partial<ClaimRequest> = {}): Promise<Claim> {
    return (await this.tryClaim(changes)) ?? broken("a run to be claimable", undefined);
  }

  /** Submits a run and claims it; nothing else may be claimable. */
  async begin(sessionId: string, runId: string, changes: Partial<ClaimRequest> = {}): Promise<Claim> {
    await this.submit(sessionId, runId);
    return this.claim(changes);
  }

  /** Claims until there is nothing more; the run ids in order. */
  async claimAll(changes: Partial<ClaimRequest> = {}): Promise<string[]> {
    const runs: string[] = [];
    for (let next = await this.tryClaim(changes); next !== undefined; next = await this.tryClaim(changes)) {
      runs.push(next.run.runId);
    }
    return runs;
  }

  finish({ lease, run }: Claim, how: RunCompletion = completion()): Promise<RunRecord> {
    return this.runs.finish(lease, run.runId, how);
  }

  /** Runs a run to the interrupts of these ids. */
  async park(sessionId: string, runId: string, ...ids: readonly string[]): Promise<Claim> {
    const claimed = await this.begin(sessionId, runId);
    await this.finish(claimed, interrupted(...ids));
    return claimed;
  }

  async get(sessionId: string, runId: string, userId?: string): Promise<RunRecord | undefined> {
    return this.runs.get(threadOf(sessionId, userId), runId);
  }

  async statusOf(sessionId: string, runId: string): Promise<string | undefined> {
    return (await this.get(sessionId, runId))?.status;
  }

  async session(sessionId: string, userId?: string): Promise<LedgerSession | undefined> {
    const threadId = threadOf(sessionId, userId);
    return (await this.runs.sessions([threadId])).get(threadId);
  }

  /** A lease on the session: that of a running run, or one that nobody gave out when the store has no ledger. */
  async lease(sessionId: string, userId?: string): Promise<Lease> {
    const threadId = threadOf(sessionId, userId);
    if (!this.has("runs")) return { threadId, epoch: 1, owner: "process-1:1" };
    const runId = `run-of-${sessionId}`;
    await this.submit(sessionId, runId, { userId });
    const { lease } = await this.claim();
    return lease.threadId === threadId ? lease : broken(`the run of thread ${threadId} to be next`, lease);
  }
}

/** Rules that need the same parts, by name. */
export function rulesOf(
  needs: readonly StorePart[],
  checks: Readonly<Record<string, Rule["check"] | Pick<Rule, "check" | "limits">>>,
): readonly Rule[] {
  return Object.entries(checks).map(([name, check]) =>
    typeof check === "function" ? { name, needs, check } : { name, needs, ...check },
  );
}

function missing(part: StorePart): never {
  throw new Error(`The store has no \`${part}\`, which \`parts\` names.`);
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    // Not unref'd as the clock's are: a case that waits is at work, and some runners end when nothing else is.
    // eslint-disable-next-line no-restricted-globals
    setTimeout(resolve, ms);
  });
}

/** All at once. */
export function times<T>(count: number, action: (index: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => action(index)));
}

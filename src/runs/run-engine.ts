import { randomUUID } from "node:crypto";
import type { AgentPool } from "../agents/agent-pool.js";
import { Dispatcher } from "./dispatcher.js";
import { AgentError, isAgentError } from "../errors.js";
import type { ChatServiceEvents } from "../events.js";
import { onAbort } from "../internal/abort.js";
import type { Clock } from "../internal/clock.js";
import { withTimeLimit } from "../internal/time-limit.js";
import { LeaseKeeper } from "./lease.js";
import type { Interrupt } from "../run-event.js";
import { RunReader } from "./run-reader.js";
import { isFinished, RunWatch, type FinishedRun } from "./run-watch.js";
import { Runner, type DirectWork } from "./runner.js";
import type { AcceptedRun } from "../run.js";
import type { SessionIdentity } from "../session.js";
import type { StoreParts } from "../store/store-parts.js";
import type { RunRecord, Submission } from "../store/store.js";

export interface RunEngineOptions<TConfig extends object, TContext> {
  readonly store: StoreParts;
  readonly pool: AgentPool<TConfig, TContext>;
  readonly clock: Clock;
  readonly leaseMs: number;
  readonly maxAttempts: number;
  readonly maxConcurrentRuns: number | undefined;
  readonly maxConcurrentRunsPerUser: number | undefined;
  readonly runTimeoutMs: number;
  readonly abortGraceMs: number;
  readonly resolveContext: ((session: SessionIdentity) => TContext | Promise<TContext>) | undefined;
  readonly pendingOf: (run: RunRecord) => Promise<readonly Interrupt[]>;
  readonly emit: <K extends keyof ChatServiceEvents>(event: K, payload: ChatServiceEvents[K]) => void;
}

/** What a run needs that is not stored with it. */
interface Attachment<TContext> {
  readonly threadId: string;
  readonly runId: string;
  readonly context: TContext | undefined;
  readonly direct: DirectWork<TContext> | undefined;
}

export interface AttachOptions<TContext> {
  readonly context?: TContext | undefined;
  readonly direct?: DirectWork<TContext> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Puts runs into the ledger, has them worked on, and knows what of them lives in this process alone. */
export class RunEngine<TConfig extends object, TContext> {
  /** Names this process in the ledger. */
  readonly processId = randomUUID();
  readonly watch: RunWatch;
  readonly runner: Runner<TConfig, TContext>;
  readonly #options: RunEngineOptions<TConfig, TContext>;
  readonly #dispatcher: Dispatcher<TConfig, TContext>;
  readonly #attachments = new Map<string, Attachment<TContext>>();
  #draining = false;

  constructor(options: RunEngineOptions<TConfig, TContext>) {
    this.#options = options;
    const { store, pool, clock, emit } = options;
    const leases = new LeaseKeeper(store.runs, options.leaseMs, clock);
    this.watch = new RunWatch(store.runs, () => {
      this.#dispatcher.pump();
    });
    this.runner = new Runner({
      ...options,
      runs: store.runs,
      events: store.events,
      sessions: store.sessions,
      watch: this.watch,
      leases,
      contextOf: (run) => this.#contextOf(run),
      directWork: (run) => this.#attachments.get(keyOf(run))?.direct,
      onStart: (run) => {
        emit("run:started", { session: sessionOf(run), runId: run.runId, attempt: run.attempt });
      },
      onError: (error, run) => {
        emit("error", { error, session: sessionOf(run), runId: run.runId });
      },
      onFinish: (run) => {
        emit("run:finished", {
          session: sessionOf(run),
          runId: run.runId,
          outcome: outcomeOf(run),
          durationMs: (run.finishedAt ?? run.createdAt) - run.createdAt,
        });
      },
    });
    this.#dispatcher = new Dispatcher({
      ...options,
      runs: store.runs,
      pool,
      leases,
      processId: this.processId,
      execute: (claim, claimedAt) => this.runner.execute(claim, claimedAt),
      onError: (error) => {
        emit("error", { error: storeError(error) });
      },
    });
    // What an earlier process left in a shared ledger.
    if (store.runs.shared) this.#dispatcher.pump();
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** Runs that wait here with their context, or are at work: 0 when nothing leaks. */
  get attachedCount(): number {
    return this.#attachments.size;
  }

  /**
   * Submits a run. Its context and function stay here until it has ended; its signal cancels it.
   *
   * @throws {AgentError} what the ledger refuses with, `CLOSED`; or the signal's reason, if it had aborted before.
   */
  async submit(submission: Submission, attach: AttachOptions<TContext>): Promise<AcceptedRun> {
    this.checkOpen();
    const { context, direct, signal } = attach;
    signal?.throwIfAborted();
    const { runs } = this.#options.store;
    const key = keyOf(submission);
    const attached = (context !== undefined || direct !== undefined) && !this.#attachments.has(key);
    // Before the submit, since the run may be claimed within it; a run that is not ours must not keep it.
    if (attached)
      this.#attachments.set(key, { threadId: submission.threadId, runId: submission.runId, context, direct });
    let created = false;
    try {
      const { run, created: isNew } = await runs.submit(submission);
      created = isNew;
      if (created && (attached || signal !== undefined)) this.#attachUntilEnd(run, key, signal);
      return { runId: run.runId, created };
    } finally {
      if (attached && !created) this.#attachments.delete(key);
    }
  }

  read(threadId: string, runId: string, after: number, signal?: AbortSignal): RunReader {
    const { runs, events } = this.#options.store;
    return new RunReader({ runs, events, watch: this.watch }, threadId, runId, after, signal);
  }

  finished(threadId: string, runId: string): Promise<FinishedRun | undefined> {
    return this.watch.finished(this.#options.store.runs, threadId, runId);
  }

  /**
   * Stops a run and waits for its end; gives its record, undefined if there was no such run.
   * Of a run that had ended it gives the record as it is.
   */
  async cancel(threadId: string, runId?: string): Promise<RunRecord | undefined> {
    const run = await this.#options.store.runs.cancel(threadId, runId);
    if (run === undefined || isFinished(run)) return run;
    const finished = await this.finished(threadId, run.runId);
    return finished?.run ?? run;
  }

  checkOpen(): void {
    if (this.#draining) throw new AgentError("CLOSED", "The chat service has been closed.");
  }

  /** Claims nothing more, waits up to `drainMs` for runs at work, stops the rest; readers get `CLOSED`. */
  async close(drainMs: number): Promise<void> {
    this.#draining = true;
    this.#dispatcher.stop();
    const drained = await withTimeLimit(this.runner.allIdle(), drainMs, this.#options.clock);
    if (drained.kind !== "done") {
      this.runner.abortAll(new AgentError("CLOSED", "The chat service was closed before the run ended."));
      await this.runner.allIdle();
    }
    // Nobody else can do them, and in the queue they would hold up their sessions for ever.
    for (const { threadId, runId, direct } of [...this.#attachments.values()]) {
      if (direct !== undefined) await this.#options.store.runs.cancel(threadId, runId).catch(() => undefined);
    }
    this.watch.close();
    this.#attachments.clear();
  }

  #attachUntilEnd(run: RunRecord, key: string, signal: AbortSignal | undefined): void {
    const detach = onAbort(signal, () => {
      this.cancel(run.threadId, run.runId).catch((error: unknown) => {
        this.#options.emit("error", { error: storeError(error), session: sessionOf(run), runId: run.runId });
      });
    });
    const forget = (): void => {
      detach();
      this.#attachments.delete(key);
    };
    this.finished(run.threadId, run.runId).then(forget, forget);
  }

  async #contextOf(run: RunRecord): Promise<TContext | undefined> {
    const attachment = this.#attachments.get(keyOf(run));
    if (attachment?.context !== undefined) return attachment.context;
    return this.#options.resolveContext?.(sessionOf(run));
  }
}

function keyOf({ threadId, runId }: { readonly threadId: string; readonly runId: string }): string {
  return `${threadId}\n${runId}`;
}

function sessionOf({ threadId, sessionId, userId }: RunRecord): SessionIdentity {
  return userId === undefined ? { threadId, sessionId } : { threadId, sessionId, userId };
}

function outcomeOf({ status }: RunRecord): ChatServiceEvents["run:finished"]["outcome"] {
  if (status === "queued" || status === "running") throw new TypeError("The run has not ended");
  return status;
}

function storeError(error: unknown): AgentError {
  return isAgentError(error)
    ? error
    : new AgentError("STORE_UNAVAILABLE", "The store failed.", { cause: error });
}

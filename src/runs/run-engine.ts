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
import { Runner } from "./runner.js";
import type { DirectWork } from "./run-work.js";
import type { Acceptance } from "../run.js";
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

/** How long closing waits at most for the last steps of a shared ledger: releasing runs, cancelling direct ones. */
export const LAST_STEPS_MS = 2_000;

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
    this.watch = new RunWatch({
      runs: store.runs,
      clock,
      isActive: (threadId, runId) => this.runner.isActive(threadId, runId),
      isUntold: (threadId, runId) => this.runner.isUntold(threadId, runId),
      onQueue: () => {
        this.#dispatcher.pump();
      },
      onRun: (threadId, runId) => {
        this.runner.hinted(threadId, runId);
      },
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
      ready: () => store.ready(),
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
  async submit(submission: Submission, attach: AttachOptions<TContext>): Promise<Acceptance> {
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
      const { run, created: isNew } = await this.watch.submitting(submission, () =>
        this.#dispatcher.submitting((claim) =>
          runs.submit(claim === undefined ? submission : { ...submission, claim }),
        ),
      );
      created = isNew;
      if (created && (attached || signal !== undefined)) this.#attachUntilEnd(run, key, signal);
      // Closed meanwhile: nobody else can do it, and in the queue it would hold up its session.
      if (created && direct !== undefined && this.#draining) await runs.cancel(run.threadId, run.runId);
      if (created) this.#dispatcher.submitted(() => this.runner.isActive(run.threadId, run.runId));
      return { runId: run.runId, created, run };
    } finally {
      if (attached && !created) this.#attachments.delete(key);
    }
  }

  read(threadId: string, runId: string, after: number, signal?: AbortSignal): RunReader {
    const { runs, events } = this.#options.store;
    return new RunReader({ runs, events, watch: this.watch }, threadId, runId, after, signal);
  }

  /** See {@link RunWatch.finished}. */
  finished(threadId: string, runId: string, known?: RunRecord): Promise<FinishedRun | undefined> {
    return this.watch.finished(threadId, runId, known);
  }

  /**
   * Stops a run and waits for its end; gives its record, undefined if there was no such run.
   * Of a run that had ended it gives the record as it is.
   */
  async cancel(threadId: string, runId?: string): Promise<RunRecord | undefined> {
    const run = await this.#options.store.runs.cancel(threadId, runId);
    if (run === undefined) return undefined;
    if (isFinished(run)) {
      this.watch.tell(run);
      return run;
    }
    try {
      return (await this.finished(threadId, run.runId, run))?.run ?? run;
    } catch (error) {
      // What is no longer kept has ended.
      if (isAgentError(error) && error.code === "RUN_NOT_FOUND") return run;
      throw error;
    }
  }

  checkOpen(): void {
    if (this.#draining) throw new AgentError("CLOSED", "The chat service has been closed.");
  }

  /**
   * Claims nothing more, waits up to `drainMs` for runs at work, stops the rest; readers get `CLOSED`.
   *
   * With a shared ledger agents are asked at once to stop at the end of their step, and what has not ended goes back to
   * the queue for the other processes. There it is over `abortGraceMs` and {@link LAST_STEPS_MS} after `drainMs` at the
   * latest, even if the engine does not answer: leases that could not be given back expire.
   */
  async close(drainMs: number): Promise<void> {
    const { clock, abortGraceMs, store } = this.#options;
    const { shared } = store.runs;
    this.#draining = true;
    const claimed = this.#dispatcher.stop();
    const reason = new AgentError("CLOSED", "The chat service was closed before the run ended.");
    if (shared) this.runner.drainAll(reason);
    const idle = async (): Promise<void> => {
      await claimed;
      await this.runner.allIdle();
    };
    const drained = await withTimeLimit(idle(), drainMs, clock);
    if (drained.kind !== "done") {
      this.runner.abortAll(reason);
      if (shared) await withTimeLimit(idle(), abortGraceMs + LAST_STEPS_MS / 2, clock);
      else await idle();
    }
    const cancelled = this.#cancelDirectRuns();
    await (shared ? withTimeLimit(cancelled, LAST_STEPS_MS / 2, clock) : cancelled);
    this.watch.close();
    this.#attachments.clear();
  }

  /** Nobody else can do them, and in the queue they would hold up their sessions for ever. */
  async #cancelDirectRuns(): Promise<void> {
    const direct = [...this.#attachments.values()].filter((attachment) => attachment.direct !== undefined);
    await Promise.all(
      direct.map(async ({ threadId, runId }) => {
        const run = await this.#options.store.runs.cancel(threadId, runId).catch(() => undefined);
        if (run !== undefined && isFinished(run)) this.watch.tell(run);
      }),
    );
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
    this.finished(run.threadId, run.runId, run).then(forget, forget);
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

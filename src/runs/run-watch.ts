import { AgentError } from "../errors.js";
import { Hint } from "../internal/hint.js";
import type { LedgerHint, RunLedger, RunRecord } from "../store/store.js";

/** Whether a run has ended. */
export function isFinished(run: RunRecord): boolean {
  return run.status !== "queued" && run.status !== "running";
}

function keyOf(threadId: string, runId: string): string {
  return `${threadId}\n${runId}`;
}

/**
 * Passes the ledger's hints on to those who wait for one run: one listener on the ledger for the whole service.
 * Also carries the whole error of a run that failed in this process to whoever waits for it here.
 */
export class RunWatch {
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #errors = new Map<string, AgentError>();
  readonly #stop: () => void;
  #closed = false;

  constructor(runs: RunLedger, onQueue: () => void) {
    this.#stop = runs.watch((hint: LedgerHint) => {
      if (hint.type === "queue") onQueue();
      else this.#wake(keyOf(hint.threadId, hint.runId));
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** How many runs are being watched: 0 when nothing leaks. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Calls `listener` when the run may have changed, until the returned function is called. */
  on(threadId: string, runId: string, listener: () => void): () => void {
    const key = keyOf(threadId, runId);
    let listeners = this.#waiting.get(key);
    if (listeners === undefined) this.#waiting.set(key, (listeners = new Set()));
    listeners.add(listener);
    const added = listeners;
    return () => {
      added.delete(listener);
      if (added.size > 0 || this.#waiting.get(key) !== added) return;
      this.#waiting.delete(key);
      this.#errors.delete(key);
    };
  }

  /** Keeps a run's error for as long as somebody here waits for the run. */
  setError(threadId: string, runId: string, error: AgentError): void {
    const key = keyOf(threadId, runId);
    if (this.#waiting.has(key)) this.#errors.set(key, error);
  }

  errorOf(threadId: string, runId: string): AgentError | undefined {
    return this.#errors.get(keyOf(threadId, runId));
  }

  /** Waits for a run's end; undefined when its record is gone. @throws {AgentError} `CLOSED` */
  async finished(runs: RunLedger, threadId: string, runId: string): Promise<FinishedRun | undefined> {
    const hint = new Hint();
    const stop = this.on(threadId, runId, hint.raise);
    try {
      for (;;) {
        hint.clear();
        const run = await runs.get(threadId, runId);
        if (run === undefined) return undefined;
        if (isFinished(run)) return { run, error: this.errorOf(threadId, runId) };
        if (this.#closed)
          throw new AgentError("CLOSED", "The chat service has been closed before the run ended.");
        await hint.wait();
      }
    } finally {
      stop();
    }
  }

  close(): void {
    this.#closed = true;
    this.#stop();
    for (const key of [...this.#waiting.keys()]) this.#wake(key);
  }

  #wake(key: string): void {
    const listeners = this.#waiting.get(key);
    if (listeners !== undefined) for (const listener of [...listeners]) listener();
  }
}

/** A run that has ended; `error` is the whole one when it failed in this process. */
export interface FinishedRun {
  readonly run: RunRecord;
  readonly error: AgentError | undefined;
}

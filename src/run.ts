import { AgentError } from "./errors.js";
import { LazyIterator } from "./internal/lazy-iterator.js";
import type { Interrupt, RunEvent, Usage } from "./run-event.js";
import { NO_USAGE, questionsOf } from "./runs/run-summary.js";
import type { FinishedRun } from "./runs/run-watch.js";
import type { RunRecord } from "./store/store.js";

/** What became of a run that did not fail. */
export interface RunResult {
  readonly runId: string;
  readonly outcome: "completed" | "interrupted" | "cancelled";
  /** What the last model call that wrote text wrote; of a cancelled run, as far as it came. */
  readonly text: string;
  /** Summed over all model calls of the run. */
  readonly usage: Usage;
  /** The questions that now wait for `resume`; empty unless interrupted. */
  readonly interrupts: readonly Interrupt[];
}

export interface AcceptedRun {
  readonly runId: string;
  /** False when the same run had been submitted before, and this handle follows it. */
  readonly created: boolean;
}

/** What a handle's service knows of the acceptance. Not part of the public API. */
export interface Acceptance extends AcceptedRun {
  /** The run as the ledger had it then. */
  readonly run: RunRecord;
}

/** What a handle needs of the service behind it. */
export interface RunPort {
  readonly runId: string;
  readonly sessionId: string;
  readonly userId: string | undefined;
  readonly accepted: Promise<Acceptance>;
  read(accepted: AcceptedRun): AsyncIterableIterator<RunEvent, undefined>;
  finished(accepted: Acceptance): Promise<FinishedRun | undefined>;
  cancel(): Promise<void>;
}

/**
 * The handle of one run. It is an async iterable of events and no thenable: `await run` gives the handle itself.
 *
 * - Nothing is thrown when it is made: a refusal (`SESSION_BUSY`, `QUEUE_FULL`, `INVALID_INPUT`,
 *   `INTERRUPT_PENDING`, …) rejects `accepted` and `result`, and the first step of any iteration.
 * - Every iteration begins at event 1 and ends after `run-finished`. A run that failed says so there; it does not
 *   throw. Leaving an iteration detaches from the run and never stops it. A reader that falls behind what is kept
 *   gets `EVENTS_TRIMMED`.
 * - Dropping the handle, or any of its promises, is harmless.
 */
export class Run implements AsyncIterable<RunEvent, undefined> {
  readonly id: string;
  readonly sessionId: string;
  readonly userId: string | undefined;
  /** Resolves when the run has been stored, rejects with an `AgentError` when it was refused. */
  readonly accepted: Promise<AcceptedRun>;
  /**
   * Resolves when the run has ended, but rejects with its `AgentError` when it failed or was refused, and with
   * `RUN_NOT_FOUND` when its store has let go of it before this process could learn how it ended.
   */
  readonly result: Promise<RunResult>;
  readonly #port: RunPort;

  constructor(port: RunPort) {
    this.#port = port;
    this.id = port.runId;
    this.sessionId = port.sessionId;
    this.userId = port.userId;
    this.accepted = port.accepted.then(({ runId, created }) => ({ runId, created }));
    this.result = port.accepted.then((accepted) => this.#settle(accepted));
    // A handle that nobody looks at must not become an unhandled rejection.
    this.accepted.catch(() => undefined);
    this.result.catch(() => undefined);
  }

  /** The pieces of text as they come, of all steps. Throws the run's `AgentError` when it failed. */
  get textStream(): AsyncIterable<string> {
    return { [Symbol.asyncIterator]: () => this.#text() };
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<RunEvent, undefined> {
    return new LazyIterator(async () => {
      return this.#port.read(await this.accepted);
    });
  }

  /** Stops the run; resolves when it has ended and its session is free. Of a run that has ended: does nothing. */
  async cancel(): Promise<void> {
    await this.accepted;
    await this.#port.cancel();
  }

  async *#text(): AsyncGenerator<string, void, undefined> {
    for await (const event of this) {
      if (event.type === "text-delta") yield event.delta;
      else if (event.type === "run-finished" && event.outcome === "failed") await this.result;
    }
  }

  async #settle(accepted: Acceptance): Promise<RunResult> {
    const finished = await this.#port.finished(accepted);
    const runId = this.id;
    // It went with its session.
    if (finished === undefined)
      return { runId, outcome: "cancelled", text: "", usage: NO_USAGE, interrupts: [] };
    const { run, error } = finished;
    if (run.status === "failed" || run.status === "queued" || run.status === "running") {
      throw error ?? restored(finished);
    }
    const { text = "", usage = NO_USAGE } = run.summary ?? {};
    return { runId, outcome: run.status, text, usage, interrupts: questionsOf(run) };
  }
}

/** The error of a run that failed elsewhere or earlier, from what its record kept. */
function restored({ run }: FinishedRun): AgentError {
  const info = run.error ?? { code: "AGENT_FAILED" as const, message: "The run failed." };
  return new AgentError(info.code, info.message, {
    sessionId: run.sessionId,
    retryAfterMs: "retryAfterMs" in info ? info.retryAfterMs : undefined,
  });
}

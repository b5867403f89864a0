import { HintBoard } from "../engine/hint-board.js";
import type { LedgerHint } from "../store.js";
import type { Hints } from "./hints.js";

const QUEUE = "queue";
const RUN = "run";

/**
 * The ledger's hints: those of this process's own steps at once, those of others as they come. While nobody here
 * listens, nothing is listened for.
 */
export class LedgerHints {
  readonly #hints: Hints;
  readonly #board = new HintBoard();
  #watching = 0;
  #stop: (() => void) | undefined;

  constructor(hints: Hints) {
    this.#hints = hints;
  }

  watch(listener: (hint: LedgerHint) => void): () => void {
    const stop = this.#board.watch(listener);
    if (this.#watching++ === 0) this.#listen();
    let stopped = false;
    return () => {
      if (stopped) return;
      stopped = true;
      stop();
      if (--this.#watching > 0) return;
      this.#stop?.();
      this.#stop = undefined;
    };
  }

  /** Tells this process what one of its steps changed. */
  tell(threadId: string, runIds: readonly string[], claimable: boolean): void {
    for (const runId of runIds) this.#board.runChanged(threadId, runId);
    if (claimable) this.#board.queueChanged();
    this.#board.flush();
  }

  /** Tells the other processes of runs that have ended or were told to stop. */
  announceRuns(threadId: string, runIds: readonly string[]): void {
    for (const runId of runIds) this.#hints.announce(RUN, threadId, runId);
  }

  /** Tells the other processes that a run may be claimable. */
  announceQueue(): void {
    this.#hints.announce(QUEUE);
  }

  #listen(): void {
    const stopQueue = this.#hints.watch(QUEUE, {
      onHint: () => {
        this.tell("", [], true);
      },
      // A run may have been submitted, or its lease may have expired, anywhere.
      onPoll: () => {
        this.tell("", [], true);
      },
    });
    const stopRuns = this.#hints.watch(RUN, {
      onHint: ([threadId, runId]) => {
        if (threadId !== undefined && runId !== undefined) this.tell(threadId, [runId], false);
      },
      // Who waits for a run that another process may have ended looks for itself from time to time.
      onPoll: () => undefined,
    });
    this.#stop = () => {
      stopQueue();
      stopRuns();
    };
  }
}

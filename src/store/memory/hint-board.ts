import type { LedgerHint } from "../store.js";

/** Gathers what a step of the ledger changed and tells it afterwards, when listeners may call the ledger again. */
export class HintBoard {
  readonly #listeners = new Set<(hint: LedgerHint) => void>();
  #runs: { readonly type: "run"; readonly threadId: string; readonly runId: string }[] = [];
  #queue = false;

  /** A run may be claimable. */
  queueChanged(): void {
    this.#queue = true;
  }

  /** The status or the stop mark of a run changed. */
  runChanged(threadId: string, runId: string): void {
    if (this.#listeners.size > 0) this.#runs.push({ type: "run", threadId, runId });
  }

  watch(listener: (hint: LedgerHint) => void): () => void {
    // Wrapped, so that one function given twice is called twice and taken off once.
    const own = (hint: LedgerHint) => {
      listener(hint);
    };
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  /** Tells all there is to tell. A listener that throws harms neither the caller nor the others. */
  flush(): void {
    const runs = this.#runs;
    const queue = this.#queue;
    if (runs.length > 0) this.#runs = [];
    this.#queue = false;
    if (this.#listeners.size === 0) return;
    for (const hint of runs) this.#tell(hint);
    if (queue) this.#tell({ type: "queue" });
  }

  #tell(hint: LedgerHint): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(hint);
      } catch {
        // A hint is a courtesy; what it is about is in the ledger.
      }
    }
  }
}

import { Listeners } from "../../internal/listeners.js";
import type { LedgerHint } from "../store.js";

/** Gathers what a step of the ledger changed and tells it afterwards, when listeners may call the ledger again. */
export class HintBoard {
  readonly #listeners = new Listeners<[hint: LedgerHint]>();
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
    return this.#listeners.add(listener);
  }

  /** Tells all there is to tell. */
  flush(): void {
    const runs = this.#runs;
    const queue = this.#queue;
    if (runs.length > 0) this.#runs = [];
    this.#queue = false;
    if (this.#listeners.size === 0) return;
    for (const hint of runs) this.#listeners.tell(hint);
    if (queue) this.#listeners.tell({ type: "queue" });
  }
}

import { AgentError } from "../errors.js";
import type { Clock, TimerHandle } from "../internal/clock.js";
import { Hint } from "../internal/hint.js";
import { runGone, whyGone, type Gone } from "./gone.js";
import type { LedgerHint, RunLedger, RunRecord, Submitted } from "../store/store.js";

/*
 * How those who wait for a run in this process learn that it has ended, at the least cost in looks at the ledger:
 *
 * - A run at work here needs no look: its runner tells the record with which it ended (`tell`). That may come before the
 *   answer of its own submit, with which the waiting begins, and the record may be gone by then: `submitting` keeps it.
 * - Any other is looked up when the waiting begins, unless its submit has just told how it is, and when a hint says that
 *   it changed: once, however many wait for it.
 * - Hints of a shared ledger may be lost: every `LOOK_MS` it is asked which of all that are waited for have ended, and
 *   these are looked up. A ledger that can't tell so is asked for some of them, in turn. While the engine is out of
 *   reach that fails quietly, and they wait on.
 *
 * Per run that is waited for: unknown ──▶ ended (its record) or gone (no record; gone.ts tells why). It is forgotten
 * with its last waiter.
 */

/** How often runs that are waited for are looked up without a hint, and how many records are asked for at a time. */
const LOOK_MS = 500;
const LOOKS_AT_A_TIME = 16;

/** Whether a run has ended. */
export function isFinished(run: RunRecord): boolean {
  return run.status !== "queued" && run.status !== "running";
}

function keyOf(threadId: string, runId: string): string {
  return `${threadId}\n${runId}`;
}

interface Watched {
  readonly threadId: string;
  readonly runId: string;
  /** Called when it has ended or gone, and when the watch is closed. */
  readonly listeners: Set<() => void>;
  end: RunRecord | Gone | undefined;
  /** Whether the ledger has told, since it is watched or just before, that it had not ended. */
  seen: boolean;
  /** The whole error of a run that failed in this process. */
  error: AgentError | undefined;
  looking: boolean;
  lookAgain: boolean;
}

export interface RunWatchOptions {
  readonly runs: RunLedger;
  readonly clock: Clock;
  /** Whether the run is at work in this process. */
  readonly isActive: (threadId: string, runId: string) => boolean;
  /** Whether it is, and its log has nothing of it yet. */
  readonly isUntold: (threadId: string, runId: string) => boolean;
  /** A run may be claimable. */
  readonly onQueue: () => void;
  /** The status or the stop mark of a run may have changed. */
  readonly onRun: (threadId: string, runId: string) => void;
}

/** Passes the ledger's hints on to those who wait for one run: one listener on the ledger for the whole service. */
export class RunWatch {
  readonly #options: RunWatchOptions;
  readonly #watched = new Map<string, Watched>();
  /** Runs whose submit is under way, with the records of those that have ended here meanwhile. */
  readonly #submitting = new Map<string, RunRecord | undefined>();
  readonly #stop: () => void;
  #timer: TimerHandle | undefined;
  #closed = false;
  #lookingAround = false;

  constructor(options: RunWatchOptions) {
    this.#options = options;
    this.#stop = options.runs.watch((hint: LedgerHint) => {
      if (hint.type === "queue") {
        options.onQueue();
        return;
      }
      const { threadId, runId } = hint;
      options.onRun(threadId, runId);
      const watched = this.#watched.get(keyOf(threadId, runId));
      if (watched !== undefined) this.#hinted(watched);
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** How many runs are being watched: 0 when nothing leaks. */
  get size(): number {
    return this.#watched.size;
  }

  /** Calls `listener` when the run has ended or gone, and at close, until the returned function is called. */
  on(threadId: string, runId: string, listener: () => void): () => void {
    const key = keyOf(threadId, runId);
    let watched = this.#watched.get(key);
    if (watched === undefined) {
      const listeners = new Set<() => void>();
      const fresh = { threadId, runId, listeners, end: undefined, error: undefined };
      this.#watched.set(key, (watched = { ...fresh, seen: false, looking: false, lookAgain: false }));
      this.#schedule();
    }
    const { listeners } = watched;
    // Wrapped, so that one function given twice is called twice and taken off once.
    const own = (): void => {
      listener();
    };
    listeners.add(own);
    return () => {
      listeners.delete(own);
      if (listeners.size > 0 || this.#watched.get(key) !== watched) return;
      this.#watched.delete(key);
      if (this.#watched.size > 0) return;
      this.#options.clock.clearTimeout(this.#timer);
      this.#timer = undefined;
    };
  }

  /** What is known of the end of a run that is being watched; undefined while it may still go on. */
  endOf(threadId: string, runId: string): RunRecord | Gone | undefined {
    return this.#watched.get(keyOf(threadId, runId))?.end;
  }

  /**
   * The run as it is now, `active` if it has not ended as far as is known; costs nothing if it is at work here. Of a run
   * that is not being watched, or was never looked at, the ledger is asked.
   */
  async look(threadId: string, runId: string): Promise<RunRecord | Gone | "active" | undefined> {
    const watched = this.#watched.get(keyOf(threadId, runId));
    if (watched?.end !== undefined) return watched.end;
    if (watched?.seen === true || this.#options.isActive(threadId, runId)) return "active";
    const run = await this.#options.runs.get(threadId, runId);
    if (watched !== undefined && run !== undefined && !isFinished(run)) this.#hasSeen(watched);
    return run;
  }

  /** Whether the log has surely nothing of the run yet: what comes is told to who watches the log. */
  isUntold(threadId: string, runId: string): boolean {
    return this.#options.isUntold(threadId, runId);
  }

  /** Submits a run; gives it as the ledger accepted it, or as it has ended here before that was known. */
  async submitting(
    { threadId, runId }: Pick<RunRecord, "threadId" | "runId">,
    submit: () => Promise<Submitted>,
  ): Promise<Submitted> {
    const key = keyOf(threadId, runId);
    this.#submitting.set(key, undefined);
    try {
      const { run, created } = await submit();
      return { run: this.#submitting.get(key) ?? run, created };
    } finally {
      this.#submitting.delete(key);
    }
  }

  /** A run that was at work here has ended so. */
  tell(run: RunRecord): void {
    const key = keyOf(run.threadId, run.runId);
    if (this.#submitting.has(key)) this.#submitting.set(key, run);
    const watched = this.#watched.get(key);
    if (watched !== undefined) this.#end(watched, run);
  }

  /** Keeps a run's error for as long as somebody here waits for the run. */
  setError(threadId: string, runId: string, error: AgentError): void {
    const watched = this.#watched.get(keyOf(threadId, runId));
    if (watched !== undefined) watched.error = error;
  }

  errorOf(threadId: string, runId: string): AgentError | undefined {
    return this.#watched.get(keyOf(threadId, runId))?.error;
  }

  /**
   * Waits for a run's end; undefined when it went with its session. `known` is the run as the caller has just had it
   * from the ledger, which in a shared one spares the first look.
   *
   * @throws {AgentError} `CLOSED`; `RUN_NOT_FOUND` when it is no longer kept, or lost.
   */
  async finished(threadId: string, runId: string, known?: RunRecord): Promise<FinishedRun | undefined> {
    const hint = new Hint();
    const stop = this.on(threadId, runId, hint.raise);
    try {
      const watched = this.#watched.get(keyOf(threadId, runId));
      if (known !== undefined && watched !== undefined && !isFinished(known)) this.#hasSeen(watched);
      let now = known !== undefined && isFinished(known) ? known : await this.look(threadId, runId);
      for (;;) {
        hint.clear();
        now = this.endOf(threadId, runId) ?? now;
        now ??= await whyGone(this.#options.runs, threadId);
        if (now === "deleted") return undefined;
        if (now === "forgotten" || now === "lost") throw runGone(runId, now);
        if (now !== "active" && isFinished(now)) return { run: now, error: this.errorOf(threadId, runId) };
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
    this.#options.clock.clearTimeout(this.#timer);
    for (const watched of [...this.#watched.values()]) wake(watched);
  }

  /** What happens from now on is told by a hint, or found by the next look: only in a shared ledger is there one. */
  #hasSeen(watched: Watched): void {
    watched.seen = this.#options.runs.shared;
  }

  #hinted(watched: Watched): void {
    if (watched.end !== undefined) return;
    if (!this.#options.runs.shared) {
      void this.#lookAt(watched);
      return;
    }
    // Hints of this process's own steps come before those who took the steps know: a moment later most need no look.
    setImmediate(() => {
      void this.#lookAt(watched);
    });
  }

  async #lookAt(watched: Watched): Promise<void> {
    const { threadId, runId } = watched;
    if (watched.looking) {
      watched.lookAgain = true;
      return;
    }
    if (watched.end !== undefined || this.#closed || watched.listeners.size === 0) return;
    if (this.#options.runs.shared && this.#options.isActive(threadId, runId)) return;
    watched.looking = true;
    try {
      do {
        watched.lookAgain = false;
        const run = await this.#options.runs.get(threadId, runId);
        if (run === undefined) this.#end(watched, await whyGone(this.#options.runs, threadId));
        else if (isFinished(run)) this.#end(watched, run);
        // A hint may come during the look.
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition
      } while (watched.lookAgain);
    } catch {
      // Out of reach: the next hint or look finds out.
    } finally {
      watched.looking = false;
    }
  }

  #end(watched: Watched, end: RunRecord | Gone): void {
    watched.end ??= end;
    wake(watched);
  }

  #schedule(): void {
    const { runs, clock } = this.#options;
    if (!runs.shared || this.#closed) return;
    this.#timer ??= clock.setTimeout(() => {
      this.#timer = undefined;
      void this.#lookAround();
      if (this.#watched.size > 0) this.#schedule();
    }, LOOK_MS);
  }

  async #lookAround(): Promise<void> {
    if (this.#lookingAround) return;
    this.#lookingAround = true;
    try {
      const due = await this.#due();
      for (let at = 0; at < due.length; at += LOOKS_AT_A_TIME) {
        await Promise.all(due.slice(at, at + LOOKS_AT_A_TIME).map((watched) => this.#lookAt(watched)));
      }
    } catch {
      // Out of reach, as in a single look.
    } finally {
      this.#lookingAround = false;
    }
  }

  /** Those that have ended; where the ledger does not tell, those that have waited longest for a look. */
  async #due(): Promise<readonly Watched[]> {
    const { runs, isActive } = this.#options;
    const waiting = [...this.#watched.values()].filter(
      ({ threadId, runId, end, looking }) => end === undefined && !looking && !isActive(threadId, runId),
    );
    if (waiting.length <= 1) return waiting;
    if (runs.ended !== undefined) {
      const places = new Set(await runs.ended(waiting.map(({ threadId, runId }) => ({ threadId, runId }))));
      return waiting.filter((_, place) => places.has(place));
    }
    if (waiting.length <= LOOKS_AT_A_TIME) return waiting;
    const due = waiting.slice(0, LOOKS_AT_A_TIME);
    for (const watched of due) {
      const key = keyOf(watched.threadId, watched.runId);
      // To the end of the line.
      this.#watched.delete(key);
      this.#watched.set(key, watched);
    }
    return due;
  }
}

function wake({ listeners }: Watched): void {
  for (const listener of [...listeners]) listener();
}

/** A run that has ended; `error` is the whole one when it failed in this process. */
export interface FinishedRun {
  readonly run: RunRecord;
  readonly error: AgentError | undefined;
}

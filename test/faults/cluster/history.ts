/*
 * The three invariants, over what a cluster has recorded. Workers write a step down when its answer has come, so that
 * steps of different workers overlap: only what had ended before something else began is "before" it. That is enough
 * to catch an owner that was taken over and is still believed.
 */
import type { EffectRecord, StepRecord, WorkerRecord } from "./records.js";

/** The steps that a lease must allow. */
export const FENCED: ReadonlySet<StepRecord["step"]> = new Set([
  "append",
  "put",
  "writes",
  "restore",
  "finish",
  "release",
  "state",
]);

export interface HistoryOptions {
  /** Sessions whose state was legitimately put back: a rollback makes a second child of a checkpoint. */
  readonly rolledBack?: ReadonlySet<string> | undefined;
  /** When the engine lost all that it had: what came before and what came after have nothing to do with each other. */
  lostAt?: number | undefined;
}

/** What is wrong with a history, one line each; empty when all holds. */
export function problemsOf(records: readonly WorkerRecord[], options: HistoryOptions = {}): string[] {
  const { lostAt = 0, rolledBack = new Set() } = options;
  const all = records.filter((line) => line.kind === "step");
  return [all.filter(({ start }) => start < lostAt), all.filter(({ start }) => start >= lostAt)].flatMap(
    (steps) => [
      ...claimProblems(steps),
      ...epochProblems(steps),
      ...chainProblems(steps, rolledBack),
      ...endProblems(steps),
      ...eventProblems(steps),
    ],
  );
}

/** An epoch belongs to one owner, for ever. */
function claimProblems(steps: readonly StepRecord[]): string[] {
  const owners = new Map<string, string>();
  return steps.flatMap((step) => {
    if (step.step !== "claim") return [];
    const key = `${step.threadId} epoch ${String(step.epoch)}`;
    const owner = owners.get(key);
    owners.set(key, step.owner ?? "");
    return owner === undefined || owner === step.owner ? [] : [`${key} was given to two owners`];
  });
}

/** Accepted writes of one thread: none that began after a later owner's had been accepted. */
function epochProblems(steps: readonly StepRecord[]): string[] {
  const problems: string[] = [];
  for (const writes of byThread(steps.filter(isAcceptedWrite)).values()) {
    // Ordered by end; `highest` is that of all that had ended before the write at hand began.
    const ended = [...writes].sort((a, b) => a.end - b.end);
    const begun = [...writes].sort((a, b) => a.start - b.start);
    let next = 0;
    let highest: StepRecord | undefined;
    for (const write of begun) {
      for (let before = ended[next]; before !== undefined && before.end < write.start; before = ended[++next])
        if (epochOf(before) > epochOf(highest)) highest = before;
      if (highest !== undefined && epochOf(write) < epochOf(highest))
        problems.push(`stale write accepted: ${describe(write)} after ${describe(highest)}`);
    }
  }
  return problems;
}

/**
 * Each checkpoint of a thread's root has one child at most, and is younger than its parent. That of an input is
 * acknowledged before it is stored, for the run's record has the input: it counts once something follows it.
 */
function chainProblems(steps: readonly StepRecord[], rolledBack: ReadonlySet<string>): string[] {
  const problems: string[] = [];
  const puts = steps.filter((step) => step.step === "put" && step.refused === undefined);
  const followed = new Set(puts.map(({ parent }) => parent));
  const deleted = new Set(steps.filter(({ step }) => step === "purge").map(({ threadId }) => threadId));
  for (const [threadId, chain] of byThread(puts)) {
    if (rolledBack.has(threadId)) continue;
    const children = new Map<string, StepRecord>();
    for (const put of chain) {
      if (put.parent !== undefined && (put.checkpoint ?? "") <= put.parent)
        problems.push(`a checkpoint sorts before its parent: ${describe(put)}`);
      if (put.source === "input" && !followed.has(put.checkpoint)) continue;
      // A session that was deleted may begin anew.
      if (put.parent === undefined && deleted.has(threadId)) continue;
      const parent = put.parent ?? "(none)";
      const sibling = children.get(parent);
      if (sibling !== undefined && sibling.checkpoint !== put.checkpoint)
        problems.push(`two checkpoints follow ${parent}: ${describe(sibling)} and ${describe(put)}`);
      children.set(parent, put);
    }
  }
  return problems;
}

/** A run ends once, whoever says so. */
function endProblems(steps: readonly StepRecord[]): string[] {
  const outcomes = new Map<string, string>();
  return steps.flatMap((step) => {
    if (step.step !== "finish" || step.refused !== undefined) return [];
    const run = `${step.threadId} ${step.runId ?? ""}`;
    const outcome = outcomes.get(run) ?? step.outcome ?? "";
    outcomes.set(run, outcome);
    return outcome === step.outcome ? [] : [`run ${run} ended as ${outcome} and as ${String(step.outcome)}`];
  });
}

/** Events are appended, or go along with other steps. */
const TELLING: ReadonlySet<StepRecord["step"]> = new Set(["append", "along"]);

/** The numbers of accepted events: each once. */
function eventProblems(steps: readonly StepRecord[]): string[] {
  const problems: string[] = [];
  const numbers = new Map<string, Map<number, StepRecord>>();
  for (const step of steps) {
    if (!TELLING.has(step.step) || step.refused !== undefined || step.first === undefined) continue;
    const run = `${step.threadId} ${step.runId ?? ""}`;
    const seen = numbers.get(run) ?? new Map<number, StepRecord>();
    numbers.set(run, seen);
    for (let seq = step.first; seq < step.first + (step.count ?? 0); seq++) {
      const before = seen.get(seq);
      if (before !== undefined)
        problems.push(
          `event ${String(seq)} of run ${run} was accepted twice: ${describe(before)} and ${describe(step)}`,
        );
      seen.set(seq, step);
    }
  }
  return problems;
}

/** The effects of one run, by tool. */
export function effectsOf(records: readonly WorkerRecord[], runId: string): EffectRecord[] {
  return records.filter((line) => line.kind === "effect").filter((effect) => effect.runId === runId);
}

/** The input's checkpoint is acknowledged before it is stored: its commit comes with the next one, and may be refused. */
function isAcceptedWrite(step: StepRecord): boolean {
  const isEarly = step.step === "put" && step.source === "input";
  return FENCED.has(step.step) && step.refused === undefined && !isEarly;
}

function epochOf(step: StepRecord | undefined): number {
  return step?.epoch ?? -1;
}

function byThread(steps: readonly StepRecord[]): Map<string, StepRecord[]> {
  const threads = new Map<string, StepRecord[]>();
  for (const step of steps) {
    const list = threads.get(step.threadId);
    if (list === undefined) threads.set(step.threadId, [step]);
    else list.push(step);
  }
  return threads;
}

function describe({ worker, step, epoch, runId, checkpoint, start, end }: StepRecord): string {
  const what = checkpoint === undefined ? step : `${step} ${checkpoint}`;
  return `${what} of run ${String(runId)} by ${worker} in epoch ${String(epoch)} (${start.toFixed(1)} to ${end.toFixed(1)})`;
}

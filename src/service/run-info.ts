import { AgentError } from "../errors.js";
import type { Interrupt } from "../run-event.js";
import { questionsOf } from "../runs/run-summary.js";
import type { SessionIdentity } from "../session.js";
import type { RunRecord, RunStatus } from "../store/store.js";

/** A run as its store knows it. */
export interface RunInfo {
  readonly runId: string;
  /** The run that began this turn: another one if this run answers an interrupt. */
  readonly turnId: string;
  readonly status: RunStatus;
  /** How often it was begun: 0 while it waits for the first time, more than 1 when it has changed its process. */
  readonly attempt: number;
  readonly createdAt: number;
  readonly startedAt?: number;
  readonly finishedAt?: number;
  /** The questions with which it stopped, if it was interrupted; none once they were closed without an answer. */
  readonly interrupts: readonly Interrupt[];
}

export function toRunInfo(run: RunRecord): RunInfo {
  const { runId, turnId, status, attempt, createdAt, startedAt, finishedAt } = run;
  return {
    runId,
    turnId,
    status,
    attempt,
    createdAt,
    ...(startedAt === undefined ? undefined : { startedAt }),
    ...(finishedAt === undefined ? undefined : { finishedAt }),
    interrupts: questionsOf(run),
  };
}

export function runNotFound(session: SessionIdentity, runId: string | undefined): AgentError {
  const { sessionId } = session;
  const message =
    runId === undefined
      ? `Session "${sessionId}" has no run.`
      : `Session "${sessionId}" has no run "${runId}".`;
  return new AgentError("RUN_NOT_FOUND", message, { sessionId });
}

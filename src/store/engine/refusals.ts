import { AgentError, errorTraits, type ErrorInfo } from "../../errors.js";
import type { Submission } from "../store.js";

/** Why an engine's step did not accept a submission. */
export type Refusal =
  | "deleted"
  | "conflict"
  /** Answers to a session without interrupts that wait. */
  | "not-parked"
  /** Answers that name other interrupts than those that wait, or none. */
  | "stale"
  | "pending"
  | "busy"
  /** The session's queue is full. */
  | "full"
  /** The queues of all sessions together are full. */
  | "total";

/** What a refused caller gets. `queued` is how many runs wait in all. */
export function refused(refusal: Refusal, submission: Submission, queued = 0): AgentError {
  const { sessionId, runId, queueLimit } = submission;
  const error = (code: AgentError["code"], message: string) => new AgentError(code, message, { sessionId });
  switch (refusal) {
    case "deleted":
      return error("SESSION_NOT_FOUND", `Session \`${sessionId}\` is being deleted.`);
    case "conflict":
      return error(
        "RUN_ID_CONFLICT",
        `Run \`${runId}\` of session \`${sessionId}\` has another input. Use a fresh run id.`,
      );
    case "not-parked":
      return error("INTERRUPT_STALE", `No interrupt of session \`${sessionId}\` waits for an answer.`);
    case "stale":
      return error(
        "INTERRUPT_STALE",
        `The answers for session \`${sessionId}\` do not name interrupts that wait in it.`,
      );
    case "pending":
      return error(
        "INTERRUPT_PENDING",
        `Session \`${sessionId}\` waits for the answer to an interrupt. Resume it first.`,
      );
    case "busy":
      return error("SESSION_BUSY", `Session \`${sessionId}\` has a run under way.`);
    case "full":
      return error(
        "QUEUE_FULL",
        `The queue of session \`${sessionId}\` is full with ${String(queueLimit)} waiting.`,
      );
    case "total":
      return error(
        "QUEUE_FULL",
        `Session \`${sessionId}\` cannot queue a run: all sessions together have ${String(queued)} waiting.`,
      );
  }
}

/**
 * What a run that the ledger gave up says of it: after this many attempts, or because only a process that is gone might
 * have done it.
 */
export function abandonedError(runId: string, sessionId: string, attempts: number | "orphaned"): ErrorInfo {
  const why =
    attempts === "orphaned"
      ? "the process that it was for is gone"
      : `${String(attempts)} attempts did not end it`;
  return {
    code: "RUN_ABANDONED",
    message: `Run \`${runId}\` of session \`${sessionId}\` was given up: ${why}.`,
    retryable: errorTraits.RUN_ABANDONED.retryable,
  };
}

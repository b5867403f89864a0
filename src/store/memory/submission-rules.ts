import type { Answers } from "../../agent.js";
import { AgentError } from "../../errors.js";
import type { CancelReason, Lease, RunRecord, Submission } from "../store.js";
import type { LedgerSessionEntry } from "./ledger-session.js";

/**
 * Checks that answers name interrupts that wait, and at least one. Gives the run that they answer.
 *
 * @throws {AgentError} `INTERRUPT_STALE`
 */
export function checkAnswers(
  session: LedgerSessionEntry | undefined,
  { sessionId }: Submission,
  answers: Answers,
): RunRecord {
  const parked = session?.parked?.record;
  const waiting = new Set(parked?.summary?.interrupts.map((interrupt) => interrupt.id));
  const named = Object.keys(answers);
  if (parked === undefined || named.length === 0 || !named.every((id) => waiting.has(id))) {
    const message =
      parked === undefined
        ? `No interrupt of session \`${sessionId}\` waits for an answer.`
        : `The answers for session \`${sessionId}\` do not name interrupts that wait in it.`;
    throw new AgentError("INTERRUPT_STALE", message, { sessionId });
  }
  return parked;
}

/**
 * Checks that the session takes a new run that is not answers.
 *
 * @throws {AgentError} `INTERRUPT_PENDING`, `SESSION_BUSY`, `QUEUE_FULL`
 */
export function checkRoom(
  session: LedgerSessionEntry | undefined,
  submission: Submission,
  queued: number,
): void {
  const { sessionId, onBusy, queueLimit, totalQueueLimit } = submission;
  const waiting = session?.queue?.size ?? 0;
  const takesOver = onBusy === "interrupt" || onBusy === "rollback";
  if (!takesOver && session?.parked !== undefined) {
    const message = `Session \`${sessionId}\` waits for the answer to an interrupt. Resume it first.`;
    throw new AgentError("INTERRUPT_PENDING", message, { sessionId });
  }
  if (onBusy === "reject" && (waiting > 0 || session?.running !== undefined)) {
    throw new AgentError("SESSION_BUSY", `Session \`${sessionId}\` has a run under way.`, { sessionId });
  }
  const ahead = waiting + (session?.running === undefined ? 0 : 1);
  if (!takesOver && ahead > queueLimit) {
    const message = `The queue of session \`${sessionId}\` is full with ${String(queueLimit)} waiting.`;
    throw new AgentError("QUEUE_FULL", message, { sessionId });
  }
  if (queued - (takesOver ? waiting : 0) >= totalQueueLimit) {
    const message = `Session \`${sessionId}\` cannot queue a run: all sessions together have ${String(queued)} waiting.`;
    throw new AgentError("QUEUE_FULL", message, { sessionId });
  }
}

export function leaseLost(lease: Lease): AgentError {
  return new AgentError(
    "LEASE_LOST",
    `The lease on thread \`${lease.threadId}\` with epoch ${String(lease.epoch)} no longer holds.`,
  );
}

const strength: Readonly<Record<CancelReason, number>> = { cancel: 0, interrupt: 1, rollback: 2, deleted: 3 };

/** Of two reasons to stop, the one that says more. */
export function stronger(a: CancelReason | undefined, b: CancelReason): CancelReason {
  return a !== undefined && strength[a] >= strength[b] ? a : b;
}

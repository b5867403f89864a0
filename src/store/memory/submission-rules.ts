import type { Answers } from "../../agent.js";
import { AgentError } from "../../errors.js";
import { copyJson, mergeJson } from "../../internal/json-value.js";
import type { JsonObject } from "../../json.js";
import { refused } from "../engine/refusals.js";
import type { CancelReason, Lease, RunRecord, Submission } from "../store.js";
import type { LedgerSessionEntry } from "./ledger-session.js";

/**
 * Refuses a submission that the session does not take, whatever it is; gives the run that was accepted before under its
 * id.
 *
 * @throws {AgentError} `SESSION_NOT_FOUND`, `RUN_ID_CONFLICT`
 */
export function checkKnown(
  session: LedgerSessionEntry | undefined,
  submission: Submission,
): RunRecord | undefined {
  if (session?.tombstone === true) throw refused("deleted", submission);
  const same = session?.runs?.get(submission.runId)?.record;
  if (same !== undefined && same.fingerprint !== submission.fingerprint)
    throw refused("conflict", submission);
  return same;
}

/**
 * Checks that answers name interrupts that wait, and at least one. Gives the run that they answer.
 *
 * @throws {AgentError} `INTERRUPT_STALE`
 */
export function checkAnswers(
  session: LedgerSessionEntry | undefined,
  submission: Submission,
  answers: Answers,
): RunRecord {
  const parked = session?.parked?.record;
  if (parked === undefined) throw refused("not-parked", submission);
  const waiting = new Set(parked.summary?.interrupts.map((interrupt) => interrupt.id));
  const named = Object.keys(answers);
  if (named.length === 0 || !named.every((id) => waiting.has(id))) throw refused("stale", submission);
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
  const { onBusy, queueLimit, totalQueueLimit } = submission;
  const waiting = session?.queue?.size ?? 0;
  const ahead = waiting + (session?.running === undefined ? 0 : 1);
  const takesOver = onBusy === "interrupt" || onBusy === "rollback";
  if (!takesOver && session?.parked !== undefined) throw refused("pending", submission);
  if (onBusy === "reject" && ahead > 0) throw refused("busy", submission);
  if (!takesOver && ahead > queueLimit) throw refused("full", submission);
  if (queued - (takesOver ? waiting : 0) >= totalQueueLimit) throw refused("total", submission, queued);
}

/**
 * The run as it is accepted. `answered` is the one that it goes on with, `sticky` what then sticks to the session. What
 * the session has already, its ids and mostly the config, is not kept once more with each of its runs.
 */
export function acceptedRun(
  session: LedgerSessionEntry | undefined,
  submission: Submission,
  answered: RunRecord | undefined,
  sticky: JsonObject | undefined,
  now: number,
): RunRecord {
  const { threadId, sessionId, userId } = session ?? submission;
  const { runId, input, fingerprint, affinity } = submission;
  const config = answered?.config ?? mergeJson(submission.defaults, sticky);
  const before = session?.newestRetained?.record.config;
  return {
    threadId,
    sessionId,
    ...(userId === undefined ? {} : { userId }),
    runId,
    turnId: answered?.turnId ?? runId,
    input: copyJson(input),
    fingerprint,
    config: before !== undefined && isSame(before, config) ? before : config,
    ...(affinity === undefined ? {} : { affinity }),
    status: "queued",
    attempt: 0,
    createdAt: now,
  };
}

/** Whether both have the same values, objects among them being the same ones. */
function isSame(a: JsonObject, b: JsonObject): boolean {
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && a[key] === b[key])
  );
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

import { identify } from "../../src/session.js";
import type { ClaimRequest, RunCompletion, Submission } from "../../src/store/store.js";

let ids = 0;

export type SubmissionChanges = Partial<Submission> & { readonly sessionId: string };

/** A message for a session; each one is another run unless `runId` is given. */
export function submission(changes: SubmissionChanges): Submission {
  const { sessionId, userId } = changes;
  const runId = changes.runId ?? `run-${String(++ids)}`;
  return {
    ...identify({ sessionId, userId }),
    runId,
    input: { kind: "message", message: { id: `message-of-${runId}`, content: "hello" } },
    fingerprint: `fingerprint-of-${runId}`,
    onBusy: "enqueue",
    defaults: {},
    configPatch: {},
    queueLimit: 100,
    totalQueueLimit: 1000,
    ...changes,
  };
}

export function threadOf(sessionId: string, userId?: string): string {
  return identify({ sessionId, userId }).threadId;
}

export function claimRequest(changes: Partial<ClaimRequest> = {}): ClaimRequest {
  return { processId: "p1", leaseMs: Infinity, maxAttempts: 3, ...changes };
}

export function completion(changes: Partial<RunCompletion> = {}): RunCompletion {
  return { outcome: "completed", summary: summary(), lastSeq: 0, undone: false, ...changes };
}

/** What a run leaves, with the interrupts of these ids waiting. */
export function summary(...interruptIds: readonly string[]): RunCompletion["summary"] {
  return {
    text: "",
    usage: { inputTokens: 0, outputTokens: 0, totalTokens: 0 },
    interrupts: interruptIds.map((id) => ({ id, kind: "input", value: null })),
  };
}

export function interrupted(...interruptIds: readonly string[]): RunCompletion {
  return completion({ outcome: "interrupted", summary: summary(...interruptIds) });
}

export function answers(sessionId: string, ...interruptIds: readonly string[]): Submission {
  return submission({
    sessionId,
    input: { kind: "answers", answers: Object.fromEntries(interruptIds.map((id) => [id, "yes"])) },
  });
}

import { AgentError, isAgentError } from "../errors.js";
import type { AgentEvent, RunOutcome } from "../run-event.js";
import type { RunRecord } from "../store/store.js";

/** How a run's work ended, before the ledger is told. */
export interface Settlement {
  readonly outcome: RunOutcome;
  readonly error?: AgentError;
  /** Whether the agent may still be at work. */
  readonly abandoned: boolean;
}

/** Reads an error, or the abort that caused it, as the end of a run. */
export function settle(error: unknown, run: RunRecord, signal: AbortSignal): Settlement {
  const reason: unknown = signal.aborted ? signal.reason : error;
  if (isAgentError(reason) && reason.code === "RUN_CANCELLED")
    return { outcome: "cancelled", abandoned: false };
  return { outcome: "failed", error: toAgentError(reason, run), abandoned: false };
}

/** The log's last event is made from the run record alone: an agent in plain JavaScript cannot end its run. */
export function checkAgentEvent(event: AgentEvent): void {
  const type: unknown = (event as Partial<AgentEvent> | undefined)?.type;
  if (typeof type !== "string" || type.startsWith("run-"))
    throw new TypeError("Expected the agent to yield agent events, got something else.");
}

export function toStoreError(error: unknown, run: RunRecord): AgentError {
  if (isAgentError(error)) return error;
  const { sessionId } = run;
  return new AgentError("STORE_UNAVAILABLE", "The store failed.", { sessionId, cause: error });
}

export function toAgentError(error: unknown, run: RunRecord): AgentError {
  if (isAgentError(error)) return error;
  return new AgentError("AGENT_FAILED", "The agent failed.", { sessionId: run.sessionId, cause: error });
}

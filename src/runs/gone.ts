import { AgentError } from "../errors.js";
import type { RunLedger } from "../store/store.js";

/**
 * Why a ledger does not know a run any more that it had accepted: it went with its session, retention let go of it, or
 * the engine has lost its data.
 */
export type Gone = "deleted" | "forgotten" | "lost";

/** @throws what the ledger throws */
export async function whyGone(runs: RunLedger, threadId: string): Promise<Gone> {
  if ((await runs.sessions([threadId])).has(threadId)) return "forgotten";
  return (await wasDeleted(runs, threadId)) ? "deleted" : "lost";
}

/** Whether a session that the ledger does not know was deleted. A ledger that can't tell loses nothing else. */
export async function wasDeleted(runs: RunLedger, threadId: string): Promise<boolean> {
  return (await runs.purged?.(threadId)) ?? true;
}

/** For those who wait for a run that is gone, and not with its session: nobody can tell them any more how it ended. */
export function runGone(runId: string, why: Exclude<Gone, "deleted">): AgentError {
  return new AgentError(
    "RUN_NOT_FOUND",
    why === "forgotten"
      ? `Run "${runId}" has ended, and how is no longer kept: see \`maxRetainedRuns\` and \`runRetentionMs\`. Its answer is in the history.`
      : `Run "${runId}" is gone: the store has lost its session.`,
  );
}

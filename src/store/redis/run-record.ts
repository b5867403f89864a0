import type { ErrorInfo } from "../../errors.js";
import type { JsonObject } from "../../json.js";
import type { CancelReason, RunInput, RunRecord, RunStatus, RunSummary } from "../store.js";
import { abandonedError } from "../engine/refusals.js";
import { listOf, textOf } from "./client.js";
import { runFields } from "./scripts/moves.js";

type RunField = (typeof runFields)[number];

/** A run from what `record` of the scripts replied; `undefined` when there is none. The texts are what submit and finish put in. */
export function decodeRun(threadId: string, runId: string, reply: unknown): RunRecord | undefined {
  const values = listOf(reply);
  const fields = Object.fromEntries(runFields.map((field, at) => [field, textOf(values[at])])) as Readonly<
    Record<RunField, string | undefined>
  >;
  const { sessionId, userId, affinity, cancelRequested, startedAt, finishedAt, lastSeq, summary } = fields;
  if (sessionId === undefined) return undefined;
  const error = errorOf(fields, runId, sessionId);
  return {
    threadId,
    sessionId,
    ...(userId === undefined ? {} : { userId }),
    runId,
    turnId: fields.turnId ?? runId,
    input: JSON.parse(fields.input ?? "null") as RunInput,
    fingerprint: fields.fingerprint ?? "",
    config: JSON.parse(fields.config ?? "{}") as JsonObject,
    ...(affinity === undefined ? {} : { affinity }),
    status: fields.status as RunStatus,
    attempt: Number(fields.attempt),
    ...(cancelRequested === undefined ? {} : { cancelRequested: cancelRequested as CancelReason }),
    createdAt: Number(fields.createdAt),
    ...(startedAt === undefined ? {} : { startedAt: Number(startedAt) }),
    ...(finishedAt === undefined ? {} : { finishedAt: Number(finishedAt) }),
    ...(lastSeq === undefined ? {} : { lastSeq: Number(lastSeq) }),
    ...(summary === undefined ? {} : { summary: JSON.parse(summary) as RunSummary }),
    ...(error === undefined ? {} : { error }),
  };
}

function errorOf(
  { error, abandoned }: Readonly<Record<RunField, string | undefined>>,
  runId: string,
  sessionId: string,
): ErrorInfo | undefined {
  if (error !== undefined) return JSON.parse(error) as ErrorInfo;
  if (abandoned === undefined) return undefined;
  return abandonedError(runId, sessionId, abandoned === "orphaned" ? abandoned : Number(abandoned));
}

import type { JsonValue } from "../../json.js";
import type { RunEvent } from "../../run-event.js";
import { identify } from "../../session.js";
import type { ClaimRequest, RunCompletion, RunSummary, Submission } from "../../store/store.js";

/** Longer than any rule takes: a lease that must not expire. */
export const LONG_LEASE_MS = 3_600_000;

export function threadOf(sessionId: string, userId?: string): string {
  return identify({ sessionId, userId }).threadId;
}

/** A message for a session. */
export function submission(sessionId: string, runId: string, changes: Partial<Submission> = {}): Submission {
  return {
    ...identify({ sessionId, userId: changes.userId }),
    runId,
    input: { kind: "message", message: { id: `message-of-${runId}`, content: "hello" } },
    fingerprint: `fingerprint-of-${runId}`,
    onBusy: "enqueue",
    defaults: {},
    configPatch: {},
    queueLimit: 1_000,
    totalQueueLimit: 100_000,
    ...changes,
  };
}

/** Answers to the interrupts of these ids. */
export function answers(
  sessionId: string,
  runId: string,
  ids: readonly string[],
  changes: Partial<Submission> = {},
): Submission {
  const given = Object.fromEntries(ids.map((id) => [id, "yes"]));
  return submission(sessionId, runId, { input: { kind: "answers", answers: given }, ...changes });
}

export function claimRequest(changes: Partial<ClaimRequest> = {}): ClaimRequest {
  return { processId: "process-1", leaseMs: LONG_LEASE_MS, maxAttempts: 3, ...changes };
}

export function completion(changes: Partial<RunCompletion> = {}): RunCompletion {
  return { outcome: "completed", summary: summary(), lastSeq: 0, undone: false, ...changes };
}

/** What a run leaves, with the interrupts of these ids waiting. */
export function summary(...interruptIds: readonly string[]): RunSummary {
  return {
    text: "",
    usage: { inputTokens: 0, outputTokens: 0, totalTokens: 0 },
    interrupts: interruptIds.map((id) => ({ id, kind: "input", value: null })),
  };
}

export function interrupted(...interruptIds: readonly string[]): RunCompletion {
  return completion({ outcome: "interrupted", summary: summary(...interruptIds) });
}

/** Events with the numbers from `from` to `to`. */
export function eventsFrom(from: number, to: number, delta = "x"): RunEvent[] {
  const count = to - from + 1;
  return Array.from({ length: count }, (_, i) => ({ type: "text-delta", id: "t", delta, seq: from + i }));
}

/** Texts that engines and codecs are known to lose, cut or mangle. */
export const difficultTexts = {
  emoji: "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301",
  chinese: "你好,世界 — 𠮷野家",
  rightToLeft: "שלום \u202Eعالم\u202C",
  nul: "before\u0000after",
  controls: "\u0001\u0007\b\t\n\r\u001b\u007f\u0085\u2028\u2029",
  loneSurrogates: "\ud83d and \ude00",
  quotes: `'"\`\\ $1 %s :name ?; -- {}[]`,
  prototype: "__proto__",
  empty: "",
} as const satisfies Readonly<Record<string, string>>;

/** All of them as one JSON value, as keys too. Keys are without NUL and lone surrogates. */
export function difficultJson(): Readonly<Record<string, JsonValue>> {
  return {
    ...difficultTexts,
    list: [1, -0.5, 1e21, 9007199254740991, true, false, null, [], {}],
    "你好 👋": { "ключ.с точкой": "value", "": "empty key", "a'b\"c\\d": 1 },
  };
}

import type { LedgerHint } from "../../store.js";

/** About the most hints that are kept for a process that was cut off for a moment: under a megabyte. */
const KEPT_HINTS = 8192;

/**
 * `hint(text)`: tells the processes; the text is one of {@link encodeHint}. It goes into a stream and not to a channel:
 * whoever was cut off for a moment goes on where it was, and one connection serves all that a process listens to.
 */
export const hint = `
local function hint(text)
  redis.call('XADD', P .. ':hints', 'MAXLEN', '~', ${String(KEPT_HINTS)}, '*', 'h', text)
end
`;

/**
 * `run`, thread and run, or `queue` and optionally who says it, with line feeds between them: ids have none. Whoever
 * says it leaves it out when it comes back.
 */
export function encodeHint(hint: LedgerHint, origin?: string): string {
  if (hint.type === "run") return `run\n${hint.threadId}\n${hint.runId}`;
  return origin === undefined ? "queue" : `queue\n${origin}`;
}

/** `undefined` for what this process said itself, or a later version of the library says. */
export function decodeHint(text: string, origin: string): LedgerHint | undefined {
  const [type, first, second] = text.split("\n");
  if (type === "queue") return first === origin ? undefined : { type };
  if (type !== "run" || first === undefined || second === undefined) return undefined;
  return { type, threadId: first, runId: second };
}

import { AgentError } from "./errors.js";

/** Names one conversation of one user. `userId` is optional in-process; over HTTP it comes from authentication alone. */
export interface SessionRef {
  readonly sessionId: string;
  readonly userId?: string | undefined;
}

/** A checked {@link SessionRef} with the thread id that stands for the pair everywhere below the service. */
export interface SessionIdentity extends SessionRef {
  readonly threadId: string;
}

export const MAX_ID_LENGTH = 200;

const CONTROL_CHARACTER = /\p{Cc}/u;

/** What most ids look like: nothing is wrong with them, and nothing to be encoded. */
const PLAIN_ID = /^[A-Za-z0-9_-]{1,200}$/;

/**
 * Checks a session, user or run id: 1 to 200 UTF-16 units, well-formed, no control characters, not `.` or `..`.
 *
 * @throws {AgentError} `INVALID_INPUT`
 */
export function checkId(name: string, value: unknown): asserts value is string {
  if (typeof value === "string" && PLAIN_ID.test(value)) return;
  const problem =
    typeof value !== "string"
      ? `a string, got ${value === null ? "null" : typeof value}`
      : value.length === 0 || value.length > MAX_ID_LENGTH
        ? `1 to ${String(MAX_ID_LENGTH)} characters, got ${String(value.length)}`
        : CONTROL_CHARACTER.test(value) || !value.isWellFormed()
          ? "well-formed text without control characters"
          : value === "." || value === ".."
            ? "something other than `.` and `..`"
            : undefined;
  if (problem !== undefined) throw new AgentError("INVALID_INPUT", `Expected \`${name}\` to be ${problem}.`);
}

/** Percent-encodes ASCII outside [A-Za-z0-9_-]; all else stays, so that the longest pair fits a database key. */
function encodePart(part: string): string {
  if (PLAIN_ID.test(part)) return part;
  // eslint-disable-next-line no-control-regex
  return part.replace(/[\u0000-\u007f]/g, (char) =>
    /[A-Za-z0-9_-]/.test(char) ? char : `%${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

/**
 * Checks both ids and gives the session its thread id: `s.<session>` or `u.<user>.<session>`, each part
 * percent-encoded. Dots occur only as separators, so that two different pairs never share a thread id.
 *
 * @throws {AgentError} `INVALID_INPUT`
 */
export function identify(ref: SessionRef): SessionIdentity {
  const { sessionId, userId } = ref;
  checkId("sessionId", sessionId);
  if (userId === undefined) return { sessionId, threadId: `s.${encodePart(sessionId)}` };
  checkId("userId", userId);
  return { sessionId, userId, threadId: `u.${encodePart(userId)}.${encodePart(sessionId)}` };
}

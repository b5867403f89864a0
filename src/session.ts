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

const MAX_ID_LENGTH = 200;

const CONTROL_CHARACTER = /\p{Cc}/u;

/** What most ids look like: nothing is wrong with them, and nothing to be encoded. */
const PLAIN_ID = /^[A-Za-z0-9_-]{1,200}$/;

/**
 * Whether a session, user or run can be called so: 1 to 200 UTF-16 units, well-formed, no control characters, not `.` or
 * `..`.
 */
export function isValidId(value: unknown): value is string {
  return typeof value === "string" && (PLAIN_ID.test(value) || problemOf(value) === undefined);
}

/**
 * Checks an id of a session, user or run: see {@link isValidId}.
 *
 * @throws {AgentError} `INVALID_INPUT`
 */
export function checkId(name: string, value: unknown): asserts value is string {
  if (isValidId(value)) return;
  const problem =
    typeof value === "string" ? problemOf(value) : `a string, got ${value === null ? "null" : typeof value}`;
  throw new AgentError("INVALID_INPUT", `Expected \`${name}\` to be ${String(problem)}.`);
}

/** What an id would have to be that this text is not. */
function problemOf(text: string): string | undefined {
  if (text.length === 0 || text.length > MAX_ID_LENGTH)
    return `1 to ${String(MAX_ID_LENGTH)} characters, got ${String(text.length)}`;
  if (CONTROL_CHARACTER.test(text) || !text.isWellFormed())
    return "well-formed text without control characters";
  return text === "." || text === ".." ? "something other than `.` and `..`" : undefined;
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

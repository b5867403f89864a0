import { AgentError, isAgentError, type AgentErrorCode } from "../../errors.js";
import type { Failure } from "../engine/retry.js";

/**
 * What the functions of the schema raise: `RAISE EXCEPTION USING ERRCODE = 'AS001', MESSAGE = '…'`. The message goes
 * to callers as it is, so it names ids at most.
 */
const sqlStates = {
  AS001: "LEASE_LOST",
  AS002: "SESSION_NOT_FOUND",
  AS003: "SESSION_BUSY",
  AS004: "QUEUE_FULL",
  AS005: "RUN_ID_CONFLICT",
  AS006: "INTERRUPT_PENDING",
  AS007: "INTERRUPT_STALE",
  AS008: "RUN_NOT_FOUND",
  AS009: "INVALID_INPUT",
} as const satisfies Record<string, AgentErrorCode>;

/** A statement, or the wait for a connection, took longer than `statementTimeoutMs`. */
export const LATE = new Error("No answer within `statementTimeoutMs`");

/** Nothing was done: the transaction was rolled back, or did not begin. */
const UNDONE = new Set([
  "40001", // serialization failure
  "40P01", // deadlock
  "53300", // too many connections
  "55P03", // lock not available
  "57014", // cancelled, by a timeout of the server
  "57P03", // starting up or shutting down
]);

/** The connection went while the statement may have been at work. */
const CUT = /^(?:08...|57P01|57P02|57P05)$/;

/** What Node says of connections that fail. */
const NETWORK = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EADDRNOTAVAIL",
  "ENOTFOUND",
  "EAI_AGAIN",
  // A socket file that is not there (yet).
  "ENOENT",
]);

/** What `pg` says of them without a code. */
const DRIVER =
  /^(?:Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed|Query read timeout|Connection error)/;

/** Troubles that only an operator can end, by SQLSTATE or its first letters. */
const ADVICE: readonly (readonly [state: string, advice: string])[] = [
  ["28", "PostgreSQL refused the login: check user, password and pg_hba.conf."],
  ["3D000", "The database does not exist: create it, or check the name in the connection settings."],
  ["25006", "PostgreSQL is read-only here: connect to the primary, not to a replica."],
  [
    "42501",
    "The database user lacks a privilege: it must own the store's schema, or be allowed to create it.",
  ],
  ["53100", "PostgreSQL has no disk space left: free some, then go on."],
  ["53200", "PostgreSQL is out of memory."],
  ["3F000", "The store's schema is missing: call `init()` first, with the same `schema` option."],
  ["42P01", "A table of the store is missing: call `init()` first, with the same `schema` option."],
  ["42883", "A function of the store is missing: call `init()` first, with the same `schema` option."],
  ["XX001", "PostgreSQL reports damaged data."],
];

/**
 * Tells what an error of the driver means. Messages hold no connection string, no SQL and no values; the driver's own
 * error is the cause.
 *
 * @param sent whether the statement may have reached the server.
 */
export function judge(error: unknown, sent: boolean): Failure {
  if (isAgentError(error)) return { error, transient: false, untouched: false };
  const { code, message } = describe(error);
  if (code !== undefined && Object.hasOwn(sqlStates, code)) {
    return {
      error: new AgentError(sqlStates[code as keyof typeof sqlStates], message),
      transient: false,
      untouched: true,
    };
  }
  if (code !== undefined && UNDONE.has(code)) {
    return unavailable(`PostgreSQL could not do it now (SQLSTATE ${code}).`, error, true, true);
  }
  if (error === LATE) {
    return unavailable("PostgreSQL gave no answer within `statementTimeoutMs`.", error, true, !sent);
  }
  if (code !== undefined && NETWORK.has(code)) {
    return unavailable(`PostgreSQL can't be reached (${code}).`, error, true, !sent);
  }
  if ((code !== undefined && CUT.test(code)) || (code === undefined && DRIVER.test(message))) {
    return unavailable("The connection to PostgreSQL was lost.", error, true, !sent);
  }
  if (code === undefined && message.startsWith("SASL")) {
    return unavailable(ADVICE[0]?.[1] ?? "", error, false, true);
  }
  if (message.startsWith("Cannot use a pool after calling end")) {
    return unavailable("The pool has been ended: end it after `store.close()`.", error, false, true);
  }
  if (/\bPGlite is clos/.test(message)) {
    return unavailable("PGlite has been closed: close it after `store.close()`.", error, false, true);
  }
  const advice = ADVICE.find(([state]) => code?.startsWith(state))?.[1];
  const text = advice ?? `PostgreSQL failed${code === undefined ? "" : ` (${code})`}; see the cause.`;
  return unavailable(text, error, false, false);
}

/** Whether the server takes no writes: a replica, or a primary that has become one. */
export function isReadOnly(error: unknown): boolean {
  return describe(error).code === "25006";
}

/** Whether the store's schema, or something in it, is not there. */
export function isMissing(error: unknown): boolean {
  return ["3F000", "42P01", "42883"].includes(describe(error).code ?? "");
}

function unavailable(message: string, cause: unknown, transient: boolean, untouched: boolean): Failure {
  return { error: new AgentError("STORE_UNAVAILABLE", message, { cause }), transient, untouched };
}

function describe(error: unknown): { readonly code: string | undefined; readonly message: string } {
  if (typeof error !== "object" || error === null) return { code: undefined, message: "" };
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
  return {
    code: typeof code === "string" ? code : undefined,
    message: typeof message === "string" ? message : "",
  };
}

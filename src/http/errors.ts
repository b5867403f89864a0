import { AgentError, errorTraits, isAgentError, type AgentErrorCode, type ErrorInfo } from "../index.js";
import { jsonReply, type Reply } from "./reply.js";

/** What only HTTP can refuse, with its status. */
const httpTraits = {
  ROUTE_NOT_FOUND: { status: 404, retryable: false },
  METHOD_NOT_ALLOWED: { status: 405, retryable: false },
  CROSS_SITE: { status: 403, retryable: false },
  BODY_TOO_LARGE: { status: 413, retryable: false },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, retryable: false },
  SESSION_AMBIGUOUS: { status: 409, retryable: false },
  INTERNAL: { status: 500, retryable: false },
} as const;

/** Codes in answers: those of the library, and a few that only HTTP has. */
export type HttpErrorCode = AgentErrorCode | keyof typeof httpTraits;

/** What clients are told, whatever the error's own message says: fixed text, without ids, names or addresses. */
export const clientTexts: Readonly<Record<HttpErrorCode, string>> = {
  INVALID_INPUT: "The request is not valid.",
  UNAUTHENTICATED: "Sign in first.",
  FORBIDDEN: "This is not allowed.",
  SESSION_NOT_FOUND: "There is no such session.",
  RUN_NOT_FOUND: "There is no such run.",
  MESSAGE_NOT_FOUND: "There is no such message.",
  SESSION_BUSY: "The session is busy. Try again when it has answered.",
  RUN_ID_CONFLICT: "Another request has used this run id.",
  INTERRUPT_PENDING: "The session waits for the answer to a question.",
  INTERRUPT_STALE: "The question no longer waits for an answer.",
  FORK_POINT_GONE: "The conversation can no longer go back to this message.",
  EVENTS_TRIMMED: "These events are no longer kept. Begin again from the history.",
  QUEUE_FULL: "Too many messages are waiting. Try again later.",
  CAPACITY_EXCEEDED: "The service is at its limit. Try again later.",
  UNSUPPORTED: "This agent does not support that.",
  RUN_TIMEOUT: "The answer took too long.",
  RUN_CANCELLED: "The answer was stopped.",
  RUN_ABANDONED: "The answer was interrupted. Try again.",
  AGENT_CREATE_FAILED: "The agent could not be started. Try again later.",
  AGENT_FAILED: "The agent failed.",
  MODEL_NOT_CONFIGURED: "The model is not available here.",
  MODEL_AUTH: "The model refused the service.",
  MODEL_RATE_LIMITED: "The model is busy. Try again later.",
  MODEL_CONTEXT_LENGTH: "The conversation is too long for the model.",
  MODEL_TIMEOUT: "The model took too long. Try again.",
  MODEL_UNAVAILABLE: "The model cannot be reached. Try again later.",
  LEASE_LOST: "The answer moved to another server. Try again.",
  CLOCK_SKEW: "The service is not available. Try again later.",
  STORE_UNAVAILABLE: "The service is not available. Try again later.",
  CLOSED: "The service is shutting down. Try again later.",
  ROUTE_NOT_FOUND: "There is nothing here.",
  METHOD_NOT_ALLOWED: "This method is not allowed here.",
  CROSS_SITE: "Requests from other sites are not allowed.",
  BODY_TOO_LARGE: "The request is too large.",
  UNSUPPORTED_MEDIA_TYPE: "Send JSON.",
  SESSION_AMBIGUOUS: "Several users have such a session: name one with user_id.",
  INTERNAL: "The request failed.",
};

/** What tools said when they failed is for the model; it may hold addresses and names of the inside. */
export const TOOL_ERROR_TEXT = "The tool failed.";

/** An error as clients see it. */
export interface ClientError {
  readonly code: HttpErrorCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
}

/** A refusal that HTTP itself makes. `detail` is ours, fixed, and safe to show. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly code: HttpErrorCode;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: HttpErrorCode, detail?: string, headers: Readonly<Record<string, string>> = {}) {
    super(detail ?? clientTexts[code]);
    this.code = code;
    this.headers = headers;
  }
}

/** A request whose form is wrong. The message is ours, fixed, and safe to show. */
export class RequestError extends AgentError {
  constructor(message: string) {
    super("INVALID_INPUT", message);
  }
}

export function hasCode(error: unknown, code: AgentErrorCode): boolean {
  return isAgentError(error) && error.code === code;
}

function traitsOf(code: HttpErrorCode): { readonly status: number; readonly retryable: boolean } {
  return code in httpTraits
    ? httpTraits[code as keyof typeof httpTraits]
    : errorTraits[code as AgentErrorCode];
}

export function statusOf(code: HttpErrorCode): number {
  return traitsOf(code).status;
}

/** The client's view of the error in a `run-finished` event. */
export function maskErrorInfo({ code, retryable, retryAfterMs }: ErrorInfo): ClientError {
  // A store may hold codes of a newer version of the library.
  const known = Object.hasOwn(clientTexts, code) ? code : "AGENT_FAILED";
  return {
    code: known,
    message: clientTexts[known],
    retryable,
    ...(retryAfterMs === undefined ? undefined : { retryAfterMs }),
  };
}

/** The client's view of whatever was thrown; anything unknown is `INTERNAL`. */
export function maskError(error: unknown): ClientError {
  if (error instanceof HttpError)
    return { code: error.code, message: error.message, retryable: traitsOf(error.code).retryable };
  if (error instanceof RequestError) return { code: error.code, message: error.message, retryable: false };
  if (isAgentError(error)) return maskErrorInfo(error);
  return { code: "INTERNAL", message: clientTexts.INTERNAL, retryable: false };
}

/** Whether the host should hear of it: something broke, rather than a client having asked for what it can't have. */
export function isServerFault(error: unknown): boolean {
  return statusOf(maskError(error).code) >= 500;
}

const DEFAULT_RETRY_AFTER_SECONDS = 1;

/** The answer to a request that was refused or failed. */
export function errorReply(error: unknown): Reply {
  const masked = maskError(error);
  const { code, message, retryable, retryAfterMs } = masked;
  const status = statusOf(code);
  const headers: Record<string, string> = error instanceof HttpError ? { ...error.headers } : {};
  if (status === 429 || status === 503) {
    headers["retry-after"] = String(
      retryAfterMs === undefined ? DEFAULT_RETRY_AFTER_SECONDS : Math.max(1, Math.ceil(retryAfterMs / 1_000)),
    );
  }
  return jsonReply({ error: { code, message, retryable } }, status, headers);
}

/** What a caller can do about a code, and how HTTP says it. */
interface ErrorTraits {
  /** The status an HTTP adapter answers with. */
  readonly status: number;
  /** Whether the same call may succeed later without being changed. */
  readonly retryable: boolean;
}

/** Every code with its HTTP status and whether trying again can help: the one table that adapters read. */
export const errorTraits = {
  INVALID_INPUT: { status: 400, retryable: false },
  UNAUTHENTICATED: { status: 401, retryable: false },
  FORBIDDEN: { status: 403, retryable: false },
  SESSION_NOT_FOUND: { status: 404, retryable: false },
  RUN_NOT_FOUND: { status: 404, retryable: false },
  MESSAGE_NOT_FOUND: { status: 404, retryable: false },
  SESSION_BUSY: { status: 409, retryable: true },
  RUN_ID_CONFLICT: { status: 409, retryable: false },
  INTERRUPT_PENDING: { status: 409, retryable: false },
  INTERRUPT_STALE: { status: 409, retryable: false },
  FORK_POINT_GONE: { status: 410, retryable: false },
  EVENTS_TRIMMED: { status: 410, retryable: false },
  QUEUE_FULL: { status: 429, retryable: true },
  CAPACITY_EXCEEDED: { status: 503, retryable: true },
  UNSUPPORTED: { status: 501, retryable: false },
  RUN_TIMEOUT: { status: 504, retryable: true },
  RUN_CANCELLED: { status: 409, retryable: false },
  RUN_ABANDONED: { status: 500, retryable: true },
  AGENT_CREATE_FAILED: { status: 500, retryable: true },
  AGENT_FAILED: { status: 500, retryable: false },
  MODEL_NOT_CONFIGURED: { status: 400, retryable: false },
  MODEL_AUTH: { status: 502, retryable: false },
  MODEL_RATE_LIMITED: { status: 503, retryable: true },
  MODEL_CONTEXT_LENGTH: { status: 413, retryable: false },
  MODEL_TIMEOUT: { status: 504, retryable: true },
  MODEL_UNAVAILABLE: { status: 502, retryable: true },
  LEASE_LOST: { status: 409, retryable: true },
  CLOCK_SKEW: { status: 503, retryable: true },
  STORE_UNAVAILABLE: { status: 503, retryable: true },
  CLOSED: { status: 503, retryable: true },
} as const satisfies Record<string, ErrorTraits>;

/** The closed set of codes; branch on these, never on messages. */
export type AgentErrorCode = keyof typeof errorTraits;

export interface AgentErrorOptions {
  readonly sessionId?: string | undefined;
  readonly cause?: unknown;
  /** Milliseconds after which a provider said to try again. */
  readonly retryAfterMs?: number | undefined;
}

const brand = Symbol.for("agent-sessions.AgentError");

/**
 * The one error class of the library. Messages say what failed, for which id and what to do; they
 * never hold message text, credentials or what a provider answered (that is in `cause`, for the host).
 */
export class AgentError extends Error {
  override readonly name = "AgentError";
  readonly code: AgentErrorCode;
  readonly retryable: boolean;
  readonly sessionId?: string;
  readonly retryAfterMs?: number;

  constructor(code: AgentErrorCode, message: string, options: AgentErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = errorTraits[code].retryable;
    if (options.sessionId !== undefined) this.sessionId = options.sessionId;
    if (options.retryAfterMs !== undefined) this.retryAfterMs = options.retryAfterMs;
    // On the instance and not on the prototype: the package may be loaded twice (ESM and CJS).
    Object.defineProperty(this, brand, { value: true });
  }
}

/** Recognises an {@link AgentError} from any copy of this package in the process. */
export function isAgentError(value: unknown): value is AgentError {
  return typeof value === "object" && value !== null && (value as Record<symbol, unknown>)[brand] === true;
}

/** What a run record and the `run-finished` event keep of an error: no cause, no stack. */
export interface ErrorInfo {
  readonly code: AgentErrorCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
}

/** The part of an error that may be stored and shown; anything that is not an AgentError is masked. */
export function toErrorInfo(error: unknown): ErrorInfo {
  if (!isAgentError(error)) {
    return {
      code: "AGENT_FAILED",
      message: "The agent failed.",
      retryable: errorTraits.AGENT_FAILED.retryable,
    };
  }
  const { code, message, retryable, retryAfterMs } = error;
  return retryAfterMs === undefined
    ? { code, message, retryable }
    : { code, message, retryable, retryAfterMs };
}

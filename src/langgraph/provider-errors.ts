import { AgentError, isAgentError, type AgentErrorCode } from "../errors.js";
import { systemClock } from "../internal/clock.js";
import { isRecord } from "./to-json.js";

/** How far wrapped errors are followed; a bound, because a cause may point back. */
const MAX_DEPTH = 8;

const TIMEOUT_CODES = new Set([
  "ETIMEDOUT",
  "ESOCKETTIMEDOUT",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
]);

const CONNECTION_CODES = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EPIPE",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ERR_STREAM_PREMATURE_CLOSE",
  "UND_ERR_SOCKET",
]);

const CONTEXT_LENGTH =
  /context[ _](?:length|window|size)|maximum context|prompt is too long|input (?:is|tokens?) .*(?:too long|exceed)|too many (?:input )?tokens|exceeds? .*token/i;

type ModelErrorCode = Extract<AgentErrorCode, `MODEL_${string}`>;

/** Fixed texts: a provider's own words may hold prompts, keys and addresses. */
const MESSAGES: Record<ModelErrorCode, string> = {
  MODEL_NOT_CONFIGURED:
    "The model provider does not know this model. Check `provider` and `model` of the session.",
  MODEL_AUTH:
    "The model provider refused the credentials. Check the key that the session's provider is given.",
  MODEL_RATE_LIMITED: "The model provider's rate limit or quota is reached. Try again later.",
  MODEL_CONTEXT_LENGTH: "The conversation is longer than the model can take. Shorten or summarise it.",
  MODEL_TIMEOUT: "The model provider did not answer in time. Try again.",
  MODEL_UNAVAILABLE: "The model provider cannot be reached or failed. Try again.",
};

/** An error and what it wraps: causes, the parts of an AggregateError, and a provider's `error` body. */
function* layers(error: unknown, depth = 0): Generator<unknown, void, undefined> {
  if (depth > MAX_DEPTH || error === undefined || error === null) return;
  yield error;
  if (!isRecord(error)) return;
  if (Array.isArray(error["errors"]))
    for (const part of error["errors"].slice(0, MAX_DEPTH)) yield* layers(part, depth + 1);
  yield* layers(error["cause"], depth + 1);
}

function statusOf(error: Record<string, unknown>): number | undefined {
  const response = isRecord(error["response"]) ? error["response"]["status"] : undefined;
  for (const value of [error["status"], error["statusCode"], error["status_code"], response]) {
    if (typeof value === "number") return value;
  }
  return undefined;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function header(error: Record<string, unknown>, name: string): string | undefined {
  const response = isRecord(error["response"]) ? error["response"]["headers"] : undefined;
  for (const headers of [error["headers"], response]) {
    if (!isRecord(headers)) continue;
    // Fetch's Headers, or a plain object with lower-case names.
    const value: unknown =
      typeof headers["get"] === "function"
        ? (headers["get"] as (name: string) => unknown).call(headers, name)
        : headers[name];
    if (typeof value === "string") return value;
  }
  return undefined;
}

/** How long the provider said to wait: `retry-after-ms`, or `retry-after` in seconds or as a date. */
function retryAfterMs(error: Record<string, unknown>): number | undefined {
  const ms = Number.parseFloat(header(error, "retry-after-ms") ?? "");
  if (ms >= 0) return Math.ceil(ms);
  const after = header(error, "retry-after");
  if (after === undefined) return undefined;
  const seconds = Number(after);
  if (seconds >= 0) return Math.ceil(seconds * 1000);
  const until = Date.parse(after) - systemClock.now();
  return Number.isNaN(until) ? undefined : Math.max(0, until);
}

/** Which kind of failure one layer says it is; duck-typed over the clients' error classes. */
function kindOf(error: Record<string, unknown>): ModelErrorCode | undefined {
  const name = text(error["name"]);
  const className = text((error["constructor"] as { name?: unknown } | undefined)?.name);
  const body = isRecord(error["error"]) ? error["error"] : {};
  const code = text(error["code"]) || text(body["code"]);
  const type =
    text(error["type"]) || text(body["type"]) || (isRecord(body["error"]) ? text(body["error"]["type"]) : "");
  const status = statusOf(error);
  const message = text(error["message"]);

  if (
    name === "ContextOverflowError" ||
    code === "context_length_exceeded" ||
    error["lc_error_code"] === "CONTEXT_OVERFLOW"
  )
    return "MODEL_CONTEXT_LENGTH";
  if (
    (status === 400 || status === 413 || status === 422) &&
    (status === 413 || CONTEXT_LENGTH.test(message))
  )
    return "MODEL_CONTEXT_LENGTH";
  if (
    status === 401 ||
    status === 403 ||
    type === "authentication_error" ||
    error["lc_error_code"] === "MODEL_AUTHENTICATION"
  )
    return "MODEL_AUTH";
  if (status === 429 || type === "rate_limit_error" || error["lc_error_code"] === "MODEL_RATE_LIMIT")
    return "MODEL_RATE_LIMITED";
  if (status === 404 || error["lc_error_code"] === "MODEL_NOT_FOUND") return "MODEL_NOT_CONFIGURED";
  if (
    status === 408 ||
    status === 504 ||
    TIMEOUT_CODES.has(code) ||
    name === "TimeoutError" ||
    className === "APIConnectionTimeoutError"
  )
    return "MODEL_TIMEOUT";
  if (status !== undefined && status >= 500) return "MODEL_UNAVAILABLE";
  if (type === "overloaded_error" || type === "api_error" || type === "server_error")
    return "MODEL_UNAVAILABLE";
  if (CONNECTION_CODES.has(code) || className === "APIConnectionError") return "MODEL_UNAVAILABLE";
  // What Node's fetch throws when a connection fails or breaks off half way.
  if (name === "TypeError" && (message === "fetch failed" || message === "terminated"))
    return "MODEL_UNAVAILABLE";
  if (/^(?:premature close|other side closed|socket hang up|aborted)$/i.test(message))
    return "MODEL_UNAVAILABLE";
  return undefined;
}

/**
 * The kind of a failed model call, if the error shows one: the outermost layer that says something decides.
 * The original is the `cause`; the message is fixed text.
 */
export function toModelError(error: unknown, sessionId?: string): AgentError | undefined {
  const found = [...layers(error)].filter(isRecord);
  for (const layer of found) {
    let code = kindOf(layer);
    if (code === undefined) continue;
    // A client may report a timeout as a broken connection, with the truth in the cause.
    if (code === "MODEL_UNAVAILABLE" && found.some((inner) => kindOf(inner) === "MODEL_TIMEOUT"))
      code = "MODEL_TIMEOUT";
    return new AgentError(code, MESSAGES[code], {
      sessionId,
      cause: error,
      retryAfterMs:
        code === "MODEL_RATE_LIMITED" || code === "MODEL_UNAVAILABLE"
          ? found.map(retryAfterMs).find((ms) => ms !== undefined)
          : undefined,
    });
  }
  return undefined;
}

/**
 * What a failed run throws. `isModelError` tells which errors a model call threw: a tool or node that failed with
 * a status of its own is no failure of the provider.
 */
export function toRunError(
  error: unknown,
  isModelError: (error: unknown) => boolean,
  sessionId?: string,
): AgentError {
  let fromModel = false;
  for (const layer of layers(error)) {
    // The store's refusals (LEASE_LOST, STORE_UNAVAILABLE …) pass through LangGraph as they are.
    if (isAgentError(layer)) return layer;
    fromModel ||= isModelError(layer);
    if (isRecord(layer) && layer["lc_error_code"] === "GRAPH_RECURSION_LIMIT") {
      return new AgentError(
        "AGENT_FAILED",
        "The agent took more steps than `recursionLimit` allows. Raise the limit or check for a loop of tool calls.",
        { sessionId, cause: error },
      );
    }
  }
  const modelError = fromModel ? toModelError(error, sessionId) : undefined;
  return modelError ?? new AgentError("AGENT_FAILED", "The agent failed.", { sessionId, cause: error });
}

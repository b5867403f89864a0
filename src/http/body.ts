import { HttpError, RequestError } from "./errors.js";
import { isObject } from "./protocols/approvals.js";

const JSON_TYPES = /^(application\/(?:[\w.+-]+\+)?json|text\/plain)\s*(?:;|$)/i;

function invalid(message: string): RequestError {
  return new RequestError(message);
}

/** Bytes that are no UTF-8, or a client that went away. */
export function notText(): RequestError {
  return invalid("Expected the body to be UTF-8 text.");
}

/**
 * Reads a request's JSON object. A missing body is an empty object where `optional`.
 *
 * @throws {HttpError} `UNSUPPORTED_MEDIA_TYPE`, `BODY_TOO_LARGE`. @throws {AgentError} `INVALID_INPUT`
 */
export async function readJsonObject(
  request: Request,
  maxBytes: number,
  optional = false,
): Promise<Readonly<Record<string, unknown>>> {
  const type = request.headers.get("content-type");
  // A body without a type is what `fetch` sends for bytes; a request without a body has none either.
  if (type !== null && !JSON_TYPES.test(type)) throw new HttpError("UNSUPPORTED_MEDIA_TYPE");
  const text = await readText(request, maxBytes);
  if (text.trim() === "" && optional) return {};
  if (type === null) throw new HttpError("UNSUPPORTED_MEDIA_TYPE");
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw invalid("Expected the body to be JSON.");
  }
  if (!isObject(body)) throw invalid("Expected the body to be a JSON object.");
  return body;
}

/** A request that has a way of its own to its body, without a web stream; null when somebody has begun to read that. */
export interface OwnBody {
  [OWN_BODY](maxBytes: number): Promise<string> | null;
}

export const OWN_BODY = Symbol("own body");

async function readText(request: Request & Partial<OwnBody>, maxBytes: number): Promise<string> {
  const declared = Number(request.headers.get("content-length") ?? 0);
  if (declared > maxBytes) throw new HttpError("BODY_TOO_LARGE");
  const own = request[OWN_BODY]?.(maxBytes) ?? null;
  if (own !== null) return own;
  if (request.bodyUsed) throw new TypeError("The request's body has been read before; hand its text on");
  if (request.body === null) return "";
  // Node types the chunks of a request as `any`; they are bytes.
  const reader = (request.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let text = "";
  let bytes = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return text + decoder.decode();
      bytes += value.byteLength;
      if (bytes > maxBytes) {
        reader.cancel().catch(() => undefined);
        throw new HttpError("BODY_TOO_LARGE");
      }
      text += decoder.decode(value, { stream: true });
    }
  } catch (error) {
    if (error instanceof HttpError) throw error;
    throw notText();
  }
}

/** A field that must be a string if it is there. @throws {AgentError} `INVALID_INPUT` */
export function optionalString(body: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const value = body[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw invalid(`Expected \`${name}\` to be a string.`);
  return value;
}

/** A field that has two names, of which the first one counts. @throws {AgentError} `INVALID_INPUT` if either is no string */
export function firstString(
  body: Readonly<Record<string, unknown>>,
  name: string,
  other: string,
): string | undefined {
  const [first, second] = [optionalString(body, name), optionalString(body, other)];
  return first ?? second;
}

/** A whole number in a query, from 1 up to `max`. @throws {AgentError} `INVALID_INPUT` */
export function queryLimit(query: URLSearchParams, fallback: number, max: number): number {
  const text = query.get("limit");
  if (text === null) return fallback;
  const limit = Number(text);
  if (!/^\d{1,9}$/.test(text) || limit < 1) throw invalid("Expected `limit` to be a whole number from 1 up.");
  return Math.min(limit, max);
}

import type { EventBody } from "./sse.js";
import { toWebStream } from "./sse.js";

/** An answer as routes give it, before a host makes what it sends of it: a `Response`, or writes to Node's response. */
export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | EventBody | null;
}

/** The answer for hosts that speak fetch. A stream ends with the request's signal, also when nobody reads it. */
export function toResponse({ status, headers, body }: Reply, signal: () => AbortSignal): Response {
  const init = { status, headers };
  if (body === null || typeof body === "string") return new Response(body, init);
  return new Response(toWebStream(body, signal()), init);
}

/** Head and status alone; a stream behind it lets go of what it reads. */
export function withoutBody({ status, headers, body }: Reply): Reply {
  if (body !== null && typeof body !== "string") body.cancel();
  return { status, headers, body: null };
}

/** Answers hold what belongs to one user: nobody may keep them, and no browser may take them for a page. */
export function jsonReply(
  body: unknown,
  status = 200,
  headers: Readonly<Record<string, string>> = {},
): Reply {
  return {
    status,
    headers: {
      "content-type": "application/json; charset=utf-8",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      ...headers,
    },
    body: JSON.stringify(body),
  };
}

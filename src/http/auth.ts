import { AgentError } from "../index.js";
import { HttpError } from "./errors.js";
import type { HttpSettings, HttpUser } from "./options.js";

type CorsSettings = Pick<HttpSettings<HttpUser, unknown>, "cors">;

/** Who makes a request. Without a user only where the handler is anonymous. */
export interface Caller<TUser extends HttpUser> {
  readonly user: TUser | undefined;
  readonly userId: string | undefined;
}

/**
 * Asks the host who makes a request. Fails closed: a host that throws, or names no proper user, is an error of the
 * host and never an anonymous caller.
 *
 * @throws {AgentError} `UNAUTHENTICATED`, and whatever `authenticate` throws.
 */
export async function authenticate<TUser extends HttpUser>(
  request: Request,
  settings: HttpSettings<TUser, unknown>,
): Promise<Caller<TUser>> {
  const user = await settings.authenticate?.(request);
  if (user === undefined || user === null) {
    if (settings.anonymous) return { user: undefined, userId: undefined };
    throw new AgentError("UNAUTHENTICATED", "The request has no user.");
  }
  const { userId } = user as { readonly userId: unknown };
  if (typeof userId !== "string" || userId === "") {
    throw new TypeError("Expected `authenticate` to give null or an object with a `userId`");
  }
  return { user, userId };
}

export async function isAdmin<TUser extends HttpUser>(
  caller: Caller<TUser>,
  request: Request,
  settings: HttpSettings<TUser, unknown>,
): Promise<boolean> {
  // Only true opens: a promise that gives "no" must not.
  return (
    caller.user !== undefined &&
    settings.isAdmin !== undefined &&
    ((await settings.isAdmin(caller.user, request)) as unknown) === true
  );
}

/** 22 characters of base64url hold 128 bits; a UUID of version 4 comes close and is what people have at hand. */
const RANDOM_ID = /^[A-Za-z0-9_-]{22,200}$/;
const DISTINCT_CHARACTERS = 8;

/** Whether an id may serve as the only key to a session: long, and not just long. */
export function isUnguessable(id: string): boolean {
  return RANDOM_ID.test(id) && new Set(id).size >= DISTINCT_CHARACTERS;
}

/**
 * Whether a browser sends this from another site. Browsers say so in `sec-fetch-site`, older ones only by `origin`;
 * who is no browser says neither.
 */
function isCrossSite(request: Request): boolean {
  const { headers } = request;
  const site = headers.get("sec-fetch-site");
  if (site !== null) return site !== "same-origin" && site !== "none";
  const origin = headers.get("origin");
  if (origin === null) return false;
  const host = URL.canParse(origin) ? new URL(origin).host : undefined;
  // No page of another site can set these two in a request that needs no preflight.
  const own = [headers.get("host"), headers.get("x-forwarded-host"), new URL(request.url).host];
  return host === undefined || !own.includes(host);
}

/**
 * Refuses what a page of another site could make a browser send in its user's name: with cookies, or as plain text
 * (the one form of JSON that needs no preflight) without a header that proves who sends it.
 *
 * @throws {HttpError} `CROSS_SITE`
 */
export function checkSite(request: Request, settings: CorsSettings): void {
  if (request.method === "GET" || request.method === "HEAD" || !isCrossSite(request)) return;
  const { headers } = request;
  const origin = headers.get("origin");
  if (origin !== null && settings.cors?.origins.has(origin) === true) return;
  const needsPreflight = /^application\/json\b/i.test(headers.get("content-type") ?? "");
  const authorization = headers.get("authorization");
  // Browsers add Basic credentials by themselves, as they do cookies.
  const isOwnHeader = authorization !== null && !/^(basic|digest|negotiate)\b/i.test(authorization);
  if (headers.has("cookie") || !(needsPreflight || isOwnHeader)) throw new HttpError("CROSS_SITE");
}

/** The answer to a preflight, or undefined when it is none or CORS is off. */
export function preflight(request: Request, settings: CorsSettings): Response | undefined {
  const { cors } = settings;
  if (request.method !== "OPTIONS" || cors === undefined) return undefined;
  const origin = request.headers.get("origin");
  if (origin === null || !cors.origins.has(origin)) return undefined;
  return new Response(null, {
    status: 204,
    headers: {
      "access-control-allow-methods": "GET, POST, DELETE",
      "access-control-allow-headers": "authorization, content-type, last-event-id, x-api-key",
      "access-control-max-age": String(cors.maxAgeSeconds),
    },
  });
}

/** Adds the headers that let an allowed origin read the answer. */
export function withCors(request: Request, response: Response, settings: CorsSettings): Response {
  const { cors } = settings;
  if (cors === undefined) return response;
  response.headers.append("vary", "origin");
  const origin = request.headers.get("origin");
  if (origin === null || !cors.origins.has(origin)) return response;
  response.headers.set("access-control-allow-origin", origin);
  response.headers.set("access-control-allow-credentials", "true");
  response.headers.set("access-control-expose-headers", "retry-after, x-vercel-ai-ui-message-stream");
  return response;
}

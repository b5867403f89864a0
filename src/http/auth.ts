import { AgentError, isValidId, type TimerHandle } from "../index.js";
import { hasCode, HttpError } from "./errors.js";
import type { HttpSettings, HttpUser } from "./options.js";
import type { Reply } from "./reply.js";

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
  // The service would refuse it too, as if the client had named it.
  if (!isValidId(userId)) {
    throw new TypeError(
      "Expected `authenticate` to give null or an object with a `userId` of 1 to 200 characters, without control characters",
    );
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

/** How long the admin's details may keep a public answer waiting. */
const PUBLIC_WAIT_MS = 1_000;

/**
 * Whether an admin asks what anybody may ask. The host is not let down by its own login: one that fails, or takes its
 * time, is told to `onError`, and the caller gets what anybody gets.
 */
export async function isAdminAtHand<TUser extends HttpUser>(
  request: Request,
  settings: HttpSettings<TUser, unknown>,
): Promise<boolean> {
  const { clock } = settings;
  let timer: TimerHandle | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = clock.setTimeout(() => {
      reject(new Error(`\`authenticate\` or \`isAdmin\` took longer than ${String(PUBLIC_WAIT_MS)} ms`));
    }, PUBLIC_WAIT_MS);
  });
  const asked = authenticate(request, settings).then((caller) => isAdmin(caller, request, settings));
  try {
    return await Promise.race([asked, late]);
  } catch (error) {
    if (!hasCode(error, "UNAUTHENTICATED")) settings.onError(error, request);
    return false;
  } finally {
    clock.clearTimeout(timer);
  }
}

const ID = /^[A-Za-z0-9_-]{1,200}$/;
const DISTINCT_CHARACTERS = 8;

/**
 * Whether an id may serve as the only key to a session. What of it is random cannot be seen, only what it can hold at
 * most, and that it is none of the forms that people make up: 39 digits or 32 of hex hold 128 bits (a UUID of version 4
 * comes close and is what people have at hand), as do 22 characters of base64url, in which capitals and small letters
 * both turn up.
 */
export function isUnguessable(id: string): boolean {
  if (!ID.test(id) || new Set(id).size < DISTINCT_CHARACTERS) return false;
  const { length } = id.replace(/[-_]/g, "");
  if (/^[\d_-]+$/.test(id)) return length >= 39;
  if (/^[\da-f_-]+$/i.test(id)) return length >= 32;
  return id.length >= 22 && /[a-z]/.test(id) && /[A-Z]/.test(id);
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
  // Each proxy adds the host that it was asked for.
  const forwarded =
    headers
      .get("x-forwarded-host")
      ?.split(",")
      .map((name) => name.trim()) ?? [];
  const own = [headers.get("host"), new URL(request.url).host, ...forwarded];
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
export function preflight(request: Request, settings: CorsSettings): Reply | undefined {
  const { cors } = settings;
  if (request.method !== "OPTIONS" || cors === undefined) return undefined;
  const origin = request.headers.get("origin");
  if (origin === null || !cors.origins.has(origin)) return undefined;
  return {
    status: 204,
    headers: {
      "access-control-allow-methods": "GET, POST, DELETE",
      "access-control-allow-headers": "authorization, content-type, last-event-id, x-api-key",
      "access-control-max-age": String(cors.maxAgeSeconds),
    },
    body: null,
  };
}

/** Adds the headers that let an allowed origin read the answer. */
export function withCors(request: Request, reply: Reply, settings: CorsSettings): Reply {
  const { cors } = settings;
  if (cors === undefined) return reply;
  const origin = request.headers.get("origin");
  const headers = { ...reply.headers, vary: "origin" };
  if (origin === null || !cors.origins.has(origin)) return { ...reply, headers };
  return {
    ...reply,
    headers: {
      ...headers,
      "access-control-allow-origin": origin,
      "access-control-allow-credentials": "true",
      "access-control-expose-headers": "retry-after, x-vercel-ai-ui-message-stream",
    },
  };
}

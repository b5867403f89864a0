import type { HttpHandler, WaitUntil } from "./http/index.js";

/** The handlers of a route of Next's app router. */
export interface NextHandlers {
  readonly GET: (request: Request) => Promise<Response>;
  readonly POST: (request: Request) => Promise<Response>;
  readonly DELETE: (request: Request) => Promise<Response>;
  readonly OPTIONS: (request: Request) => Promise<Response>;
}

export interface NextOptions {
  /** Keeps a serverless function alive until the runs of a request have ended: `after` of `next/server`. */
  readonly waitUntil?: WaitUntil | undefined;
}

/**
 * Serves a handler from `app/agent_backend/[...path]/route.ts`:
 *
 * @example
 * export const { GET, POST, DELETE, OPTIONS } = toNextHandlers(() => handler());
 *
 * A function that makes the handler is called at the first request, and again after it failed: a build that only
 * loads the route then needs no keys.
 */
export function toNextHandlers(
  handler: HttpHandler | (() => HttpHandler | Promise<HttpHandler>),
  { waitUntil }: NextOptions = {},
): NextHandlers {
  let made: Promise<HttpHandler> | undefined;
  const get = (): Promise<HttpHandler> => {
    made ??= Promise.resolve(isHandler(handler) ? handler : handler()).catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
  const handle = async (request: Request): Promise<Response> => (await get())(request, { waitUntil });
  return { GET: handle, POST: handle, DELETE: handle, OPTIONS: handle };
}

function isHandler(value: object): value is HttpHandler {
  return "basePath" in value;
}

const registry = Symbol.for("agent-sessions.next");

/**
 * Gives what `create` made under a key, once per process: kept on `globalThis`, since hot reload and the bundles of
 * several routes each have modules of their own. A creation that fails is forgotten.
 *
 * @example
 * const chat = await getOrCreate(() => ChatService.create({ … }));
 */
export function getOrCreate<T>(create: () => T): T;
export function getOrCreate<T>(key: string, create: () => T): T;
export function getOrCreate<T>(...args: [create: () => T] | [key: string, create: () => T]): T {
  const [key, create] = args.length === 1 ? ["default", args[0]] : args;
  const holder = globalThis as { [registry]?: Map<string, unknown> | undefined };
  const kept = (holder[registry] ??= new Map<string, unknown>());
  // Whoever uses a key puts one type under it.
  if (kept.has(key)) return kept.get(key) as T;
  const made = create();
  kept.set(key, made);
  if (made instanceof Promise) {
    made.catch(() => {
      if (kept.get(key) === made) kept.delete(key);
    });
  }
  return made;
}

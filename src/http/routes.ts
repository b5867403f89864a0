import { adminRoutes } from "./admin-routes.js";
import { chatRoutes } from "./chat-routes.js";
import { HttpError } from "./errors.js";
import { jsonReply } from "./reply.js";
import { openApiDocument } from "./openapi.js";
import type { Route } from "./route.js";

const openApi: Route = {
  method: "GET",
  path: "/openapi.json",
  access: "public",
  handle({ settings }) {
    return Promise.resolve(jsonReply(openApiDocument(settings.basePath)));
  },
};

/** Every route that the handler has. */
export const routes: readonly Route[] = [...chatRoutes, ...adminRoutes, openApi];

/** A path's patterns, taken apart once. */
const table = routes.map((route) => ({ route, segments: route.path.slice(1).split("/") }));

export interface RouteMatch {
  readonly route: Route;
  readonly params: Readonly<Record<string, string>>;
}

/**
 * Finds the route of a method and a path (under the base path, still encoded).
 *
 * @throws {HttpError} `ROUTE_NOT_FOUND`, `METHOD_NOT_ALLOWED`
 */
export function matchRoute(method: string, path: string): RouteMatch {
  const segments = path.replace(/^\//, "").replace(/\/$/, "").split("/");
  const allowed: string[] = [];
  for (const { route, segments: pattern } of table) {
    const params = matchSegments(pattern, segments);
    if (params === undefined) continue;
    if (route.method === method) return { route, params };
    allowed.push(route.method);
  }
  if (allowed.length === 0) throw new HttpError("ROUTE_NOT_FOUND");
  throw new HttpError("METHOD_NOT_ALLOWED", undefined, { allow: allowed.join(", ") });
}

function matchSegments(
  pattern: readonly string[],
  segments: readonly string[],
): Readonly<Record<string, string>> | undefined {
  if (pattern.length !== segments.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, expected] of pattern.entries()) {
    const segment = segments[index] ?? "";
    if (!expected.startsWith(":")) {
      if (segment !== expected) return undefined;
      continue;
    }
    try {
      params[expected.slice(1)] = decodeURIComponent(segment);
    } catch {
      // Not percent-encoded text: no id is spelt so.
      return undefined;
    }
  }
  return params;
}

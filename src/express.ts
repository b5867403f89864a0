/*!
 * This file is built with @remix-run/node-fetch-server in it, whose licence follows.
 *
 * MIT License
 *
 * Copyright (c) 2025 Shopify Inc.
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy
 * of this software and associated documentation files (the "Software"), to deal
 * in the Software without restriction, including without limitation the rights
 * to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
 * copies of the Software, and to permit persons to whom the Software is
 * furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all
 * copies or substantial portions of the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 * IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 * FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 * AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
 * LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 * OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
 * SOFTWARE.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { sendResponse } from "@remix-run/node-fetch-server";
import { answerOf } from "./http/handler.js";
import { NodeFetchRequest, toRequest, type NodeRequest } from "./http/node-request.js";
import { sendReply } from "./http/node-response.js";

export type { NodeRequest } from "./http/node-request.js";

/** A function of a fetch request, such as `createHttpHandler` of `agent-sessions/http` makes. */
export interface FetchHandler {
  (request: Request): Promise<Response>;
  readonly basePath?: string | undefined;
}

/** Works as middleware of Express 4 and 5 and of Connect, and as the listener of a `node:http` server. */
export type NodeMiddleware = (
  request: NodeRequest,
  response: ServerResponse,
  next?: (error?: unknown) => void,
) => Promise<void>;

const requests = new WeakMap<Request, IncomingMessage>();

/**
 * The Node request behind the one that a handler was given: for an `authenticate` that needs what other middleware
 * left there, such as `req.session` or `req.user`. Undefined for requests that did not come through {@link toExpress}.
 */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- says what the host's middleware made of it
export function nodeRequestOf<T extends IncomingMessage = NodeRequest>(request: Request): T | undefined {
  // The caller knows which middleware ran; Node's request has no type for what they add.
  return requests.get(request) as T | undefined;
}

/**
 * Mounts a fetch handler in Express, before or after body parsers. Under a router's prefix the handler's base path may
 * stand for the whole path or for the rest behind the prefix. What is not under the base path goes on to `next`.
 *
 * A client that disconnects aborts `request.signal` and cancels the body of the answer; a slow one holds its reading
 * back. A handler of `createHttpHandler` writes its answers to the Node response itself; one that wraps it goes through
 * `Request` and `Response`.
 */
export function toExpress(handler: FetchHandler): NodeMiddleware {
  const answer = answerOf(handler);
  return async (req, res, next) => {
    const known = urlFor(req, handler.basePath);
    if (known === undefined && next !== undefined) {
      next();
      return;
    }
    const url = known ?? req.originalUrl ?? req.url ?? "/";
    // What two names of a host mean under HTTP/2 is the bridge's affair.
    const isDirect = answer !== undefined && req.httpVersionMajor === 1;
    let request: Request;
    try {
      // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- a subclass of Request
      request = isDirect ? new NodeFetchRequest(req, res, url) : toRequest(req, res, url);
    } catch {
      // A host or a method that no URL or request can have.
      res.writeHead(400, { "content-type": "text/plain; charset=utf-8" }).end("Bad Request");
      return;
    }
    requests.set(request, req);
    try {
      if (isDirect) {
        await sendReply(res, await answer(request));
        return;
      }
      const response = await handler(request);
      // Nobody is left to read it.
      if (res.destroyed) await response.body?.cancel();
      else await sendResponse(res, response);
    } catch (error) {
      if (res.headersSent || res.destroyed) res.destroy();
      else if (next === undefined) res.writeHead(500).end();
      else next(error);
    }
  };
}

/** The URL under which the handler knows the request; undefined if it is not one of its. */
function urlFor(req: NodeRequest, basePath: string | undefined): string | undefined {
  const candidates = [req.originalUrl, req.url].filter((url) => url !== undefined);
  if (basePath === undefined) return candidates[0];
  return candidates.find((url) => {
    const path = url.split("?", 1)[0] ?? "";
    return path === basePath || path.startsWith(`${basePath}/`);
  });
}

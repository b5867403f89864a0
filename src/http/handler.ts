import { AgentError, type ChatService } from "../index.js";
import { authenticate, checkSite, isAdmin, preflight, withCors, type Caller } from "./auth.js";
import { errorReply, HttpError, isServerFault } from "./errors.js";
import { checkHttpOptions, type HttpHandlerOptions, type HttpSettings, type HttpUser } from "./options.js";
import { modelOf } from "./models.js";
import { toResponse, withoutBody, type Reply } from "./reply.js";
import type { Access, WaitUntil } from "./route.js";
import { matchRoute } from "./routes.js";

/** What a host may add to one request. */
export interface HttpCall {
  /** Told of each run that the request starts, for hosts that stop when the answer has been sent. */
  readonly waitUntil?: WaitUntil | undefined;
}

/** Answers requests; never rejects. */
export interface HttpHandler {
  (request: Request, call?: HttpCall): Promise<Response>;
  /** Where its routes begin, without a slash at the end; an empty string for the root. */
  readonly basePath: string;
}

/**
 * Serves a chat service to front ends, as a function of a request, which any fetch host can mount; for Express and
 * Next.js see `agent-sessions/express` and `agent-sessions/next`. It closes nothing: the service is the host's.
 *
 * Every session, run and message that a request can name is looked up under the user that `authenticate` gave;
 * whatever belongs to somebody else is not found. Errors reach clients as a code and fixed text.
 *
 * @throws {TypeError | RangeError} for options that are wrong: above all, without `authenticate`.
 */
export function createHttpHandler<TConfig extends object, TContext, TUser extends HttpUser = HttpUser>(
  chat: ChatService<TConfig, TContext>,
  options: HttpHandlerOptions<TUser, TContext>,
): HttpHandler {
  // A caller in plain JavaScript may have swapped them.
  if (typeof (chat as Partial<typeof chat> | undefined)?.follow !== "function") {
    throw new TypeError("Expected `chat` to be a ChatService");
  }
  const settings = checkHttpOptions(options, modelOf(chat.defaultConfig));
  const answer = async (request: Request, call: HttpCall = {}): Promise<Reply> => {
    let reply: Reply;
    try {
      reply = preflight(request, settings) ?? (await dispatch(chat, settings, request, call));
    } catch (error) {
      if (isServerFault(error)) settings.onError(error, request);
      reply = errorReply(error);
    }
    return withCors(request, reply, settings);
  };
  const handle = async (request: Request, call?: HttpCall): Promise<Response> =>
    toResponse(await answer(request, call), () => request.signal);
  return Object.assign(handle, { basePath: settings.basePath, [ANSWER]: answer });
}

/**
 * Where a handler has its answers as they are before a `Response` is made of them: on Node that and its web stream cost
 * more than the answer. A handler that wraps ours has none, nor has one of another copy of this library.
 */
const ANSWER = Symbol("answer");

type Answer = (request: Request) => Promise<Reply>;

/** Gives {@link ANSWER} of a handler that is one of ours. */
export function answerOf(handler: object): Answer | undefined {
  // Nothing else is kept under this symbol.
  return (handler as { readonly [ANSWER]?: Answer })[ANSWER];
}

async function dispatch<TConfig extends object, TContext, TUser extends HttpUser>(
  chat: ChatService<TConfig, TContext>,
  settings: HttpSettings<TUser, TContext>,
  request: Request,
  call: HttpCall,
): Promise<Reply> {
  const url = new URL(request.url);
  const { basePath } = settings;
  if (!url.pathname.startsWith(`${basePath}/`)) throw new HttpError("ROUTE_NOT_FOUND");
  // Load balancers ask with HEAD whether a GET would do.
  const isHead = request.method === "HEAD";
  const method = isHead ? "GET" : request.method;
  const { route, params } = matchRoute(method, url.pathname.slice(basePath.length));
  checkSite(request, settings);
  const caller = await admit(route.access, request, settings);
  const waitUntil = (promise: Promise<unknown>): void => {
    try {
      call.waitUntil?.(promise);
    } catch (error) {
      // What was begun goes on all the same.
      settings.onError(error, request);
    }
  };
  const reply = await route.handle({
    chat,
    settings,
    request,
    query: url.searchParams,
    params,
    caller,
    waitUntil,
  });
  return isHead ? withoutBody(reply) : reply;
}

/** Finds out who calls, and whether they may. @throws {AgentError} `UNAUTHENTICATED`, `FORBIDDEN` */
async function admit<TUser extends HttpUser>(
  access: Access,
  request: Request,
  settings: HttpSettings<TUser, unknown>,
): Promise<Caller<TUser>> {
  // Anybody gets the bare answer, even while whoever says who they are is out of order.
  if (access === "public") return { user: undefined, userId: undefined };
  const caller = await authenticate(request, settings);
  if (access !== "admin") return caller;
  if (caller.user === undefined) throw new AgentError("UNAUTHENTICATED", "The request has no user.");
  if (!(await isAdmin(caller, request, settings))) throw new AgentError("FORBIDDEN", "The user is no admin.");
  return caller;
}

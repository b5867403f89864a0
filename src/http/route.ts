import { AgentError, type ChatService, type RunInfo, type SessionRef } from "../index.js";
import { isUnguessable, type Caller } from "./auth.js";
import type { HttpSettings, HttpUser } from "./options.js";
import type { Reply } from "./reply.js";

/** Promises that must be kept after the answer has been sent, as serverless hosts want to be told. */
export type WaitUntil = (promise: Promise<unknown>) => void;

/** All that a route works with. */
export interface RouteContext<TConfig extends object, TContext, TUser extends HttpUser> {
  readonly chat: ChatService<TConfig, TContext>;
  readonly settings: HttpSettings<TUser, TContext>;
  readonly request: Request;
  readonly query: URLSearchParams;
  /** The decoded `:name` segments of the path. */
  readonly params: Readonly<Record<string, string>>;
  readonly caller: Caller<TUser>;
  /** Never throws. */
  readonly waitUntil: WaitUntil;
}

/** Who may use a route: anybody, a user (or an anonymous caller, where they are served), or an admin. */
export type Access = "public" | "user" | "admin";

export interface Route {
  readonly method: "GET" | "POST" | "DELETE";
  /** Under the base path; `:name` stands for one segment. */
  readonly path: string;
  readonly access: Access;
  handle<TConfig extends object, TContext, TUser extends HttpUser>(
    context: RouteContext<TConfig, TContext, TUser>,
  ): Promise<Reply>;
}

/**
 * The session that an id of the path names: the caller's own. Callers without a user have no session under an id that
 * could be guessed, though the host may have begun one in-process.
 *
 * @throws {AgentError} `SESSION_NOT_FOUND`
 */
export function sessionOf(context: {
  readonly params: Readonly<Record<string, string>>;
  readonly caller: Caller<HttpUser>;
}): SessionRef {
  const { params, caller } = context;
  const id = params["id"] ?? "";
  if (caller.userId === undefined && !isUnguessable(id)) {
    throw sessionNotFound();
  }
  return refOf(id, caller);
}

/**
 * Looks a session up, with the run that {@link ChatService.getRun} has of it.
 *
 * @throws {AgentError} `SESSION_NOT_FOUND`
 */
export async function checkSession<TConfig extends object, TContext>(
  service: ChatService<TConfig, TContext>,
  session: SessionRef,
): Promise<RunInfo | undefined> {
  const [known, run] = await Promise.all([service.getSession(session), service.getRun(session)]);
  if (known === undefined && run === undefined) throw sessionNotFound();
  return run;
}

function sessionNotFound(): AgentError {
  return new AgentError("SESSION_NOT_FOUND", "There is no such session.");
}

export function refOf(sessionId: string, { userId }: Caller<HttpUser>): SessionRef {
  return userId === undefined ? { sessionId } : { sessionId, userId };
}

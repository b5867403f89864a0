import { AgentError, isValidId, type ChatService, type SessionRef } from "../index.js";
import { isAdminAtHand } from "./auth.js";
import { queryLimit } from "./body.js";
import { HttpError } from "./errors.js";
import { jsonReply } from "./reply.js";
import { agentsRow, sessionRow, statsRow } from "./rows.js";
import type { Route } from "./route.js";

const stats: Route = {
  method: "GET",
  path: "/agent-stats",
  access: "admin",
  async handle({ chat }) {
    return jsonReply(statsRow(await chat.getStats()));
  },
};

const sessions: Route = {
  method: "GET",
  path: "/agent-sessions",
  access: "admin",
  async handle({ chat, query }) {
    const userId = query.get("user_id") ?? undefined;
    // A store need not take what no user is called.
    if (userId !== undefined && !isValidId(userId)) {
      throw new HttpError("INVALID_INPUT", "Expected `user_id` to be the id of a user.");
    }
    const page = await chat.listSessions({
      userId,
      limit: queryLimit(query, 50, 1_000),
      after: query.get("after") ?? undefined,
    });
    return jsonReply({ sessions: page.sessions.map(sessionRow), next: page.next ?? null });
  },
};

const removeAgent: Route = {
  method: "DELETE",
  path: "/agent-sessions/:id",
  access: "admin",
  async handle({ chat, params, query }) {
    const sessionId = params["id"] ?? "";
    const userId = query.get("user_id");
    const session = userId === null ? await soleSession(chat, sessionId) : { sessionId, userId };
    const removed = await chat.removeAgent(session);
    if (!removed && (await chat.getSession(session)) === undefined) {
      throw new AgentError("SESSION_NOT_FOUND", "There is no such session.");
    }
    return jsonReply({ removed });
  },
};

/** The one session of this id, whoever's it is. @throws {HttpError} `SESSION_AMBIGUOUS` */
async function soleSession<TConfig extends object, TContext>(
  chat: ChatService<TConfig, TContext>,
  sessionId: string,
): Promise<SessionRef> {
  let found: SessionRef | undefined;
  let after: string | undefined;
  do {
    const page = await chat.listSessions({ limit: 1_000, after });
    for (const { sessionId: id, userId } of page.sessions) {
      if (id !== sessionId) continue;
      if (found !== undefined) throw new HttpError("SESSION_AMBIGUOUS");
      found = userId === undefined ? { sessionId } : { sessionId, userId };
    }
    after = page.next;
  } while (after !== undefined);
  // A session that is not listed may have an agent all the same.
  return found ?? { sessionId };
}

const health: Route = {
  method: "GET",
  path: "/agent-health",
  access: "public",
  async handle({ chat, request, settings }) {
    const [health, isAdmin] = await Promise.all([chat.getHealth(), isAdminAtHand(request, settings)]);
    const { status, ready, store, agents, processId, processes } = health;
    const details = isAdmin
      ? {
          store,
          agents: agentsRow(agents),
          process_id: processId,
          ...(processes === undefined ? undefined : { processes }),
        }
      : {};
    // Something in front of us asks again soon enough.
    return jsonReply({ status, ready, ...details }, ready ? 200 : 503, ready ? {} : { "retry-after": "1" });
  },
};

const cleanup: Route = {
  method: "POST",
  path: "/agent-cleanup",
  access: "admin",
  async handle({ chat }) {
    const { expiredAgents, expiredRuns, deletedSessions } = await chat.cleanup();
    return jsonReply({
      expired_agents: expiredAgents,
      expired_runs: expiredRuns,
      deleted_sessions: deletedSessions,
    });
  },
};

export const adminRoutes: readonly Route[] = [stats, sessions, removeAgent, health, cleanup];

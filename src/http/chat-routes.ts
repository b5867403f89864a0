import {
  AgentError,
  type Answers,
  type BusyPolicy,
  type ChatRequest,
  type ChatService,
  type SessionRef,
} from "../index.js";
import { isUnguessable, type Caller } from "./auth.js";
import { firstString, optionalString, queryLimit, readJsonObject } from "./body.js";
import { hasCode, HttpError } from "./errors.js";
import { follow } from "./follow-route.js";
import { messages } from "./messages-route.js";
import { chooseModel, modelOf } from "./models.js";
import type { HttpUser, ModelChoice } from "./options.js";
import { parseAgUiRequest } from "./protocols/ag-ui-request.js";
import { AgUiStreamEncoder } from "./protocols/ag-ui.js";
import { parseUiChatRequest, type UiChatRequest } from "./protocols/ai-sdk-request.js";
import { isObject } from "./protocols/approvals.js";
import { jsonReply } from "./reply.js";
import { checkSession, refOf, sessionOf, type Route, type RouteContext } from "./route.js";
import { answerWithRun, continuedUi, formatOf, shownEventsOf, streamReply } from "./runs.js";
import { sessionRow } from "./rows.js";
import { startUiRun } from "./ui-runs.js";

function invalid(message: string): HttpError {
  return new HttpError("INVALID_INPUT", message);
}

/** What every request that starts a run says, whatever its form. */
interface RunBase<TContext> {
  readonly sessionId: string;
  readonly userId?: string | undefined;
  readonly runId: string | undefined;
  readonly context: TContext | undefined;
}

/** A session that a client names in a body: it begins with its first message. */
function newSession(sessionId: unknown, caller: Caller<HttpUser>): SessionRef {
  if (typeof sessionId !== "string") throw invalid("Expected `session_id` to be a string.");
  if (caller.userId === undefined && !isUnguessable(sessionId)) {
    throw invalid("Expected `session_id` to be a UUID, or 22 random characters of base64url.");
  }
  return refOf(sessionId, caller);
}

async function runBase<TConfig extends object, TContext, TUser extends HttpUser>(
  context: RouteContext<TConfig, TContext, TUser>,
  session: SessionRef,
  runId: string | undefined,
): Promise<RunBase<TContext>> {
  const { settings, request, caller } = context;
  return { ...session, runId, context: await settings.context?.(request, caller.user, session) };
}

function modelOfRequest<TConfig extends object, TContext, TUser extends HttpUser>(
  { chat, settings }: RouteContext<TConfig, TContext, TUser>,
  body: Readonly<Record<string, unknown>>,
): ModelChoice {
  const wanted = {
    provider: optionalString(body, "provider"),
    model: firstString(body, "model_name", "model"),
  };
  const configured = modelOf(chat.defaultConfig);
  return chooseModel(wanted, settings.allowModels ?? [configured], configured);
}

const POLICIES: ReadonlySet<unknown> = new Set(["enqueue", "reject", "interrupt", "rollback"]);

function busyPolicy(body: Readonly<Record<string, unknown>>): BusyPolicy | undefined {
  const policy = optionalString(body, "on_busy");
  if (policy === undefined) return undefined;
  if (!POLICIES.has(policy))
    throw invalid("Expected `on_busy` to be enqueue, reject, interrupt or rollback.");
  // One of the four, as just checked.
  return policy as BusyPolicy;
}

function wantsStream(body: Readonly<Record<string, unknown>>): boolean {
  const stream = body["stream"] ?? true;
  if (typeof stream !== "boolean") throw invalid("Expected `stream` to be true or false.");
  return stream;
}

const chat: Route = {
  method: "POST",
  path: "/chat",
  access: "user",
  async handle(context) {
    const { settings, request, query } = context;
    const format = formatOf(query);
    const body = await readJsonObject(request, settings.maxBodyBytes);
    const session = newSession(firstString(body, "session_id", "id"), context.caller);
    const stream = wantsStream(body);
    const onBusy = busyPolicy(body);
    const message = body["message"] ?? undefined;
    const asked: UiChatRequest | undefined = message === undefined ? parseUiChatRequest(body) : undefined;
    const { provider, model } = modelOfRequest(context, body);
    const base = await runBase(context, session, optionalString(body, "run_id"));
    const common = { ...base, onBusy, provider, model };
    const { run, ui } =
      asked === undefined
        ? { run: context.chat.chat({ ...common, message: messageOf(message) }), ui: {} }
        : await startUiRun(context.chat, common, asked);
    return answerWithRun(context, run, { stream, format, ui });
  },
};

/** Text, content blocks, or one of them under an id of the client's; their insides are checked by `chat`. */
function messageOf(message: unknown): ChatRequest["message"] {
  if (typeof message === "string" || Array.isArray(message)) return message;
  if (isObject(message)) {
    const { content } = message;
    const id = message["id"] ?? undefined;
    const isId = id === undefined || typeof id === "string";
    if (isId && (typeof content === "string" || Array.isArray(content))) return { id, content };
  }
  throw invalid("Expected `message` to be text, or a list of content blocks.");
}

const stop: Route = {
  method: "POST",
  path: "/chat/:id/stop",
  access: "user",
  async handle(context) {
    const { chat: service, settings, request } = context;
    const body = await readJsonObject(request, settings.maxBodyBytes, true);
    const session = sessionOf(context);
    const runId = optionalString(body, "run_id");
    const run = await service.cancel({ ...session, runId }).catch(async (error: unknown) => {
      if (runId !== undefined || !hasCode(error, "RUN_NOT_FOUND")) throw error;
      // What was to be stopped may just have ended by itself.
      const last = await service.getRun(session);
      if (last === undefined) throw error;
      return last;
    });
    return jsonReply({ run_id: run.runId, status: run.status });
  },
};

const resume: Route = {
  method: "POST",
  path: "/chat/:id/resume",
  access: "user",
  async handle(context) {
    const { chat: service, settings, request, query } = context;
    const format = formatOf(query);
    const body = await readJsonObject(request, settings.maxBodyBytes);
    const { answers } = body;
    if (!isObject(answers)) throw invalid("Expected `answers` to be an object, keyed by interrupt id.");
    const session = sessionOf(context);
    const stream = wantsStream(body);
    await checkSession(service, session);
    const base = await runBase(context, session, optionalString(body, "run_id"));
    // It came as JSON.
    const run = service.resume({ ...base, answers: answers as Answers });
    await run.accepted;
    const ui = stream && format === "ai-sdk" ? await continuedUi(service, session) : {};
    return answerWithRun(context, run, { stream, format, ui });
  },
};

const listSessions: Route = {
  method: "GET",
  path: "/sessions",
  access: "user",
  async handle({ chat: service, caller, query }) {
    // Without a user the list would be everybody's.
    if (caller.userId === undefined) throw new AgentError("FORBIDDEN", "There is no list without a user.");
    const page = await service.listSessions({
      userId: caller.userId,
      limit: queryLimit(query, 50, 1_000),
      after: query.get("after") ?? undefined,
    });
    return jsonReply({ sessions: page.sessions.map(sessionRow), next: page.next ?? null });
  },
};

const deleteSession: Route = {
  method: "DELETE",
  path: "/sessions/:id",
  access: "user",
  async handle(context) {
    const deleted = await context.chat.deleteSession(sessionOf(context));
    if (!deleted) throw new AgentError("SESSION_NOT_FOUND", "There is no such session.");
    return jsonReply({ deleted: true });
  },
};

const agUi: Route = {
  method: "POST",
  path: "/ag-ui",
  access: "user",
  async handle(context) {
    const { chat: service, settings, request } = context;
    const { legacyInterrupts, showToolErrors } = settings;
    const body = await readJsonObject(request, settings.maxBodyBytes);
    const asked = parseAgUiRequest(body, { legacyInterrupts });
    const { threadId, runId, protocol1, input, toolCalls } = asked;
    const session = newSession(threadId, context.caller);
    const base = await runBase(context, session, runId);
    const run =
      input.kind === "message"
        ? service.chat({ ...base, message: input.message })
        : service.resume({
            ...base,
            answers:
              input.kind === "answers"
                ? input.answers
                : { [await soleInterrupt(service, session)]: input.answer },
          });
    await run.accepted;
    context.waitUntil(run.result.catch(() => undefined));
    const encoder = new AgUiStreamEncoder({
      threadId,
      runId,
      protocol1,
      legacyInterrupts,
      knownToolCalls: toolCalls,
      showToolErrors,
    });
    return streamReply(context, await shownEventsOf(service, run), encoder);
  },
};

/** For clients that cannot name what they answer. */
async function soleInterrupt<TConfig extends object, TContext>(
  service: ChatService<TConfig, TContext>,
  session: SessionRef,
): Promise<string> {
  const run = await service.getRun(session);
  const [first, ...others] = run?.interrupts ?? [];
  if (first === undefined) throw new AgentError("INTERRUPT_STALE", "No interrupt waits.");
  if (others.length > 0)
    throw new AgentError("INVALID_INPUT", "Several interrupts wait: name the one answered.");
  return first.id;
}

export const chatRoutes: readonly Route[] = [
  chat,
  follow,
  stop,
  resume,
  messages,
  listSessions,
  deleteSession,
  agUi,
];

import {
  AgentError,
  type Answers,
  type BusyPolicy,
  type ChatRequest,
  type ChatService,
  type RunEvent,
  type RunInfo,
  type SessionRef,
} from "../index.js";
import { isUnguessable, type Caller } from "./auth.js";
import { optionalString, queryLimit, readJsonObject } from "./body.js";
import { HttpError, jsonResponse } from "./errors.js";
import { chooseModel, modelOf } from "./models.js";
import type { HttpUser, ModelChoice } from "./options.js";
import { parseAgUiRequest } from "./protocols/ag-ui-request.js";
import { AgUiStreamEncoder } from "./protocols/ag-ui.js";
import { toUiMessages } from "./protocols/ai-sdk-history.js";
import { parseUiChatRequest, type UiChatRequest } from "./protocols/ai-sdk-request.js";
import { UiMessageStreamEncoder, type UiChunkOptions } from "./protocols/ai-sdk.js";
import { EventStreamEncoder, parseEventId } from "./protocols/events.js";
import { isObject } from "./protocols/approvals.js";
import { refOf, sessionOf, type Route, type RouteContext } from "./route.js";
import {
  answerWithRun,
  continuedUi,
  formatOf,
  hasCode,
  prepend,
  streamResponse,
  toInterruptRow,
} from "./runs.js";
import { historyRow, sessionRow } from "./rows.js";
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
    throw invalid("Expected `session_id` to be a UUID, or at least 22 random characters.");
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
    model: optionalString(body, "model_name") ?? optionalString(body, "model"),
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
  const { stream = true } = body;
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
    const session = newSession(body["session_id"] ?? body["id"], context.caller);
    const stream = wantsStream(body);
    const onBusy = busyPolicy(body);
    const asked: UiChatRequest | undefined =
      body["message"] === undefined ? parseUiChatRequest(body) : undefined;
    const { provider, model } = modelOfRequest(context, body);
    const base = await runBase(context, session, optionalString(body, "run_id"));
    const common = { ...base, onBusy, provider, model };
    const { run, ui } =
      asked === undefined
        ? { run: context.chat.chat({ ...common, message: messageOf(body["message"]) }), ui: {} }
        : await startUiRun(context.chat, common, asked);
    return answerWithRun(context, run, { stream, format, ui });
  },
};

/** Text, content blocks, or one of them under an id of the client's; their insides are checked by `chat`. */
function messageOf(message: unknown): ChatRequest["message"] {
  if (typeof message === "string" || Array.isArray(message)) return message;
  if (isObject(message)) {
    const { id, content } = message;
    const isId = id === undefined || typeof id === "string";
    if (isId && (typeof content === "string" || Array.isArray(content))) return { id, content };
  }
  throw invalid("Expected `message` to be text, or a list of content blocks.");
}

/** No content: there is nothing to take up again. AI SDK clients expect just that, also for a chat that is new. */
function nothingToFollow(): Response {
  return new Response(null, { status: 204, headers: { "cache-control": "no-store" } });
}

const follow: Route = {
  method: "GET",
  path: "/chat/:id/stream",
  access: "user",
  async handle(context) {
    const { chat: service, request, query } = context;
    const format = formatOf(query);
    const session = sessionOf(context);
    const lastEventId = request.headers.get("last-event-id") ?? query.get("last_event_id");
    const last = lastEventId === null || format === "ai-sdk" ? undefined : parseEventId(lastEventId);
    if (lastEventId !== null && format === "events" && last === undefined) {
      throw invalid("Expected `last-event-id` to be the id of an event as it was sent.");
    }
    const runId = last?.runId ?? query.get("run_id") ?? undefined;
    const run = await service.getRun({ ...session, runId });
    if (format === "events") {
      if (run === undefined) throw new AgentError("RUN_NOT_FOUND", "The session has no such run.");
      return followEvents(context, session, run, last?.seq ?? 0);
    }
    // A run that has ended is in the history, but a client may have read that before; one that is named is wanted.
    if (run === undefined) return nothingToFollow();
    const isFresh = context.settings.clock.now() - (run.finishedAt ?? 0) < REPLAY_MS;
    if (runId === undefined && !isUnderWay(run) && !isFresh) return nothingToFollow();
    return followUi(context, session, run);
  },
};

/**
 * How long after its end a run is still replayed to AI SDK clients that ask to go on: between reading the history and
 * asking, an answer may end. The replay takes the place of the message that the client has.
 */
const REPLAY_MS = 10_000;

function isUnderWay({ status }: RunInfo): boolean {
  return status === "queued" || status === "running";
}

async function followEvents<TConfig extends object, TContext, TUser extends HttpUser>(
  context: RouteContext<TConfig, TContext, TUser>,
  session: SessionRef,
  run: RunInfo,
  after: number,
): Promise<Response> {
  const { chat: service, settings } = context;
  const { runId } = run;
  let events: AsyncIterator<RunEvent, undefined> = service.follow({ ...session, runId, after });
  // Where an event must be there already, its absence can still be a status.
  if (!isUnderWay(run) || (run.status === "running" && after === 0)) {
    const first = await events.next();
    // Everything has been had: this keeps an EventSource from coming again and again.
    if (first.done === true) return nothingToFollow();
    events = prepend(first, events);
  }
  const { showToolErrors } = settings;
  return streamResponse(context, events, new EventStreamEncoder(runId, { showToolErrors }));
}

async function followUi<TConfig extends object, TContext, TUser extends HttpUser>(
  context: RouteContext<TConfig, TContext, TUser>,
  session: SessionRef,
  run: RunInfo,
): Promise<Response> {
  const { chat: service, settings } = context;
  let events: AsyncIterator<RunEvent, undefined> = service.follow({ ...session, runId: run.runId });
  let ui: UiChunkOptions = {};
  if (run.status !== "queued") {
    const first = await events.next();
    events = prepend(first, events);
    // The run began with no message: it goes on with an answer, or gives one again.
    if (first.value?.type === "run-started" && first.value.messageId === undefined) {
      const continued = await continuedUi(service, session);
      ui = run.turnId === run.runId ? { messageId: continued.messageId } : continued;
    }
  }
  const { showToolErrors } = settings;
  return streamResponse(context, events, new UiMessageStreamEncoder({ ...ui, showToolErrors }));
}

const stop: Route = {
  method: "POST",
  path: "/chat/:id/stop",
  access: "user",
  async handle(context) {
    const { chat: service, settings, request } = context;
    const body = await readJsonObject(request, settings.maxBodyBytes, true);
    const session = sessionOf(context);
    const run = await service
      .cancel({ ...session, runId: optionalString(body, "run_id") })
      .catch(async (error: unknown) => {
        // What was to be stopped may just have ended by itself.
        const last = hasCode(error, "RUN_NOT_FOUND") ? await service.getRun(session) : undefined;
        if (last === undefined || body["run_id"] !== undefined) throw error;
        return last;
      });
    return jsonResponse({ run_id: run.runId, status: run.status });
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
    const base = await runBase(context, session, optionalString(body, "run_id"));
    // It came as JSON.
    const run = service.resume({ ...base, answers: answers as Answers });
    await run.accepted;
    const ui = stream && format === "ai-sdk" ? await continuedUi(service, session) : {};
    return answerWithRun(context, run, { stream, format, ui });
  },
};

const messages: Route = {
  method: "GET",
  path: "/chat/:id/messages",
  access: "user",
  async handle(context) {
    const { chat: service, query, settings } = context;
    const format = query.get("format") ?? "neutral";
    if (format !== "neutral" && format !== "ai-sdk")
      throw invalid("Expected `format` to be neutral or ai-sdk.");
    const limit = queryLimit(query, 100, 1_000);
    const before = query.get("before") ?? undefined;
    const session = sessionOf(context);
    const [known, run] = await Promise.all([service.getSession(session), service.getRun(session)]);
    if (known === undefined && run === undefined) {
      throw new AgentError("SESSION_NOT_FOUND", "There is no such session.");
    }
    const page = await service.getHistory({ ...session, limit, before });
    const visible = page.messages.filter(({ role }) => role !== "system");
    const interrupts = run?.status === "interrupted" && before === undefined ? run.interrupts : [];
    const { showToolErrors } = settings;
    return jsonResponse({
      messages:
        format === "ai-sdk"
          ? toUiMessages(visible, { interrupts, showToolErrors })
          : visible.map((message) => historyRow(message, showToolErrors)),
      before: page.before ?? null,
      interrupts: interrupts.map(toInterruptRow),
      run: run === undefined ? null : { run_id: run.runId, status: run.status },
    });
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
    return jsonResponse({ sessions: page.sessions.map(sessionRow), next: page.next ?? null });
  },
};

const deleteSession: Route = {
  method: "DELETE",
  path: "/sessions/:id",
  access: "user",
  async handle(context) {
    const deleted = await context.chat.deleteSession(sessionOf(context));
    if (!deleted) throw new AgentError("SESSION_NOT_FOUND", "There is no such session.");
    return jsonResponse({ deleted: true });
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
    context.waitUntil?.(run.result.catch(() => undefined));
    const encoder = new AgUiStreamEncoder({
      threadId,
      runId,
      protocol1,
      legacyInterrupts,
      knownToolCalls: toolCalls,
      showToolErrors,
    });
    return streamResponse(context, run[Symbol.asyncIterator](), encoder);
  },
};

/** For clients that cannot name what they answer. */
async function soleInterrupt<TConfig extends object, TContext>(
  service: ChatService<TConfig, TContext>,
  session: SessionRef,
): Promise<string> {
  const run = await service.getRun(session);
  const [first, ...others] = run?.status === "interrupted" ? run.interrupts : [];
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

import {
  isAgentError,
  type AgentError,
  type ChatService,
  type Interrupt,
  type Run,
  type RunEvent,
  type RunResult,
  type SessionRef,
} from "../index.js";
import { errorResponse, HttpError, jsonResponse } from "./errors.js";
import type { HttpUser } from "./options.js";
import { toUiMessageStart } from "./protocols/ai-sdk-history.js";
import { UiMessageStreamEncoder, type UiChunkOptions } from "./protocols/ai-sdk.js";
import { EventStreamEncoder } from "./protocols/events.js";
import type { StreamEncoder } from "./protocols/protocol.js";
import type { RouteContext } from "./route.js";
import { sseBody, streamHeaders } from "./sse.js";

/** What a client can have a run's events as. */
export type StreamFormat = "ai-sdk" | "events";

/** Reads `?format=`. @throws {HttpError} `INVALID_INPUT` */
export function formatOf(query: URLSearchParams): StreamFormat {
  const format = query.get("format") ?? "ai-sdk";
  if (format === "ai-sdk" || format === "events") return format;
  throw new HttpError("INVALID_INPUT", "Expected `format` to be ai-sdk or events.");
}

/** Tells a client which stream it gets: AI SDK clients look for theirs. */
const UI_MESSAGE_HEADERS = { "x-vercel-ai-ui-message-stream": "v1" };

/** Answers with the events of a run, which goes on whether the client stays or leaves. */
export function streamResponse<TConfig extends object, TContext, TUser extends HttpUser>(
  { settings, request }: RouteContext<TConfig, TContext, TUser>,
  events: AsyncIterator<RunEvent, undefined>,
  encoder: StreamEncoder,
): Response {
  const { clock, heartbeatMs } = settings;
  const body = sseBody({
    events,
    encoder,
    clock,
    heartbeatMs,
    signal: request.signal,
    onError: (error) => {
      settings.onError(error, request);
    },
  });
  const headers = {
    ...streamHeaders,
    ...(encoder instanceof UiMessageStreamEncoder ? UI_MESSAGE_HEADERS : {}),
  };
  return new Response(body, { headers });
}

/**
 * Answers with the outcome of a run, when it has been accepted: as a stream, or as one JSON object.
 *
 * @throws {AgentError} what the run was refused with.
 */
export async function answerWithRun<TConfig extends object, TContext, TUser extends HttpUser>(
  context: RouteContext<TConfig, TContext, TUser>,
  run: Run,
  wanted: { readonly stream: boolean; readonly format: StreamFormat; readonly ui: UiChunkOptions },
): Promise<Response> {
  await run.accepted;
  const settled = run.result.catch(() => undefined);
  context.waitUntil?.(settled);
  if (!wanted.stream) return runResponse(run);
  const { showToolErrors } = context.settings;
  const encoder =
    wanted.format === "events"
      ? new EventStreamEncoder(run.id, { showToolErrors })
      : new UiMessageStreamEncoder({ ...wanted.ui, showToolErrors });
  return streamResponse(context, run[Symbol.asyncIterator](), encoder);
}

async function runResponse(run: Run): Promise<Response> {
  let result: RunResult;
  try {
    result = await run.result;
  } catch (error) {
    return errorResponse(error);
  }
  const { runId, outcome, text, usage, interrupts } = result;
  return jsonResponse({
    session_id: run.sessionId,
    run_id: runId,
    outcome,
    text,
    usage: {
      input_tokens: usage.inputTokens,
      output_tokens: usage.outputTokens,
      total_tokens: usage.totalTokens,
    },
    interrupts: interrupts.map(toInterruptRow),
  });
}

export function toInterruptRow({ id, kind, value }: Interrupt): Interrupt {
  return { id, kind, value };
}

/**
 * How the stream of a run must begin that goes on with an answer begun by an earlier run, for a client that does not
 * have that beginning.
 */
export async function continuedUi<TConfig extends object, TContext>(
  chat: ChatService<TConfig, TContext>,
  session: SessionRef,
): Promise<UiChunkOptions> {
  try {
    const { messages } = await chat.getHistory({ ...session, limit: 1_000 });
    return toUiMessageStart(messages) ?? {};
  } catch (error) {
    // An agent that keeps no conversation: the stream stands alone.
    if (hasCode(error, "UNSUPPORTED")) return {};
    throw error;
  }
}

export function hasCode(error: unknown, code: AgentError["code"]): boolean {
  return isAgentError(error) && error.code === code;
}

/** An iterator that gives an event which has been taken from it again. */
export function prepend(
  first: IteratorResult<RunEvent, undefined>,
  rest: AsyncIterator<RunEvent, undefined>,
): AsyncIterator<RunEvent, undefined> {
  let taken = false;
  return {
    next: () => {
      if (taken) return rest.next();
      taken = true;
      return Promise.resolve(first);
    },
    return: () => rest.return?.() ?? Promise.resolve({ done: true, value: undefined }),
  };
}

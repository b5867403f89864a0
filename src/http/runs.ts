import {
  type ChatService,
  type Interrupt,
  type Run,
  type RunEvent,
  type RunResult,
  type SessionRef,
} from "../index.js";
import { errorReply, hasCode, HttpError } from "./errors.js";
import { historyOf } from "./history.js";
import type { HttpUser } from "./options.js";
import { toUiMessageStart } from "./protocols/ai-sdk-history.js";
import { UiMessageStreamEncoder, type UiChunkOptions } from "./protocols/ai-sdk.js";
import { EventStreamEncoder } from "./protocols/events.js";
import type { StreamEncoder } from "./protocols/protocol.js";
import { replayOf } from "./replay.js";
import { jsonReply, type Reply } from "./reply.js";
import type { RouteContext } from "./route.js";
import { EventBody, streamHeaders, type EventSource } from "./sse.js";

/** What a client can have a run's events as. */
export type StreamFormat = "ai-sdk" | "events";

/** Reads `?format=`. @throws {HttpError} `INVALID_INPUT` */
export function formatOf(query: URLSearchParams): StreamFormat {
  const format = query.get("format") ?? "ai-sdk";
  if (format === "ai-sdk" || format === "events") return format;
  throw new HttpError("INVALID_INPUT", "Expected `format` to be ai-sdk or events.");
}

/** Tells a client which stream it gets: AI SDK clients look for theirs. */
const uiMessageHeaders = { ...streamHeaders, "x-vercel-ai-ui-message-stream": "v1" };

/** Answers with the events of a run, which goes on whether the client stays or leaves. */
export function streamReply<TConfig extends object, TContext, TUser extends HttpUser>(
  { settings, request }: RouteContext<TConfig, TContext, TUser>,
  events: AsyncIterator<RunEvent, undefined>,
  encoder: StreamEncoder,
): Reply {
  const { clock, heartbeatMs } = settings;
  const body = new EventBody({
    events,
    encoder,
    clock,
    heartbeatMs,
    onError: (error) => {
      settings.onError(error, request);
    },
  });
  const headers = encoder instanceof UiMessageStreamEncoder ? uiMessageHeaders : streamHeaders;
  return { status: 200, headers, body };
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
): Promise<Reply> {
  await run.accepted;
  const settled = run.result.catch(() => undefined);
  context.waitUntil(settled);
  if (!wanted.stream) return runReply(run);
  const { showToolErrors } = context.settings;
  if (wanted.format === "events") {
    const encoder = new EventStreamEncoder(run.id, { showToolErrors });
    return streamReply(context, run[Symbol.asyncIterator](), encoder);
  }
  const encoder = new UiMessageStreamEncoder({ ...wanted.ui, showToolErrors });
  return streamReply(context, await shownEventsOf(context.chat, run), encoder);
}

/** The events of a run for a client that takes nothing back; an earlier request may have begun it. */
export async function shownEventsOf<TConfig extends object, TContext>(
  chat: ChatService<TConfig, TContext>,
  run: Run,
): Promise<AsyncIterator<RunEvent, undefined>> {
  const events = run[Symbol.asyncIterator]();
  if ((await run.accepted).created) return events;
  const { id: runId, sessionId, userId } = run;
  const known = await chat.getRun({ sessionId, userId, runId });
  return known === undefined ? events : replayOf(known, events);
}

async function runReply(run: Run): Promise<Reply> {
  let result: RunResult;
  try {
    result = await run.result;
  } catch (error) {
    return errorReply(error);
  }
  const { runId, outcome, text, usage, interrupts } = result;
  return jsonReply({
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
    const { messages } = await historyOf(chat, session, { limit: 1_000, wholeTurns: true });
    return toUiMessageStart(messages) ?? {};
  } catch (error) {
    // An agent that keeps no conversation: the stream stands alone.
    if (hasCode(error, "UNSUPPORTED")) return {};
    throw error;
  }
}

/** An iterator that gives an event which has been taken from it again. */
export function prepend(first: IteratorResult<RunEvent, undefined>, rest: EventSource): EventSource {
  let taken = false;
  return {
    next: () => {
      if (taken) return rest.next();
      taken = true;
      return Promise.resolve(first);
    },
    take: (limit) => (taken ? (rest.take?.(limit) ?? []) : []),
    return: () => rest.return?.() ?? Promise.resolve({ done: true, value: undefined }),
  };
}

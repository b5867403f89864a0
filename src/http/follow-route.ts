import { AgentError, type RunInfo, type SessionRef, type TimerHandle } from "../index.js";
import { hasCode, HttpError } from "./errors.js";
import type { HttpUser } from "./options.js";
import { UiMessageStreamEncoder, type UiChunkOptions } from "./protocols/ai-sdk.js";
import { EventStreamEncoder, parseEventId } from "./protocols/events.js";
import { replayOf } from "./replay.js";
import type { Reply } from "./reply.js";
import { sessionOf, type Route, type RouteContext } from "./route.js";
import { continuedUi, formatOf, prepend, streamReply } from "./runs.js";
import type { EventSource } from "./sse.js";

/** No content: there is nothing to take up again. AI SDK clients expect just that, also for a chat that is new. */
function nothingToFollow(): Reply {
  return { status: 204, headers: { "cache-control": "no-store" }, body: null };
}

export const follow: Route = {
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
      throw new HttpError(
        "INVALID_INPUT",
        "Expected `last-event-id` to be the id of an event as it was sent.",
      );
    }
    const runId = last?.runId ?? query.get("run_id") ?? undefined;
    const run = await service.getRun({ ...session, runId });
    if (format === "events") {
      if (run === undefined) throw new AgentError("RUN_NOT_FOUND", "The session has no such run.");
      return followEvents(context, session, run, last?.seq ?? 0);
    }
    return run === undefined ? nothingToFollow() : followUi(context, session, run);
  },
};

function isUnderWay({ status }: RunInfo): boolean {
  return status === "queued" || status === "running";
}

async function followEvents<TConfig extends object, TContext, TUser extends HttpUser>(
  context: RouteContext<TConfig, TContext, TUser>,
  session: SessionRef,
  run: RunInfo,
  after: number,
): Promise<Reply> {
  const { chat: service, settings } = context;
  const { runId } = run;
  let events: EventSource = service.follow({ ...session, runId, after });
  // Where an event must be there already, its absence can still be a status.
  if (
    !isUnderWay(run) ||
    (run.status === "running" && after === 0) ||
    (await isGone(context, session, run, after))
  ) {
    const first = await events.next();
    // Everything has been had: this keeps an EventSource from coming again and again.
    if (first.done === true) return nothingToFollow();
    events = prepend(first, events);
  }
  const { showToolErrors } = settings;
  return streamReply(context, events, new EventStreamEncoder(runId, { showToolErrors }));
}

/** How long is waited for an event that a client says it has had. */
const HAD_EVENT_MS = 1_000;

/**
 * Whether the events up to the one that a client had last are no longer kept. That one is asked for, since it is there
 * at once or not at all. An answer would be too late when the stream is open: an `EventSource` would come again with
 * the same id for ever.
 */
async function isGone<TConfig extends object, TContext, TUser extends HttpUser>(
  { chat: service, settings: { clock } }: RouteContext<TConfig, TContext, TUser>,
  session: SessionRef,
  { runId }: RunInfo,
  had: number,
): Promise<boolean> {
  if (had === 0) return false;
  const events = service.follow({ ...session, runId, after: had - 1 });
  let timer: TimerHandle | undefined;
  // Nobody has had an event that has not come.
  const late = new Promise<void>((resolve) => (timer = clock.setTimeout(resolve, HAD_EVENT_MS)));
  const isTrimmed = events.next().then(
    () => false,
    (error: unknown) => hasCode(error, "EVENTS_TRIMMED"),
  );
  const gone = await Promise.race([isTrimmed, late]);
  clock.clearTimeout(timer);
  await events.return?.();
  return gone === true;
}

/**
 * The whole message that a run answers with. A run that has ended is in the history, but a page may have lost the end
 * of its stream, however long ago: for one that missed nothing the replay takes the place of the same message.
 */
async function followUi<TConfig extends object, TContext, TUser extends HttpUser>(
  context: RouteContext<TConfig, TContext, TUser>,
  session: SessionRef,
  run: RunInfo,
): Promise<Reply> {
  const { chat: service, settings } = context;
  let events = replayOf(run, service.follow({ ...session, runId: run.runId }));
  let ui: UiChunkOptions = {};
  if (run.status !== "queued") {
    const first = await events.next().catch((error: unknown) => {
      // The history is all that is left of it.
      if (isUnderWay(run) || !hasCode(error, "EVENTS_TRIMMED")) throw error;
      return undefined;
    });
    // It was cancelled before it began, and there is no message that it could be.
    const isOver = !isUnderWay(run);
    if (first === undefined || (isOver && first.value?.type !== "run-started")) {
      await events.return?.();
      return nothingToFollow();
    }
    events = prepend(first, events);
    // The run began with no message: it goes on with an answer, or gives one again. Of one that has ended the history
    // has all, and of one that was no run of a message (`withAgent`) it has what is to stay.
    if (first.value?.type === "run-started" && first.value.messageId === undefined) {
      const continued = await continuedUi(service, session);
      const isAnew = !isOver && run.turnId === run.runId;
      ui = isAnew ? { messageId: continued.messageId } : continued;
    }
  }
  const { showToolErrors } = settings;
  return streamReply(context, events, new UiMessageStreamEncoder({ ...ui, showToolErrors }));
}

import {
  Admin,
  type CleanupReport,
  type ServiceHealth,
  type ServiceStats,
  type SessionInfo,
  type SessionListing,
} from "./service/admin.js";
import type { Agent, AgentConfig, AgentRunOptions } from "./agent.js";
import { internalsOf, type AgentManager } from "./agent-manager.js";
import { Conversations, type HistoryPage } from "./service/conversations.js";
import { AgentError } from "./errors.js";
import { TypedEvents, type ChatServiceEvents } from "./events.js";
import { integerOption, optionalInteger, refuseUnknownKeys } from "./internal/check-options.js";
import type { TimerHandle } from "./internal/clock.js";
import type { CreateChatOptions } from "./create-chat-service.js";
import type { LangGraphConfig } from "./langgraph/factory.js";
import { deferred } from "./internal/deferred.js";
import { LazyIterator } from "./internal/lazy-iterator.js";
import { defaults } from "./options.js";
import type { RunEvent } from "./run-event.js";
import { RunEngine } from "./runs/run-engine.js";
import { checkProcessInfo, Presence } from "./service/presence.js";
import { runNotFound, toRunInfo, type RunInfo } from "./service/run-info.js";
import { CHAT_OPTION_KEYS, type ChatServiceOptions } from "./service/service-options.js";
import type { JsonObject } from "./json.js";
import type { Run } from "./run.js";
import type { ChatRequest, EditRequest, RegenerateRequest, ResumeRequest, RunRequest } from "./requests.js";
import { Submissions } from "./runs/submissions.js";
import { checkId, identify, type SessionIdentity, type SessionRef } from "./session.js";
import type { RunRecord } from "./store/store.js";

/**
 * Streamed conversations of many users over the agents of a manager: one run at a time per session, in the order
 * of acceptance, each on its own history, config and model. See {@link Run} for what comes back.
 *
 * @throws {TypeError | RangeError} from the constructor, for options that are wrong.
 */
export class ChatService<
  TConfig extends object = object,
  TContext = unknown,
> extends TypedEvents<ChatServiceEvents> {
  readonly manager: AgentManager<TConfig, TContext>;
  readonly #engine: RunEngine<TConfig, TContext>;
  readonly #admin: Admin<TConfig, TContext>;
  readonly #conversations: Conversations<TConfig, TContext>;
  readonly #internals: ReturnType<typeof internalsOf<TConfig, TContext>>;
  readonly #submissions: Submissions<TConfig, TContext>;
  readonly #interruptTtlMs: number | undefined;
  readonly #presence: Presence | undefined;
  #owned: (() => Promise<void>) | undefined;
  #timer: TimerHandle | undefined;
  #closing: Promise<void> | undefined;

  /**
   * The short way: LangGraph agents (options as for `createLangGraphFactory`, from `agent-sessions/langgraph`), on an
   * in-memory store unless another one is given. `close()` then closes all of it but a store that was given.
   *
   * @throws {TypeError | RangeError} for options that are wrong. @throws {AgentError} `MODEL_NOT_CONFIGURED` when the
   * provider is unknown, its package is not installed, or it has no key.
   */
  static async create<TContext = unknown>(
    options: CreateChatOptions<TContext>,
  ): Promise<ChatService<LangGraphConfig, TContext>> {
    // Not at the top: the two modules need each other.
    const { createParts } = await import("./create-chat-service.js");
    const created = await createParts(options);
    const { chat } = created;
    chat.#owned = () => created.close();
    try {
      await chat.#submissions.checkDefaults();
    } catch (error) {
      await chat.close({ drainMs: 0 });
      throw error;
    }
    return chat;
  }

  constructor(options: ChatServiceOptions<TConfig, TContext>) {
    super();
    refuseUnknownKeys("ChatService", options, CHAT_OPTION_KEYS);
    const { manager } = options;
    this.#internals = internalsOf(manager);
    this.manager = manager;
    this.#interruptTtlMs = optionalInteger("interruptTtlMs", options.interruptTtlMs, 1);
    this.#conversations = new Conversations(manager, this.#internals);
    this.#engine = new RunEngine({
      store: manager.store,
      pool: this.#internals.pool,
      clock: this.#internals.clock,
      leaseMs: integerOption("leaseMs", options.leaseMs, defaults.leaseMs, 100),
      maxAttempts: integerOption("maxAttempts", options.maxAttempts, defaults.maxAttempts, 1),
      maxConcurrentRuns: optionalInteger("maxConcurrentRuns", options.maxConcurrentRuns, 1),
      maxConcurrentRunsPerUser: optionalInteger(
        "maxConcurrentRunsPerUser",
        options.maxConcurrentRunsPerUser,
        1,
      ),
      runTimeoutMs: integerOption("runTimeoutMs", options.runTimeoutMs, defaults.runTimeoutMs, 0),
      abortGraceMs: integerOption("abortGraceMs", options.abortGraceMs, defaults.abortGraceMs, 0),
      resolveContext: options.resolveContext,
      pendingOf: (run) => this.#conversations.pending(run),
      emit: (event, payload) => {
        this.emit(event, payload);
      },
    });
    this.#submissions = new Submissions(manager, this.#internals, this.#engine, options);
    this.#presence = this.#join(checkProcessInfo(options.processInfo));
    this.#admin = new Admin(manager, this.#internals, this.#engine, this.#submissions, this.#presence);
    this.#schedule();
  }

  /** The config of a session that has set nothing. */
  get defaultConfig(): AgentConfig<TConfig> {
    return this.#internals.defaultConfig;
  }

  /**
   * Sends a message to a session, which begins with its first message. Submits at the call, in the order of the
   * calls of one session, and never throws: see {@link Run} for how refusals and failures show.
   *
   * `provider`, `model` and `config` stick to the session when the run is accepted; the run itself takes the
   * config as it was then.
   *
   * A message under an id that the history has when the run starts is an {@link edit} of that message: its turn and the
   * later ones are undone, or the run fails with `FORK_POINT_GONE`.
   */
  chat(request: ChatRequest<TConfig, TContext>): Run {
    return this.#submissions.chat(request);
  }

  /**
   * Answers interrupts of a session, by id; those left out go on waiting. The run goes ahead of queued ones and
   * has the config of the run that it continues.
   *
   * Refused with `INTERRUPT_STALE` when an interrupt does not wait (any more: of two racing answers one wins), with
   * `INVALID_INPUT` when an approval's decisions don't fit; then nothing has been applied.
   */
  resume(request: ResumeRequest<TContext>): Run {
    return this.#submissions.resume(request);
  }

  /**
   * Begins a turn again: the conversation goes back to before it, and its message is given anew. Fails with
   * `MESSAGE_NOT_FOUND`, or with `FORK_POINT_GONE` when the turn is older than the turns kept for this.
   */
  regenerate(request: RegenerateRequest<TConfig, TContext>): Run {
    return this.#submissions.regenerate(request);
  }

  /** As {@link regenerate}, with another message in place of the turn's. */
  edit(request: EditRequest<TConfig, TContext>): Run {
    return this.#submissions.edit(request);
  }

  /**
   * Reads a run's events after number `after` (0, all of them), from any process, to its end. Without a run id:
   * the running run, else the interrupted one that waits for answers, else the oldest queued one, else the last that is
   * kept.
   *
   * The iteration throws `RUN_NOT_FOUND`, `EVENTS_TRIMMED` (begin again from the history), or the signal's reason.
   */
  follow(
    request: SessionRef & {
      readonly runId?: string | undefined;
      readonly after?: number | undefined;
      readonly signal?: AbortSignal | undefined;
    },
  ): AsyncIterableIterator<RunEvent, undefined> {
    return new LazyIterator(async () => {
      const session = identify(request);
      const after = integerOption("after", request.after, 0, 0);
      const run = await this.#find(session, request.runId);
      if (run === undefined) throw runNotFound(session, request.runId);
      return this.#engine.read(session.threadId, run.runId, after, request.signal);
    });
  }

  /** Looks a run up as {@link follow} would; undefined if there is none. */
  async getRun(request: SessionRef & { readonly runId?: string | undefined }): Promise<RunInfo | undefined> {
    const run = await this.#find(identify(request), request.runId);
    return run === undefined ? undefined : toRunInfo(run);
  }

  /**
   * Stops a run, wherever it works, and resolves when it has ended and its session is free. Without a run id: the
   * running run, else the interrupted one that waits for answers (its interrupts are closed), else the oldest
   * queued one. A run that has ended stays as it is.
   *
   * @throws {AgentError} `RUN_NOT_FOUND`
   */
  async cancel(request: SessionRef & { readonly runId?: string | undefined }): Promise<RunInfo> {
    const session = identify(request);
    if (request.runId !== undefined) checkId("runId", request.runId);
    await this.manager.ready();
    await this.#submissions.settled(session.threadId);
    const run = await this.#engine.cancel(session.threadId, request.runId);
    if (run === undefined) throw runNotFound(session, request.runId);
    return toRunInfo(run);
  }

  /**
   * The newest `limit` (100) messages of a session, or those before the message named in `before`. A session that
   * has none, or does not exist, has an empty history.
   */
  async getHistory(
    request: SessionRef & { readonly limit?: number | undefined; readonly before?: string | undefined },
  ): Promise<HistoryPage> {
    const session = identify(request);
    return this.#conversations.history(
      session,
      integerOption("limit", request.limit, 100, 1),
      request.before,
    );
  }

  /**
   * Uses a session's agent alone: waits for its turn in the session's queue as a message would, and holds the
   * session while `use` works. What `use` gives or throws is passed on. `options` go to `agent.stream`; they carry
   * the lease without which the store refuses writes.
   */
  async withAgent<T>(
    request: Omit<RunRequest<TContext>, "runId">,
    use: (agent: Agent<TContext>, options: AgentRunOptions<TContext>) => Promise<T> | T,
  ): Promise<T> {
    const used = deferred<T>();
    // It may settle after the run has been given up.
    used.promise.catch(() => undefined);
    const run = this.#submissions.direct(request, async (agent, options) => {
      try {
        used.resolve(await use(agent, options));
      } catch (error) {
        used.reject(error);
        // What was thrown because the run was stopped is no end of its own.
        options.signal.throwIfAborted();
      }
    });
    const { outcome } = await run.result;
    if (outcome === "cancelled") {
      request.signal?.throwIfAborted();
      throw new AgentError("RUN_CANCELLED", `The use of session "${request.sessionId}" was cancelled.`);
    }
    return used.promise;
  }

  /**
   * Deletes a session with its conversation, runs and events, and wins every race: what runs is stopped, what
   * waits is cancelled, and nothing of it comes back. Says whether there was such a session.
   */
  async deleteSession(session: SessionRef): Promise<boolean> {
    const identity = identify(session);
    await this.manager.ready();
    return this.#admin.deleteSession(identity);
  }

  /** One session as the list shows it; undefined if there is none. */
  async getSession(session: SessionRef): Promise<SessionInfo | undefined> {
    const identity = identify(session);
    await this.manager.ready();
    return this.#admin.info(identity);
  }

  /**
   * Sessions of all users, or of one; newest first, `limit` (50, at most 1000) at a time.
   *
   * @throws {AgentError} `INVALID_INPUT` for a `userId` that none can have, and an `after` of another make.
   */
  async listSessions(
    options: {
      readonly userId?: string | undefined;
      readonly limit?: number | undefined;
      readonly after?: string | undefined;
    } = {},
  ): Promise<SessionListing> {
    const { userId, after } = options;
    const limit = Math.min(integerOption("limit", options.limit, 50, 1), 1000);
    // What is no user, such as the empty name of one who is not signed in, must not be taken for all of them.
    if (userId !== undefined) checkId("userId", userId);
    await this.manager.ready();
    return this.#admin.list({ userId, limit, after });
  }

  async getStats(): Promise<ServiceStats> {
    await this.manager.ready();
    return this.#admin.stats();
  }

  /** Never throws: a store that does not answer within 2 s is `unavailable`. */
  getHealth(): Promise<ServiceHealth> {
    return this.#admin.health();
  }

  /**
   * Closes the agents of a session, not its conversation: this process's (see {@link AgentManager.removeAgent}), and by
   * message those of the other processes of a shared store. Gives whether there was one here.
   *
   * @throws {AgentError} `INVALID_INPUT`; `STORE_UNAVAILABLE` when the others could not be told.
   */
  async removeAgent(session: SessionRef): Promise<boolean> {
    const { threadId } = identify(session);
    const removed = await this.manager.removeAgent(session);
    if (this.#presence !== undefined) {
      await this.manager.ready();
      await this.#presence.send({ type: "remove-agent", threadId });
    }
    return removed;
  }

  /** Does now what is otherwise done every `cleanupIntervalMs`. */
  async cleanup(): Promise<CleanupReport> {
    await this.manager.ready();
    return this.#admin.cleanup(this.#interruptTtlMs);
  }

  /**
   * Takes nothing more, waits up to `drainMs` (10 s) for runs at work, stops the rest, and closes what the service
   * constructed: with {@link ChatService.create} manager and factory, else nothing. Again gives the same end.
   *
   * In a store of this process alone the runs that are stopped fail as `CLOSED`. In a shared one nothing is lost:
   * agents are asked at once to stop at the end of their step, and runs that have not ended go on in another process,
   * from there. An agent that does not stop by itself is aborted after `drainMs`, and its step is begun again elsewhere.
   * There it is over `abortGraceMs` and 3 s after `drainMs` at the latest, even if the engine does not answer: then what
   * could not be handed over is taken over when its lease has expired. Uses by `withAgent` that still wait are cancelled.
   */
  close(options: { readonly drainMs?: number | undefined } = {}): Promise<void> {
    const drainMs = integerOption("drainMs", options.drainMs, defaults.drainMs, 0);
    return (this.#closing ??= this.#close(drainMs));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(drainMs: number): Promise<void> {
    this.#internals.clock.clearTimeout(this.#timer);
    this.#presence?.drain();
    await this.#engine.close(drainMs);
    await this.#presence?.stop();
    await this.#owned?.();
  }

  /** Takes part in a store that other processes use too. */
  #join(info: JsonObject): Presence | undefined {
    const { manager } = this;
    const { processes } = manager.store;
    if (processes === undefined) return undefined;
    const { pool, clock } = this.#internals;
    return new Presence({
      registry: processes,
      processId: this.#engine.processId,
      clock,
      info,
      ready: () => manager.ready(),
      stats: () => ({ ...manager.getStats(), activeRuns: this.#engine.runner.activeCount }),
      onMessage: ({ type, threadId }) => {
        void pool.remove(threadId, type === "remove-agent" ? "removed" : "deleted");
      },
      onLook: () => {
        this.#admin.sweepOrphans().catch(this.#cleanupFailed);
      },
    });
  }

  readonly #cleanupFailed = (error: unknown): void => {
    const failure = new AgentError("STORE_UNAVAILABLE", "The cleanup failed.", { cause: error });
    this.emit("error", { error: failure });
  };

  async #find(session: SessionIdentity, runId: string | undefined): Promise<RunRecord | undefined> {
    if (runId !== undefined) checkId("runId", runId);
    await this.manager.ready();
    await this.#submissions.settled(session.threadId);
    const { runs } = this.manager.store;
    return runId === undefined ? runs.current(session.threadId) : runs.get(session.threadId, runId);
  }

  #schedule(): void {
    const { clock, cleanupIntervalMs } = this.#internals;
    if (cleanupIntervalMs === 0) return;
    this.#timer = clock.setTimeout(() => {
      this.cleanup().catch(this.#cleanupFailed);
      this.#schedule();
    }, cleanupIntervalMs);
  }
}

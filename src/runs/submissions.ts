import type { AgentManager, ManagerInternals } from "../agent-manager.js";
import { AgentError, isAgentError } from "../errors.js";
import { ConfigCheck } from "../service/config-check.js";
import { untilAborted } from "../internal/abort.js";
import { checkAnswers } from "../internal/check-answers.js";
import { choiceOption, integerOption } from "../internal/check-options.js";
import { KeyedQueue } from "../internal/keyed-queue.js";
import type { JsonObject } from "../json.js";
import { defaults, type ChatOptions } from "../options.js";
import {
  checkRequest,
  fingerprintOf,
  POLICIES,
  toAnswers,
  toConfigPatch,
  toRunId,
  toUserMessage,
  type ChatRequest,
  type EditRequest,
  type RegenerateRequest,
  type ResumeRequest,
  type RunRequest,
} from "../requests.js";
import type { AttachOptions, RunEngine } from "./run-engine.js";
import { Run, type Acceptance } from "../run.js";
import { checkId, identify, type SessionIdentity } from "../session.js";
import type { BusyPolicy, RunInput } from "../store/store.js";

/**
 * What a request says, copied at the call: its caller may change or reuse the object while the request waits, and
 * another session's message must not come of it.
 */
interface Prepared {
  readonly input: RunInput;
  readonly patch: JsonObject;
  /** What can be judged only at its turn. */
  readonly check?: () => Promise<void>;
}

type Prepare = (runId: string, session: SessionIdentity) => Prepared;

/** How many requests of a session may wait here to be submitted, if its queue is not longer than that. */
const MOST_WAITING = 100;

/**
 * Turns requests into runs: checks them, in the order of the calls of each session, and submits them.
 *
 * While the store is out of reach the first one of a session tries, and those behind it are refused with it: if each
 * tried in turn, their waiting would add up.
 */
export class Submissions<TConfig extends object, TContext> {
  readonly #manager: AgentManager<TConfig, TContext>;
  readonly #defaults: JsonObject;
  readonly #engine: RunEngine<TConfig, TContext>;
  readonly #configs: ConfigCheck<TConfig, TContext>;
  readonly #queue = new KeyedQueue((error) => isAgentError(error) && error.code === "STORE_UNAVAILABLE");
  readonly #onBusy: BusyPolicy;
  readonly #queueLimit: number;
  readonly #totalQueueLimit: number;
  readonly #maxMessageBytes: number;

  constructor(
    manager: AgentManager<TConfig, TContext>,
    internals: ManagerInternals<TConfig, TContext>,
    engine: RunEngine<TConfig, TContext>,
    options: ChatOptions<TConfig, TContext>,
  ) {
    this.#manager = manager;
    this.#defaults = internals.defaultConfig;
    this.#engine = engine;
    this.#configs = new ConfigCheck(internals.factory, options.configKeys ?? [], options.validateConfig);
    this.#onBusy = choiceOption("onBusy", options.onBusy, defaults.onBusy, POLICIES);
    this.#queueLimit = integerOption("queueLimit", options.queueLimit, defaults.queueLimit, 1);
    this.#totalQueueLimit = integerOption(
      "totalQueueLimit",
      options.totalQueueLimit,
      defaults.totalQueueLimit,
      1,
    );
    this.#maxMessageBytes = integerOption(
      "maxMessageBytes",
      options.maxMessageBytes,
      defaults.maxMessageBytes,
      1,
    );
  }

  /** Judges the config of sessions that set nothing. @throws what the factory and the host refuse it with */
  async checkDefaults(): Promise<void> {
    await this.#configs.check(this.#defaults);
  }

  chat(request: ChatRequest<TConfig, TContext>): Run {
    return this.#start(request, (runId) => ({
      input: { kind: "message", message: toUserMessage(request.message, runId, this.#maxMessageBytes) },
      patch: toConfigPatch(request, this.#configs.knownKeys),
    }));
  }

  resume(request: ResumeRequest<TContext>): Run {
    return this.#start(request, (runId, { threadId, sessionId }) => {
      const answers = toAnswers(request.answers);
      const ownRunId = request.runId !== undefined;
      const check = async (): Promise<void> => {
        const { runs } = this.#manager.store;
        // The same request sent again follows its first run, whose answers wait for nothing any more.
        if (ownRunId && (await runs.get(threadId, runId)) !== undefined) return;
        const known = (await runs.sessions([threadId])).get(threadId);
        checkAnswers(answers, known?.parked?.summary?.interrupts ?? [], sessionId);
      };
      return { input: { kind: "answers", answers }, patch: {}, check };
    });
  }

  regenerate(request: RegenerateRequest<TConfig, TContext>): Run {
    return this.#start(request, () => {
      const { messageId } = request;
      if (messageId !== undefined) checkMessageId(messageId);
      return {
        input: messageId === undefined ? { kind: "regenerate" } : { kind: "regenerate", messageId },
        patch: toConfigPatch(request, this.#configs.knownKeys),
      };
    });
  }

  edit(request: EditRequest<TConfig, TContext>): Run {
    return this.#start(request, (runId) => {
      const { messageId } = request;
      checkMessageId(messageId);
      const message = toUserMessage(request.message, runId, this.#maxMessageBytes);
      return {
        input: { kind: "edit", messageId, message },
        patch: toConfigPatch(request, this.#configs.knownKeys),
      };
    });
  }

  direct(request: RunRequest<TContext>, work: NonNullable<AttachOptions<TContext>["direct"]>): Run {
    return this.#start(request, () => ({ input: { kind: "direct" }, patch: {} }), work);
  }

  /** Does something while no submission to the session is under way in this process. */
  alone<T>(threadId: string, task: () => Promise<T>): Promise<T> {
    return this.#queue.run(threadId, task);
  }

  /** Waits for the requests of a session that are being submitted here: who called `chat` before is seen after. */
  settled(threadId: string): Promise<void> {
    return this.#queue.idle(threadId);
  }

  /** Never throws: what is wrong with the request rejects the handle's promises. */
  #start(request: RunRequest<TContext>, prepare: Prepare, direct?: AttachOptions<TContext>["direct"]): Run {
    let runId = "";
    let threadId = "";
    let signal: AbortSignal | undefined;
    let accepted: Promise<Acceptance>;
    try {
      checkRequest(request);
      const session = identify(request);
      threadId = session.threadId;
      signal = request.signal;
      runId = toRunId(request.runId);
      accepted = this.#submit(session, runId, request, prepare(runId, session), direct);
    } catch (error) {
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- passed on as it is
      accepted = Promise.reject(error);
    }
    return new Run({
      runId,
      // A caller in plain JavaScript may have given nothing at all; that has been refused above.
      sessionId: (request as RunRequest | undefined)?.sessionId ?? "",
      userId: (request as RunRequest | undefined)?.userId,
      accepted,
      // The signal of the request that made the run cancels it; that of a later one only ends its own waiting.
      read: ({ created }) => this.#engine.read(threadId, runId, 0, created ? undefined : signal),
      finished: ({ created, run }) =>
        untilAborted(this.#engine.finished(threadId, runId, run), created ? undefined : signal),
      cancel: async () => {
        await this.#engine.cancel(threadId, runId);
      },
    });
  }

  #submit(
    session: SessionIdentity,
    runId: string,
    request: RunRequest<TContext>,
    { input, patch, check }: Prepared,
    direct: AttachOptions<TContext>["direct"],
  ): Promise<Acceptance> {
    const { context, signal, onBusy = this.#onBusy } = request;
    const fingerprint = request.runId === undefined ? "" : fingerprintOf(input, patch);
    if (this.#queue.tasksOf(session.threadId) > Math.max(this.#queueLimit, MOST_WAITING)) {
      const { sessionId } = session;
      const message = `Too many requests of session \`${sessionId}\` wait to be accepted.`;
      throw new AgentError("QUEUE_FULL", message, { sessionId });
    }
    return this.#queue.run(session.threadId, async () => {
      this.#engine.checkOpen();
      signal?.throwIfAborted();
      await this.#manager.ready();
      await check?.();
      const configPatch =
        input.kind === "answers" ? patch : { ...(await this.#remembered(session)), ...patch };
      if (input.kind !== "answers") await this.#checkConfig(session, configPatch);
      return this.#engine.submit(
        {
          ...session,
          runId,
          input,
          fingerprint,
          onBusy,
          defaults: this.#defaults,
          configPatch,
          queueLimit: this.#queueLimit,
          totalQueueLimit: this.#totalQueueLimit,
          ...(direct === undefined ? undefined : { affinity: this.#engine.processId }),
        },
        { context, direct, signal },
      );
    });
  }

  /** What the host's directory knows of a session that the ledger has forgotten, as after a restart. */
  async #remembered(session: SessionIdentity): Promise<JsonObject> {
    const { directoryOutlivesLedger, runs, sessions } = this.#manager.store;
    if (
      !directoryOutlivesLedger ||
      (await runs.sessions([session.threadId])).get(session.threadId) !== undefined
    )
      return {};
    const row = await sessions.get(session.threadId);
    const known = Object.entries(row?.config ?? {}).filter(([key]) => this.#configs.knownKeys.has(key));
    return Object.fromEntries(known);
  }

  /** A patch is judged together with what sticks; what had stuck before was judged then. */
  async #checkConfig(session: SessionIdentity, patch: JsonObject): Promise<void> {
    if (Object.keys(patch).length === 0 && this.#configs.hasPassed(this.#defaults)) return;
    const known = (await this.#manager.store.runs.sessions([session.threadId])).get(session.threadId);
    await this.#configs.check({ ...this.#defaults, ...known?.config, ...patch });
  }
}

function checkMessageId(messageId: unknown): void {
  checkId("messageId", messageId);
}

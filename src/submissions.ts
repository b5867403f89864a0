import type { AgentManager, ManagerInternals } from "./agent-manager.js";
import { ConfigCheck } from "./config-check.js";
import { choiceOption, integerOption } from "./internal/check-options.js";
import { KeyedQueue } from "./internal/keyed-queue.js";
import type { JsonObject } from "./json.js";
import { defaults, type ChatOptions } from "./options.js";
import {
  checkAnswers,
  checkPolicy,
  fingerprintOf,
  POLICIES,
  toConfigPatch,
  toRunId,
  toUserMessage,
  type ChatRequest,
  type EditRequest,
  type RegenerateRequest,
  type ResumeRequest,
  type RunRequest,
} from "./requests.js";
import type { AttachOptions, RunEngine } from "./run-engine.js";
import { Run, type AcceptedRun } from "./run.js";
import { checkId, identify, type SessionIdentity } from "./session.js";
import type { BusyPolicy, RunInput } from "./store/store.js";

/** What a request comes to, once it has been checked. */
interface Prepared {
  readonly input: RunInput;
  readonly patch: JsonObject;
}

type Prepare = (runId: string, session: SessionIdentity) => Prepared | Promise<Prepared>;

/** Turns requests into runs: checks them, in the order of the calls of each session, and submits them. */
export class Submissions<TConfig extends object, TContext> {
  readonly #manager: AgentManager<TConfig, TContext>;
  readonly #defaults: JsonObject;
  readonly #engine: RunEngine<TConfig, TContext>;
  readonly #configs: ConfigCheck<TConfig, TContext>;
  readonly #queue = new KeyedQueue();
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
    return this.#start(request, async (runId, session) => {
      const { answers } = request;
      const { runs } = this.#manager.store;
      // The same request sent again follows its first run, whose answers wait for nothing any more.
      const again = request.runId !== undefined && (await runs.get(session.threadId, runId)) !== undefined;
      if (!again) {
        const known = await runs.session(session.threadId);
        checkAnswers(answers, known?.parked?.summary?.interrupts ?? [], session.sessionId);
      }
      return { input: { kind: "answers", answers }, patch: {} };
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

  /** Never throws: what is wrong with the request rejects the handle's promises. */
  #start(request: RunRequest<TContext>, prepare: Prepare, direct?: AttachOptions<TContext>["direct"]): Run {
    let runId = "";
    let threadId = "";
    let accepted: Promise<AcceptedRun>;
    try {
      const session = identify(request);
      threadId = session.threadId;
      runId = toRunId(request.runId);
      checkPolicy(request.onBusy);
      accepted = this.#submit(session, runId, request, prepare, direct);
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
      read: () => this.#engine.read(threadId, runId, 0),
      finished: () => this.#engine.finished(threadId, runId),
      cancel: async () => {
        await this.#engine.cancel(threadId, runId);
      },
    });
  }

  #submit(
    session: SessionIdentity,
    runId: string,
    request: RunRequest<TContext>,
    prepare: Prepare,
    direct: AttachOptions<TContext>["direct"],
  ): Promise<AcceptedRun> {
    const { context, signal, onBusy = this.#onBusy } = request;
    return this.#queue.run(session.threadId, async () => {
      this.#engine.checkOpen();
      signal?.throwIfAborted();
      await this.#manager.ready();
      const made = prepare(runId, session);
      const { input, patch } = made instanceof Promise ? await made : made;
      if (input.kind !== "answers") await this.#checkConfig(session, patch);
      return this.#engine.submit(
        {
          ...session,
          runId,
          input,
          fingerprint: request.runId === undefined ? "" : fingerprintOf(input, patch),
          onBusy,
          defaults: this.#defaults,
          configPatch: patch,
          queueLimit: this.#queueLimit,
          totalQueueLimit: this.#totalQueueLimit,
          ...(direct === undefined ? undefined : { affinity: this.#engine.processId }),
        },
        { context, direct, signal },
      );
    });
  }

  /** A patch is judged together with what sticks; what had stuck before was judged then. */
  async #checkConfig(session: SessionIdentity, patch: JsonObject): Promise<void> {
    if (Object.keys(patch).length === 0 && this.#configs.hasPassed(this.#defaults)) return;
    const known = await this.#manager.store.runs.session(session.threadId);
    await this.#configs.check({ ...this.#defaults, ...known?.config, ...patch });
  }
}

function checkMessageId(messageId: unknown): void {
  checkId("messageId", messageId);
}

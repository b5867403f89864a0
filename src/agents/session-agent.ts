import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import type {
  Agent,
  AgentConfig,
  AgentContext,
  AgentInput,
  AgentRunOptions,
  Conversation,
  SessionState,
} from "../agent.js";
import { AgentError } from "../errors.js";
import type { EvictReason } from "../events.js";
import type { JsonValue } from "../json.js";
import type { AgentEvent } from "../run-event.js";
import type { SessionIdentity } from "../session.js";
import type { Lease, RunLedger } from "../store/store.js";

/** `context.state` of one live agent: writes carry the lease of the run that is under way. */
export class StateSlot implements SessionState {
  /** Set by the runner for as long as a run holds the agent. */
  lease: Lease | undefined;
  readonly #runs: RunLedger;
  readonly #threadId: string;

  constructor(runs: RunLedger, threadId: string) {
    this.#runs = runs;
    this.#threadId = threadId;
  }

  get(): Promise<JsonValue | undefined> {
    return this.#runs.readState(this.#threadId);
  }

  async set(value: JsonValue): Promise<void> {
    if (this.lease === undefined) {
      throw new AgentError("LEASE_LOST", "State can be written only during a run of its session.");
    }
    await this.#runs.writeState(this.lease, value);
  }
}

/** What a factory gets. */
export class SessionContext<TConfig extends object> implements AgentContext<TConfig> {
  readonly sessionId: string;
  readonly userId?: string;
  readonly threadId: string;

  constructor(
    session: SessionIdentity,
    readonly config: AgentConfig<TConfig>,
    readonly checkpointer: BaseCheckpointSaver,
    readonly state: StateSlot,
    readonly signal: AbortSignal,
  ) {
    this.sessionId = session.sessionId;
    if (session.userId !== undefined) this.userId = session.userId;
    this.threadId = session.threadId;
  }
}

/** What a {@link SessionAgent} asks of the pool that holds it. */
export interface DirectUse {
  /** @throws {AgentError} `SESSION_BUSY` during a run, `CLOSED` when the agent has gone. */
  checkDirectUse(session: SessionIdentity, agent: object): void;
  /** @throws {AgentError} as `checkDirectUse`, and `CAPACITY_EXCEEDED`. */
  beginDirectUse(session: SessionIdentity, agent: object): void;
  endDirectUse(session: SessionIdentity, agent: object): void;
}

/**
 * The agent of one session as its manager holds it: the same object for as long as the agent lives.
 * `inner` is what the factory made.
 */
export class SessionAgent<TConfig extends object = object, TContext = unknown> implements Agent<TContext> {
  /** Set while the agent is to go as soon as its run ends. */
  discard: EvictReason | undefined;
  readonly #pool: DirectUse;

  constructor(
    readonly session: SessionIdentity,
    readonly config: AgentConfig<TConfig>,
    readonly configKey: string,
    readonly inner: Agent<TContext>,
    readonly slot: StateSlot,
    pool: DirectUse,
  ) {
    this.#pool = pool;
  }

  get conversation(): Conversation | undefined {
    return this.inner.conversation;
  }

  /**
   * Streams the inner agent outside any run, holding it busy meanwhile. It takes no lease: a store of this
   * library refuses its writes with `LEASE_LOST`, unless `options.lease` is that of a run. `ChatService.withAgent`
   * gives one. An iteration that is begun has to be ended (`for await` does so), or the session stays busy.
   *
   * @throws {AgentError} `SESSION_BUSY` during a run of the session; `CLOSED` when the agent has been closed; from the
   * iteration also `CAPACITY_EXCEEDED`, when all places are taken by agents that cannot be evicted.
   */
  stream(input: AgentInput, options: AgentRunOptions<TContext>): AsyncIterable<AgentEvent> {
    this.#pool.checkDirectUse(this.session, this);
    return this.#stream(input, options);
  }

  async *#stream(input: AgentInput, options: AgentRunOptions<TContext>): AsyncIterable<AgentEvent> {
    // Only now: a stream that nobody iterates must not hold the agent.
    this.#pool.beginDirectUse(this.session, this);
    try {
      yield* this.inner.stream(input, options);
    } finally {
      this.#pool.endDirectUse(this.session, this);
    }
  }
}

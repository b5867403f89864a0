import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import type { Agent, AgentConfig, AgentFactory } from "../agent.js";
import { AgentError, isAgentError } from "../errors.js";
import type { Clock } from "../internal/clock.js";
import { withTimeLimit } from "../internal/time-limit.js";
import { SessionContext, StateSlot } from "./session-agent.js";
import type { SessionIdentity } from "../session.js";
import type { RunLedger } from "../store/store.js";

export interface AgentMakerOptions<TConfig extends object, TContext> {
  readonly factory: AgentFactory<TConfig, TContext>;
  readonly checkpointer: BaseCheckpointSaver;
  readonly runs: RunLedger;
  readonly clock: Clock;
  readonly createTimeoutMs: number;
  /** Gets what is left of a creation that was given up: its end, after closing whatever came of it. */
  readonly onGivenUp: (session: SessionIdentity, end: () => Promise<void>) => void;
}

/** What a factory made, with the state slot that it was given. */
export interface MadeAgent<TContext> {
  readonly inner: Agent<TContext>;
  readonly slot: StateSlot;
}

/** Has the factory make agents: in bounded time, each object for one session only. */
export class AgentMaker<TConfig extends object, TContext> {
  readonly #options: AgentMakerOptions<TConfig, TContext>;
  /** Which thread an object was made for: one object for two sessions would mix them. */
  readonly #madeFor = new WeakMap<object, string>();

  constructor(options: AgentMakerOptions<TConfig, TContext>) {
    this.#options = options;
  }

  /**
   * Calls the factory. Whether it takes too long or the signal aborts: what comes of it afterwards is closed.
   *
   * @throws {AgentError} `AGENT_CREATE_FAILED`, or the factory's own; or the signal's reason.
   */
  async make(
    session: SessionIdentity,
    config: AgentConfig<TConfig>,
    signal: AbortSignal,
  ): Promise<MadeAgent<TContext>> {
    signal.throwIfAborted();
    const { factory, checkpointer, runs, clock, createTimeoutMs, onGivenUp } = this.#options;
    const slot = new StateSlot(runs, session.threadId);
    const context = new SessionContext(session, config, checkpointer, slot, signal);
    const making = Promise.resolve().then(() => factory.create(context));
    const made = await withTimeLimit(making, createTimeoutMs, clock, signal);
    if (made.kind === "late" || (made.kind === "done" && signal.aborted)) {
      onGivenUp(session, () => this.#closeWhatComes(making, session));
    }
    signal.throwIfAborted();
    if (made.kind === "late") {
      throw createFailed(session, `took over ${String(createTimeoutMs)} ms to create`);
    }
    if (made.kind === "failed") {
      if (isAgentError(made.error)) throw made.error;
      throw createFailed(session, "could not be created", made.error);
    }
    this.#check(session, made.value);
    return { inner: made.value, slot };
  }

  #check(session: SessionIdentity, inner: Agent<TContext>): void {
    if (!isAgent(inner)) {
      const cause = new TypeError(
        "Expected the factory to return an agent: an object with a `stream` method",
      );
      throw createFailed(session, "could not be created", cause);
    }
    const owner = this.#madeFor.get(inner);
    if (owner !== undefined && owner !== session.threadId) {
      throw new AgentError(
        "AGENT_CREATE_FAILED",
        `The factory returned one object for two sessions; make a new agent for session "${session.sessionId}".`,
        { sessionId: session.sessionId },
      );
    }
    this.#madeFor.set(inner, session.threadId);
  }

  /** Nobody misses a late agent, and nobody is told of a late failure. An object that is in use stays open. */
  async #closeWhatComes(making: Promise<Agent<TContext>>, session: SessionIdentity): Promise<void> {
    const inner = await making.catch(() => undefined);
    if (!isAgent(inner) || this.#madeFor.has(inner)) return;
    this.#madeFor.set(inner, session.threadId);
    await inner.close?.();
  }
}

/** A factory in plain JavaScript may return anything. */
function isAgent(value: Partial<Agent> | null | undefined): value is Agent {
  return typeof value?.stream === "function";
}

function createFailed(session: SessionIdentity, what: string, cause?: unknown): AgentError {
  const { sessionId } = session;
  return new AgentError("AGENT_CREATE_FAILED", `The agent of session "${sessionId}" ${what}.`, {
    sessionId,
    cause,
  });
}

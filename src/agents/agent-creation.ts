import { AgentError } from "../errors.js";
import { untilAborted } from "../internal/abort.js";
import type { SessionAgent } from "./session-agent.js";

export interface AgentCreationOptions<TConfig extends object, TContext> {
  readonly configKey: string;
  /** Makes the agent; called after the step in which the creation was constructed. */
  readonly make: (signal: AbortSignal) => Promise<SessionAgent<TConfig, TContext>>;
  /** Counts the creation (1) or not (-1): it counts unless a run, with its own reservation, waits for it. */
  readonly count: (change: 1 | -1) => void;
  readonly release: (agent: SessionAgent<TConfig, TContext>) => void;
}

/**
 * One creation under way and those who wait for it. When the last of them leaves before its end, its signal is
 * aborted. An agent that a run waits for is pinned from its first moment on.
 */
export class AgentCreation<TConfig extends object, TContext> {
  readonly configKey: string;
  readonly promise: Promise<SessionAgent<TConfig, TContext>>;
  readonly #options: AgentCreationOptions<TConfig, TContext>;
  readonly #controller = new AbortController();
  #waiters = 0;
  #runs = 0;
  #ended = false;
  #pinned: SessionAgent<TConfig, TContext> | undefined;

  constructor(options: AgentCreationOptions<TConfig, TContext>) {
    this.#options = options;
    this.configKey = options.configKey;
    options.count(1);
    this.promise = Promise.resolve().then(() => options.make(this.#controller.signal));
    this.promise.catch(() => undefined);
  }

  /** Whether a run waits for it. */
  get isForRun(): boolean {
    return this.#runs > 0;
  }

  /** Given up: it is going to end, and not with an agent. */
  get isAborted(): boolean {
    return this.#controller.signal.aborted;
  }

  abort(reason: AgentError): void {
    this.#controller.abort(reason);
  }

  /** Resolves at its end, whatever it is. */
  async settled(): Promise<void> {
    await this.promise.catch(() => undefined);
  }

  /** Gives the agent that comes of it. */
  async join(signal?: AbortSignal): Promise<SessionAgent<TConfig, TContext>> {
    this.#waiters += 1;
    try {
      return await untilAborted(this.promise, signal);
    } finally {
      this.#waiters -= 1;
      if (this.#waiters === 0 && !this.#ended) {
        this.abort(new AgentError("RUN_CANCELLED", "Nobody waits for the agent."));
      }
    }
  }

  /** As a run that has a reservation: gives the agent pinned, or nothing when another run was faster. */
  async joinAsRun(signal: AbortSignal): Promise<SessionAgent<TConfig, TContext> | undefined> {
    if (this.#runs === 0) this.#options.count(-1);
    this.#runs += 1;
    try {
      await this.join(signal);
      const pinned = this.#pinned;
      this.#pinned = undefined;
      return pinned;
    } finally {
      this.#runs -= 1;
      if (this.#runs === 0) {
        if (!this.#ended) this.#options.count(1);
        // Pinned for a run that left in the same moment.
        if (this.#pinned !== undefined) this.#options.release(this.#pinned);
        this.#pinned = undefined;
      }
    }
  }

  /** Ends the counting. Called once, in the step in which the agent gets into the pool or is known not to come. */
  end(): void {
    this.#ended = true;
    if (this.#runs === 0) this.#options.count(-1);
  }

  /** Keeps the agent for the first of the runs to take it. */
  pin(agent: SessionAgent<TConfig, TContext>): void {
    this.#pinned = agent;
  }
}

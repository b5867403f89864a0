import { AgentError } from "../errors.js";
import type { AgentManagerEvents } from "../events.js";
import type { Clock } from "../internal/clock.js";
import { withTimeLimit } from "../internal/time-limit.js";
import type { SessionIdentity } from "../session.js";

export interface ClosingAgentsOptions {
  readonly clock: Clock;
  readonly closeTimeoutMs: number;
  readonly emit: <K extends keyof AgentManagerEvents>(event: K, payload: AgentManagerEvents[K]) => void;
  /** Called when an agent has gone. */
  readonly onClosed: () => void;
}

/** Closes agents, each for at most `closeTimeoutMs`; what throws or hangs is reported and let go. */
export class ClosingAgents {
  readonly #options: ClosingAgentsOptions;
  readonly #closing = new Map<string, Promise<void>>();
  /** The latest failures, for whoever closes the manager. */
  readonly #errors: AgentError[] = [];

  constructor(options: ClosingAgentsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#closing.size;
  }

  /** Resolves when the session's agent has gone; undefined if none is going. */
  of(threadId: string): Promise<void> | undefined {
    return this.#closing.get(threadId);
  }

  /** Waits for all that are going now, and for those that begin meanwhile. */
  async settled(): Promise<void> {
    while (this.#closing.size > 0) await Promise.all(this.#closing.values());
  }

  /** Gives the failures since the last call, at most 100. */
  takeErrors(): AgentError[] {
    return this.#errors.splice(0);
  }

  /**
   * Calls `close`; resolves when it has ended or its time is over. A session has at most one agent that is going:
   * nobody makes it a new one before. With `create` it is not an agent that goes but a creation that was given up.
   */
  start(session: SessionIdentity, close: () => unknown, phase: "close" | "create" = "close"): Promise<void> {
    const { clock, closeTimeoutMs, emit, onClosed } = this.#options;
    const { threadId, sessionId } = session;
    const work = Promise.resolve().then(close);
    const closing = withTimeLimit(work, closeTimeoutMs, clock).then((closed) => {
      if (this.#closing.get(threadId) === closing) this.#closing.delete(threadId);
      if (closed.kind !== "done") {
        const what = phase === "close" ? "The agent" : "The creation, which was given up, of the agent";
        const message =
          closed.kind === "late"
            ? `${what} of session "${sessionId}" did not ${phase === "close" ? "close" : "end"} within ${String(closeTimeoutMs)} ms.`
            : `The agent of session "${sessionId}" failed to close.`;
        const cause = closed.kind === "failed" ? closed.error : undefined;
        const error = new AgentError("AGENT_FAILED", message, { sessionId, cause });
        if (this.#errors.length < 100) this.#errors.push(error);
        emit("agent:failed", { session, phase: closed.kind === "late" ? phase : "close", error });
      }
      onClosed();
    });
    this.#closing.set(threadId, closing);
    return closing;
  }
}

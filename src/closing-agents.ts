import { AgentError } from "./errors.js";
import type { AgentManagerEvents } from "./events.js";
import type { Clock } from "./internal/clock.js";
import { withTimeLimit } from "./internal/time-limit.js";
import type { SessionIdentity } from "./session.js";

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

  /** Calls `close`; a creation that is given up hands over what it still may become. */
  start(session: SessionIdentity, close: () => unknown): void {
    const { clock, closeTimeoutMs, emit, onClosed } = this.#options;
    const { threadId, sessionId } = session;
    const work = Promise.resolve().then(close);
    const closing = withTimeLimit(work, closeTimeoutMs, clock).then((closed) => {
      if (this.#closing.get(threadId) === closing) this.#closing.delete(threadId);
      if (closed.kind !== "done") {
        const message =
          closed.kind === "late"
            ? `The agent of session "${sessionId}" did not close within ${String(closeTimeoutMs)} ms.`
            : `The agent of session "${sessionId}" failed to close.`;
        const cause = closed.kind === "failed" ? closed.error : undefined;
        const error = new AgentError("AGENT_FAILED", message, { sessionId, cause });
        if (this.#errors.length < 100) this.#errors.push(error);
        emit("agent:failed", { session, phase: "close", error });
      }
      onClosed();
    });
    this.#closing.set(threadId, closing);
  }
}

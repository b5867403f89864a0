import type { AgentConfig, Conversation, HistoryMessage } from "../agent.js";
import type { AgentManager, ManagerInternals } from "../agent-manager.js";
import { AgentError } from "../errors.js";
import type { Interrupt } from "../run-event.js";
import type { SessionIdentity } from "../session.js";

export interface HistoryPage {
  /** Oldest first. */
  readonly messages: readonly HistoryMessage[];
  /** Give it as `before` for the messages that came earlier; absent when there are none. */
  readonly before?: string;
}

/** Reads conversations, without an agent where the factory can, else through the session's agent. */
export class Conversations<TConfig extends object, TContext> {
  readonly #manager: AgentManager<TConfig, TContext>;
  readonly #internals: ManagerInternals<TConfig, TContext>;

  constructor(manager: AgentManager<TConfig, TContext>, internals: ManagerInternals<TConfig, TContext>) {
    this.#manager = manager;
    this.#internals = internals;
  }

  async of(session: SessionIdentity): Promise<Conversation | undefined> {
    const { pool, defaultConfig } = this.#internals;
    const live = pool.peek(session.threadId);
    if (live !== undefined) return live.conversation;
    await this.#manager.ready();
    const known = (await this.#manager.store.runs.sessions([session.threadId])).get(session.threadId);
    const config = { ...defaultConfig, ...(known?.config as AgentConfig<TConfig> | undefined) };
    const conversation = this.#internals.conversation(session, config);
    return conversation ?? (await this.#manager.getAgent(session)).conversation;
  }

  /** @throws {AgentError} `UNSUPPORTED`, `MESSAGE_NOT_FOUND` for a `before` that is not there. */
  async history(session: SessionIdentity, limit: number, before: string | undefined): Promise<HistoryPage> {
    const conversation = await this.of(session);
    if (conversation === undefined) {
      const { sessionId } = session;
      throw new AgentError("UNSUPPORTED", `The agent of session "${sessionId}" keeps no conversation.`, {
        sessionId,
      });
    }
    const all = await conversation.history();
    let end = all.length;
    if (before !== undefined) {
      end = all.findIndex(({ id }) => id === before);
      if (end < 0)
        throw new AgentError("MESSAGE_NOT_FOUND", "There is no message with the id given as `before`.");
    }
    const start = Math.max(0, end - limit);
    const messages = all.slice(start, end);
    const first = messages[0];
    return start === 0 || first === undefined ? { messages } : { messages, before: first.id };
  }

  async pending(session: SessionIdentity): Promise<readonly Interrupt[]> {
    return (await (await this.of(session))?.pending()) ?? [];
  }
}

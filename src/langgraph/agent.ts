import type { BaseChatModel } from "@langchain/core/language_models/chat_models";
import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import { Command } from "@langchain/langgraph";
import type { Agent, AgentInput, AgentRunOptions, Conversation } from "../agent.js";
import { isAgentError } from "../errors.js";
import type { Clock } from "../internal/clock.js";
import type { AgentEvent } from "../run-event.js";
import { RUN_KEY, type RunConfigurable } from "../store/store.js";
import { AgentRun } from "./agent-run.js";
import { checkAnswers } from "./answers.js";
import {
  LangGraphConversation,
  pendingInterrupts,
  readThread,
  repairsOf,
  type ThreadState,
} from "./conversation.js";
import type { RunnableGraph } from "./graph.js";
import { toHumanMessage } from "./history.js";
import { toRunError } from "./provider-errors.js";
import { RunTap } from "./run-events.js";
import type { RunQueue } from "./run-queue.js";

/** The session that an agent serves; the config object is shared by sessions with equal config. */
export interface AgentSession {
  readonly sessionId: string;
  readonly userId: string | undefined;
  readonly threadId: string;
  readonly config: object;
}

/** What all agents of a factory share. */
export interface AgentRuntime<TContext> {
  readonly clock: Clock;
  readonly recursionLimit: number | undefined;
  /** The model of one run; `undefined` when the graph has its own. */
  modelFor(
    session: AgentSession,
    context: TContext | undefined,
    signal: AbortSignal,
  ): Promise<BaseChatModel | undefined>;
  /** Which model the run of this `configurable` uses: held here and not in it, because savers and tracers see that. */
  readonly models: WeakMap<RunConfigurable, BaseChatModel>;
}

/**
 * The agent of one session over a graph that it shares with others. It holds nothing but references: the
 * conversation is in the checkpointer, what a run needs is made for the run.
 */
export class LangGraphAgent<TContext> implements Agent<TContext>, AgentSession {
  readonly sessionId: string;
  readonly userId: string | undefined;
  readonly threadId: string;
  readonly config: object;
  readonly #runtime: AgentRuntime<TContext>;
  readonly #graph: RunnableGraph;
  readonly #saver: BaseCheckpointSaver;

  constructor(
    runtime: AgentRuntime<TContext>,
    session: AgentSession,
    graph: RunnableGraph,
    saver: BaseCheckpointSaver,
  ) {
    this.sessionId = session.sessionId;
    this.userId = session.userId;
    this.threadId = session.threadId;
    this.config = session.config;
    this.#runtime = runtime;
    this.#graph = graph;
    this.#saver = saver;
  }

  get conversation(): Conversation {
    return new LangGraphConversation(this.#saver, this.threadId, this.#graph);
  }

  stream(
    input: AgentInput,
    options: AgentRunOptions<TContext>,
  ): AsyncIterableIterator<AgentEvent, undefined> {
    return new AgentRun(
      (queue, signal) => this.#work(input, options, queue, signal),
      options.signal,
      this.#runtime.clock,
    );
  }

  async #work(
    input: AgentInput,
    options: AgentRunOptions<TContext>,
    queue: RunQueue,
    signal: AbortSignal,
  ): Promise<void> {
    const runtime = this.#runtime;
    const run: RunConfigurable = { lease: options.lease, turnId: options.turnId };
    let tap: RunTap | undefined;
    try {
      const [thread, model] = await Promise.all([
        readThread(this.#saver, this.threadId, this.#graph),
        runtime.modelFor(this, options.context, signal),
      ]);
      if (signal.aborted) return;
      if (model !== undefined) runtime.models.set(run, model);
      const events = (tap = new RunTap(queue, thread.messages));
      const updates = await this.#graph.stream(toGraphInput(input, thread), {
        configurable: { thread_id: this.threadId, [RUN_KEY]: run },
        callbacks: [events],
        signal,
        streamMode: "updates",
        durability: "sync",
        writer: (chunk: unknown) => {
          events.write(chunk);
        },
        ...(options.context !== undefined && { context: options.context }),
        ...(runtime.recursionLimit !== undefined && { recursionLimit: runtime.recursionLimit }),
      });
      for await (const update of updates) await events.update(update);
    } catch (error) {
      if (isAgentError(error)) throw error;
      throw toRunError(error, (layer) => tap?.isModelError(layer) === true, this.sessionId);
    }
  }
}

/**
 * What LangGraph is given. A message comes with the results that are missing before it, in one input: a crash
 * cannot come between.
 */
function toGraphInput(input: AgentInput, thread: ThreadState): unknown {
  switch (input.kind) {
    case "message":
      return { messages: [...repairsOf(thread), toHumanMessage(input.message)] };
    case "answers":
      checkAnswers(input.answers, pendingInterrupts(thread.tuple));
      return new Command({ resume: { ...input.answers } });
    case "continue":
      return null;
  }
}

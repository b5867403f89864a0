import type { BaseChatModel } from "@langchain/core/language_models/chat_models";
import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import { Command } from "@langchain/langgraph";
import type { Agent, AgentInput, AgentRunOptions, Conversation } from "../agent.js";
import { isAgentError } from "../errors.js";
import { onAbort } from "../internal/abort.js";
import { checkAnswers } from "../internal/check-answers.js";
import type { Clock } from "../internal/clock.js";
import { markInputLeft } from "../internal/input-left.js";
import { RUN_KEY, type ForkingSaver, type RunConfigurable } from "../store/store.js";
import { AgentRun } from "./agent-run.js";
import {
  LangGraphConversation,
  pendingInterrupts,
  readThread,
  repairsOf,
  type ThreadState,
} from "./conversation.js";
import { streamOf, type RunnableGraph } from "./graph.js";
import { toHumanMessage } from "./history.js";
import { toRunError } from "./provider-errors.js";
import { RunCallbacks } from "./run-callbacks.js";
import { RunTap } from "./run-events.js";
import type { RunQueue } from "./run-queue.js";
import { isRecord } from "./to-json.js";

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

  stream(input: AgentInput, options: AgentRunOptions<TContext>): AgentRun {
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
    const { lease, turnId, flush, ride } = options;
    /** Whoever writes the events has had all of them first. */
    const caughtUp = (wait: () => Promise<void>) => async () => {
      await queue.caughtUp();
      await wait();
    };
    const run: RunConfigurable = {
      ...{ lease, turnId },
      ...(flush !== undefined && { flush: caughtUp(flush) }),
      ...(ride !== undefined && {
        ride: { engine: ride.engine, ready: caughtUp(() => ride.ready()), run: (step) => ride.run(step) },
      }),
    };
    /** There once the graph is given the input. */
    let tap: RunTap | undefined;
    const control = new DrainControl();
    const stopDraining = onAbort(options.drain, () => {
      control.requestDrain();
    });
    try {
      const [thread, model] = await Promise.all([
        readThread(this.#saver, this.threadId, this.#graph, run),
        runtime.modelFor(this, options.context, signal),
      ]);
      if (signal.aborted) return;
      if (model !== undefined) runtime.models.set(run, model);
      const given = toGraphInput(input, thread, this.sessionId);
      // The array goes on to the graph.
      const events = (tap = new RunTap(queue, thread.messages.slice()));
      const updates = await streamOf(this.#graph, given, {
        configurable: { thread_id: this.threadId, [RUN_KEY]: run },
        callbacks: new RunCallbacks(events),
        signal,
        // Stops the graph at the end of a step, which has then been saved.
        control,
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
      if (control.drainRequested && isRecord(error) && error["name"] === "GraphDrained")
        throw options.drain?.reason;
      const failure = isAgentError(error)
        ? error
        : toRunError(error, (layer) => tap?.isModelError(layer) === true, this.sessionId);
      throw tap === undefined ? markInputLeft(failure) : failure;
    } finally {
      stopDraining();
      // A run that is stopped at once must not take its message along.
      await (this.#saver as Partial<ForkingSaver>).settled?.(this.threadId);
    }
  }
}

/**
 * What LangGraph 1.7 asks between two steps, which is its `RunControl`. Not that class: earlier versions have none,
 * and go on to their end.
 */
class DrainControl {
  drainReason: string | undefined;

  get drainRequested(): boolean {
    return this.drainReason !== undefined;
  }

  requestDrain(reason = "shutdown"): void {
    this.drainReason = reason;
  }
}

/**
 * What LangGraph is given. A message comes with the results that are missing before it, in one input: a crash
 * cannot come between.
 */
function toGraphInput(input: AgentInput, thread: ThreadState, sessionId: string): unknown {
  switch (input.kind) {
    case "message":
      return { messages: [...repairsOf(thread), toHumanMessage(input.message)] };
    case "answers":
      checkAnswers(input.answers, pendingInterrupts(thread.tuple), sessionId);
      return new Command({ resume: { ...input.answers } });
    case "continue":
      return null;
  }
}

import { ToolMessage, type BaseMessage } from "@langchain/core/messages";
import { START } from "@langchain/langgraph";
import type { BaseCheckpointSaver, CheckpointTuple } from "@langchain/langgraph-checkpoint";
import type { Conversation, HistoryMessage, Turn } from "../agent.js";
import { AgentError } from "../errors.js";
import type { Interrupt } from "../run-event.js";
import {
  RUN_KEY,
  type ForkingSaver,
  type Lease,
  type PeekingSaver,
  type RunConfigurable,
} from "../store/store.js";
import type { RunnableGraph } from "./graph.js";
import { toHistoryMessage } from "./history.js";
import { repairMessages } from "./repair.js";
import { toInterrupt } from "./event-parts.js";
import { isRecord } from "./to-json.js";

/** The head of a thread, as far as a run needs it. */
export interface ThreadState {
  readonly tuple: CheckpointTuple | undefined;
  readonly messages: readonly BaseMessage[];
}

type GraphSource = RunnableGraph | (() => Promise<RunnableGraph>);

function isForking(saver: BaseCheckpointSaver): saver is ForkingSaver {
  return (
    typeof (saver as Partial<ForkingSaver>).forkPoints === "function" &&
    typeof (saver as Partial<ForkingSaver>).restore === "function"
  );
}

function isPeeking(saver: BaseCheckpointSaver): saver is PeekingSaver {
  return typeof (saver as Partial<PeekingSaver>).peekTuple === "function";
}

/**
 * Reads the head; with the run that reads it, so that a saver that others write to looks once for the whole run, and
 * the run's graph is given what was read. The messages stand in the checkpoint, unless their channel is a delta
 * channel: then only the graph can put them together.
 */
export async function readThread(
  saver: BaseCheckpointSaver,
  threadId: string,
  graph: GraphSource,
  run?: RunConfigurable,
): Promise<ThreadState> {
  const key = { thread_id: threadId, ...(run === undefined ? undefined : { [RUN_KEY]: run }) };
  const config = { configurable: { ...key, checkpoint_ns: "" } };
  const tuple = await (run !== undefined && isPeeking(saver)
    ? saver.peekTuple(config)
    : saver.getTuple(config));
  if (tuple === undefined) return { tuple, messages: [] };
  let messages: unknown = tuple.checkpoint.channel_values["messages"];
  if (!Array.isArray(messages) && tuple.checkpoint.channel_versions["messages"] !== undefined) {
    const { values } = await (typeof graph === "function" ? await graph() : graph).getState({
      configurable: key,
    });
    messages = isRecord(values) ? values["messages"] : undefined;
  }
  return { tuple, messages: Array.isArray(messages) ? (messages as BaseMessage[]) : [] };
}

/** What LangGraph writes of a task that is no result of it. */
const CONTROL_CHANNELS = new Set(["__error__", "__error_source_node__", "__interrupt__", "__resume__"]);

/** The interrupts of tasks that have not finished, those of subgraphs included: they pass through the root. */
export function pendingInterrupts(tuple: CheckpointTuple | undefined): Interrupt[] {
  const writes = tuple?.pendingWrites ?? [];
  const finished = new Set<string>();
  for (const [taskId, channel] of writes) if (!CONTROL_CHANNELS.has(channel)) finished.add(taskId);
  const found = new Map<string, Interrupt>();
  for (const [taskId, channel, value] of writes) {
    if (channel !== "__interrupt__" || finished.has(taskId)) continue;
    for (const raw of Array.isArray(value) ? (value as unknown[]) : [value]) {
      const interrupt = toInterrupt(raw);
      if (interrupt !== undefined) found.set(interrupt.id, interrupt);
    }
  }
  return [...found.values()];
}

/** The results of tools that finished in a step that did not. */
function deliveredResults(tuple: CheckpointTuple | undefined): ToolMessage[] {
  return (tuple?.pendingWrites ?? [])
    .filter(([, channel]) => channel === "messages")
    .flatMap(([, , value]) => (Array.isArray(value) ? (value as unknown[]) : [value]))
    .filter((message) => ToolMessage.isInstance(message));
}

/** What must go before the next user message. */
export function repairsOf({ tuple, messages }: ThreadState): ToolMessage[] {
  return repairMessages(messages, deliveredResults(tuple));
}

/** The conversation of one thread: reads go to the checkpointer, and to the graph only where they must. */
export class LangGraphConversation implements Conversation {
  readonly #saver: BaseCheckpointSaver;
  readonly #threadId: string;
  readonly #graph: GraphSource;

  constructor(saver: BaseCheckpointSaver, threadId: string, graph: GraphSource) {
    this.#saver = saver;
    this.#threadId = threadId;
    this.#graph = graph;
  }

  async history(): Promise<readonly HistoryMessage[]> {
    const { messages } = await this.#read();
    return messages.map(toHistoryMessage);
  }

  async pending(): Promise<readonly Interrupt[]> {
    return pendingInterrupts(await this.#tuple());
  }

  async head(): Promise<string | undefined> {
    return (await this.#tuple())?.checkpoint.id;
  }

  /** Empty with a checkpointer that keeps no fork points. */
  async turns(): Promise<readonly Turn[]> {
    if (!isForking(this.#saver)) return [];
    const points = await this.#saver.forkPoints(this.#threadId);
    return points.map(({ turnId, messageIds }) => ({ turnId, before: turnId, messageIds }));
  }

  /** Asked under the run's lease, so that the agent's own read, which comes next, is the same one. */
  async has(messageId: string, lease: Lease): Promise<boolean> {
    // Where nothing can be gone back to, LangGraph's reducer has its way.
    if (!isForking(this.#saver)) return false;
    if (this.#saver.hasMessage !== undefined) return this.#saver.hasMessage(lease, messageId);
    return (await this.#read()).messages.some(({ id }) => id === messageId);
  }

  async restore(before: string, lease: Lease): Promise<void> {
    if (!isForking(this.#saver)) {
      throw new AgentError(
        "UNSUPPORTED",
        "This checkpointer keeps no states to go back to. Use one of agent-sessions' stores.",
      );
    }
    if (await this.#saver.restore(lease, before)) return;
    throw new AgentError("FORK_POINT_GONE", "The state before this turn is no longer kept.");
  }

  async repair(lease: Lease): Promise<void> {
    const repairs = repairsOf(await this.#read());
    if (repairs.length === 0) return;
    // The repair belongs to the turn that left the calls open: a turn id of its own would make a fork point.
    const turnId = isForking(this.#saver)
      ? (await this.#saver.forkPoints(this.#threadId)).at(-1)?.turnId
      : undefined;
    const run: RunConfigurable = { lease, turnId: turnId ?? "repair" };
    const graph = typeof this.#graph === "function" ? await this.#graph() : this.#graph;
    await graph.updateState(
      { configurable: { thread_id: this.#threadId, [RUN_KEY]: run } },
      { messages: repairs },
      START,
    );
  }

  #read(): Promise<ThreadState> {
    return readThread(this.#saver, this.#threadId, this.#graph);
  }

  #tuple(): Promise<CheckpointTuple | undefined> {
    return this.#saver.getTuple({ configurable: { thread_id: this.#threadId, checkpoint_ns: "" } });
  }
}

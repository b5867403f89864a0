import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import type { JsonObject, JsonValue } from "./json.js";
import type { AgentEvent, Interrupt } from "./run-event.js";
import type { SessionIdentity } from "./session.js";
import type { EventRide, Lease } from "./store/store.js";

/** One piece of a message, in LangChain's standard form: `{ type: "text", text }`, `{ type: "image", … }`, … */
export type ContentBlock = JsonObject & { readonly type: string };

export interface UserMessage {
  /** Stable over retries and takeover: history holds one message per id. */
  readonly id: string;
  readonly content: string | readonly ContentBlock[];
}

/** Answers by interrupt id: for an approval `{ decisions: [...] }` as langchain takes it, else any JSON. */
export type Answers = Readonly<Record<string, JsonValue>>;

/** What a run hands to its agent. */
export type AgentInput =
  | { readonly kind: "message"; readonly message: UserMessage }
  | { readonly kind: "answers"; readonly answers: Answers }
  /** Go on with a turn that another owner left unfinished. */
  | { readonly kind: "continue" };

/** What is set per session; `chat` may change it, and the change sticks. Plain JSON without credentials. */
export type AgentConfig<TConfig extends object = object> = TConfig & {
  readonly provider?: string | undefined;
  readonly model?: string | undefined;
};

/**
 * A JSON slot of one session, for agents that keep no LangGraph state.
 * Reads see the last accepted write. Writes are fenced: they are refused with `LEASE_LOST` outside a run of
 * this session, and once another process owns it.
 */
export interface SessionState {
  get(): Promise<JsonValue | undefined>;
  /** @throws {AgentError} `LEASE_LOST`; `INVALID_INPUT` when the value is not JSON or over the store's limit. */
  set(value: JsonValue): Promise<void>;
}

/** What a factory is told of the session that it builds an agent for. */
export interface AgentContext<TConfig extends object = object> extends SessionIdentity {
  readonly config: AgentConfig<TConfig>;
  /** Where LangGraph state goes; use `threadId` as its `thread_id`. */
  readonly checkpointer: BaseCheckpointSaver;
  readonly state: SessionState;
  /** Aborted when nobody waits for the creation any more. */
  readonly signal: AbortSignal;
}

/** What is new in each run. */
export interface AgentRunOptions<TContext = unknown> {
  readonly runId: string;
  /** The run that began this turn: equal to `runId`, but for a run that answers an interrupt. */
  readonly turnId: string;
  /** From 1; more than 1 when another owner died in this run, or handed it over. */
  readonly attempt: number;
  /** Aborted by cancel, timeout, loss of the lease or close. Fresh for each run. */
  readonly signal: AbortSignal;
  /**
   * Aborted when the process shuts down and another one can go on: stop at the next point from which
   * `{ kind: "continue" }` goes on, and throw `drain.reason`. An agent that ends normally has done its work; one that
   * goes on is aborted at the end of `drainMs`. Absent where nobody else can go on.
   */
  readonly drain?: AbortSignal;
  /**
   * Waits until the log has all events that were yielded before. Wait for it before you store what a later attempt goes
   * on from, or events that were not yet in the log when the process died are told by nobody. Throws what the log threw.
   * Absent where nobody else can go on.
   */
  readonly flush?: (() => Promise<void>) | undefined;
  /** For savers that can store those events themselves: pass it on beside `flush`. Absent where none can. */
  readonly ride?: EventRide | undefined;
  /** What fences this run's writes; pass it on with every write to the checkpointer. */
  readonly lease: Lease;
  /** The host's per-run context, never stored. */
  readonly context: TContext | undefined;
}

/** One message of a conversation, in neutral form. */
export interface HistoryMessage {
  readonly id: string;
  readonly role: "user" | "assistant" | "tool" | "system";
  readonly content: string | readonly ContentBlock[];
  readonly toolCalls?: readonly { readonly id: string; readonly name: string; readonly input: JsonValue }[];
  /** On tool messages: the call that this answers. */
  readonly toolCallId?: string;
  readonly toolName?: string;
  /** On tool messages: whether the tool failed or was cancelled. */
  readonly isError?: boolean;
}

/** A point that the conversation can go back to. */
export interface Turn {
  readonly turnId: string;
  /** The state before the turn; opaque, for {@link Conversation.restore}. */
  readonly before: string;
  /** The messages that the turn added and that are still there, oldest first. */
  readonly messageIds: readonly string[];
}

/**
 * An agent's memory, as far as sessions need it. Reads may run at any time; writes take the lease of the run
 * that makes them and are refused with `LEASE_LOST` when it is stale.
 */
export interface Conversation {
  history(): Promise<readonly HistoryMessage[]>;
  /** The interrupts that wait for an answer. */
  pending(): Promise<readonly Interrupt[]>;
  /** Names the present state, `undefined` before the first turn. */
  head(): Promise<string | undefined>;
  /** The turns that can be undone, oldest first. */
  turns(): Promise<readonly Turn[]>;
  /**
   * Whether the history has a message of that id, which a run is about to give: then it goes back to before the turn of
   * that message. Asked each time that a caller has named its message; without it {@link turns} is.
   */
  has?(messageId: string, lease: Lease): Promise<boolean>;
  /**
   * Puts the conversation back, in one step, to a state that {@link turns} named; later turns are forgotten.
   *
   * @throws {AgentError} `FORK_POINT_GONE` when the state is no longer kept.
   */
  restore(before: string, lease: Lease): Promise<void>;
  /** Makes the history valid for the next message: answers tool calls that were left open as cancelled. */
  repair(lease: Lease): Promise<void>;
}

/** What an agent says, one event after another. */
export interface AgentEvents extends AsyncIterable<AgentEvent> {
  /**
   * May be there beside the iteration, which takes some promises for each event: does the same with a call for each.
   * `take` is called in order, with one event at a time; where it gives a promise, it is not called again before that
   * resolves. Rejects with what `take` threw, once the agent has stopped.
   */
  each?(take: (event: AgentEvent) => void | Promise<void>): Promise<void>;
}

/**
 * The live object that serves one session in this process. Losing it must lose nothing of the conversation.
 * At most one `stream` is under way at a time.
 */
export interface Agent<TContext = unknown> {
  /**
   * Works on one input. Ends when the work is done or has been interrupted; throws when it failed, and soon
   * after `signal` is aborted. Yielded events belong to the caller afterwards.
   */
  stream(input: AgentInput, options: AgentRunOptions<TContext>): AgentEvents;
  /** Without it the agent still runs, but rollback, regenerate, edit and answers are `UNSUPPORTED`. */
  readonly conversation?: Conversation | undefined;
  /** Frees what the agent holds. Called once, never during a `stream`. */
  close?(): void | Promise<void>;
}

/** Builds the agent of a session. Two sessions must never get the same object. */
export interface AgentFactory<TConfig extends object = object, TContext = unknown> {
  create(context: AgentContext<TConfig>): Agent<TContext> | Promise<Agent<TContext>>;
  /** Config keys that it understands beside `provider` and `model`; others are refused. */
  readonly configKeys?: readonly string[] | undefined;
  /** Refuses a config before anything is stored: throws an `AgentError` that says what to do. */
  check?(config: AgentConfig<TConfig>): void | Promise<void>;
  /** The conversation without an agent, so that reading a history takes no agent's place. */
  conversation?(context: AgentContext<TConfig>): Conversation | undefined;
  /** Frees what all its agents share. Called by whoever constructed the factory. */
  close?(): void | Promise<void>;
}

/** A factory that is just its `create`. */
export type AgentFactoryLike<TConfig extends object = object, TContext = unknown> =
  AgentFactory<TConfig, TContext> | AgentFactory<TConfig, TContext>["create"];

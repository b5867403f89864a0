import { EventEmitter } from "eventemitter3";
import type { AgentError } from "./errors.js";
import type { RunOutcome } from "./run-event.js";
import type { SessionIdentity } from "./session.js";
import type { DropReason } from "./store/store.js";

/**
 * Why an agent left this process. None of these loses anything of the conversation but `deleted` and
 * `dropped`, where the conversation went first.
 */
export type EvictReason =
  /** Idle for longer than `agentTtlMs`. */
  | "ttl"
  /** The least recently used one, when another session needed its place. */
  | "capacity"
  /** The session's config changed: the next agent is built with the new one. */
  | "config"
  /** `removeAgent`, `cleanupOldestAgents`. */
  | "removed"
  /** It did not stop in time after its run was aborted. */
  | "unresponsive"
  /** Its session was deleted, or dropped by the store's limits. */
  | "deleted"
  | "dropped"
  /** The manager was closed. */
  | "closed";

/** What an AgentManager tells. `error` in these events is whole, with its cause: it is for the host alone. */
export interface AgentManagerEvents {
  "agent:created": { readonly session: SessionIdentity; readonly durationMs: number };
  "agent:reused": { readonly session: SessionIdentity };
  "agent:evicted": { readonly session: SessionIdentity; readonly reason: EvictReason };
  /** Creating or closing threw or took too long. */
  "agent:failed": {
    readonly session: SessionIdentity;
    readonly phase: "create" | "close";
    readonly error: AgentError;
  };
  /** The store let a whole conversation go by its own limits. */
  "session:dropped": { readonly session: SessionIdentity; readonly reason: DropReason };
  "listener:failed": { readonly event: string; readonly error: unknown };
}

/** What a ChatService tells. */
export interface ChatServiceEvents {
  "run:started": { readonly session: SessionIdentity; readonly runId: string; readonly attempt: number };
  "run:finished": {
    readonly session: SessionIdentity;
    readonly runId: string;
    readonly outcome: RunOutcome;
    readonly durationMs: number;
  };
  /** Something failed: a run (with its id), or work that no caller waits for. Whole, for the host's log. */
  error: {
    readonly error: AgentError;
    readonly session?: SessionIdentity;
    readonly runId?: string;
  };
  "listener:failed": { readonly event: string; readonly error: unknown };
}

type Listener<T> = (payload: T) => void;

/**
 * Typed events over eventemitter3, one payload object each. A listener that throws, or whose promise
 * rejects, harms neither the emitter nor the other listeners: it is told as `listener:failed`.
 */
export class TypedEvents<TEvents extends object> {
  readonly #emitter = new EventEmitter();
  /** One wrapper per listener and event, so that `off` finds it. */
  readonly #wrappers = new Map<string, WeakMap<object, Listener<unknown>>>();

  /** Listens until the returned function, or `off`, is called. */
  on<K extends keyof TEvents & string>(event: K, listener: Listener<TEvents[K]>): () => void {
    this.#emitter.on(event, this.#wrap(event, listener));
    return () => {
      this.off(event, listener);
    };
  }

  /** Listens for one event. */
  once<K extends keyof TEvents & string>(event: K, listener: Listener<TEvents[K]>): () => void {
    this.#emitter.once(event, this.#wrap(event, listener));
    return () => {
      this.off(event, listener);
    };
  }

  off<K extends keyof TEvents & string>(event: K, listener: Listener<TEvents[K]>): void {
    this.#emitter.off(event, this.#wrap(event, listener));
  }

  protected emit<K extends keyof TEvents & string>(event: K, payload: TEvents[K]): void {
    this.#emitter.emit(event, payload);
  }

  #wrap(event: string, listener: (payload: never) => void): Listener<unknown> {
    let wrappers = this.#wrappers.get(event);
    if (wrappers === undefined) this.#wrappers.set(event, (wrappers = new WeakMap()));
    let wrapper = wrappers.get(listener);
    if (wrapper === undefined) {
      const failed = (error: unknown): void => {
        // A failing listener of `listener:failed` itself has nobody left to be told.
        if (event !== "listener:failed") this.#emitter.emit("listener:failed", { event, error });
      };
      wrapper = (payload) => {
        try {
          // Listeners are typed void, but an async function fits that type too.
          const returned = (listener as (payload: unknown) => unknown)(payload);
          if (returned instanceof Promise) returned.catch(failed);
        } catch (error) {
          failed(error);
        }
      };
      wrappers.set(listener, wrapper);
    }
    return wrapper;
  }
}

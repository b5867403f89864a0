import { createHash, randomUUID } from "node:crypto";
import { AgentError } from "../../errors.js";
import type { Clock } from "../../internal/clock.js";
import { withTimeLimit } from "../../internal/time-limit.js";
import { closingController, retrying, type Failure } from "../engine/retry.js";
import type { Lease } from "../store.js";

/**
 * What is used of a Redis client. `Redis` and `Cluster` of ioredis 5 and 6 have it. The store sends its commands over
 * the client that it is given and opens one more connection like it, to listen on; it closes only that.
 */
export interface RedisClient {
  /** `ready` while commands can be sent, `end` after the client was closed or gave up. */
  readonly status: string;
  readonly isCluster: boolean;
  readonly options: object;
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
  /** Of a `Redis` it takes options, of a `Cluster` nodes and options. */
  duplicate(nodesOrOptions?: object, options?: object): RedisClient;
  disconnect(): void;
  on(event: "error", listener: (error: Error) => void): unknown;
}

/** A Lua script, sent by its digest. */
export class RedisScript {
  readonly lua: string;
  readonly sha: string;

  constructor(...parts: readonly string[]) {
    this.lua = parts.join("");
    this.sha = createHash("sha1").update(this.lua).digest("hex");
  }
}

export interface RedisEngineOptions {
  readonly client: RedisClient;
  /** The hash tag, with its braces: the one key that scripts get. */
  readonly tag: string;
  readonly clock: Clock;
  readonly commandTimeoutMs: number;
  readonly retryMs: number;
}

export interface StepOptions {
  /** Whether the step may be sent again when it is not known whether it was done. */
  readonly repeat: boolean;
  /** What the step writes with: named in `LEASE_LOST`. */
  readonly lease?: Lease | undefined;
}

/**
 * All traffic of one store with Redis: one script is one step. Whatever the options of the host's client are, a step
 * ends after a bounded time:
 *
 *   usable?  no ──probe within commandTimeoutMs──▶ STORE_UNAVAILABLE
 *     │ yes
 *   sent ──reply──▶ done, or an AgentError that says what to do
 *     │ connection lost, no reply within commandTimeoutMs, or an error that passes
 *     └──repeat, or surely not done: again until retryMs have passed──▶ STORE_UNAVAILABLE
 *
 * A client that is not connected, or has let a step go unanswered, gets one probe and nothing else until that is
 * answered: a client may keep commands for later, and claims that are done when nobody waits for them any more
 * would leave runs to nobody.
 */
export class RedisEngine {
  readonly client: RedisClient;
  readonly tag: string;
  readonly clock: Clock;
  readonly commandTimeoutMs: number;
  /** Names this store object in what others can read: its own hints need not come back to it. */
  readonly origin = randomUUID();
  readonly #retryMs: number;
  #silent = false;
  #probing: Promise<unknown> | undefined;
  readonly #closing = closingController();

  constructor(options: RedisEngineOptions) {
    this.client = options.client;
    this.tag = options.tag;
    this.clock = options.clock;
    this.commandTimeoutMs = options.commandTimeoutMs;
    this.#retryMs = options.retryMs;
  }

  get closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Runs a script with the tag as its one key. @throws {AgentError} `STORE_UNAVAILABLE`, `LEASE_LOST`, `CLOSED` */
  run(script: RedisScript, args: readonly (string | number)[], options: StepOptions): Promise<unknown> {
    return this.#repeatedly(async () => {
      const rest = [1, this.tag, ...args];
      try {
        return await this.client.call("evalsha", script.sha, ...rest);
      } catch (error) {
        if (replyCode(error) !== "NOSCRIPT") throw error;
        return await this.client.call("eval", script.lua, ...rest);
      }
    }, options);
  }

  /** Sends a plain command that does no harm when it is sent twice. @throws {AgentError} as {@link run} */
  command(name: string, ...args: (string | number)[]): Promise<unknown> {
    return this.#repeatedly(() => this.client.call(name, ...args), { repeat: true });
  }

  /** Aborts when the engine is closed. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Nothing is sent from here on, and nothing is tried again. */
  close(): void {
    this.#closing.abort();
  }

  #repeatedly(send: () => Promise<unknown>, { repeat, lease }: StepOptions): Promise<unknown> {
    return retrying(
      async () => {
        if (this.closed) throw new AgentError("CLOSED", "The Redis store has been closed.");
        if (this.#silent || this.client.status !== "ready") await this.#probe();
        return await this.#limited(send());
      },
      (error) => judge(error, lease),
      repeat,
      { retryMs: this.#retryMs, clock: this.clock, signal: this.closing },
    );
  }

  /** Waits for a reply as long as a command may take, and no longer than the store is open. */
  async #limited(reply: Promise<unknown>): Promise<unknown> {
    const timed = await withTimeLimit(reply, this.commandTimeoutMs, this.clock, this.closing);
    if (timed.kind === "done") return timed.value;
    if (timed.kind === "failed") throw timed.error;
    if (this.closed) throw new AgentError("CLOSED", "The Redis store was closed before Redis had answered.");
    this.#silent = true;
    throw new Error(`no reply within ${String(this.commandTimeoutMs)} ms`);
  }

  /** One for all who wait. On a cluster it goes where the store's keys are. */
  async #probe(): Promise<void> {
    if (this.client.status === "end")
      throw new NotSent("its connection was closed, or the client gave up", false);
    this.#probing ??= this.client.call("exists", this.tag).then(
      () => {
        this.#silent = false;
        this.#probing = undefined;
      },
      (error: unknown) => {
        this.#probing = undefined;
        throw error;
      },
    );
    try {
      await this.#limited(this.#probing);
    } catch (error) {
      const judged = judge(error, undefined);
      throw new NotSent(judged.error, judged.transient);
    }
  }
}

/** The probe failed. */
class NotSent extends Error {
  constructor(
    readonly failure: AgentError | string,
    readonly transient: boolean,
  ) {
    super();
  }
}

/** What error replies mean for an operator, by their code, and whether waiting can help. All of them came before any effect. */
const replies: Readonly<Record<string, { readonly transient: boolean; readonly advice: string }>> = {
  LOADING: { transient: true, advice: "it is loading its data. Wait until it has." },
  READONLY: {
    transient: true,
    advice: "it is a read-only replica. Connect to the primary, and let the client reconnect on READONLY.",
  },
  CLUSTERDOWN: { transient: true, advice: "the cluster is down. Look at CLUSTER INFO." },
  TRYAGAIN: { transient: true, advice: "the cluster is moving the keys. Try again." },
  MOVED: { transient: true, advice: "it is part of a cluster. Connect with a cluster client." },
  ASK: { transient: true, advice: "the cluster is moving the keys. Connect with a cluster client." },
  MASTERDOWN: { transient: true, advice: "its primary is down. Look at the replication." },
  NOREPLICAS: {
    transient: true,
    advice: "fewer replicas are connected than min-replicas-to-write asks for.",
  },
  BUSY: { transient: true, advice: "a script of somebody else keeps it busy." },
  OOM: { transient: false, advice: "it has no memory left. Raise maxmemory, or let the store keep less." },
  MISCONF: { transient: false, advice: "it cannot persist. Look at its log and its disk." },
  NOAUTH: { transient: false, advice: "it asks for a password. Give the client one." },
  WRONGPASS: { transient: false, advice: "it refused the login. Check the client's user name and password." },
  NOPERM: { transient: false, advice: "its user may not do what the store needs. Check the ACL." },
};

/** The first word of an error reply; `undefined` for errors that are no reply of the server. */
function replyCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || error.name !== "ReplyError") return undefined;
  return /^[A-Z_]+/.exec(error.message)?.[0] ?? "ERR";
}

function judge(error: unknown, lease: Lease | undefined): Failure {
  if (error instanceof AgentError) return { error, transient: false, untouched: true };
  if (error instanceof NotSent) {
    const { failure, transient } = error;
    return {
      error: typeof failure === "string" ? unreachable(failure) : failure,
      transient,
      untouched: true,
    };
  }
  const code = replyCode(error);
  const cause = withoutCommand(error);
  if (code === undefined) {
    return {
      error: unreachable(cause.message || "the connection failed", cause),
      transient: true,
      untouched: false,
    };
  }
  if (code === "LEASE_LOST") {
    const name = lease && `The lease on thread \`${lease.threadId}\` with epoch ${String(lease.epoch)}`;
    const lost = new AgentError("LEASE_LOST", `${name ?? "The lease"} no longer holds.`);
    return { error: lost, transient: false, untouched: true };
  }
  const { transient = false, advice = "see the cause." } = replies[code] ?? {};
  const message = `Redis refused a step with ${code}: ${advice}`;
  return { error: new AgentError("STORE_UNAVAILABLE", message, { cause }), transient, untouched: true };
}

function unreachable(why: string, cause?: Error): AgentError {
  const message = `Redis can't be reached: ${why}. Check that it runs, and where the client connects to.`;
  return new AgentError("STORE_UNAVAILABLE", message, { cause });
}

/** Clients hang the command on its error: with it a password, or what users wrote. */
function withoutCommand(error: unknown): Error {
  if (!(error instanceof Error)) return new Error("unknown error");
  const plain = new Error(error.message.split(", with args")[0]);
  plain.name = error.name;
  const { code } = error as NodeJS.ErrnoException;
  return code === undefined ? plain : Object.assign(plain, { code });
}

/** A reply that is text; `undefined` for none. */
export function textOf(reply: unknown): string | undefined {
  if (typeof reply === "string") return reply;
  return typeof reply === "number" ? String(reply) : undefined;
}

/** A reply that is a number: clients may be told to give those as text. */
export function numberOf(reply: unknown): number {
  return Number(reply ?? 0);
}

/** A reply that is a list; none is an empty one. */
export function listOf(reply: unknown): readonly unknown[] {
  return Array.isArray(reply) ? reply : [];
}

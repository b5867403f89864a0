import type { Agent, AgentContext, AgentFactory, AgentInput, AgentRunOptions } from "../../src/agent.js";
import type { AgentManager } from "../../src/index.js";
import type { AgentEvent } from "../../src/run-event.js";

export interface FakeConfig {
  readonly tone?: string | undefined;
}

/** An agent that repeats what it is told and takes note of what is done to it. */
export class FakeAgent implements Agent {
  streams = 0;
  streaming = 0;
  closes = 0;
  /** What should never be: two streams at once, or a stream or a close too many. */
  readonly faults: string[] = [];
  readonly #owner: FakeFactory;

  constructor(
    owner: FakeFactory,
    readonly context: AgentContext<FakeConfig>,
  ) {
    this.#owner = owner;
  }

  async *stream(input: AgentInput, options: AgentRunOptions): AsyncIterable<AgentEvent> {
    if (this.closes > 0) this.faults.push("a stream after close");
    if (this.streaming > 0) this.faults.push("two streams at once");
    this.streams += 1;
    this.streaming += 1;
    try {
      await this.#owner.onStream?.(this, options);
      const said = input.kind === "message" ? JSON.stringify(input.message.content) : input.kind;
      yield { type: "text-start", id: "1" };
      yield { type: "text-delta", id: "1", delta: `${this.context.sessionId} said ${said}` };
      yield { type: "text-end", id: "1" };
    } finally {
      this.streaming -= 1;
    }
  }

  async close(): Promise<void> {
    if (this.streaming > 0) this.faults.push("closed during a stream");
    this.closes += 1;
    if (this.closes > 1) this.faults.push("closed twice");
    try {
      await this.#owner.onClose?.(this);
    } finally {
      this.#owner.alive.delete(this);
    }
  }
}

/** Makes fake agents. The hooks make it slow, failing or hanging. */
export class FakeFactory implements AgentFactory<FakeConfig> {
  readonly configKeys = ["tone"];
  readonly made: FakeAgent[] = [];
  /** Made and not yet closed. */
  readonly alive = new Set<FakeAgent>();
  /** The most that were alive at once. */
  peak = 0;
  calls = 0;
  onCreate?: (context: AgentContext<FakeConfig>, call: number) => unknown;
  onStream?: (agent: FakeAgent, options: AgentRunOptions) => unknown;
  onClose?: (agent: FakeAgent) => unknown;

  async create(context: AgentContext<FakeConfig>): Promise<FakeAgent> {
    this.calls += 1;
    await this.onCreate?.(context, this.calls);
    const agent = new FakeAgent(this, context);
    this.made.push(agent);
    this.alive.add(agent);
    this.peak = Math.max(this.peak, this.alive.size);
    return agent;
  }

  get faults(): string[] {
    return this.made.flatMap(({ faults, context }) =>
      faults.map((fault) => `${context.sessionId}: ${fault}`),
    );
  }
}

/** Takes note of a manager's events, in order, as `created a`, `evicted a ttl`, …. */
export function recordEvents<TConfig extends object, TContext>(
  manager: AgentManager<TConfig, TContext>,
): string[] {
  const events: string[] = [];
  manager.on("agent:created", ({ session }) => events.push(`created ${session.sessionId}`));
  manager.on("agent:reused", ({ session }) => events.push(`reused ${session.sessionId}`));
  manager.on("agent:evicted", ({ session, reason }) => events.push(`evicted ${session.sessionId} ${reason}`));
  manager.on("agent:failed", ({ session, phase, error }) =>
    events.push(`failed ${session.sessionId} ${phase} ${error.code}`),
  );
  return events;
}

/** Resolves when its `open` is called. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** How a promise stands after everything that is ready has been done. */
export async function stateOf(promise: Promise<unknown>): Promise<"pending" | "fulfilled" | "rejected"> {
  let state: "pending" | "fulfilled" | "rejected" = "pending";
  promise.then(
    () => (state = "fulfilled"),
    () => (state = "rejected"),
  );
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  return state;
}

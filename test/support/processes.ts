import { afterEach } from "vitest";
import type { AgentFactoryLike } from "../../src/agent.js";
import { AgentManager } from "../../src/agent-manager.js";
import { ChatService } from "../../src/chat-service.js";
import type { AgentManagerOptions, ChatOptions } from "../../src/options.js";
import type { MemoryStoreOptions } from "../../src/store/memory/memory-store.js";
import { ManualClock } from "../../src/testing/index.js";
import { SharedStore, type StoreView } from "./shared-store.js";

/** A service with its view of the shared store: what would be a process. */
export interface TestProcess<TConfig extends object = object, TContext = unknown> {
  readonly chat: ChatService<TConfig, TContext>;
  readonly manager: AgentManager<TConfig, TContext>;
  readonly store: StoreView;
  /** Codes of its `error` events. */
  readonly errors: string[];
  /** From here on no step of it reaches the store, and none returns: as after `kill -9`. */
  crash(): void;
}

const opened: { readonly process: TestProcess; readonly clock: ManualClock }[] = [];

afterEach(async () => {
  for (const { process, clock } of opened.splice(0)) {
    // What hangs is to end, or closing would wait for it.
    process.store.before = process.store.after = undefined;
    process.store.reach = "down";
    const closed = Promise.all([process.chat.close({ drainMs: 0 }), process.manager.close({ drainMs: 0 })]);
    const state = { closed: false };
    void closed.finally(() => (state.closed = true)).catch(() => undefined);
    while (!state.closed) await clock.advance(500);
    await closed;
  }
});

/** Services over one store, with one clock. */
export class Processes {
  readonly clock = new ManualClock();
  readonly shared: SharedStore;

  constructor(limits: Pick<MemoryStoreOptions, "maxEventsPerRun"> = {}) {
    this.shared = new SharedStore({ ...limits, clock: this.clock, sessionTtlMs: Infinity });
  }

  start<TConfig extends object = object, TContext = unknown>(
    factory: AgentFactoryLike<TConfig, TContext>,
    options: ChatOptions<TConfig, TContext> & Pick<AgentManagerOptions, "maxAgents" | "defaultConfig"> = {},
    prepare: (store: StoreView) => void = () => undefined,
  ): TestProcess<TConfig, TContext> {
    const { clock } = this;
    const store = this.shared.view();
    prepare(store);
    const { maxAgents, defaultConfig, ...chatOptions } = options;
    const manager = new AgentManager<TConfig, TContext>({
      ...{ factory, store, clock, maxAgents, cleanupIntervalMs: 0 },
      // The options above are those of any config; this one is the test's own.
      defaultConfig: defaultConfig as never,
    });
    const chat = new ChatService<TConfig, TContext>({ leaseMs: 2_000, ...chatOptions, manager });
    const errors: string[] = [];
    chat.on("error", ({ error }) => errors.push(error.code));
    const process: TestProcess<TConfig, TContext> = {
      ...{ chat, manager, store, errors },
      crash: () => {
        store.reach = "hangs";
        store.hints = false;
      },
    };
    opened.push({ process: process as unknown as TestProcess, clock });
    return process;
  }

  /** Turns the clock until something is so, for at most `ms`. */
  async until(check: () => boolean | Promise<boolean>, ms = 10_000): Promise<void> {
    for (let passed = 0; passed <= ms; passed += 50) {
      if (await check()) return;
      await this.clock.advance(50);
    }
    throw new Error(`It did not come about within ${String(ms)} ms.`);
  }

  /** What a promise gives, turning the clock meanwhile. */
  async outcome<T>(promise: Promise<T>, ms = 10_000): Promise<T> {
    let done = false;
    const settled = promise.finally(() => (done = true));
    settled.catch(() => undefined);
    await this.until(() => done, ms);
    return settled;
  }
}

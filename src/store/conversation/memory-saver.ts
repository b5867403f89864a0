import { refuseUnknownKeys } from "../../internal/check-options.js";
import type { Lease } from "../store.js";
import { ConversationSaver, requireLease } from "./conversation-saver.js";
import type { ConversationSaverOptions, ThreadSettings, ThreadSource } from "./conversation-saver.js";
import { ConversationThread } from "./thread.js";

export interface MemoryConversationSaverOptions extends ConversationSaverOptions {
  /**
   * Throws `LEASE_LOST` for a stale lease. With it every write must carry a lease of its own thread under
   * {@link RUN_KEY}; without it, for host tools and conformance tests, none need to.
   */
  readonly fence?: ((lease: Lease) => void) | undefined;
  /** Told the stored bytes of a thread after each change, 0 when it is gone. */
  readonly onResize?: ((threadId: string, bytes: number) => void) | undefined;
}

/** A {@link ConversationSaver} in this process's memory and nowhere else. */
export class MemoryConversationSaver extends ConversationSaver<MemoryThreads> {
  /** @throws {TypeError | RangeError} on options of a wrong type or out of range. */
  constructor(options: MemoryConversationSaverOptions = {}) {
    refuseUnknownKeys("MemoryConversationSaver", options, [
      "history",
      "forkableRuns",
      "liveBytes",
      "fence",
      "onResize",
      "serde",
    ]);
    super(options, (settings) => new MemoryThreads(settings, options));
  }

  /** What the thread's stored state takes on the heap, roughly, in bytes; 0 for an unknown one. */
  bytes(threadId: string): number {
    return this.source.peek(threadId)?.bytes ?? 0;
  }
}

/** Threads that are nowhere else. */
class MemoryThreads implements ThreadSource {
  private readonly threads = new Map<string, ConversationThread>();

  constructor(
    private readonly settings: ThreadSettings,
    private readonly options: Pick<MemoryConversationSaverOptions, "fence" | "onResize">,
  ) {}

  authorise(threadId: string, lease: Lease | undefined): void {
    if (this.options.fence === undefined) return;
    requireLease(threadId, lease);
    this.options.fence(lease);
  }

  peek(threadId: string): ConversationThread | undefined {
    return this.threads.get(threadId);
  }

  read(threadId: string): Promise<ConversationThread | undefined> {
    return Promise.resolve(this.threads.get(threadId));
  }

  write<T>(threadId: string, lease: Lease | undefined, step: (thread: ConversationThread) => T): Promise<T> {
    return new Promise((resolve) => {
      resolve(this.change(threadId, lease, step));
    });
  }

  private change<T>(threadId: string, lease: Lease | undefined, step: (thread: ConversationThread) => T): T {
    // The lease may have been lost, and the thread deleted, while values were being serialised.
    this.authorise(threadId, lease);
    const { retention, live } = this.settings;
    const thread =
      this.threads.get(threadId) ??
      new ConversationThread(retention, (value) => {
        if (value.kind === "messages") live.dropMessages(value);
      });
    const result = step(thread);
    if (!this.threads.has(threadId)) {
      if (thread.isEmpty) return result;
      this.threads.set(threadId, thread);
    }
    this.options.onResize?.(threadId, thread.bytes);
    return result;
  }

  delete(threadId: string): Promise<void> {
    const thread = this.threads.get(threadId);
    if (thread !== undefined) {
      this.threads.delete(threadId);
      thread.clear();
      this.options.onResize?.(threadId, 0);
    }
    return Promise.resolve();
  }

  threadIds(): Iterable<string> {
    return [...this.threads.keys()];
  }
}

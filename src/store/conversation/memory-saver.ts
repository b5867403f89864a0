import { refuseUnknownKeys } from "../../internal/check-options.js";
import type { Lease } from "../store.js";
import { ConversationSaver, requireLease } from "./conversation-saver.js";
import type { ConversationSaverOptions, ThreadSettings, ThreadSource } from "./conversation-saver.js";
import { PackedThread } from "./packed-thread.js";
import { ConversationThread } from "./thread.js";
import type { ThreadState } from "./thread.js";

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
    return this.source.bytes(threadId);
  }

  /** For the store: nobody will write the thread before it has been read again. Until then it may be packed. */
  rest(threadId: string): void {
    this.source.rest(threadId);
  }
}

/**
 * Threads that are nowhere else. One that rests is in the live cache, and is packed when it falls out of it; the first
 * write takes it out. A packed thread that is read rests again. Without a word of rest nothing is ever packed.
 */
class MemoryThreads implements ThreadSource {
  private readonly threads = new Map<string, ConversationThread | PackedThread>();

  constructor(
    private readonly settings: ThreadSettings,
    private readonly options: Pick<MemoryConversationSaverOptions, "fence" | "onResize">,
  ) {
    settings.live.onEvict = (threadId) => {
      this.pack(threadId);
    };
  }

  bytes(threadId: string): number {
    return this.threads.get(threadId)?.bytes ?? 0;
  }

  rest(threadId: string): void {
    const thread = this.threads.get(threadId);
    if (thread instanceof ConversationThread) this.settings.live.keepThread(threadId, { thread });
  }

  authorise(threadId: string, lease: Lease | undefined): void {
    if (this.options.fence === undefined) return;
    requireLease(threadId, lease);
    this.options.fence(lease);
  }

  /** What it gives may be packed again in any later step: a write then gets another object. */
  peek(threadId: string): ConversationThread | undefined {
    const { live } = this.settings;
    const known = this.threads.get(threadId);
    // To be asked for counts as a use.
    if (!(known instanceof PackedThread)) return known && (live.thread(threadId)?.thread ?? known);
    const thread = this.unpack(threadId, known);
    live.keepThread(threadId, { thread });
    return thread;
  }

  read(threadId: string): Promise<ConversationThread | undefined> {
    return Promise.resolve(this.peek(threadId));
  }

  write<T>(threadId: string, lease: Lease | undefined, step: (thread: ConversationThread) => T): Promise<T> {
    return new Promise((resolve) => {
      resolve(this.change(threadId, lease, step));
    });
  }

  private change<T>(threadId: string, lease: Lease | undefined, step: (thread: ConversationThread) => T): T {
    // The lease may have been lost, and the thread deleted, while values were being serialised.
    this.authorise(threadId, lease);
    this.settings.live.takeThread(threadId);
    const known = this.threads.get(threadId);
    const thread = known instanceof PackedThread ? this.unpack(threadId, known) : (known ?? this.create());
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
      this.settings.live.takeThread(threadId);
      if (thread instanceof ConversationThread) thread.clear();
      this.options.onResize?.(threadId, 0);
    }
    return Promise.resolve();
  }

  threadIds(): Iterable<string> {
    return [...this.threads.keys()];
  }

  private create(state?: ThreadState): ConversationThread {
    return new ConversationThread(this.settings.retention, this.forget, state);
  }

  private readonly forget: ConversationThread["forget"] = (value) => {
    if (value.kind === "messages") this.settings.live.dropMessages(value);
  };

  private pack(threadId: string): void {
    const thread = this.threads.get(threadId);
    if (thread instanceof ConversationThread) this.keep(threadId, PackedThread.of(thread));
  }

  private unpack(threadId: string, packed: PackedThread): ConversationThread {
    const thread = this.create(packed.unpack());
    this.keep(threadId, thread);
    return thread;
  }

  private keep(threadId: string, thread: ConversationThread | PackedThread): void {
    this.threads.set(threadId, thread);
    this.options.onResize?.(threadId, thread.bytes);
  }
}

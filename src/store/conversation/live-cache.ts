import { LRUCache } from "lru-cache";
import type { LiveMessages, MessageList } from "./message-list.js";
import type { ConversationThread } from "./thread.js";

/** A conversation that can be read again from where it is stored. */
export interface CachedThread {
  readonly thread: ConversationThread;
}

/** What a cached conversation takes beside its state. */
const CACHED_BYTES = 1_000;

/**
 * What makes the next turn of a conversation cheap and may go at any time: the message objects of its lists, and its
 * state, which can be read again from where it is stored. One bound on bytes over all of it; the least recently used
 * goes first.
 */
export class LiveCache<T extends CachedThread = CachedThread> {
  /** Told of each thread that goes because of the bound. */
  onEvict: ((threadId: string) => void) | undefined;
  private readonly cache: LRUCache<MessageList | string, LiveMessages | T> | undefined;

  /** @param maxBytes 0 keeps nothing. */
  constructor(maxBytes: number) {
    if (maxBytes === 0) return;
    this.cache = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: (value) =>
        "thread" in value ? value.thread.bytes + CACHED_BYTES : Math.ceil(value.bytes) + 1,
      disposeAfter: (value, key, reason) => {
        // Only threads are kept under texts.
        if (reason === "evict" && "thread" in value) this.evicted(key as string, value);
      },
    });
  }

  /** About how many bytes it holds. */
  get bytes(): number {
    return this.cache?.calculatedSize ?? 0;
  }

  get isOff(): boolean {
    return this.cache === undefined;
  }

  messages(list: MessageList): LiveMessages | undefined {
    // Lists are never keys of threads.
    return this.cache?.get(list) as LiveMessages | undefined;
  }

  hasMessages(list: MessageList): boolean {
    return this.cache?.has(list) === true;
  }

  keepMessages(list: MessageList, live: LiveMessages): void {
    this.cache?.set(list, live);
  }

  dropMessages(list: MessageList): void {
    this.cache?.delete(list);
  }

  thread(threadId: string): T | undefined {
    return this.cache?.get(threadId) as T | undefined;
  }

  keepThread(threadId: string, cached: T): void {
    // The size is taken when a value is set anew.
    this.cache?.delete(threadId);
    this.cache?.set(threadId, cached);
    if (this.cache?.has(threadId) !== true) this.evicted(threadId, cached);
  }

  /** Takes the thread out, to be changed or because it is no longer true; its messages stay. */
  takeThread(threadId: string): void {
    this.cache?.delete(threadId);
  }

  private evicted(threadId: string, { thread }: T): void {
    this.forgetMessages(thread);
    this.onEvict?.(threadId);
  }

  /** Drops the message objects of a thread that has gone. */
  forgetMessages(thread: ConversationThread): void {
    for (const { checkpoints } of thread.spaces) {
      for (const { channels } of checkpoints.values()) {
        for (const value of channels.values()) if (value.kind === "messages") this.cache?.delete(value);
      }
    }
  }
}

import { MemoryConversationSaver } from "../../src/store/conversation/memory-saver.js";
import { RecordsConversationSaver } from "../../src/store/conversation/records-saver.js";
import type { ConversationSaverOptions } from "../../src/store/conversation/conversation-saver.js";
import type { ForkingSaver } from "../../src/store/store.js";
import { InMemoryRecords } from "./in-memory-records.js";

/** Where a conversation may live: here, in an engine with a cache before it, in an engine alone. */
export const homes = ["memory", "records", "records, uncached"] as const;
export type Home = (typeof homes)[number];

export interface HousedSaver {
  readonly saver: ForkingSaver;
  /** What the thread takes at home. */
  bytes(threadId: string): number;
  /** Forgets all that could be read again, as a restart would: of the one thread, where that is enough. */
  restart(threadId: string): ForkingSaver;
}

/** A saver that takes writes without a lease. */
export function houseSaver(home: Home, options: ConversationSaverOptions = {}): HousedSaver {
  if (home === "memory") {
    const saver = new MemoryConversationSaver(options);
    const restart = (threadId: string) => {
      saver.rest(threadId);
      return saver;
    };
    return { saver, bytes: (threadId) => saver.bytes(threadId), restart };
  }
  const records = new InMemoryRecords();
  const create = () =>
    RecordsConversationSaver.unfenced(records, home === "records" ? options : { ...options, liveBytes: 0 });
  return { saver: create(), bytes: (threadId) => records.bytes(threadId), restart: create };
}

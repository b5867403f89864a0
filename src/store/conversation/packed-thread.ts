import { ThreadRecorder } from "./thread-records.js";
import { textBytes } from "./message-list.js";
import type { ConversationThread, ThreadState } from "./thread.js";

/** The object, its list and its text, and each message's slot and string header. */
const PACKED_BYTES = 160;
const MESSAGE_BYTES = 24;

/**
 * A thread that nobody uses, as its records: a third of what its objects take. Messages are the texts that the thread
 * has of them, and all else is one text, a record a line: JSON holds no line breaks.
 */
export class PackedThread {
  readonly bytes: number;

  private constructor(
    private readonly messages: readonly string[],
    private readonly rest: string,
  ) {
    let bytes = PACKED_BYTES + textBytes(rest);
    for (const text of messages) bytes += MESSAGE_BYTES + textBytes(text);
    this.bytes = bytes;
  }

  static of(thread: ConversationThread): PackedThread {
    const messages: string[] = [];
    const rest: string[] = [];
    // A recorder that knows nothing numbers messages from 0, in the order in which it comes by them.
    for (const [key, text] of new ThreadRecorder().changes(thread).puts) {
      if (key.startsWith("m")) messages.push(text);
      else rest.push(`${key} ${text}`);
    }
    // A copy, since a list that has grown has room to spare.
    return new PackedThread(messages.slice(), rest.join("\n"));
  }

  unpack(): ThreadState {
    const records = new Map<string, string>();
    for (const [number, text] of this.messages.entries()) records.set(`m${number.toString(36)}`, text);
    for (const line of this.rest === "" ? [] : this.rest.split("\n")) {
      const space = line.indexOf(" ");
      records.set(line.slice(0, space), line.slice(space + 1));
    }
    return ThreadRecorder.readOnce(records);
  }
}

import type { ForkPoint } from "../store.js";
import type { MessageEntry } from "./message-list.js";
import type { ConversationThread } from "./thread.js";
import { messagesIn } from "./value.js";

/** The id by which a RemoveMessage takes all messages away. */
const REMOVE_ALL = "__remove_all__";

/**
 * The turns that can be undone, oldest first, with the messages that each added and that are still there. A turn
 * without a checkpoint of its own (its process died when it had stored writes at most) has left nothing and is none.
 */
export function forkPoints(thread: ConversationThread): ForkPoint[] {
  const { forks } = thread;
  if (forks.length === 0) return [];
  const heads = [...forks.map((fork) => fork.heads.get("")?.id), thread.find("")?.id];
  const states = heads.map((head) => messageIds(thread, head));
  const present = states.at(-1);
  return forks.flatMap((fork, i) => {
    if (heads[i] === heads[i + 1]) return [];
    const added = [...(states[i + 1] ?? [])].filter((id) => states[i]?.has(id) !== true && present?.has(id));
    return { turnId: fork.turnId, messageIds: added };
  });
}

/** Whether the conversation, as it stands, has a message of that id. */
export function hasMessage(thread: ConversationThread, messageId: string): boolean {
  const head = thread.find("");
  const value = head?.channels.get("messages");
  // Asked once a turn, where the rest of this file is for turns that go back: no set for what is a list as a rule.
  if (value?.kind === "messages") {
    return value.chunks.some(({ entries }) => entries.some(({ id }) => id === messageId));
  }
  return messageIds(thread, head?.id).has(messageId);
}

/** Ids in the `messages` channel of a root checkpoint, in order. */
function messageIds(thread: ConversationThread, checkpointId: string | undefined): ReadonlySet<string> {
  const ids = new Set<string>();
  const checkpoint = checkpointId === undefined ? undefined : thread.find("", checkpointId);
  if (checkpoint === undefined) return ids;
  const value = checkpoint.channels.get("messages");
  const steps: Iterable<MessageEntry>[] = [];
  if (value !== undefined) steps.push(messagesIn(value));
  else if (checkpoint.delta.includes("messages")) {
    // Newest step first, as the ancestors come.
    for (const ancestor of thread.ancestors("", checkpoint.id)) {
      const writes = [...thread.writesOf("", ancestor.id)].filter((write) => write.channel === "messages");
      steps.unshift(...writes.map((write) => messagesIn(write.value)));
      const seed = ancestor.channels.get("messages");
      if (seed === undefined) continue;
      steps.unshift(messagesIn(seed));
      break;
    }
  }
  for (const step of steps) {
    for (const entry of step) {
      if (entry.id === undefined) continue;
      if (!entry.removes) ids.add(entry.id);
      else if (entry.id === REMOVE_ALL) ids.clear();
      else ids.delete(entry.id);
    }
  }
  return ids;
}

import type { CheckpointTuple } from "@langchain/langgraph-checkpoint";
import { RUN_KEY } from "../store.js";
import type { StoredCheckpoint, StoredWrite } from "./checkpoint.js";
import type { Config } from "./config.js";
import type { ConversationThread } from "./thread.js";

/** A stored checkpoint, and where. */
export interface Place {
  readonly thread: ConversationThread;
  readonly threadId: string;
  readonly namespace: string;
  readonly stored: StoredCheckpoint;
}

interface Peeked {
  readonly stored: StoredCheckpoint;
  readonly writes: readonly StoredWrite[];
  readonly tuple: CheckpointTuple;
}

/** What runs have been shown and their graphs have not read yet. */
export class PeekedReads {
  /** By what the run has in `configurable`: it is not kept any longer than that. */
  private readonly peeked = new WeakMap<object, Peeked>();

  /** Reads for a run that only looks. */
  async peek(config: Config, place: Place, read: () => Promise<CheckpointTuple>): Promise<CheckpointTuple> {
    // Before the read: what is written while it decodes is not in the tuple.
    const writes = writesAt(place);
    const tuple = await read();
    const run = runOf(config);
    if (run !== undefined) this.peeked.set(run, { stored: place.stored, writes, tuple });
    return tuple;
  }

  /** What the run has been shown, if that is what it would read now; once, since who gets it may change it. */
  take(config: Config, place: Place): CheckpointTuple | undefined {
    const run = runOf(config);
    const peeked = run && this.peeked.get(run);
    if (run === undefined || peeked === undefined) return undefined;
    this.peeked.delete(run);
    const writes = writesAt(place);
    const isSame =
      peeked.stored === place.stored &&
      peeked.writes.length === writes.length &&
      peeked.writes.every((write, i) => write === writes[i]);
    return isSame ? peeked.tuple : undefined;
  }
}

function runOf(config: Config): object | undefined {
  const run: unknown = config.configurable?.[RUN_KEY];
  return typeof run === "object" && run !== null ? run : undefined;
}

function writesAt({ thread, namespace, stored }: Place): StoredWrite[] {
  return [...thread.writesOf(namespace, stored.id)];
}

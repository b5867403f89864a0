import { compareWritesSortKeys, writesSortKey } from "@langchain/langgraph-checkpoint";
import type { Checkpoint, CheckpointPendingWrite } from "@langchain/langgraph-checkpoint";
import { decodeValue } from "./value.js";
import type { Blob, Resemblance, StoredValue, ValueCodec } from "./value.js";

export interface StoredCheckpoint {
  readonly id: string;
  readonly parentId: string | undefined;
  readonly v: number;
  readonly ts: string;
  /** `channel_versions` and `versions_seen` as JSON. */
  readonly versions: string;
  readonly metadata: Blob;
  readonly channels: Map<string, StoredValue>;
  /** Channels whose value lies in the ancestors. */
  readonly delta: readonly string[];
  /** By parent namespace, the checkpoint in whose task this one was made. */
  readonly parents: ReadonlyMap<string, string>;
  readonly isInput: boolean;
  readonly bytes: number;
  /** The next ancestor that matters to delta channels; skips those that don't. */
  ancestorId: string | undefined;
  /** Whether it has been reduced to what delta channels of later checkpoints read; it is then found no more. */
  isAncestorOnly: boolean;
}

export interface StoredWrite {
  readonly taskId: string;
  readonly index: number;
  readonly path: string;
  readonly channel: string;
  readonly value: StoredValue;
}

/** A checkpoint's own objects, beside its texts and values. */
export const CHECKPOINT_BYTES = 480;

type Versions = Pick<Checkpoint, "channel_versions" | "versions_seen">;

/** The two version maps of a stored checkpoint. */
export function versionsOf(stored: StoredCheckpoint): Versions {
  // Only `draftCheckpoint` writes them.
  return JSON.parse(stored.versions) as Versions;
}

/**
 * The channels of a checkpoint whose value must be rebuilt from its ancestors: those that count supersteps
 * since their last snapshot and have no value here. LangGraph doesn't replay one without a version when all
 * writes of the branch have versions: it was never written.
 */
export function deltaChannelsOf(
  metadata: Readonly<Record<string, unknown>>,
  channelVersions: Readonly<Record<string, unknown>>,
  channelValues: Readonly<Record<string, unknown>>,
): string[] {
  const counters = metadata["counters_since_delta_snapshot"];
  if (typeof counters !== "object" || counters === null) return [];
  const isVersioned = metadata["delta_writes_versioned"] === true;
  return Object.keys(counters).filter(
    (channel) =>
      !Object.hasOwn(channelValues, channel) && !(isVersioned && !Object.hasOwn(channelVersions, channel)),
  );
}

/** In the order in which a live run applies them. */
export function sortWrites(writes: Iterable<StoredWrite>): StoredWrite[] {
  return [...writes].sort((a, b) =>
    compareWritesSortKeys(writesSortKey(a.path, a.taskId, a.index), writesSortKey(b.path, b.taskId, b.index)),
  );
}

export function decodeWrites(
  writes: readonly StoredWrite[],
  codec: ValueCodec,
  like?: Resemblance,
): Promise<CheckpointPendingWrite[]> {
  return Promise.all(
    writes.map(async (write): Promise<CheckpointPendingWrite> => {
      return [write.taskId, write.channel, await decodeValue(write.value, codec, like)];
    }),
  );
}

import { LRUCache } from "lru-cache";
import { copyJson, mergeJson } from "../../internal/json-value.js";
import type { JsonObject } from "../../json.js";

/** The config that sticks to a session: JSON text, and the version that it has in the engine. */
export interface StickyConfig {
  /** `""` while nothing sticks. */
  readonly version: string;
  readonly text: string;
}

/** What a submission would make of a session's config. */
export interface MergedConfig {
  /** What sticks from then on; `undefined` to leave it as it is. */
  readonly sticky: string | undefined;
  /** The config of the run. */
  readonly config: string;
}

const NONE: StickyConfig = { version: "", text: "{}" };
const MAX_SESSIONS = 1000;
const MAX_CHARACTERS = 4_000_000;

/**
 * What this process last saw of sessions' sticky configs. To an engine JSON is opaque, so it can't merge: a
 * submission says what it assumed, and is told when that was something else. Guessing right saves that round.
 */
export class StickyConfigs {
  readonly #seen = new LRUCache<string, StickyConfig>({
    max: MAX_SESSIONS,
    maxSize: MAX_CHARACTERS,
    maxEntrySize: MAX_CHARACTERS / 100,
    sizeCalculation: ({ text }) => text.length + 100,
  });

  /** What to assume of a session. */
  assume(threadId: string): StickyConfig {
    return this.#seen.get(threadId) ?? NONE;
  }

  learn(threadId: string, sticky: StickyConfig): void {
    this.#seen.set(threadId, sticky);
  }
}

/** Lays the service's defaults, what sticks and the patch over each other. */
export function mergeSticky(
  defaults: JsonObject,
  sticky: Pick<StickyConfig, "text">,
  patch: JsonObject,
): MergedConfig {
  // Only what this function made is stored.
  const before = JSON.parse(sticky.text) as JsonObject;
  const copy = copyJson(patch);
  if (Object.keys(copy).length === 0) {
    return { sticky: undefined, config: JSON.stringify(mergeJson(defaults, before)) };
  }
  const after = mergeJson(before, copy);
  return { sticky: JSON.stringify(after), config: JSON.stringify(mergeJson(defaults, after)) };
}

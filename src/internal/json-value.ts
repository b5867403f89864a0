import type { JsonObject, JsonValue } from "../json.js";

/** Copies plain JSON, so that the giver may change its own object afterwards. Undefined properties are left out. */
export function copyJson<T>(value: T): T {
  // The copy of a JSON value has the type of the value; TypeScript cannot follow the recursion.
  return copy(value) as T;
}

function copy(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(copy);
  const entries: [string, unknown][] = [];
  for (const [key, item] of Object.entries(value)) if (item !== undefined) entries.push([key, copy(item)]);
  // Not by assignment: a key may be `__proto__`.
  return Object.fromEntries(entries);
}

/** Lays objects over each other, the later the stronger; undefined properties cover nothing. */
export function mergeJson(...layers: readonly (JsonObject | undefined)[]): JsonObject {
  const merged = new Map<string, JsonValue>();
  for (const layer of layers) {
    if (layer === undefined) continue;
    for (const [key, value] of Object.entries(layer)) if (value !== undefined) merged.set(key, value);
  }
  return Object.fromEntries(merged);
}

/** About what a plain JSON value takes in memory, rather too much than too little. */
export function estimateBytes(value: unknown): number {
  if (typeof value === "string") return 24 + 2 * value.length;
  if (typeof value !== "object" || value === null) return 8;
  let bytes = 32;
  if (Array.isArray(value)) for (const item of value) bytes += estimateBytes(item);
  else for (const item of Object.values(value)) bytes += 8 + estimateBytes(item);
  return bytes;
}

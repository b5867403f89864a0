import type { JsonObject, JsonValue } from "../json.js";

/** Copies plain JSON, so that the giver may change its own object afterwards. Undefined properties are left out. */
export function copyJson<T>(value: T): T {
  // The copy of a JSON value has the type of the value; TypeScript cannot follow the recursion.
  return copy(value) as T;
}

function copy(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(copy);
  const source = value as Readonly<Record<string, unknown>>;
  const result: Record<string, unknown> = {};
  for (const key of Object.keys(source)) {
    const item = source[key];
    if (item !== undefined) put(result, key, copy(item));
  }
  return result;
}

/** Lays objects over each other, the later the stronger; undefined properties cover nothing. */
export function mergeJson(...layers: readonly (JsonObject | undefined)[]): JsonObject {
  const merged: Record<string, JsonValue> = {};
  for (const layer of layers) {
    if (layer === undefined) continue;
    for (const key of Object.keys(layer)) {
      const value = layer[key];
      if (value !== undefined) put(merged, key, value);
    }
  }
  return merged;
}

/** Assigning to `__proto__` would set the prototype instead. */
function put<T>(object: Record<string, T>, key: string, value: T): void {
  if (key !== "__proto__") object[key] = value;
  else Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}

/** About what a plain JSON value takes in memory, rather too much than too little. */
export function estimateBytes(value: unknown): number {
  if (typeof value === "string") return 24 + 2 * value.length;
  if (typeof value !== "object" || value === null) return 8;
  let bytes = 32;
  if (Array.isArray(value)) for (const item of value) bytes += estimateBytes(item);
  // The fastest way, and this is called for each event; what a prototype may add does no harm to an estimate.
  else for (const key in value) bytes += 8 + estimateBytes((value as Readonly<Record<string, unknown>>)[key]);
  return bytes;
}

import type { JsonObject, JsonValue } from "../json.js";

/** A plain JSON copy of anything; what JSON cannot say (functions, cycles) becomes `null`. */
export function toJson(value: unknown): JsonValue {
  if (typeof value === "string" || typeof value === "boolean" || value === null) return value;
  try {
    // Undefined for what JSON has no word for; its declared type leaves that out.
    const text = JSON.stringify(value, (_key, part: unknown) =>
      typeof part === "bigint" ? part.toString() : part,
    ) as string | undefined;
    return text === undefined ? null : (JSON.parse(text) as JsonValue);
  } catch {
    return null;
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** As {@link toJson} for what must be an object; anything else becomes `{}`. */
export function toJsonObject(value: unknown): JsonObject {
  const json = toJson(value);
  return typeof json === "object" && json !== null && !Array.isArray(json) ? (json as JsonObject) : {};
}

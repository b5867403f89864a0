import { AgentError } from "../../errors.js";
import { jsonProblem } from "../../internal/canonical-json.js";
import type { JsonValue } from "../../json.js";

/**
 * A state slot's value as JSON text.
 *
 * @throws {AgentError} `INVALID_INPUT` when JSON would give back something else, or it is over `maxBytes` of UTF-8.
 */
export function encodeState(value: JsonValue, maxBytes: number, sessionId: string): string {
  const problem = jsonProblem(value);
  if (problem !== undefined) {
    const message = `The state of session \`${sessionId}\` is not plain JSON: it has ${problem} in it.`;
    throw new AgentError("INVALID_INPUT", message, { sessionId });
  }
  const text = JSON.stringify(value);
  const bytes = Buffer.byteLength(text);
  if (bytes > maxBytes) {
    const message = `The state of session \`${sessionId}\` takes ${String(bytes)} bytes, at most ${String(maxBytes)} fit.`;
    throw new AgentError("INVALID_INPUT", message, { sessionId });
  }
  return text;
}

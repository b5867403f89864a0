/** Under this name in every copy of this package in the process (ESM and CJS). */
const mark = Symbol.for("agent-sessions.inputLeft");

/** Says of an error that it came before the agent took its input: answers have had no effect, and may be given again. */
export function markInputLeft<T extends Error>(error: T): T {
  return Object.defineProperty(error, mark, { value: true });
}

export function isInputLeft(error: unknown): boolean {
  return typeof error === "object" && error !== null && mark in error;
}

import { inspect } from "node:util";
import { isAgentError, type AgentErrorCode } from "../../errors.js";

/*
 * What the rules check with, so that the kit needs no test runner. Each throws a plain Error that says what was
 * expected and what was seen.
 */

const SHOWN_CHARACTERS = 600;

/** A value as a message shows it: whole when it is small, else its beginning. */
export function shown(value: unknown): string {
  const text = inspect(value, { depth: 5, breakLength: Infinity, maxStringLength: 120, maxArrayLength: 20 });
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}

/** The rule is broken: `expected` says what should have been. */
export function broken(expected: string, seen: unknown): never {
  throw new Error(`expected ${expected}; saw ${shown(seen)}`);
}

export function expectThat(isSo: boolean, expected: string, seen: unknown): void {
  if (!isSo) broken(expected, seen);
}

/** Equal as plain data: properties that are undefined count as absent. */
export function expectEqual(actual: unknown, wanted: unknown, what: string): void {
  if (!contains(actual, wanted) || !contains(wanted, actual))
    broken(`${what} to be ${shown(wanted)}`, actual);
}

/** Has at least these properties, at every depth; arrays have just these items. Undefined means absent. */
export function expectLike(actual: unknown, wanted: object, what: string): void {
  if (!contains(actual, wanted)) broken(`${what} to have ${shown(wanted)}`, actual);
}

/** The same items, each as often, in any order. */
export function expectSameItems(actual: readonly string[], wanted: readonly string[], what: string): void {
  expectEqual([...actual].sort(), [...wanted].sort(), `${what} (in any order)`);
}

/** Refuses with an `AgentError` of this code. Anything else, and not refusing at all, breaks the rule. */
export async function expectRefused(
  attempt: () => unknown,
  code: AgentErrorCode | readonly AgentErrorCode[],
  what: string,
): Promise<void> {
  const codes: readonly AgentErrorCode[] = typeof code === "string" ? [code] : code;
  const wanted = `${what} to be refused with ${codes.join(" or ")}`;
  const result = await attemptOf(attempt);
  if (!("error" in result)) broken(wanted, result);
  if (!isAgentError(result.error) || !codes.includes(result.error.code)) broken(wanted, result.error);
}

/** How an attempt ended, as a value. */
export async function attemptOf<T>(
  attempt: () => T | PromiseLike<T>,
): Promise<{ readonly value: T } | { readonly error: unknown }> {
  try {
    return { value: await attempt() };
  } catch (error) {
    return { error };
  }
}

/** How many of the attempts were accepted; all others must have been refused with one of these codes. */
export function acceptedOf<T>(
  results: readonly ({ readonly value: T } | { readonly error: unknown })[],
  codes: readonly AgentErrorCode[],
  what: string,
): readonly T[] {
  return results.flatMap((result) => {
    if ("value" in result) return [result.value];
    if (isAgentError(result.error) && codes.includes(result.error.code)) return [];
    return broken(`${what} to be accepted, or refused with ${codes.join(" or ")}`, result.error);
  });
}

function contains(actual: unknown, wanted: unknown): boolean {
  if (typeof wanted !== "object" || wanted === null) return Object.is(actual, wanted);
  if (typeof actual !== "object" || actual === null) return false;
  if (Array.isArray(wanted)) {
    if (!Array.isArray(actual) || actual.length !== wanted.length) return false;
    return wanted.every((item, index) => contains(actual[index], item));
  }
  const given = actual as Readonly<Record<string, unknown>>;
  return Object.entries(wanted).every(([key, value]) => {
    const own = Object.hasOwn(given, key) ? given[key] : undefined;
    return value === undefined ? own === undefined : contains(own, value);
  });
}

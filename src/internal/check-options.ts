function show(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/**
 * Checks an optional whole number and fills in its default.
 *
 * @throws {TypeError} when it is no number. @throws {RangeError} when it is no integer or under `min`.
 */
export function integerOption(name: string, value: unknown, fallback: number, min: number): number {
  if (value === undefined) return fallback;
  const expected = `Expected \`${name}\` to be an integer from ${String(min)} up, got \`${show(value)}\` (${typeof value})`;
  if (typeof value !== "number") throw new TypeError(expected);
  if (!Number.isSafeInteger(value) || value < min) throw new RangeError(expected);
  return value;
}

/** As {@link integerOption}, for an option that is off when it is left out. */
export function optionalInteger(name: string, value: unknown, min: number): number | undefined {
  return value === undefined ? undefined : integerOption(name, value, 0, min);
}

/** As {@link integerOption}, from 1 up or Infinity, for none. */
export function limitOption(name: string, value: unknown, fallback: number): number {
  return value === Infinity ? Infinity : integerOption(name, value, fallback, 1);
}

/** @throws {TypeError} when the value is not one of `choices`. */
export function choiceOption<T extends string>(
  name: string,
  value: unknown,
  fallback: T,
  choices: readonly T[],
): T {
  if (value === undefined) return fallback;
  if (!choices.includes(value as T)) {
    throw new TypeError(
      `Expected \`${name}\` to be one of ${choices.join(", ")}, got \`${show(value)}\` (${typeof value})`,
    );
  }
  return value as T;
}

/** @throws {TypeError} when an options object has a key that nothing reads: a typo would otherwise go unseen. */
export function refuseUnknownKeys(what: string, options: object, known: readonly string[]): void {
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) {
      throw new TypeError(`Unknown option \`${key}\` of ${what}. Known: ${known.join(", ")}.`);
    }
  }
}

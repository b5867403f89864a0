import { integerOption, refuseUnknownKeys } from "../../internal/check-options.js";
import type { Store } from "../../store/store.js";
import { Bench, type ConformanceLimits, type Rule, type StorePart } from "./bench.js";
import { rules } from "./rules.js";

export interface StoreConformanceOptions {
  /**
   * Makes a store with nothing in it, for one case; `limits` are what that case needs of its limits, by the names of
   * `memoryStore`'s options, mostly none. The kit calls `init`.
   */
  readonly createStore: (limits: ConformanceLimits) => Store | Promise<Store>;
  /** Which parts the store has. The cases of others are skipped. */
  readonly parts: readonly StorePart[];
  /**
   * Opens another store on the data of `store`, as another process would. Racing cases then write through both.
   * Left out for a store that only one process can use: they then race through the one.
   */
  readonly openAnother?: ((store: Store) => Store | Promise<Store>) | undefined;
  /** Frees the stores of a case and what they were opened on. @defaultValue calls `close` of each */
  readonly dispose?: ((stores: readonly Store[]) => void | Promise<void>) | undefined;
  /** Which limits `createStore` heeds; cases that need another one are skipped. @defaultValue all */
  readonly limits?: readonly (keyof ConformanceLimits)[] | undefined;
  /** How long the leases are that cases let expire, in milliseconds. @defaultValue 150 */
  readonly leaseMs?: number | undefined;
  /** Lets time go by, for a store on a manual clock. @defaultValue waits */
  readonly advance?: ((ms: number) => Promise<void>) | undefined;
  /** How long cases wait for what may come late, such as hints, in milliseconds. @defaultValue 5,000 */
  readonly patienceMs?: number | undefined;
}

/** One rule as a test: pass `name` and `run` to any runner. */
export interface ConformanceCase {
  /** Stable, e.g. `ledger: a stale owner cannot finish`. */
  readonly name: string;
  /** Why the rule does not apply to this store; `run` then does nothing. */
  readonly skip?: string;
  /** Rejects with an Error that names the rule and says what was seen. */
  readonly run: () => Promise<void>;
}

const LIMITS: readonly (keyof ConformanceLimits)[] = [
  "runRetentionMs",
  "maxRetainedRuns",
  "sessionTtlMs",
  "maxEventsPerRun",
  "maxStateBytes",
];
const PARTS: readonly StorePart[] = ["runs", "sessions", "checkpointer", "events", "processes"];

/**
 * The promises of a {@link Store} as test cases, one for each, for any test runner. Each makes a store of its own
 * and frees it again, so cases may run in any order, and at once.
 *
 * Cases that race send many calls at once through two stores. One that passes has not proved that there is no race,
 * so run the kit often.
 *
 * @example
 * for (const { name, skip, run } of storeConformance({ createStore, parts: ["runs", "checkpointer"] })) {
 *   test(name, { skip }, run);
 * }
 *
 * @throws {TypeError} on options of a wrong type or name. @throws {RangeError} on times that are no integers from 1 up.
 */
export function storeConformance(options: StoreConformanceOptions): readonly ConformanceCase[] {
  refuseUnknownKeys("storeConformance", options, [
    "createStore",
    "parts",
    "openAnother",
    "dispose",
    "limits",
    "leaseMs",
    "advance",
    "patienceMs",
  ]);
  const leaseMs = integerOption("leaseMs", options.leaseMs, 150, 1);
  const patienceMs = integerOption("patienceMs", options.patienceMs, 5_000, 1);
  const parts = listOption("parts", options.parts, PARTS);
  const limits = options.limits === undefined ? LIMITS : listOption("limits", options.limits, LIMITS);
  return rules.map((rule) => {
    const { name } = rule;
    const skip = reasonToSkip(rule, parts, limits);
    if (skip !== undefined) return { name, skip, run: () => Promise.resolve() };
    return { name, run: () => runRule(rule, { ...options, leaseMs, patienceMs }) };
  });
}

async function runRule(
  rule: Rule,
  options: StoreConformanceOptions & { readonly leaseMs: number; readonly patienceMs: number },
): Promise<void> {
  const { createStore, openAnother, dispose = closeAll, parts, leaseMs, patienceMs, advance } = options;
  const stores: Store[] = [];
  const add = async (store: Store): Promise<Store> => {
    stores.push(store);
    await store.init?.();
    return store;
  };
  try {
    const store = await add(await createStore(rule.limits ?? {}));
    const open = async () => (openAnother === undefined ? store : add(await openAnother(store)));
    await rule.check(new Bench({ store, open, parts, leaseMs, patienceMs, advance }));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`${rule.name}: ${message}`, { cause: error });
  } finally {
    await dispose(stores);
  }
}

async function closeAll(stores: readonly Store[]): Promise<void> {
  for (const store of [...stores].reverse()) await store.close?.();
}

function reasonToSkip(
  rule: Rule,
  parts: readonly StorePart[],
  limits: readonly string[],
): string | undefined {
  const part = rule.needs.find((needed) => !parts.includes(needed));
  if (part !== undefined) return `the store has no \`${part}\``;
  const limit = Object.keys(rule.limits ?? {}).find((needed) => !limits.includes(needed));
  return limit === undefined ? undefined : `the store has no limit \`${limit}\``;
}

function listOption<T extends string>(name: string, given: unknown, known: readonly T[]): readonly T[] {
  const isKnown = (item: unknown): item is T => known.some((one) => one === item);
  if (Array.isArray(given) && given.every(isKnown)) return given;
  throw new TypeError(
    `Expected \`${name}\` to be a list of ${known.map((item) => `\`${item}\``).join(", ")}.`,
  );
}

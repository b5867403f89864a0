import { AgentError } from "../errors.js";
import { refuseUnknownKeys } from "../internal/check-options.js";
import { systemClock, type Clock } from "../internal/clock.js";
import type { Store } from "../store/store.js";

/** What can go wrong, by part and method. */
const CALLS = {
  store: ["init", "sweep"],
  runs: [
    ...(["submit", "claim", "renew", "finish", "release", "cancel", "get", "current", "sessions"] as const),
    ...(["tombstone", "purge", "purged", "tombstones", "sweep", "readState", "writeState"] as const),
  ],
  sessions: ["save", "get", "list", "delete", "count"],
  checkpointer: [
    ...(["get", "getTuple", "list", "put", "putWrites", "deleteThread"] as const),
    ...(["getDeltaChannelHistory", "forkPoints", "hasMessage", "restore"] as const),
  ],
  events: ["append", "read", "delete"],
  processes: ["beat", "leave", "list", "send"],
} as const;

type Part = keyof typeof CALLS;

/** One call of a store, such as `runs.submit`. */
export type StoreCall = { [P in Part]: `${P}.${(typeof CALLS)[P][number]}` }[Part];

/** Which calls a fault strikes: one, all of a part, or all. */
export type FaultTarget = StoreCall | `${Part}.*` | "*";

export interface Fault {
  readonly on: FaultTarget | readonly FaultTarget[];
  /**
   * `delay`: the call is sent later. `error-before`: it fails and nothing has been done. `error-after`: it was done and
   * its answer got lost. `hang`: it is never sent and not answered until {@link FaultyStore.reconnect} or `close`, when
   * it fails.
   */
  readonly kind: "delay" | "error-before" | "error-after" | "hang";
  /** The part of the calls that it strikes, from 0 to 1. @defaultValue 1 */
  readonly rate?: number | undefined;
  /** Calls that it leaves alone first. @defaultValue 0 */
  readonly after?: number | undefined;
  /** How often it strikes at most. @defaultValue no limit */
  readonly times?: number | undefined;
  /** How long a `delay` is, in milliseconds. @defaultValue 10 */
  readonly delayMs?: number | undefined;
  /** What a call that fails throws. @defaultValue an `AgentError` `STORE_UNAVAILABLE` */
  readonly error?: ((call: StoreCall) => Error) | undefined;
}

export interface FaultPlan {
  readonly faults?: readonly Fault[] | undefined;
  /** The part of the hints of `runs` and `events` that get lost, and that come twice, each from 0 to 1. @defaultValue 0 */
  readonly hints?: { readonly lost?: number | undefined; readonly doubled?: number | undefined } | undefined;
  /** Equal seeds strike the same calls: the n-th one of a method, whatever came in between. @defaultValue 1 */
  readonly seed?: number | undefined;
  /** What delays are measured with. @defaultValue the system's clock */
  readonly clock?: Clock | undefined;
}

/** A {@link Store} that fails as planned, and at command. */
export interface FaultyStore extends Store {
  /** How often each call was struck, by `<call> <kind>`. */
  readonly struck: ReadonlyMap<string, number>;
  /**
   * The connection is lost from here on: every call fails with `STORE_UNAVAILABLE` and nothing is done, or hangs; hints
   * and messages get lost.
   */
  disconnect(how?: "fails" | "hangs"): void;
  /** The connection is back. What hangs fails with `STORE_UNAVAILABLE`. */
  reconnect(): void;
}

const KINDS: readonly Fault["kind"][] = ["delay", "error-before", "error-after", "hang"];

/**
 * Wraps a store so that its calls fail as `plan` says: for tests of how a host, or this library, takes it. All parts
 * that the store has are wrapped, and tell the same `engine` as before. `close` closes the store.
 *
 * @example
 * const store = faultyStore(memoryStore(), {
 *   faults: [{ on: "runs.submit", kind: "error-after", rate: 0.2 }],
 *   seed: 7,
 * });
 *
 * @throws {TypeError} on calls and kinds that there are not. @throws {RangeError} on rates out of 0 to 1, and on counts
 * and times that are negative.
 */
export function faultyStore(store: Store, plan: FaultPlan = {}): FaultyStore {
  return new PlannedFaults(store, plan);
}

class PlannedFaults implements FaultyStore {
  readonly sessions: Store["sessions"];
  readonly checkpointer: Store["checkpointer"];
  readonly runs: Store["runs"];
  readonly events: Store["events"];
  readonly processes: Store["processes"];
  readonly onDrop?: NonNullable<Store["onDrop"]>;
  readonly struck = new Map<string, number>();
  readonly #store: Store;
  readonly #faults: readonly Fault[];
  readonly #strikes = new Map<Fault, number>();
  readonly #calls = new Map<string, number>();
  readonly #hanging = new Set<() => void>();
  readonly #hints: NonNullable<FaultPlan["hints"]>;
  readonly #seed: number;
  readonly #clock: Clock;
  #lost: "fails" | "hangs" | undefined;

  constructor(store: Store, plan: FaultPlan) {
    checkPlan(plan);
    this.#store = store;
    this.#faults = plan.faults ?? [];
    this.#hints = plan.hints ?? {};
    this.#seed = plan.seed ?? 1;
    this.#clock = plan.clock ?? systemClock;
    this.sessions = this.#wrap("sessions", store.sessions);
    this.checkpointer = this.#wrap("checkpointer", store.checkpointer);
    this.runs = this.#wrap("runs", store.runs);
    this.events = this.#wrap("events", store.events);
    this.processes = this.#wrap("processes", store.processes);
    if (store.onDrop !== undefined) this.onDrop = store.onDrop.bind(store);
  }

  // Properties and not methods, so that `{ ...faultyStore(store), sessions }` has them too.

  readonly init = (): Promise<void> => this.#call("store.init", () => this.#store.init?.());

  readonly sweep = (): Promise<void> => this.#call("store.sweep", () => this.#store.sweep?.());

  readonly close = async (): Promise<void> => {
    this.reconnect();
    await this.#store.close?.();
  };

  readonly disconnect = (how: "fails" | "hangs" = "fails"): void => {
    this.#lost = how;
  };

  readonly reconnect = (): void => {
    this.#lost = undefined;
    for (const fail of [...this.#hanging]) fail();
  };

  #wrap<T extends object>(part: Exclude<Part, "store">, target: T | undefined): T | undefined {
    if (target === undefined) return undefined;
    const methods: readonly string[] = CALLS[part];
    return new Proxy(target, {
      get: (_, key) => {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== "function") return value;
        const method = value as (...args: unknown[]) => unknown;
        const send = (args: unknown[]): unknown => Reflect.apply(method, target, args);
        if (key === "watch") return (...args: unknown[]) => send(this.#deafened(part, args));
        // A hint to others.
        if (key === "announce") return () => (this.#lost === undefined ? send([]) : undefined);
        if (typeof key !== "string" || !methods.includes(key)) return (...args: unknown[]) => send(args);
        // One of CALLS.
        const call = `${part}.${key}` as StoreCall;
        if (call === "checkpointer.list") return (...args: unknown[]) => this.#list(() => send(args));
        return (...args: unknown[]) => this.#call(call, () => send(args));
      },
    });
  }

  /** Makes one call, with what the plan has for it. */
  async #call<T>(call: StoreCall, send: () => unknown): Promise<T> {
    if (this.#lost === "hangs") return this.#hang(call);
    if (this.#lost === "fails") throw unavailable(call);
    const count = this.#next(call);
    let lostAnswer: Fault | undefined;
    for (const [index, fault] of this.#faults.entries()) {
      if (!this.#isStruck(fault, call, count, index)) continue;
      if (fault.kind === "error-before") throw errorOf(fault, call);
      if (fault.kind === "hang") return this.#hang(call);
      if (fault.kind === "error-after") lostAnswer ??= fault;
      else await this.#delay(fault.delayMs ?? 10);
    }
    const result = await send();
    if (lostAnswer !== undefined) throw errorOf(lostAnswer, call);
    // What the wrapped method gives, or a promise of it.
    return result as T;
  }

  async *#list(send: () => unknown): AsyncGenerator {
    // The saver's own generator.
    yield* await this.#call<AsyncIterable<unknown>>("checkpointer.list", send);
  }

  #isStruck(fault: Fault, call: StoreCall, count: number, index: number): boolean {
    const targets = typeof fault.on === "string" ? [fault.on] : fault.on;
    if (!targets.some((target) => matches(target, call))) return false;
    const strikes = this.#strikes.get(fault) ?? 0;
    if (count <= (fault.after ?? 0) || strikes >= (fault.times ?? Infinity)) return false;
    if (!this.#chance(fault.rate ?? 1, `${call} ${String(count)} ${String(index)}`)) return false;
    this.#strikes.set(fault, strikes + 1);
    const name = `${call} ${fault.kind}`;
    this.struck.set(name, (this.struck.get(name) ?? 0) + 1);
    return true;
  }

  /** How often this call has come, this time included. */
  #next(call: string): number {
    const count = (this.#calls.get(call) ?? 0) + 1;
    this.#calls.set(call, count);
    return count;
  }

  /** The listener among the arguments, with hints lost and doubled. */
  #deafened(part: Part, args: readonly unknown[]): unknown[] {
    // Of all `watch` methods the listener is the last argument.
    const listener = args.at(-1) as (hint?: unknown) => void;
    const isHint = part === "runs" || part === "events";
    const own = (hint?: unknown): void => {
      if (this.#lost !== undefined) return;
      const name = `${part}.watch`;
      const count = String(this.#next(name));
      if (isHint && this.#chance(this.#hints.lost ?? 0, `${name} lost ${count}`)) return;
      listener(hint);
      if (isHint && this.#chance(this.#hints.doubled ?? 0, `${name} doubled ${count}`)) listener(hint);
    };
    return [...args.slice(0, -1), own];
  }

  #chance(rate: number, what: string): boolean {
    return rate >= 1 || (rate > 0 && fraction(`${String(this.#seed)} ${what}`) < rate);
  }

  #delay(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.setTimeout(resolve, ms);
    });
  }

  #hang(call: StoreCall): Promise<never> {
    return new Promise((_, reject) => {
      const fail = (): void => {
        this.#hanging.delete(fail);
        reject(unavailable(call));
      };
      this.#hanging.add(fail);
    });
  }
}

function errorOf(fault: Fault, call: StoreCall): Error {
  return fault.error?.(call) ?? unavailable(call);
}

function unavailable(call: StoreCall): AgentError {
  return new AgentError("STORE_UNAVAILABLE", `The store did not answer \`${call}\`: an injected fault.`);
}

function matches(target: FaultTarget, call: StoreCall): boolean {
  return target === "*" || target === call || target === `${partOf(call)}.*`;
}

function partOf(call: string): string {
  return call.slice(0, call.indexOf("."));
}

/** A number from 0 up to 1 that the text alone decides, evenly spread (FNV-1a, then a mixing step of MurmurHash3). */
function fraction(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 0x1_0000_0000;
}

function checkPlan(plan: FaultPlan): void {
  refuseUnknownKeys("faultyStore", plan, ["faults", "hints", "seed", "clock"]);
  const known = Object.entries(CALLS).flatMap(([part, methods]) => [
    `${part}.*`,
    ...methods.map((method) => `${part}.${method}`),
  ]);
  for (const fault of plan.faults ?? []) {
    refuseUnknownKeys("a fault", fault, ["on", "kind", "rate", "after", "times", "delayMs", "error"]);
    const targets = typeof fault.on === "string" ? [fault.on] : fault.on;
    for (const target of targets) {
      if (target === "*" || known.includes(target)) continue;
      throw new TypeError(`Expected \`on\` to name a call such as \`runs.submit\`, got \`${target}\`.`);
    }
    if (!KINDS.includes(fault.kind)) {
      throw new TypeError(`Expected \`kind\` to be one of ${KINDS.join(", ")}, got \`${fault.kind}\`.`);
    }
    checkRange("rate", fault.rate, 1);
    checkRange("after", fault.after, Infinity);
    checkRange("times", fault.times, Infinity);
    checkRange("delayMs", fault.delayMs, Infinity);
  }
  checkRange("hints.lost", plan.hints?.lost, 1);
  checkRange("hints.doubled", plan.hints?.doubled, 1);
}

function checkRange(name: string, value: number | undefined, most: number): void {
  if (value === undefined || (value >= 0 && value <= most)) return;
  const range = most === Infinity ? "from 0 up" : `from 0 to ${String(most)}`;
  throw new RangeError(`Expected \`${name}\` to be a number ${range}, got \`${String(value)}\`.`);
}

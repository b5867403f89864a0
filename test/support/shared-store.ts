import { AgentError } from "../../src/errors.js";
import type { Clock } from "../../src/internal/clock.js";
import type { JsonObject } from "../../src/json.js";
import { memoryStore, type MemoryStoreOptions } from "../../src/store/memory/memory-store.js";
import type {
  Claim,
  EventLog,
  LedgerHint,
  LedgerSession,
  ProcessRecord,
  ProcessRegistry,
  RunLedger,
  RunRecord,
  SessionStore,
  Store,
} from "../../src/store/store.js";

/*
 * One store for several services in one test, as an engine would be for several processes: each service gets a view
 * of its own (`SharedStore.view`), whose calls can be counted, made to fail or to hang, and whose hints can be lost.
 * The state is that of the memory store, whose leases expire by the clock that it is given.
 */

/** `ok`; every call fails at once; every call waits until the view is set to something else. */
export type Reach = "ok" | "down" | "hangs";

interface Waiting {
  readonly go: () => void;
}

/** What one service sees of the shared store. */
export class StoreView implements Store {
  /** Calls that began, as `runs.claim`, in their order. */
  readonly calls: string[] = [];
  /** Whether hints of other processes arrive. */
  hints = true;
  /** Called before a call's effect; what it throws, the call rejects with. */
  before: ((call: string) => unknown) | undefined;
  /** Called after a call's effect; what it throws, the call rejects with though it was done. */
  after: ((call: string) => unknown) | undefined;
  readonly runs: RunLedger;
  readonly events: EventLog;
  readonly sessions: SessionStore;
  readonly checkpointer: NonNullable<Store["checkpointer"]>;
  readonly processes: ProcessRegistry;
  #reach: Reach = "ok";
  #waiting: Waiting[] = [];

  constructor(readonly shared: SharedStore) {
    const { store } = shared;
    this.runs = this.#wrap("runs", store.runs, {
      shared: true,
      watch: this.#watch,
      announce: this.#announce,
      sessions: this.#sessions,
      ended: (runs: readonly Pick<RunRecord, "threadId" | "runId">[]) =>
        this.#call("runs.ended", async () => {
          const found = runs.map(({ threadId, runId }) => store.runs.get(threadId, runId));
          const known = (await Promise.all(found)).map((run) => run?.status ?? "");
          return known.flatMap((status, place) => (["queued", "running"].includes(status) ? [] : [place]));
        }),
      purged: (threadId: string) =>
        this.#call("runs.purged", () => Promise.resolve(this.shared.purged.has(threadId))),
    });
    this.events = this.#wrap("events", store.events, {});
    this.sessions = this.#wrap("sessions", store.sessions, { keptByLedger: true });
    this.checkpointer = this.#wrap("checkpointer", store.checkpointer, {});
    this.processes = this.#wrap("processes", shared.registry, {});
  }

  get reach(): Reach {
    return this.#reach;
  }

  set reach(reach: Reach) {
    this.#reach = reach;
    for (const { go } of this.#waiting.splice(0)) go();
  }

  async init(): Promise<void> {
    await this.#call("init", () => Promise.resolve());
  }

  /** The calls of the ledger since the last look, without those that renew leases. */
  takeLedgerCalls(): string[] {
    const calls = this.calls.splice(0).filter((call) => call.startsWith("runs."));
    return calls.map((call) => call.slice("runs.".length)).filter((call) => call !== "renew");
  }

  readonly #watch = (listener: (hint: LedgerHint) => void): (() => void) => this.shared.watch(this, listener);

  readonly #announce = (): void => {
    this.calls.push("runs.announce");
    this.shared.tell({ type: "queue" }, this, true);
  };

  /** With the owner, which the ledger of one process does not name. */
  readonly #sessions = async (threadIds: readonly string[]): Promise<ReadonlyMap<string, LedgerSession>> => {
    const { store, owners } = this.shared;
    const known = (await this.#call("runs.sessions", () => store.runs.sessions(threadIds))) as ReadonlyMap<
      string,
      LedgerSession
    >;
    const withOwner = [...known].map(([threadId, session]): [string, LedgerSession] => {
      const owner = session.running === undefined ? undefined : owners.get(threadId);
      return [threadId, owner === undefined ? session : { ...session, owner }];
    });
    return new Map(withOwner);
  };

  async #call(name: string, action: () => unknown, threadId?: string): Promise<unknown> {
    this.calls.push(name);
    await this.#reached();
    await this.before?.(name);
    // It may have crashed there.
    await this.#reached();
    const result = await this.shared.step(this, name, action, threadId);
    await this.after?.(name);
    return result;
  }

  async #reached(): Promise<void> {
    for (;;) {
      if (this.#reach === "down") throw new AgentError("STORE_UNAVAILABLE", "The engine is down.");
      if (this.#reach === "ok") return;
      await new Promise<void>((go) => this.#waiting.push({ go }));
    }
  }

  #wrap<T extends object>(part: string, target: T, own: Readonly<Record<string, unknown>>): T {
    const wrapped = new Map<string | symbol, unknown>();
    return new Proxy(target, {
      get: (_, key) => {
        if (typeof key === "string" && key in own) return own[key];
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== "function") return value;
        let method = wrapped.get(key);
        if (method === undefined) {
          const bound = (value as (...args: unknown[]) => unknown).bind(target);
          const isStep = typeof key === "string" && STEPS.has(key);
          method = isStep
            ? (...args: unknown[]) => {
                if (key === "purge") this.shared.purged.add(String(args[0]));
                return this.#call(`${part}.${key}`, () => bound(...args));
              }
            : bound;
          wrapped.set(key, method);
        }
        return method;
      },
    });
  }
}

/** The methods that an engine would answer over the network. */
const STEPS = new Set([
  ...["submit", "claim", "renew", "finish", "release", "cancel", "get", "current", "sessions", "tombstone"],
  ...["purge", "tombstones", "sweep", "readState", "writeState", "append", "read", "delete", "save", "list"],
  ...["count", "getTuple", "put", "putWrites", "deleteThread", "forkPoints", "hasMessage", "restore"],
  ...["beat", "leave", "send"],
]);

export class SharedStore {
  readonly store: ReturnType<typeof memoryStore>;
  readonly registry: MemoryProcessRegistry;
  readonly #watchers = new Map<StoreView, Set<(hint: LedgerHint) => void>>();
  /** Who last claimed each session. */
  readonly owners = new Map<string, string>();
  /** Threads that were deleted through a view. */
  readonly purged = new Set<string>();
  #acting: StoreView | undefined;
  #ending = false;
  #losing = false;

  constructor(options: MemoryStoreOptions & { readonly clock: Clock }) {
    this.store = memoryStore(options);
    this.registry = new MemoryProcessRegistry(options.clock);
    this.store.runs.watch((hint) => {
      if (this.#losing) return;
      // An engine knows whether the end of a run has made another one claimable.
      if (hint.type === "queue" && this.#ending) return;
      // The queue's hints stay in the process that acts, as an engine's do.
      this.tell(hint, this.#acting, hint.type === "run");
    });
  }

  view(): StoreView {
    return new StoreView(this);
  }

  /** Loses a session, as an engine does that comes back empty: nobody is told. */
  async lose(threadId: string): Promise<void> {
    this.#losing = true;
    const lost = [this.store.runs.tombstone(threadId), this.store.runs.purge(threadId)];
    this.#losing = false;
    await Promise.all(lost);
    await this.store.events.delete(threadId);
  }

  watch(view: StoreView, listener: (hint: LedgerHint) => void): () => void {
    const listeners = this.#watchers.get(view) ?? new Set();
    this.#watchers.set(view, listeners);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  tell(hint: LedgerHint, from: StoreView | undefined, everywhere: boolean): void {
    for (const [view, listeners] of this.#watchers) {
      if (view !== from && (!everywhere || !view.hints || view.reach !== "ok")) continue;
      for (const listener of [...listeners]) listener(hint);
    }
  }

  /** One step of the engine for one process; steps of the memory store never overlap. */
  async step(view: StoreView, name: string, action: () => unknown, threadId?: string): Promise<unknown> {
    this.#acting = view;
    this.#ending = name === "runs.finish";
    let result: unknown;
    try {
      result = action();
    } finally {
      this.#acting = undefined;
      this.#ending = false;
    }
    const value = await result;
    if (name === "runs.finish" && threadId !== undefined) {
      const known = await this.store.runs.sessions([threadId]);
      if ((known.get(threadId)?.queued ?? 0) > 0) this.tell({ type: "queue" }, view, false);
    }
    if (name === "runs.claim" && value !== undefined) {
      const { lease } = value as Claim;
      this.owners.set(lease.threadId, lease.owner.replace(/:[^:]*$/, ""));
    }
    if (name === "runs.release") this.tell({ type: "queue" }, view, true);
    return value;
  }
}

/** Who lives, by the clock. */
export class MemoryProcessRegistry implements ProcessRegistry {
  readonly #entries = new Map<string, ProcessRecord & { readonly until: number }>();
  readonly #listeners = new Set<(message: JsonObject) => void>();

  constructor(readonly clock: Clock) {}

  beat(processId: string, info: JsonObject, ttlMs: number): Promise<void> {
    const seenAt = this.clock.now();
    this.#expire();
    const startedAt = this.#entries.get(processId)?.startedAt ?? seenAt;
    this.#entries.set(processId, { processId, startedAt, seenAt, info, until: seenAt + ttlMs });
    return Promise.resolve();
  }

  leave(processId: string): Promise<void> {
    this.#entries.delete(processId);
    return Promise.resolve();
  }

  list(): Promise<readonly ProcessRecord[]> {
    this.#expire();
    return Promise.resolve([...this.#entries.values()].map(({ until: _, ...record }) => record));
  }

  send(message: JsonObject): Promise<void> {
    for (const listener of [...this.#listeners]) {
      try {
        listener(message);
      } catch {
        // Its own matter: the others are to hear it too.
      }
    }
    return Promise.resolve();
  }

  #expire(): void {
    const now = this.clock.now();
    for (const [id, { until }] of this.#entries) if (until <= now) this.#entries.delete(id);
  }

  watch(listener: (message: JsonObject) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

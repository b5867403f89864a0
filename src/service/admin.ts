import type { AgentManager, AgentManagerStats, ManagerInternals } from "../agent-manager.js";
import { AgentError } from "../errors.js";
import { withTimeLimit } from "../internal/time-limit.js";
import type { RunEngine } from "../runs/run-engine.js";
import type { SessionIdentity } from "../session.js";
import type { Submissions } from "../runs/submissions.js";
import type { LedgerSession, SessionRecord, SweepOptions } from "../store/store.js";
import { clusterOf, type ClusterStats, type Presence, type ProcessStats } from "./presence.js";

/**
 * What a session is doing: a run is at work or waits; a question waits for a human; it has a live agent here
 * (`idle`); or it is only stored.
 */
export type SessionState = "running" | "queued" | "interrupted" | "idle" | "stored";

export interface SessionInfo {
  readonly sessionId: string;
  readonly userId?: string;
  readonly createdAt: number;
  readonly lastUsedAt: number;
  readonly state: SessionState;
  readonly provider?: string;
  readonly model?: string;
  /** The process that works on it; in a shared store, while a run is at work. */
  readonly owner?: string;
}

export interface SessionListing {
  /** Newest first, by creation. */
  readonly sessions: readonly SessionInfo[];
  /** Give it as `after` for the next page; absent on the last. */
  readonly next?: string;
}

export interface ServiceStats extends AgentManagerStats {
  /** Runs at work in this process. */
  readonly activeRuns: number;
  /** Sessions in the store. */
  readonly sessions: number;
  /** The live processes of a shared store, oldest first; figures of others are up to 5 s old. */
  readonly processes?: readonly ProcessStats[];
  /** Their sums. */
  readonly cluster?: ClusterStats;
}

export interface ServiceHealth {
  readonly status: "ok" | "draining" | "unavailable";
  /** Whether new work is taken. */
  readonly ready: boolean;
  readonly store: "ok" | "unavailable";
  readonly agents: AgentManagerStats;
  /** Names this process in `getStats()` and as the owner of sessions. */
  readonly processId: string;
  /** How many processes share the store and live, this one included; absent when it is not shared, or unavailable. */
  readonly processes?: number;
}

/** What `cleanup()` did. */
export interface CleanupReport {
  /** Idle agents past their TTL that were closed. */
  readonly expiredAgents: number;
  /**
   * Runs that were let go: finished ones past retention, interrupted ones past `interruptTtlMs`, and queued uses by
   * `withAgent` of processes that died.
   */
  readonly expiredRuns: number;
  /** Deletions that a crash had left half done and that were finished. */
  readonly deletedSessions: number;
}

/** How many half-done deletions one cleanup finishes. */
const DELETIONS_PER_CLEANUP = 100;

/** How many half-done deletions are looked through for one. */
const MOST_TOMBSTONES = 1_000;

/**
 * How old a queued run must be before it counts as one of a dead process, in milliseconds: the list of live ones may be
 * half a minute old, and a process may take a run before its first beat.
 */
const ORPHAN_AGE_MS = 60_000;

/** How long a health check waits for the store. */
const HEALTH_TIMEOUT_MS = 2_000;

/** What operators ask and order, over the parts that do the work. */
export class Admin<TConfig extends object, TContext> {
  readonly #manager: AgentManager<TConfig, TContext>;
  readonly #internals: ManagerInternals<TConfig, TContext>;
  readonly #engine: RunEngine<TConfig, TContext>;
  readonly #submissions: Submissions<TConfig, TContext>;
  readonly #presence: Presence | undefined;

  constructor(
    manager: AgentManager<TConfig, TContext>,
    internals: ManagerInternals<TConfig, TContext>,
    engine: RunEngine<TConfig, TContext>,
    submissions: Submissions<TConfig, TContext>,
    presence: Presence | undefined,
  ) {
    this.#manager = manager;
    this.#internals = internals;
    this.#engine = engine;
    this.#submissions = submissions;
    this.#presence = presence;
  }

  async stats(): Promise<ServiceStats> {
    const [sessions, processes] = await Promise.all([
      this.#manager.store.sessions.count(),
      this.#presence?.list(),
    ]);
    const own = { ...this.#manager.getStats(), activeRuns: this.#engine.runner.activeCount, sessions };
    return processes === undefined ? own : { ...own, processes, cluster: clusterOf(processes) };
  }

  async info(session: SessionIdentity): Promise<SessionInfo | undefined> {
    const record = await this.#manager.store.sessions.get(session.threadId);
    if (record === undefined) return undefined;
    const known = await this.#manager.store.runs.sessions([session.threadId]);
    return this.#row(record, known.get(session.threadId));
  }

  async list(options: {
    userId: string | undefined;
    limit: number;
    after: string | undefined;
  }): Promise<SessionListing> {
    const page = await this.#manager.store.sessions.list(options);
    const known = await this.#manager.store.runs.sessions(page.sessions.map(({ threadId }) => threadId));
    const sessions = page.sessions.map((record) => this.#row(record, known.get(record.threadId)));
    return page.next === undefined ? { sessions } : { sessions, next: page.next };
  }

  async health(): Promise<ServiceHealth> {
    const { clock } = this.#internals;
    const asked = this.#manager.ready().then(async () => {
      const [, processes] = await Promise.all([this.#manager.store.sessions.count(), this.#presence?.list()]);
      return processes?.length;
    });
    const answer = await withTimeLimit(asked, HEALTH_TIMEOUT_MS, clock);
    const store = answer.kind === "done" ? "ok" : "unavailable";
    const status = this.#engine.draining ? "draining" : store === "ok" ? "ok" : "unavailable";
    const processes = answer.kind === "done" ? answer.value : undefined;
    return {
      status,
      ready: status === "ok",
      store,
      agents: this.#manager.getStats(),
      processId: this.#engine.processId,
      ...(processes === undefined ? undefined : { processes }),
    };
  }

  async cleanup(interruptTtlMs: number | undefined): Promise<CleanupReport> {
    const { runs } = this.#manager.store;
    const expiredAgents = await this.#manager.cleanupExpiredAgents();
    const expiredRuns = await runs.sweep({ interruptTtlMs, orphans: this.#orphans() });
    await this.#manager.store.sweep();
    let deletedSessions = 0;
    for (const threadId of await runs.tombstones(DELETIONS_PER_CLEANUP)) {
      if (await this.#erase(threadId)) deletedSessions += 1;
    }
    return { expiredAgents, expiredRuns, deletedSessions };
  }

  /** Ends queued runs that only a dead process could claim: they hold up their sessions. */
  async sweepOrphans(): Promise<void> {
    const orphans = this.#orphans();
    if (orphans !== undefined) await this.#manager.store.runs.sweep({ orphans });
  }

  /** Deletes a session and all of it; says whether there was one. */
  async deleteSession(session: SessionIdentity): Promise<boolean> {
    const { threadId } = session;
    const { runs, sessions, checkpointer } = this.#manager.store;
    // Requests that came before count as before it, in a ledger that others use as well.
    if (runs.shared) await this.#submissions.settled(threadId);
    if (await runs.tombstone(threadId)) {
      await this.#erase(threadId);
      return true;
    }
    if (sessions.keptByLedger === true) {
      // What the ledger does not know does not exist, but an agent made by `getAgent` may.
      await this.#internals.pool.remove(threadId, "deleted");
      return false;
    }
    // The ledger does not know it, so that no tombstone keeps its first run away: no submission may come between.
    return this.#submissions.alone(threadId, async () => {
      const known = await runs.tombstone(threadId);
      const stored =
        known ||
        (await sessions.get(threadId)) !== undefined ||
        (await checkpointer.getTuple(threadConfig(threadId))) !== undefined;
      if (stored) await this.#erase(threadId);
      else await this.#internals.pool.remove(threadId, "deleted");
      return stored;
    });
  }

  /**
   * The rest of a deletion whose tombstone stands; may be done again from any point, and by several processes at
   * once. False when another one has ended it meanwhile.
   *
   * A run at work in another process has been told by the tombstone, and what it still writes is refused.
   */
  async #erase(threadId: string): Promise<boolean> {
    const { runs, sessions, checkpointer, events } = this.#manager.store;
    this.#engine.runner.abort(threadId, new AgentError("RUN_CANCELLED", "The session was deleted."));
    await this.#engine.runner.idle(threadId);
    await this.#internals.pool.remove(threadId, "deleted");
    const inPurge = runs.purgesAll === true;
    const isApart = !inPurge || events.engine !== runs.engine;
    // Before the look at the tombstone: while that stands, all that is there is old.
    const forgetEvents = isApart ? await events.deletion?.(threadId) : undefined;
    if (runs.shared && !(await this.#isTombstone(threadId))) return false;
    // One after another these might take what another process lets begin after it has ended the same deletion.
    if (!inPurge) await checkpointer.deleteThread(threadId);
    if (isApart) await (forgetEvents?.() ?? events.delete(threadId));
    if (!inPurge || sessions.keptByLedger !== true) await sessions.delete(threadId);
    await runs.purge(threadId);
    // Their idle agents of it would not be found by anybody again; those that miss it evict them in time.
    await this.#presence?.send({ type: "session-deleted", threadId }).catch(() => undefined);
    return true;
  }

  /**
   * Asked after the waiting: a process that ends the same deletion first lets the session begin anew, and what is new
   * must not be deleted.
   */
  async #isTombstone(threadId: string): Promise<boolean> {
    const standing = await this.#manager.store.runs.tombstones(MOST_TOMBSTONES);
    return standing.length === MOST_TOMBSTONES || standing.includes(threadId);
  }

  #orphans(): SweepOptions["orphans"] {
    const processes = this.#presence?.live;
    return processes && { processes, ageMs: ORPHAN_AGE_MS };
  }

  #row(record: SessionRecord, ledger: LedgerSession | undefined): SessionInfo {
    const { threadId, sessionId, userId, createdAt, lastUsedAt, config } = record;
    const state: SessionState =
      ledger?.running !== undefined
        ? "running"
        : ledger?.parked !== undefined
          ? "interrupted"
          : ledger !== undefined && ledger.queued > 0
            ? "queued"
            : this.#internals.pool.peek(threadId) !== undefined
              ? "idle"
              : "stored";
    const { provider, model } = config;
    return {
      sessionId,
      ...(userId === undefined ? undefined : { userId }),
      createdAt,
      lastUsedAt,
      state,
      ...(typeof provider === "string" ? { provider } : undefined),
      ...(typeof model === "string" ? { model } : undefined),
      ...(ledger?.owner === undefined ? undefined : { owner: ledger.owner }),
    };
  }
}

function threadConfig(threadId: string): { configurable: { thread_id: string } } {
  return { configurable: { thread_id: threadId } };
}

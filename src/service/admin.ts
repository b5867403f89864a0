import type { AgentManager, AgentManagerStats, ManagerInternals } from "../agent-manager.js";
import { AgentError } from "../errors.js";
import { withTimeLimit } from "../internal/time-limit.js";
import type { RunEngine } from "../runs/run-engine.js";
import type { SessionIdentity } from "../session.js";
import type { Submissions } from "../runs/submissions.js";
import type { SessionRecord } from "../store/store.js";

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
}

export interface ServiceHealth {
  readonly status: "ok" | "draining" | "unavailable";
  /** Whether new work is taken. */
  readonly ready: boolean;
  readonly store: "ok" | "unavailable";
  readonly agents: AgentManagerStats;
}

/** What `cleanup()` did. */
export interface CleanupReport {
  /** Idle agents past their TTL that were closed. */
  readonly expiredAgents: number;
  /** Finished runs past retention, and interrupts past `interruptTtlMs`, that were let go. */
  readonly expiredRuns: number;
  /** Deletions that a crash had left half done and that were finished. */
  readonly deletedSessions: number;
}

/** How many half-done deletions one cleanup finishes. */
const DELETIONS_PER_CLEANUP = 100;

/** How long a health check waits for the store. */
const HEALTH_TIMEOUT_MS = 2_000;

/** What operators ask and order, over the parts that do the work. */
export class Admin<TConfig extends object, TContext> {
  readonly #manager: AgentManager<TConfig, TContext>;
  readonly #internals: ManagerInternals<TConfig, TContext>;
  readonly #engine: RunEngine<TConfig, TContext>;
  readonly #submissions: Submissions<TConfig, TContext>;

  constructor(
    manager: AgentManager<TConfig, TContext>,
    internals: ManagerInternals<TConfig, TContext>,
    engine: RunEngine<TConfig, TContext>,
    submissions: Submissions<TConfig, TContext>,
  ) {
    this.#manager = manager;
    this.#internals = internals;
    this.#engine = engine;
    this.#submissions = submissions;
  }

  async stats(): Promise<ServiceStats> {
    const sessions = await this.#manager.store.sessions.count();
    return { ...this.#manager.getStats(), activeRuns: this.#engine.runner.activeCount, sessions };
  }

  async info(session: SessionIdentity): Promise<SessionInfo | undefined> {
    const record = await this.#manager.store.sessions.get(session.threadId);
    return record === undefined ? undefined : this.#row(record);
  }

  async list(options: {
    userId: string | undefined;
    limit: number;
    after: string | undefined;
  }): Promise<SessionListing> {
    const page = await this.#manager.store.sessions.list(options);
    const sessions = await Promise.all(page.sessions.map((record) => this.#row(record)));
    return page.next === undefined ? { sessions } : { sessions, next: page.next };
  }

  async health(): Promise<ServiceHealth> {
    const { clock } = this.#internals;
    const asked = this.#manager.ready().then(() => this.#manager.store.sessions.count());
    const answer = await withTimeLimit(asked, HEALTH_TIMEOUT_MS, clock);
    const store = answer.kind === "done" ? "ok" : "unavailable";
    const status = this.#engine.draining ? "draining" : store === "ok" ? "ok" : "unavailable";
    return { status, ready: status === "ok", store, agents: this.#manager.getStats() };
  }

  async cleanup(interruptTtlMs: number | undefined): Promise<CleanupReport> {
    const { runs } = this.#manager.store;
    const expiredAgents = await this.#manager.cleanupExpiredAgents();
    const expiredRuns = await runs.sweep({ interruptTtlMs });
    await this.#manager.store.sweep();
    let deletedSessions = 0;
    for (const threadId of await runs.tombstones(DELETIONS_PER_CLEANUP)) {
      await this.#erase(threadId);
      deletedSessions += 1;
    }
    return { expiredAgents, expiredRuns, deletedSessions };
  }

  /** Deletes a session and all of it; says whether there was one. */
  async deleteSession(session: SessionIdentity): Promise<boolean> {
    const { threadId } = session;
    const { runs, sessions, checkpointer } = this.#manager.store;
    if (await runs.tombstone(threadId)) {
      await this.#erase(threadId);
      return true;
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

  /** The rest of a deletion whose tombstone stands; may be done again from any point. */
  async #erase(threadId: string): Promise<void> {
    const { runs, sessions, checkpointer, events } = this.#manager.store;
    this.#engine.runner.abort(threadId, new AgentError("RUN_CANCELLED", "The session was deleted."));
    await this.#engine.runner.idle(threadId);
    await this.#internals.pool.remove(threadId, "deleted");
    await checkpointer.deleteThread(threadId);
    await events.delete(threadId);
    await sessions.delete(threadId);
    await runs.purge(threadId);
  }

  async #row(record: SessionRecord): Promise<SessionInfo> {
    const { threadId, sessionId, userId, createdAt, lastUsedAt, config } = record;
    const ledger = await this.#manager.store.runs.session(threadId);
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
    };
  }
}

function threadConfig(threadId: string): { configurable: { thread_id: string } } {
  return { configurable: { thread_id: threadId } };
}

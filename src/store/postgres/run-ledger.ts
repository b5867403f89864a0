import { randomUUID } from "node:crypto";
import { AgentError, isAgentError } from "../../errors.js";
import type { JsonObject, JsonValue } from "../../json.js";
import type { SessionIdentity } from "../../session.js";
import { claimOf, LostClaims, ownerOf } from "../engine/lost-claims.js";
import { mergeSticky, StickyConfigs } from "../engine/sticky-configs.js";
import { encodeState } from "../engine/state-slot.js";
import type {
  Claim,
  ClaimRequest,
  Lease,
  LedgerHint,
  LedgerSession,
  Renewal,
  RunCompletion,
  RunLedger,
  RunRecord,
  Submission,
  Submitted,
  SweepOptions,
} from "../store.js";
import type { Database, SqlRow } from "./client.js";
import { batchArguments } from "./event-log.js";
import type { Hints } from "./hints.js";
import { LedgerHints } from "./ledger-hints.js";
import {
  identityOf,
  renewalOf,
  sessionOf,
  type ClaimResult,
  type EndedRun,
  type StepResult,
  type SubmitResult,
} from "./ledger-replies.js";

/** How often a claim is tried again at once that met only sessions on which others were at work. */
const CLAIM_TRIES = 5;
/** What one statement of a sweep forgets. */
const FORGET_PER_STEP = 500;
const DROP_PER_STEP = 100;

export interface PostgresRunLedgerOptions {
  /** Names the engine to the parts that share it. @defaultValue the database */
  readonly engine?: object | undefined;
  /** How long a finished run stays known, in milliseconds, or Infinity. */
  readonly runRetentionMs: number;
  /** The most finished runs kept per session; runs that ended in one step stay until the next. Or Infinity. */
  readonly maxRetainedRuns: number;
  /** The longest JSON text of a state slot, in bytes of UTF-8. */
  readonly maxStateBytes: number;
  /** The engine has forgotten a thread, with its conversation and events. */
  readonly onPurge?: ((threadId: string) => void) | undefined;
  /** As that of the event log, for events that go along with `finish`. @defaultValue Infinity */
  readonly maxEventsPerRun?: number | undefined;
}

/**
 * The ledger of all processes that use one schema of one database, on the clock of that database. Each step is one
 * function of the schema: see schema/runs.ts for how they stay whole when they race.
 *
 * What every method may throw beside its own: `STORE_UNAVAILABLE`, once the database could not be reached for
 * `retryMs`. Whether the step was done is then unknown.
 */
export class PostgresRunLedger implements RunLedger {
  readonly shared = true;
  readonly purgesAll = true;

  readonly engine: object;
  readonly #database: Database;
  readonly #hints: LedgerHints;
  readonly #options: PostgresRunLedgerOptions;
  readonly #sticky = new StickyConfigs();
  readonly #lostClaims: LostClaims;

  constructor(database: Database, hints: Hints, options: PostgresRunLedgerOptions) {
    this.engine = options.engine ?? database;
    this.#database = database;
    this.#hints = new LedgerHints(hints);
    this.#lostClaims = new LostClaims(database.clock);
    this.#options = options;
  }

  async submit(submission: Submission): Promise<Submitted> {
    const { threadId, sessionId, userId, runId, input } = submission;
    const answered =
      input.kind === "answers" ? Object.keys(input.answers).map((id) => JSON.stringify(id)) : undefined;
    // As they are now: their giver may change them while this waits.
    const patch = answered === undefined ? JSON.stringify(submission.configPatch) : "{}";
    const defaults = JSON.stringify(submission.defaults);
    const text = JSON.stringify(input);
    const nonce = randomUUID();
    const claim = claimOf(submission);
    const { runRetentionMs, maxRetainedRuns } = this.#options;
    let assumed = this.#sticky.assume(threadId);
    // Each turn of the loop that changes nothing is one in which somebody else has changed what sticks.
    for (;;) {
      const merged = mergeSticky(
        JSON.parse(defaults) as JsonObject,
        assumed,
        JSON.parse(patch) as JsonObject,
      );
      const result = await this.#json<SubmitResult>("submit_run", [
        ...[threadId, sessionId, userId ?? null, runId, nonce, input.kind, text, submission.fingerprint],
        ...[merged.config, submission.affinity ?? null, submission.onBusy],
        ...[submission.queueLimit, submission.totalQueueLimit, answered ?? null],
        ...[assumed.version, answered === undefined ? (merged.sticky ?? null) : null],
        ...[runRetentionMs, maxRetainedRuns],
        ...[claim?.owner ?? null, claim?.leaseMs ?? null, claim?.maxConcurrentRunsPerUser ?? null],
      ]).catch((error: unknown) => {
        if (claim !== undefined) this.#lostClaims.failed(claim.owner, error);
        throw ofSession(error, sessionId);
      });
      if (result === undefined) throw new TypeError("The step has given no answer");
      if ("sticky" in result) {
        // Not looked up again: what is long is not kept.
        assumed = { version: result.version, text: JSON.stringify(result.sticky) };
        this.#sticky.learn(threadId, assumed);
        continue;
      }
      // One that was sent again and finds its run there does not know what the first time changed.
      const { claim: granted, run = granted?.run, created, changed = [], claimable = created } = result;
      if (run === undefined) throw new TypeError("The step has given no run");
      if (created && merged.sticky !== undefined && answered === undefined) {
        this.#sticky.learn(threadId, { version: nonce, text: merged.sticky });
      }
      this.#hints.tell(threadId, changed, claimable);
      // Nobody elsewhere waits for the run itself yet.
      this.#hints.announceRuns(
        threadId,
        changed.filter((id) => id !== runId),
      );
      if (granted === undefined || claim === undefined) return { run, created };
      const lease = { threadId, epoch: granted.epoch, owner: claim.owner };
      return { run, created, claim: { lease, run, undo: granted.undo, last: true } };
    }
  }

  claim(request: ClaimRequest): Promise<Claim | undefined> {
    const owner = ownerOf(request);
    return this.#lostClaims.claim(owner, (lost) => this.#claim(request, owner, lost));
  }

  async #claim(request: ClaimRequest, owner: string, lost: readonly string[]): Promise<Claim | undefined> {
    const { processId, leaseMs, maxAttempts, maxConcurrentRunsPerUser } = request;
    for (let waits = 0; waits < CLAIM_TRIES;) {
      const result = await this.#json<ClaimResult>(
        "claim_run",
        [processId, owner, leaseMs, maxAttempts, maxConcurrentRunsPerUser ?? null, waits > 0, lost],
        { retry: false },
      );
      if (result === undefined) return undefined;
      if ("run" in result) {
        const { run, epoch, undo, last } = result;
        this.#hints.tell(run.threadId, [run.runId], false);
        return { lease: { threadId: run.threadId, epoch, owner }, run, undo, last };
      }
      const { thread, changed } = result;
      if (thread === undefined || changed === undefined) waits++;
      else {
        this.#hints.tell(thread, changed, true);
        this.#hints.announceRuns(thread, changed);
      }
    }
    return undefined;
  }

  async renew(leases: readonly Lease[], leaseMs: number): Promise<readonly (Renewal | undefined)[]> {
    const renewals = await this.#renew(leases, leaseMs, false);
    // Mostly by a write of their own that is under way.
    const busy = leases.filter((_, index) => renewals[index] === undefined);
    const late = await this.#renew(busy, leaseMs, true);
    return renewals.map((renewal) => renewal ?? late.shift());
  }

  /** Without those that were locked. */
  async #renew(leases: readonly Lease[], leaseMs: number, wait: boolean): Promise<(Renewal | undefined)[]> {
    if (leases.length === 0) return [];
    const rows = await this.#rows("renew_leases", [
      leases.map(({ threadId }) => threadId),
      leases.map(({ epoch }) => epoch),
      leases.map(({ owner }) => owner),
      leaseMs,
      wait,
    ]);
    const found = new Map(rows.map((row) => [Number(row["place"]), row]));
    return leases.map((lease, index) => renewalOf(lease, found.get(index + 1)));
  }

  async finish(lease: Lease, runId: string, completion: RunCompletion): Promise<RunRecord> {
    const { outcome, summary, error, lastSeq, undone, events } = completion;
    const { maxRetainedRuns, maxEventsPerRun = Infinity } = this.#options;
    const { threadId, epoch, owner } = lease;
    const { run } = await this.#step("finish_run", threadId, [
      ...[threadId, epoch, owner, runId, outcome, JSON.stringify(summary)],
      summary.interrupts.map(({ id }) => JSON.stringify(id)),
      ...[error === undefined ? null : JSON.stringify(error), lastSeq, undone, maxRetainedRuns],
      ...batchArguments(runId, events, maxEventsPerRun),
    ]);
    if (run === null) throw new TypeError("The step has given no run");
    return run;
  }

  async release(lease: Lease, runId: string): Promise<void> {
    const { threadId, epoch, owner } = lease;
    await this.#step("release_run", threadId, [threadId, epoch, owner, runId]);
    this.#hints.announceQueue();
  }

  async cancel(threadId: string, runId?: string): Promise<RunRecord | undefined> {
    const args = [threadId, runId ?? null, this.#options.maxRetainedRuns];
    // Without a run id the step may find another run the second time.
    const { run } = await this.#step("cancel_run", threadId, args, { retry: runId !== undefined });
    return run ?? undefined;
  }

  get(threadId: string, runId: string): Promise<RunRecord | undefined> {
    return this.#json<RunRecord>("get_run", [threadId, runId]);
  }

  async ended(runs: readonly Pick<RunRecord, "threadId" | "runId">[]): Promise<readonly number[]> {
    const args = [runs.map(({ threadId }) => threadId), runs.map(({ runId }) => runId)];
    return (await this.#rows("ended_runs", args)).map(({ place }) => Number(place) - 1);
  }

  current(threadId: string): Promise<RunRecord | undefined> {
    return this.#json<RunRecord>("current_run", [threadId]);
  }

  async sessions(threadIds: readonly string[]): Promise<ReadonlyMap<string, LedgerSession>> {
    if (threadIds.length === 0) return new Map();
    const rows = await this.#rows("ledger_sessions", [threadIds]);
    return new Map(
      rows.map(sessionOf).map(({ threadId, sticky, session }) => {
        this.#sticky.learn(threadId, sticky);
        return [threadId, session];
      }),
    );
  }

  async tombstone(threadId: string): Promise<boolean> {
    const args = [threadId, this.#options.maxRetainedRuns];
    const changed = await this.#json<readonly string[]>("tombstone_session", args);
    if (changed === undefined) return false;
    this.#hints.tell(threadId, changed, false);
    this.#hints.announceRuns(threadId, changed);
    return true;
  }

  async purge(threadId: string): Promise<void> {
    const running = await this.#value("purge_session", [threadId]);
    this.#options.onPurge?.(threadId);
    if (typeof running !== "string" || running === "") return;
    // Its user has a place more.
    this.#hints.tell(threadId, [running], true);
    this.#hints.announceRuns(threadId, [running]);
  }

  async purged(threadId: string): Promise<boolean> {
    return (await this.#value("is_purged", [threadId])) === true;
  }

  async tombstones(limit: number): Promise<readonly string[]> {
    const rows = await this.#rows("list_tombstones", [limit]);
    return rows.map(({ list_tombstones: threadId }) => String(threadId));
  }

  async sweep({ interruptTtlMs, orphans }: SweepOptions): Promise<number> {
    let count = 0;
    if (interruptTtlMs !== undefined)
      count += await this.#endAll("close_expired_interrupt", [interruptTtlMs]);
    if (orphans !== undefined) {
      count += await this.#endAll("abandon_orphan", [orphans.processes, orphans.ageMs]);
    }
    for (;;) {
      const args = [this.#options.runRetentionMs, FORGET_PER_STEP];
      const forgotten = Number(await this.#value("forget_expired_runs", args));
      count += forgotten;
      if (forgotten < FORGET_PER_STEP) return count;
    }
  }

  /**
   * Forgets sessions that were not used for `idleMs` and in which nothing runs, waits or is parked, with all that
   * belongs to them. A batch of them: none when there are no more.
   */
  async dropIdle(idleMs: number): Promise<readonly SessionIdentity[]> {
    const rows = await this.#rows("drop_idle_sessions", [idleMs, DROP_PER_STEP]);
    return rows.map(identityOf);
  }

  async readState(threadId: string): Promise<JsonValue | undefined> {
    return this.#json<JsonValue>("read_state", [threadId]);
  }

  async writeState(lease: Lease, value: JsonValue): Promise<void> {
    const { threadId, epoch, owner } = lease;
    const { maxStateBytes } = this.#options;
    let text: string;
    try {
      text = encodeState(value, maxStateBytes, threadId);
    } catch {
      // Again, with the name that the caller knows the session by, unless the lease is lost anyway.
      const sessionId = await this.#value("session_of_lease", [threadId, epoch, owner]);
      text = encodeState(value, maxStateBytes, String(sessionId));
    }
    await this.#value("write_state", [threadId, epoch, owner, text]);
  }

  watch(listener: (hint: LedgerHint) => void): () => void {
    return this.#hints.watch(listener);
  }

  announce(): void {
    this.#hints.announceQueue();
  }

  /** Calls a function that ends one run a time until it finds none; how many. */
  async #endAll(name: string, args: readonly unknown[]): Promise<number> {
    for (let count = 0; ; count++) {
      const ended = await this.#json<EndedRun>(name, args);
      if (ended === undefined) return count;
      this.#hints.tell(ended.thread, ended.changed, true);
      this.#hints.announceRuns(ended.thread, ended.changed);
    }
  }

  /** Makes a step on one session and tells what it changed. */
  async #step(
    name: string,
    threadId: string,
    args: readonly unknown[],
    how?: { retry: boolean },
  ): Promise<StepResult> {
    const result = await this.#json<StepResult>(name, args, how);
    if (result === undefined) throw new TypeError("The step has given no answer");
    this.#hints.tell(threadId, result.changed, result.claimable);
    this.#hints.announceRuns(threadId, result.changed);
    return result;
  }

  /** The JSON that a function gives; undefined for NULL. */
  async #json<T>(name: string, args: readonly unknown[], how?: { retry: boolean }): Promise<T | undefined> {
    const text = await this.#value(name, args, how);
    // Only what the functions of the schema put together comes here.
    return typeof text === "string" ? (JSON.parse(text) as T) : undefined;
  }

  async #value(name: string, args: readonly unknown[], how = { retry: true }): Promise<unknown> {
    const sql = `SELECT ${this.#database.schema}.${name}(${placeholders(args)}) AS result`;
    const [row] = await this.#database.query(sql, args, how);
    return row?.["result"];
  }

  #rows(name: string, args: readonly unknown[]): Promise<readonly SqlRow[]> {
    const sql = `SELECT * FROM ${this.#database.schema}.${name}(${placeholders(args)})`;
    return this.#database.query(sql, args, { retry: true });
  }
}

function placeholders(args: readonly unknown[]): string {
  return args.map((_, index) => `$${String(index + 1)}`).join(", ");
}

/** An error of the database does not know the session that it is about. */
function ofSession(error: unknown, sessionId: string): unknown {
  if (!isAgentError(error) || error.sessionId !== undefined) return error;
  return new AgentError(error.code, error.message, { sessionId, cause: error.cause });
}

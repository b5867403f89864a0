import type { AgentConfig } from "../agent.js";
import type { AgentPool } from "../agents/agent-pool.js";
import { AgentError, isAgentError, toErrorInfo } from "../errors.js";
import { type EventWriter } from "./event-writer.js";
import { canonicalJson } from "../internal/canonical-json.js";
import type { Clock } from "../internal/clock.js";
import { wasDeleted } from "./gone.js";
import type { LeaseKeeper } from "./lease.js";
import type { Interrupt, RunEvent } from "../run-event.js";
import { RunJournal } from "./run-journal.js";
import { settle, toAgentError, toStoreError, type Settlement } from "./run-settlement.js";
import { answerIn, SummaryBuilder } from "./run-summary.js";
import type { RunWatch } from "./run-watch.js";
import { runAgent, type DirectWork, type RunProgress } from "./run-work.js";
import type { SessionAgent } from "../agents/session-agent.js";
import type { Claim, EventLog, RunCompletion, RunLedger, RunRecord, SessionStore } from "../store/store.js";

/*
 * One claimed run, from its lease to its terminal record:
 *
 *   claimed: run-started (run-resumed on a later attempt)
 *     → agent: acquired from the pool, pinned
 *     → prepared: rollbacks undone, fork made, input worked out
 *     → streaming: agent events into the log, or into the commits of the steps that they tell of (run-work.ts)
 *     → settled: by the agent's end, its error, or an abort (cancel, timeout, lost lease, shutdown); an agent that
 *       does not stop within `abortGraceMs` of the abort is left behind and discarded
 *     → unpinned, then finished in the ledger, with its last events, which frees the session.
 *
 * In a ledger that others use too a run also ends here without a terminal record, and goes on elsewhere:
 *
 *   lease lost                  → it just stops: its record is somebody else's now, or gone with its session
 *   store out of reach          → it just stops and its lease is no longer renewed: whoever finds it expired goes on,
 *                                 which counts as an attempt, so that a run that breaks every store is given up
 *   shutdown                    → asked to drain, an agent stops at the end of its step; one that does not is aborted.
 *                                 What it has said goes to the log, then the run is released to the head of the queue
 *
 * A ledger of this process alone has nobody else: there a run is ended whatever failed.
 */

export interface RunnerOptions<TConfig extends object, TContext> {
  readonly runs: RunLedger;
  readonly events: EventLog;
  readonly sessions: SessionStore;
  readonly pool: AgentPool<TConfig, TContext>;
  readonly watch: RunWatch;
  readonly leases: LeaseKeeper;
  readonly clock: Clock;
  readonly runTimeoutMs: number;
  readonly abortGraceMs: number;
  readonly contextOf: (run: RunRecord) => TContext | undefined | Promise<TContext | undefined>;
  readonly directWork: (run: RunRecord) => DirectWork<TContext> | undefined;
  /** What waits for an answer in a session whose agent could not be had. */
  readonly pendingOf: (run: RunRecord) => Promise<readonly Interrupt[]>;
  readonly onStart: (run: RunRecord) => void;
  readonly onError: (error: AgentError, run: RunRecord) => void;
  readonly onFinish: (run: RunRecord) => void;
}

interface ActiveRun {
  readonly claim: Claim;
  readonly controller: AbortController;
  /** Asks the agent to stop at the end of its step; only where somebody else can go on. */
  readonly drain: AbortController | undefined;
  /** Stops the run as cancelled, unless it is ending anyway. */
  readonly cancel: () => void;
  done: Promise<void>;
  /** Whether its end is being written: hints of that are not news. */
  ending: boolean;
  writer: EventWriter | undefined;
}

/** Errors after which the run goes on elsewhere. */
const GOES_ON: ReadonlySet<string> = new Set(["LEASE_LOST", "STORE_UNAVAILABLE", "CLOSED"]);

export class Runner<TConfig extends object, TContext> {
  readonly #options: RunnerOptions<TConfig, TContext>;
  readonly #active = new Map<string, ActiveRun>();

  constructor(options: RunnerOptions<TConfig, TContext>) {
    this.#options = options;
  }

  get activeCount(): number {
    return this.#active.size;
  }

  isActive(threadId: string, runId: string): boolean {
    return this.#active.get(threadId)?.claim.run.runId === runId;
  }

  /** Whether the run is at work here and no event of it has been stored yet. */
  isUntold(threadId: string, runId: string): boolean {
    const active = this.#active.get(threadId);
    if (active?.claim.run.runId !== runId) return false;
    // Of a first attempt nobody has written before this process.
    return (
      active.claim.run.attempt <= 1 &&
      (active.writer?.lastSeq ?? 0) === 0 &&
      active.writer?.failure === undefined
    );
  }

  /** A run's status or stop mark may have changed. */
  hinted(threadId: string, runId: string): void {
    const active = this.#active.get(threadId);
    if (active?.claim.run.runId === runId && !active.ending) void this.#checkCancel(active);
  }

  /** Resolves when the session's run, if it has one here, has let go of everything. */
  async idle(threadId: string): Promise<void> {
    await this.#active.get(threadId)?.done;
  }

  async allIdle(): Promise<void> {
    await Promise.all([...this.#active.values()].map(({ done }) => done));
  }

  /** Stops the session's run, if it has one here. */
  abort(threadId: string, reason: AgentError): void {
    this.#active.get(threadId)?.controller.abort(reason);
  }

  abortAll(reason: AgentError): void {
    for (const { controller } of this.#active.values()) controller.abort(reason);
  }

  /** Asks all agents to stop at the end of their step. */
  drainAll(reason: AgentError): void {
    for (const { drain } of this.#active.values()) drain?.abort(reason);
  }

  /** Works on a run that was claimed with a reserved place in the pool. Never rejects. */
  execute(claim: Claim, claimedAt: number): Promise<void> {
    const { runId, sessionId, threadId } = claim.run;
    const controller = new AbortController();
    const active: ActiveRun = {
      claim,
      controller,
      drain: this.#options.runs.shared ? new AbortController() : undefined,
      cancel: () => {
        controller.abort(new AgentError("RUN_CANCELLED", `Run "${runId}" was cancelled.`, { sessionId }));
      },
      done: Promise.resolve(),
      ending: false,
      writer: undefined,
    };
    this.#active.set(threadId, active);
    active.done = this.#execute(active, claimedAt).finally(() => {
      if (this.#active.get(threadId) === active) this.#active.delete(threadId);
    });
    return active.done;
  }

  async #execute(active: ActiveRun, claimedAt: number): Promise<void> {
    const { runs, clock, leases, runTimeoutMs, onError, onFinish, onStart } = this.#options;
    const { claim, controller, cancel } = active;
    const { run, lease } = claim;
    const stopKeeping = leases.keep(lease, claimedAt, {
      lost: (error) => {
        controller.abort(error);
      },
      cancelRequested: cancel,
    });
    // It may have been told to stop while its owner before was dead. Told so between the claim and now, a shared ledger
    // says it with the first renewal, and one of this process alone when it is asked, at no cost.
    if (run.cancelRequested !== undefined) cancel();
    else if (!runs.shared) void this.#checkCancel(active);
    const timer =
      runTimeoutMs === 0
        ? undefined
        : clock.setTimeout(() => {
            controller.abort(
              new AgentError("RUN_TIMEOUT", `Run "${run.runId}" took over ${String(runTimeoutMs)} ms.`),
            );
          }, runTimeoutMs);
    try {
      onStart(run);
      const finished = await this.#work(active);
      if (finished !== undefined) onFinish(finished);
    } catch (error) {
      // Nothing can be written any more: the lease is gone, or the store. Whoever takes the run over goes on.
      const failure = toAgentError(error, run);
      if (await this.#isDeleted(failure, run))
        onFinish({ ...run, status: "cancelled", finishedAt: clock.now() });
      else onError(failure, run);
    } finally {
      clock.clearTimeout(timer);
      stopKeeping();
    }
  }

  async #checkCancel({ claim, cancel }: ActiveRun): Promise<void> {
    const { run } = claim;
    const now = await this.#options.runs.get(run.threadId, run.runId).catch(() => run);
    if (now === undefined || now.cancelRequested !== undefined) cancel();
  }

  /** Whether the lease went with the session, which another process has deleted: that is an end, and no failure. */
  async #isDeleted({ code }: AgentError, { threadId, runId }: RunRecord): Promise<boolean> {
    if (code !== "LEASE_LOST") return false;
    try {
      const { runs } = this.#options;
      const now = await runs.get(threadId, runId);
      return now === undefined ? await wasDeleted(runs, threadId) : now.cancelRequested === "deleted";
    } catch {
      return false;
    }
  }

  async #work(active: ActiveRun): Promise<RunRecord | undefined> {
    const { runs, sessions, watch, onError } = this.#options;
    const { claim, controller } = active;
    const { signal } = controller;
    const { run, lease } = claim;
    const builder = new SummaryBuilder();
    const journal = await this.#journalOf(claim, builder);
    const { writer } = journal;
    active.writer = writer;
    const progress: RunProgress = { undone: claim.undo.length === 0, started: false };
    let agent: SessionAgent<TConfig, TContext> | undefined;
    let settlement: Settlement;
    try {
      agent = await this.#open(claim, writer, signal);
      const { drain } = active;
      const work = {
        claim,
        agent,
        journal,
        builder,
        progress,
        controller,
        drain,
        engine: this.#riding,
      };
      settlement = await runAgent(this.#options, work);
    } catch (error) {
      settlement = settle(error, run, signal);
    }
    if (agent !== undefined) agent.slot.lease = undefined;
    settlement = await this.#closeEvents(run, writer, builder, settlement);

    let finished: RunRecord | undefined;
    try {
      const { outcome, error } = settlement;
      if (error !== undefined && this.#goesOn(settlement)) {
        if (error.code !== "CLOSED") throw error;
        onError(error, run);
        active.ending = true;
        // Not before: whoever claims it next may do so in this process, and finds the agent in the pool.
        this.#letGo(agent, settlement);
        agent = undefined;
        await runs.release(lease, run.runId);
        return undefined;
      }
      if (error !== undefined) watch.setError(run.threadId, run.runId, error);
      // The directory is only a mirror: if it fails now, the run has ended all the same.
      if (sessions.keptByLedger !== true) {
        await sessions.save({ ...identityOf(run), config: run.config }, lease).catch((failure: unknown) => {
          if (isAgentError(failure) && failure.code === "LEASE_LOST") return;
          onError(toStoreError(failure, run), run);
        });
      }
      active.ending = true;
      // The log does not have all that an earlier attempt wrote; the conversation does.
      if (builder.isCut && agent?.conversation !== undefined)
        builder.mend(await answerIn(agent.conversation).catch(() => ""));
      // Unpinned before the session is free, or the next run would find its agent taken.
      this.#letGo(agent, settlement);
      agent = undefined;
      const interrupts = await this.#openInterrupts(claim, settlement, builder, progress.started);
      finished = await this.#finish(claim, writer, {
        outcome,
        summary: builder.summary(interrupts),
        ...(error === undefined || outcome !== "failed" ? undefined : { error: toErrorInfo(error) }),
        undone: progress.undone,
      });
      watch.tell(finished);
      // Not before: a run of a deleted session has just lost its lease, and ends as cancelled.
      if (error !== undefined && finished.status === "failed") onError(error, run);
    } finally {
      writer.stop();
      this.#letGo(agent, settlement);
    }
    return finished;
  }

  /** The one engine of ledger, conversations and events, if its steps take events along. */
  get #riding(): object | undefined {
    const { runs, events } = this.#options;
    return runs.shared && events.stored !== undefined && events.engine === runs.engine
      ? runs.engine
      : undefined;
  }

  #goesOn({ error }: Settlement): boolean {
    return this.#options.runs.shared && error !== undefined && GOES_ON.has(error.code);
  }

  /** The log of the run, with what an attempt before this one had told it. */
  async #journalOf(claim: Claim, builder: SummaryBuilder): Promise<RunJournal> {
    const { events, clock, pool } = this.#options;
    try {
      return await RunJournal.open(events, claim, clock, builder);
    } catch (error) {
      pool.unreserve();
      throw error;
    }
  }

  /** Ends what the agent left open. Where the log fails now, the run has failed, unless it had to end anyway. */
  async #closeEvents(
    run: RunRecord,
    writer: EventWriter,
    builder: SummaryBuilder,
    settlement: Settlement,
  ): Promise<Settlement> {
    try {
      // What stays open in a run that goes on elsewhere was cut off, and readers are to drop it.
      const goesOn = this.#goesOn(settlement);
      if (!goesOn) for (const event of builder.closingEvents()) await writer.push(event);
      // The last ones are stored with the run's end.
      await (goesOn || this.#riding === undefined ? writer.flush() : writer.settled());
      return settlement;
    } catch (error) {
      const { outcome, abandoned } = settlement;
      if (outcome === "failed" || outcome === "cancelled") return settlement;
      return { outcome: "failed", error: toAgentError(error, run), abandoned };
    }
  }

  /** Ends the run in the ledger, with the events that its log has not got yet if one step can store both. */
  async #finish(
    { run, lease }: Claim,
    writer: EventWriter,
    completion: Omit<RunCompletion, "events" | "lastSeq">,
  ): Promise<RunRecord> {
    const { runs } = this.#options;
    const finish = (events?: readonly RunEvent[]): Promise<RunRecord> => {
      const lastSeq = events?.at(-1)?.seq ?? writer.lastSeq;
      return runs.finish(lease, run.runId, { ...completion, lastSeq, ...(events && { events }) });
    };
    if (this.#riding === undefined || writer.failure !== undefined) return finish();
    // Those of a session that is being deleted are dropped.
    return writer.ride(finish, ({ lastSeq = 0 }) => lastSeq > writer.lastSeq);
  }

  /** Tells that the run has started and gets its agent; the reserved place is used up in any case. */
  async #open(
    claim: Claim,
    writer: EventWriter,
    signal: AbortSignal,
  ): Promise<SessionAgent<TConfig, TContext>> {
    const { sessions, pool } = this.#options;
    const { run, lease } = claim;
    try {
      // The owner before may have died before it had told anything.
      if (writer.lastSeq === 0) {
        await writer.push({
          type: "run-started",
          runId: run.runId,
          ...("message" in run.input ? { messageId: run.input.message.id } : undefined),
        });
      }
      if (run.attempt > 1) await writer.push({ type: "run-resumed", attempt: run.attempt });
      if (sessions.keptByLedger !== true)
        await sessions.save({ ...identityOf(run), config: run.config }, lease);
    } catch (error) {
      pool.unreserve();
      throw toStoreError(error, run);
    }
    // The ledger keeps config as plain JSON; it was checked against TConfig's keys at acceptance.
    const config = run.config as AgentConfig<TConfig>;
    const agent = await pool.acquire(identityOf(run), config, canonicalJson(run.config), signal);
    agent.slot.lease = lease;
    return agent;
  }

  /** The interrupts that wait after the run: new ones, or the old ones of answers that never reached the agent. */
  async #openInterrupts(
    claim: Claim,
    settlement: Settlement,
    builder: SummaryBuilder,
    started: boolean,
  ): Promise<readonly Interrupt[]> {
    if (settlement.outcome === "interrupted") return builder.interrupts;
    if (settlement.outcome !== "failed" || started || claim.run.input.kind !== "answers") return [];
    return this.#options.pendingOf(claim.run).catch(() => []);
  }

  #letGo(agent: SessionAgent<TConfig, TContext> | undefined, settlement: Settlement): void {
    if (agent !== undefined)
      this.#options.pool.release(agent, settlement.abandoned ? "unresponsive" : undefined);
  }
}

function identityOf({ threadId, sessionId, userId }: RunRecord): {
  threadId: string;
  sessionId: string;
  userId?: string;
} {
  return userId === undefined ? { threadId, sessionId } : { threadId, sessionId, userId };
}

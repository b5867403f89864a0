import type { Agent, AgentConfig, AgentRunOptions } from "../agent.js";
import type { AgentPool } from "../agents/agent-pool.js";
import { AgentError, isAgentError, toErrorInfo } from "../errors.js";
import { EventWriter } from "./event-writer.js";
import { canonicalJson } from "../internal/canonical-json.js";
import type { Clock } from "../internal/clock.js";
import { withAbortGrace } from "../internal/time-limit.js";
import type { LeaseKeeper } from "./lease.js";
import type { AgentEvent, Interrupt, RunOutcome } from "../run-event.js";
import { prepareInput } from "./run-input.js";
import { SummaryBuilder } from "./run-summary.js";
import type { RunWatch } from "./run-watch.js";
import type { SessionAgent } from "../agents/session-agent.js";
import type { Claim, EventLog, RunLedger, RunRecord, SessionStore } from "../store/store.js";

/*
 * One claimed run, from its lease to its terminal record:
 *
 *   claimed: run-started (run-resumed on a later attempt)
 *     → agent: acquired from the pool, pinned
 *     → prepared: rollbacks undone, fork made, input worked out
 *     → streaming: agent events into the log
 *     → settled: by the agent's end, its error, or an abort (cancel, timeout, lost lease, shutdown); an agent that
 *       does not stop within `abortGraceMs` of the abort is left behind and discarded
 *     → unpinned, then finished in the ledger, which frees the session.
 *
 * A run that lost its lease just stops: its record is somebody else's now. A run stopped by shutdown is released
 * for another process where there can be one.
 */

/** How many events of one run go without a pause for other sessions. */
const EVENTS_PER_TURN = 128;

/** A function that uses the agent directly, in place of a message. */
export type DirectWork<TContext> = (
  agent: Agent<TContext>,
  options: AgentRunOptions<TContext>,
) => Promise<void>;

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
  readonly done: Promise<void>;
}

/** How a run's work ended, before the ledger is told. */
interface Settlement {
  readonly outcome: RunOutcome;
  readonly error?: AgentError;
  /** Whether the agent may still be at work. */
  readonly abandoned: boolean;
}

export class Runner<TConfig extends object, TContext> {
  readonly #options: RunnerOptions<TConfig, TContext>;
  readonly #active = new Map<string, ActiveRun>();

  constructor(options: RunnerOptions<TConfig, TContext>) {
    this.#options = options;
  }

  get activeCount(): number {
    return this.#active.size;
  }

  isActive(threadId: string): boolean {
    return this.#active.has(threadId);
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

  /** Works on a run that was claimed with a reserved place in the pool. Never rejects. */
  execute(claim: Claim, claimedAt: number): Promise<void> {
    const controller = new AbortController();
    const done = this.#execute(claim, claimedAt, controller);
    const active: ActiveRun = { claim, controller, done };
    this.#active.set(claim.run.threadId, active);
    return done.finally(() => {
      if (this.#active.get(claim.run.threadId) === active) this.#active.delete(claim.run.threadId);
    });
  }

  async #execute(claim: Claim, claimedAt: number, controller: AbortController): Promise<void> {
    const { clock, watch, leases, runTimeoutMs, onError, onFinish, onStart } = this.#options;
    const { run, lease } = claim;
    const cancel = (): void => {
      controller.abort(
        new AgentError("RUN_CANCELLED", `Run "${run.runId}" was cancelled.`, { sessionId: run.sessionId }),
      );
    };
    const stopKeeping = leases.keep(lease, claimedAt, {
      lost: (error) => {
        controller.abort(error);
      },
      cancelRequested: cancel,
    });
    const stopWatching = watch.on(run.threadId, run.runId, () => {
      void this.#checkCancel(run, cancel);
    });
    // It may have been told to stop between the claim and now, or while its owner before was dead.
    void this.#checkCancel(run, cancel);
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
      const finished = await this.#work(claim, controller.signal);
      if (finished !== undefined) onFinish(finished);
    } catch (error) {
      // Nothing can be written any more: the lease is gone, or the store. Whoever takes the run over goes on.
      onError(toAgentError(error, run), run);
    } finally {
      clock.clearTimeout(timer);
      stopWatching();
      stopKeeping();
    }
  }

  async #checkCancel(run: RunRecord, cancel: () => void): Promise<void> {
    const now = await this.#options.runs.get(run.threadId, run.runId).catch(() => run);
    if (now === undefined || now.cancelRequested !== undefined) cancel();
  }

  async #work(claim: Claim, signal: AbortSignal): Promise<RunRecord | undefined> {
    const { runs, sessions, watch, onError } = this.#options;
    const { run, lease } = claim;
    const writer = await this.#writerFor(claim);
    const builder = new SummaryBuilder();
    const progress = { undone: claim.undo.length === 0, started: false };
    let agent: SessionAgent<TConfig, TContext> | undefined;
    let settlement: Settlement;
    try {
      agent = await this.#open(claim, writer, signal);
      settlement = await this.#stream(claim, agent, writer, builder, progress, signal);
    } catch (error) {
      settlement = settle(error, run, signal);
    }
    if (agent !== undefined) agent.slot.lease = undefined;
    settlement = await this.#closeEvents(run, writer, builder, settlement);

    let finished: RunRecord | undefined;
    try {
      const { outcome, error } = settlement;
      if (error !== undefined) {
        watch.setError(run.threadId, run.runId, error);
      }
      // In a ledger that nobody else uses nobody else would end the run: there it is tried whatever failed.
      if (runs.shared && error !== undefined && ["LEASE_LOST", "CLOSED"].includes(error.code)) {
        onError(error, run);
        if (error.code === "LEASE_LOST") return undefined;
        await writer.flush();
        await runs.release(lease, run.runId);
        return undefined;
      }
      // The directory is only a mirror: if it fails now, the run has ended all the same.
      await sessions.save({ ...identityOf(run), config: run.config }, lease).catch((failure: unknown) => {
        if (isAgentError(failure) && failure.code === "LEASE_LOST") return;
        onError(toStoreError(failure, run), run);
      });
      // Unpinned before the session is free, or the next run would find its agent taken.
      this.#letGo(agent, settlement);
      agent = undefined;
      const interrupts = await this.#openInterrupts(claim, settlement, builder, progress.started);
      finished = await runs.finish(lease, run.runId, {
        outcome,
        summary: builder.summary(interrupts),
        ...(error === undefined || outcome !== "failed" ? undefined : { error: toErrorInfo(error) }),
        lastSeq: writer.lastSeq,
        undone: progress.undone,
      });
      // Not before: a run of a deleted session has just lost its lease, and ends as cancelled.
      if (error !== undefined && finished.status === "failed") onError(error, run);
    } finally {
      writer.stop();
      this.#letGo(agent, settlement);
    }
    return finished;
  }

  async #writerFor({ run, lease }: Claim): Promise<EventWriter> {
    const { events, clock, pool } = this.#options;
    const { threadId, runId, attempt } = run;
    try {
      const known = attempt > 1 ? await events.read(threadId, runId, { after: 0, limit: 1 }) : undefined;
      return new EventWriter(events, lease, runId, known?.last ?? 0, clock);
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
      for (const event of builder.closingEvents()) await writer.push(event);
      await writer.flush();
      return settlement;
    } catch (error) {
      const { outcome, abandoned } = settlement;
      if (outcome === "failed" || outcome === "cancelled") return settlement;
      return { outcome: "failed", error: toAgentError(error, run), abandoned };
    }
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
      await writer.push(
        run.attempt > 1
          ? { type: "run-resumed", attempt: run.attempt }
          : {
              type: "run-started",
              runId: run.runId,
              ...("message" in run.input ? { messageId: run.input.message.id } : undefined),
            },
      );
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

  async #stream(
    claim: Claim,
    agent: SessionAgent<TConfig, TContext>,
    writer: EventWriter,
    builder: SummaryBuilder,
    progress: { undone: boolean; started: boolean },
    signal: AbortSignal,
  ): Promise<Settlement> {
    const { abortGraceMs, clock, contextOf, directWork } = this.#options;
    const { run, lease } = claim;
    const work = async (): Promise<void> => {
      const context = await contextOf(run);
      const prepared = await prepareInput(agent.conversation, claim).catch((error: unknown) => {
        // What can never be undone must not fail every later run of the session too.
        if (isAgentError(error) && ["UNSUPPORTED", "FORK_POINT_GONE"].includes(error.code))
          progress.undone = true;
        throw error;
      });
      progress.undone = prepared.undone;
      signal.throwIfAborted();
      const { runId, turnId, attempt } = run;
      const options: AgentRunOptions<TContext> = { runId, turnId, attempt, signal, lease, context };
      progress.started = true;
      if (run.input.kind === "direct") {
        const direct = directWork(run);
        if (direct === undefined) throw new AgentError("RUN_ABANDONED", "The process of this run has gone.");
        await direct(agent.inner, options);
        return;
      }
      let count = 0;
      for await (const event of agent.inner.stream(prepared.input, options)) {
        // Also ends the loop of an agent that was left behind and still speaks.
        signal.throwIfAborted();
        checkAgentEvent(event);
        builder.add(event);
        const behind = writer.push(event);
        if (behind !== undefined) await behind;
        // A fast agent is one chain of microtasks, during which nobody else would get a word in.
        if (++count % EVENTS_PER_TURN === 0) await nextTurn();
      }
      signal.throwIfAborted();
      if (run.input.kind !== "answers") return;
      // Interrupts that were not among the answers still wait, though the agent does not say so again.
      for (const interrupt of (await agent.conversation?.pending()) ?? []) {
        if (builder.interrupts.some(({ id }) => id === interrupt.id)) continue;
        const event = { type: "interrupt" as const, ...interrupt };
        builder.add(event);
        await writer.push(event);
      }
    };
    const timed = await withAbortGrace(work(), signal, abortGraceMs, clock);
    if (timed.kind === "late") return { ...settle(signal.reason, run, signal), abandoned: true };
    if (timed.kind === "failed") return settle(timed.error, run, signal);
    return { outcome: builder.interrupts.length > 0 ? "interrupted" : "completed", abandoned: false };
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

/** Reads an error, or the abort that caused it, as the end of a run. */
function settle(error: unknown, run: RunRecord, signal: AbortSignal): Settlement {
  const reason: unknown = signal.aborted ? signal.reason : error;
  if (isAgentError(reason) && reason.code === "RUN_CANCELLED")
    return { outcome: "cancelled", abandoned: false };
  return { outcome: "failed", error: toAgentError(reason, run), abandoned: false };
}

/** The log's last event is made from the run record alone: an agent in plain JavaScript cannot end its run. */
function checkAgentEvent(event: AgentEvent): void {
  const type: unknown = (event as Partial<AgentEvent> | undefined)?.type;
  if (typeof type !== "string" || type.startsWith("run-"))
    throw new TypeError("Expected the agent to yield agent events, got something else.");
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function toStoreError(error: unknown, run: RunRecord): AgentError {
  if (isAgentError(error)) return error;
  const { sessionId } = run;
  return new AgentError("STORE_UNAVAILABLE", "The store failed.", { sessionId, cause: error });
}

function toAgentError(error: unknown, run: RunRecord): AgentError {
  if (isAgentError(error)) return error;
  return new AgentError("AGENT_FAILED", "The agent failed.", { sessionId: run.sessionId, cause: error });
}

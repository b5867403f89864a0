import type { Agent, AgentRunOptions } from "../agent.js";
import type { SessionAgent } from "../agents/session-agent.js";
import { AgentError, isAgentError } from "../errors.js";
import type { Clock } from "../internal/clock.js";
import { isInputLeft } from "../internal/input-left.js";
import { withAbortGrace } from "../internal/time-limit.js";
import type { AgentEvent } from "../run-event.js";
import type { Claim, EventRide, RunRecord } from "../store/store.js";
import type { EventWriter } from "./event-writer.js";
import { prepareInput } from "./run-input.js";
import type { RunJournal } from "./run-journal.js";
import { checkAgentEvent, settle, type Settlement } from "./run-settlement.js";
import type { SummaryBuilder } from "./run-summary.js";

/** How many events of one run go without a pause for other sessions. */
const EVENTS_PER_TURN = 128;

/** A function that uses the agent directly, in place of a message. */
export type DirectWork<TContext> = (
  agent: Agent<TContext>,
  options: AgentRunOptions<TContext>,
) => Promise<void>;

/** What has become of a run so far, for whoever ends it. */
export interface RunProgress {
  /** Whether the turns named in the claim have been undone, or can never be. */
  undone: boolean;
  /** Whether its input reached the agent. */
  started: boolean;
}

export interface RunWorkOptions<TContext> {
  readonly clock: Clock;
  readonly abortGraceMs: number;
  readonly contextOf: (run: RunRecord) => TContext | undefined | Promise<TContext | undefined>;
  readonly directWork: (run: RunRecord) => DirectWork<TContext> | undefined;
}

/** One run that has its agent. */
export interface RunWork<TConfig extends object, TContext> {
  readonly claim: Claim;
  readonly agent: SessionAgent<TConfig, TContext>;
  readonly journal: RunJournal;
  readonly builder: SummaryBuilder;
  readonly progress: RunProgress;
  readonly controller: AbortController;
  /** Asks the agent to stop at the end of its step; only where somebody else can go on. */
  readonly drain: AbortController | undefined;
  /** The engine whose steps can take the run's events along. */
  readonly engine: object | undefined;
}

/**
 * Prepares a run's input, gives it to its agent and puts what that says into the log: `prepared` and `streaming` of the
 * states in `runner.ts`. Never rejects. An agent that does not stop within `abortGraceMs` of the abort is left behind.
 */
export async function runAgent<TConfig extends object, TContext>(
  { abortGraceMs, clock, contextOf, directWork }: RunWorkOptions<TContext>,
  { claim, agent, journal, builder, progress, controller, drain, engine }: RunWork<TConfig, TContext>,
): Promise<Settlement> {
  const { signal } = controller;
  const { writer } = journal;
  const { run, lease } = claim;
  const work = async (): Promise<void> => {
    const context = await contextOf(run);
    const prepared = await prepareInput(agent.conversation, claim, journal).catch((error: unknown) => {
      // What can never be undone must not fail every later run of the session too.
      if (isAgentError(error) && ["UNSUPPORTED", "FORK_POINT_GONE"].includes(error.code))
        progress.undone = true;
      throw error;
    });
    progress.undone = prepared.undone;
    signal.throwIfAborted();
    const { runId, turnId, attempt } = run;
    const options: AgentRunOptions<TContext> = {
      ...{ runId, turnId, attempt, signal, lease, context },
      ...(drain === undefined
        ? undefined
        : {
            drain: drain.signal,
            flush: async () => {
              await writer.flush();
              // What an aborted run says goes nowhere any more.
              signal.throwIfAborted();
            },
          }),
      ...(drain === undefined || engine === undefined
        ? undefined
        : { ride: rideOf(engine, runId, writer, signal) }),
    };
    progress.started = true;
    if (run.input.kind === "direct") {
      const direct = directWork(run);
      if (direct === undefined) throw new AgentError("RUN_ABANDONED", "The process of this run has gone.");
      await direct(agent.inner, options);
      return;
    }
    let count = 0;
    const take = (event: AgentEvent): void | Promise<void> => {
      // Also stops an agent that was left behind and still speaks.
      signal.throwIfAborted();
      checkAgentEvent(event);
      builder.add(event);
      const behind = writer.push(event);
      // A fast agent is one chain of microtasks, during which nobody else would get a word in.
      if (++count % EVENTS_PER_TURN !== 0) return behind;
      return behind === undefined ? nextTurn() : behind.then(nextTurn);
    };
    const events = agent.inner.stream(prepared.input, options);
    if (events.each !== undefined) await events.each(take);
    else {
      for await (const event of events) {
        const wait = take(event);
        if (wait !== undefined) await wait;
      }
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
  if (timed.kind === "failed") {
    if (isInputLeft(timed.error)) progress.started = false;
    return settle(timed.error, run, signal);
  }
  return { outcome: builder.interrupts.length > 0 ? "interrupted" : "completed", abandoned: false };
}

function rideOf(engine: object, runId: string, writer: EventWriter, signal: AbortSignal): EventRide {
  return {
    engine,
    ready: async () => {
      // As with `flush`: what is not to be told is not to be kept either.
      signal.throwIfAborted();
      return Promise.resolve();
    },
    run: (step) =>
      writer.ride(
        (events) => step(events && { runId, events }),
        (isDone) => isDone,
      ),
  };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

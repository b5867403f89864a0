import { randomUUID } from "node:crypto";
import type { TimerHandle } from "../../internal/clock.js";
import type { JsonObject, JsonValue } from "../../json.js";
import type { SessionIdentity } from "../../session.js";
import { refused, type Refusal } from "../engine/refusals.js";
import { claimOf, LostClaims, ownerOf } from "../engine/lost-claims.js";
import { mergeSticky, StickyConfigs } from "../engine/sticky-configs.js";
import { encodeState } from "../engine/state-slot.js";
import type {
  CancelReason,
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
import { listOf, numberOf, textOf, type RedisEngine } from "./client.js";
import { batchArguments, type EventLimits } from "./event-log.js";
import { decodeRun } from "./run-record.js";
import * as cancels from "./scripts/cancel.js";
import { claim } from "./scripts/claim.js";
import * as ends from "./scripts/finish.js";
import { encodeHint } from "./scripts/hints.js";
import { announce } from "./scripts/ledger.js";
import * as looks from "./scripts/read.js";
import { submit } from "./scripts/submit.js";
import * as sweeps from "./scripts/sweep.js";

/*
 * The rules are those of memory/run-ledger.ts, with the same states and the same readings of what a lease allows; they
 * are written down once more in Lua, in scripts/, since a step has to be decided where the data is. What stays here is
 * what needs JSON: merging configs, encoding and decoding runs.
 *
 * A step whose answer got lost is sent again where that does no harm: a submission is known by its nonce, whoever ended
 * or released a run by its lease. A claim is not: its run comes back when the lease has expired.
 */

/** Looked at in one command, so that a long list keeps nobody waiting. */
const SESSIONS_PER_LOOK = 100;
const LEASES_PER_STEP = 200;
/** Runs and sessions that one command of `sweep` or `dropIdle` forgets, likewise. */
const FORGET_PER_SWEEP = 200;
/** Announcements go out at most this often. */
const ANNOUNCE_MS = 50;

/** The runs' part of hints: those of this process are told at once, those of others as they come in. */
export interface LedgerHints {
  tell(hint: LedgerHint): void;
  watch(listener: (hint: LedgerHint) => void): () => void;
}

export interface RedisRunLedgerOptions {
  readonly engine: RedisEngine;
  readonly hints: LedgerHints;
  /** How long a finished run stays known, in ms, or Infinity. */
  readonly runRetentionMs: number;
  /** The most finished runs kept per session; runs that ended in one step stay until the next. Or Infinity. */
  readonly maxRetainedRuns: number;
  /** The longest JSON text of a state slot, in bytes of UTF-8. */
  readonly maxStateBytes: number;
  /** Redis has forgotten a thread, with its conversation and events. */
  readonly onPurge?: ((threadId: string) => void) | undefined;
  /** Those of the event log, for events that go along with `finish`. @defaultValue none */
  readonly eventLimits?: EventLimits | undefined;
}

/** The ledger of all processes that use one prefix of one Redis. Each step is one script, on the clock of Redis. */
export class RedisRunLedger implements RunLedger {
  readonly shared = true;
  readonly purgesAll = true;

  readonly engine: RedisEngine;
  readonly #hints: LedgerHints;
  readonly #age: string;
  readonly #most: string;
  readonly #maxStateBytes: number;
  readonly #onPurge: ((threadId: string) => void) | undefined;
  readonly #eventLimits: EventLimits;
  readonly #sticky = new StickyConfigs();
  readonly #lostClaims: LostClaims;
  #announcing: TimerHandle | undefined;
  #announceAgain = false;

  constructor(options: RedisRunLedgerOptions) {
    this.engine = options.engine;
    this.#lostClaims = new LostClaims(options.engine.clock);
    this.#hints = options.hints;
    this.#age = limit(options.runRetentionMs);
    this.#most = limit(options.maxRetainedRuns);
    this.#maxStateBytes = options.maxStateBytes;
    this.#onPurge = options.onPurge;
    this.#eventLimits = options.eventLimits ?? { maxEventsPerRun: Infinity, expireMs: 0 };
  }

  async submit(submission: Submission): Promise<Submitted> {
    const { threadId, sessionId, userId, runId, input, defaults } = submission;
    const answered = input.kind === "answers" ? Object.keys(input.answers) : [];
    const patch = input.kind === "answers" ? "{}" : JSON.stringify(submission.configPatch);
    const nonce = randomUUID();
    const before = [threadId, sessionId, userId ?? "", runId, JSON.stringify(input), input.kind];
    before.push(submission.fingerprint, submission.onBusy);
    before.push(limit(submission.queueLimit), limit(submission.totalQueueLimit));
    before.push(submission.affinity ?? "", nonce);
    let assumed = this.#sticky.assume(threadId);
    const claim = claimOf(submission);
    const after = [this.#most, this.#age, claim?.owner ?? "", claim?.processId ?? ""];
    after.push(limit(claim?.leaseMs ?? 0), limit(claim?.maxConcurrentRunsPerUser ?? Infinity), ...answered);
    // Each turn of the loop that changes nothing is one in which somebody else has changed what sticks.
    for (;;) {
      const { sticky, config } = mergeSticky(defaults, assumed, JSON.parse(patch) as JsonObject);
      const args = [...before, assumed.version, sticky ?? "", config, ...after];
      const reply = listOf(await this.#submit(args, claim));
      const outcome = textOf(reply[0]);
      if (outcome === "config") {
        const [, version, text] = reply;
        // Not looked up again: what is long is not kept.
        assumed = { version: textOf(version) ?? "", text: textOf(text) ?? "{}" };
        this.#sticky.learn(threadId, assumed);
      } else if (outcome === "run") {
        const created = numberOf(reply[1]) === 1;
        if (created && sticky !== undefined) this.#sticky.learn(threadId, { version: nonce, text: sticky });
        this.#tell(reply[3], reply[4]);
        const run = runOf(threadId, runId, reply[2]);
        if (claim === undefined || reply[5] === undefined) return { run, created };
        const lease = { threadId, epoch: numberOf(reply[5]), owner: claim.owner };
        return { run, created, claim: { lease, run, undo: textsOf(reply[6]), last: true } };
      } else throw refused(outcome as Refusal, submission, numberOf(reply[1]));
    }
  }

  async #submit(args: readonly (string | number)[], claim: ReturnType<typeof claimOf>): Promise<unknown> {
    try {
      return await this.engine.run(submit, args, { repeat: true });
    } catch (error) {
      if (claim !== undefined) this.#lostClaims.failed(claim.owner, error);
      throw error;
    }
  }

  claim(request: ClaimRequest): Promise<Claim | undefined> {
    const owner = ownerOf(request);
    return this.#lostClaims.claim(owner, (lost) => this.#claim(request, owner, lost));
  }

  async #claim(request: ClaimRequest, owner: string, lost: readonly string[]): Promise<Claim | undefined> {
    const { processId, leaseMs, maxAttempts, maxConcurrentRunsPerUser = Infinity } = request;
    const args = [
      processId,
      owner,
      limit(leaseMs),
      limit(maxAttempts),
      limit(maxConcurrentRunsPerUser),
      this.#most,
      ...lost,
    ];
    for (;;) {
      const reply = listOf(await this.engine.run(claim, args, { repeat: false }));
      const outcome = textOf(reply[0]);
      if (outcome !== "run") {
        this.#tell(reply[1], reply[2]);
        if (outcome === "more") continue;
        return undefined;
      }
      const threadId = textOf(reply[1]) ?? "";
      const lease = { threadId, epoch: numberOf(reply[3]), owner };
      const run = runOf(threadId, textOf(reply[2]) ?? "", reply[5]);
      this.#tell(reply[6], reply[7]);
      return { lease, run, undo: textsOf(reply[4]), last: numberOf(reply[8]) === 1 };
    }
  }

  async renew(leases: readonly Lease[], leaseMs: number): Promise<readonly Renewal[]> {
    const renewed = chunks(leases, LEASES_PER_STEP).map(async (some) => {
      const args = [limit(leaseMs), ...some.flatMap(leaseArgs)];
      const replies = listOf(await this.engine.run(ends.renew, args, { repeat: true }));
      return some.map((lease, at): Renewal => {
        const reply = textOf(replies[at]);
        if (reply === undefined || reply === "0") return { lease, held: false };
        return reply === "1"
          ? { lease, held: true }
          : { lease, held: true, cancelRequested: reply as CancelReason };
      });
    });
    return (await Promise.all(renewed)).flat();
  }

  async finish(lease: Lease, runId: string, completion: RunCompletion): Promise<RunRecord> {
    const { outcome, summary, error, lastSeq, undone, events } = completion;
    const args = [
      ...[...leaseArgs(lease), runId, outcome, JSON.stringify(summary)],
      ...[error === undefined ? "" : JSON.stringify(error), lastSeq, undone ? 1 : 0, this.#most, this.#age],
      ...[summary.interrupts.length, ...summary.interrupts.map(({ id }) => id)],
      ...(events === undefined ? [] : batchArguments(runId, events, this.#eventLimits)),
    ];
    const reply = listOf(await this.engine.run(ends.finish, args, { repeat: true, lease }));
    this.#tell(reply[1], reply[2]);
    return runOf(lease.threadId, runId, reply[0]);
  }

  async release(lease: Lease, runId: string): Promise<void> {
    const args = [...leaseArgs(lease), runId, this.engine.origin];
    const reply = listOf(await this.engine.run(ends.release, args, { repeat: true, lease }));
    this.#tell(reply[0], reply[1]);
  }

  async cancel(threadId: string, runId?: string): Promise<RunRecord | undefined> {
    const args = [threadId, runId ?? "", this.#most];
    // Without a run id the step may find another run the second time.
    const reply = listOf(await this.engine.run(cancels.cancel, args, { repeat: runId !== undefined }));
    const cancelled = textOf(reply[0]);
    if (cancelled === undefined) return undefined;
    this.#tell(reply[2], reply[3]);
    return runOf(threadId, cancelled, reply[1]);
  }

  async get(threadId: string, runId: string): Promise<RunRecord | undefined> {
    return decodeRun(threadId, runId, await this.#look(looks.getRun, [threadId, runId]));
  }

  async ended(runs: readonly Pick<RunRecord, "threadId" | "runId">[]): Promise<readonly number[]> {
    const looked = chunks(runs, SESSIONS_PER_LOOK).map(async (some, n) => {
      const names = some.flatMap(({ threadId, runId }) => [threadId, runId]);
      const places = listOf(await this.#look(looks.endedRuns, names));
      return places.map((place) => n * SESSIONS_PER_LOOK + numberOf(place) - 1);
    });
    return (await Promise.all(looked)).flat();
  }

  async current(threadId: string): Promise<RunRecord | undefined> {
    const [runId, record] = listOf(await this.#look(looks.currentRun, [threadId]));
    return decodeRun(threadId, textOf(runId) ?? "", record);
  }

  async sessions(threadIds: readonly string[]): Promise<ReadonlyMap<string, LedgerSession>> {
    const looked = chunks(threadIds, SESSIONS_PER_LOOK).map(async (some) =>
      listOf(await this.#look(looks.lookAtSessions, some)).map(decodeSession),
    );
    return new Map((await Promise.all(looked)).flat());
  }

  async tombstone(threadId: string): Promise<boolean> {
    const reply = listOf(await this.engine.run(cancels.tombstone, [threadId, this.#most], { repeat: true }));
    this.#tell(reply[1], reply[2]);
    return numberOf(reply[0]) === 1;
  }

  async purge(threadId: string): Promise<void> {
    const reply = listOf(await this.engine.run(cancels.purge, [threadId], { repeat: true }));
    this.#onPurge?.(threadId);
    this.#tell(reply[0], reply[1]);
  }

  async purged(threadId: string): Promise<boolean> {
    return numberOf(await this.#look(cancels.purged, [threadId])) === 1;
  }

  async tombstones(limit: number): Promise<readonly string[]> {
    return textsOf(await this.#look(looks.tombstones, [limit]));
  }

  async sweep({ interruptTtlMs = Infinity, orphans }: SweepOptions): Promise<number> {
    const args = [limit(interruptTtlMs), this.#age, FORGET_PER_SWEEP];
    for (let total = orphans === undefined ? 0 : await this.#abandon(orphans); ;) {
      const reply = listOf(await this.engine.run(sweeps.sweep, args, { repeat: true }));
      const counts = [numberOf(reply[0]), numberOf(reply[1])];
      this.#tell(reply[2], reply[3]);
      for (const count of counts) total += count;
      if (Math.max(...counts) < FORGET_PER_SWEEP) return total;
    }
  }

  /**
   * Forgets sessions in which nothing has run, waited or been parked for `idleMs`, with their conversations and events;
   * a batch of them. None when there are no more.
   */
  async dropIdle(idleMs: number): Promise<readonly SessionIdentity[]> {
    const reply = await this.engine.run(sweeps.dropIdle, [limit(idleMs), FORGET_PER_SWEEP], { repeat: true });
    return listOf(reply).map((dropped) => {
      const [threadId = "", sessionId = "", userId = ""] = textsOf(dropped);
      return userId === "" ? { threadId, sessionId } : { threadId, sessionId, userId };
    });
  }

  async readState(threadId: string): Promise<JsonValue | undefined> {
    const text = textOf(await this.#look(looks.readState, [threadId]));
    // Only what `encodeState` made of a JSON value is stored.
    return text === undefined ? undefined : (JSON.parse(text) as JsonValue);
  }

  async writeState(lease: Lease, value: JsonValue): Promise<void> {
    const repeat = { repeat: true, lease };
    let text: string;
    try {
      text = encodeState(value, this.#maxStateBytes, lease.threadId);
    } catch {
      // Again, with the name that the caller knows the session by, unless the lease is lost anyway.
      const sessionId = textOf(await this.engine.run(looks.fencedSession, leaseArgs(lease), repeat));
      text = encodeState(value, this.#maxStateBytes, sessionId ?? lease.threadId);
    }
    await this.engine.run(looks.writeState, [...leaseArgs(lease), text], repeat);
  }

  watch(listener: (hint: LedgerHint) => void): () => void {
    return this.#hints.watch(listener);
  }

  /** The first goes out at once; all that come within {@link ANNOUNCE_MS} of it go out as one more. */
  announce(): void {
    if (this.#announcing !== undefined) {
      this.#announceAgain = true;
      return;
    }
    this.#announcing = this.engine.clock.setTimeout(() => {
      this.#announcing = undefined;
      if (!this.#announceAgain) return;
      this.#announceAgain = false;
      if (!this.engine.closed) this.announce();
    }, ANNOUNCE_MS);
    const text = encodeHint({ type: "queue" }, this.engine.origin);
    // A hint is a courtesy: the others look from time to time.
    this.engine.run(announce, [text], { repeat: false }).catch(() => undefined);
  }

  async #abandon({ processes, ageMs }: NonNullable<SweepOptions["orphans"]>): Promise<number> {
    const args = [limit(ageMs), FORGET_PER_SWEEP, ...processes];
    for (let total = 0; ;) {
      const reply = listOf(await this.engine.run(sweeps.abandonOrphans, args, { repeat: true }));
      this.#tell(reply[1], reply[2]);
      // Behind one that was ended another one may be next.
      if (numberOf(reply[0]) === 0) return total;
      total += numberOf(reply[0]);
    }
  }

  #look(script: (typeof looks)["getRun"], args: readonly (string | number)[]): Promise<unknown> {
    return this.engine.run(script, args, { repeat: true });
  }

  /** Tells this process what a step changed. */
  #tell(changed: unknown, claimable: unknown): void {
    const names = textsOf(changed);
    for (let at = 0; at + 1 < names.length; at += 2) {
      this.#hints.tell({ type: "run", threadId: names[at] ?? "", runId: names[at + 1] ?? "" });
    }
    if (numberOf(claimable) === 1) this.#hints.tell({ type: "queue" });
  }
}

/** A number that may be Infinity, as Lua and Redis read it. */
function limit(value: number): string {
  return value === Infinity ? "inf" : String(value);
}

function leaseArgs({ threadId, epoch, owner }: Lease): readonly string[] {
  return [threadId, String(epoch), owner];
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, at) =>
    items.slice(at * size, (at + 1) * size),
  );
}

function textsOf(reply: unknown): string[] {
  return listOf(reply).map((item) => textOf(item) ?? "");
}

/** A run that a step has just written. */
function runOf(threadId: string, runId: string, reply: unknown): RunRecord {
  const run = decodeRun(threadId, runId, reply);
  if (run === undefined)
    throw new Error(`The step on run \`${runId}\` of thread \`${threadId}\` left no run.`);
  return run;
}

/** The uuid that makes an owner unique, and the colon before it. */
const OWNER_SUFFIX = 37;

function decodeSession(reply: unknown): readonly [string, LedgerSession] {
  const [thread, sticky, owner, queued, runningId, runningRecord, parkedId, parkedRecord] = listOf(reply);
  const threadId = textOf(thread) ?? "";
  const running = decodeRun(threadId, textOf(runningId) ?? "", runningRecord);
  const parked = decodeRun(threadId, textOf(parkedId) ?? "", parkedRecord);
  const process = textOf(owner)?.slice(0, -OWNER_SUFFIX);
  return [
    threadId,
    {
      config: JSON.parse(textOf(sticky) ?? "{}") as JsonObject,
      ...(parked === undefined ? {} : { parked }),
      ...(running === undefined ? {} : { running }),
      ...(process === undefined ? {} : { owner: process }),
      queued: numberOf(queued),
    },
  ];
}

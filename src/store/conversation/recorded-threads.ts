import { randomUUID } from "node:crypto";
import { LRUCache } from "lru-cache";
import { AgentError } from "../../errors.js";
import type { Clock } from "../../internal/clock.js";
import { deferred, type Deferred } from "../../internal/deferred.js";
import { KeyedQueue } from "../../internal/keyed-queue.js";
import type { EventBatch, EventRide, Lease } from "../store.js";
import { waitForClock } from "./checkpoint-time.js";
import {
  requireLease,
  type ThreadSettings,
  type ThreadSource,
  type WriteOptions,
} from "./conversation-saver.js";
import type { CachedThread } from "./live-cache.js";
import type { ConversationRecords, ThreadRecords } from "./records.js";
import { ThreadRecorder } from "./thread-records.js";
import { ConversationThread } from "./thread.js";

/*
 * Threads that live in an engine, and here as a cache.
 *
 * A write changes the cached thread at once and waits for the commit that stores it. Commits are sent by
 * `setImmediate`, one at a time per thread: what comes in one turn of the event loop, or while a commit is under
 * way, goes in one. A cached thread is thus in one of these states:
 *
 *   idle       as the engine had it at `version`; in the cache, may be evicted
 *   waiting    changed, with a commit to be sent
 *   committing changed, with a commit on its way, and maybe more waiting
 *   gone       a commit failed: what was changed here must not be built upon
 *
 * What the run has said by then and its event log has not goes along with a commit, where log and records are in one
 * engine: a step and what was told of it are stored together.
 *
 * Loads and commits of one thread take turns in a queue. While a write waits, the thread stays out of the cache.
 *
 * Whether a cached thread is still true is known to whoever holds the lease that it was read or written under; all
 * others ask the engine, which says "unchanged" as a rule. A lease under which a commit failed takes no more
 * writes: a later one could be built on one that was lost. Writes without a lease are tried again on what the
 * engine has by then.
 */

export interface RecordedThreadsOptions {
  readonly isFenced: boolean;
  readonly clock: Clock;
  readonly maxClockSkewMs: number;
}

/** How often a write without a lease is tried when others come first. */
const MAX_ATTEMPTS = 10;
/** How many leases are remembered under which a commit failed, one a thread. */
const MAX_LOST_LEASES = 10_000;
const THREADS_PER_PAGE = 100;

type Step = (thread: ConversationThread) => unknown;

interface Write {
  readonly step: Step;
  readonly stored: Deferred<void>;
  readonly ride: EventRide | undefined;
  result: unknown;
}

interface Entry extends CachedThread {
  thread: ConversationThread;
  recorder: ThreadRecorder;
  version: string | undefined;
  /** The lease under which it needs no asking. */
  trustedBy: string | undefined;
  /** Whether the ids that this process makes are known to be greater than those that came from the engine. */
  isInThePast: boolean;
  /** Whose changes are in it that are not stored yet. */
  lease: Lease | undefined;
  waiting: Write[];
  isCommitting: boolean;
}

export class RecordedThreads implements ThreadSource {
  private readonly busy = new Map<string, Entry>();
  private readonly queue = new KeyedQueue();
  private readonly lost = new LRUCache<string, { readonly key: string; readonly error: unknown }>({
    max: MAX_LOST_LEASES,
  });

  constructor(
    private readonly records: ConversationRecords,
    private readonly settings: ThreadSettings,
    private readonly options: RecordedThreadsOptions,
  ) {}

  get engine(): object | undefined {
    return this.options.isFenced ? this.records.engine : undefined;
  }

  authorise(threadId: string, lease: Lease | undefined): void {
    if (!this.options.isFenced) return;
    requireLease(threadId, lease);
    const lost = this.lost.get(threadId);
    if (lost !== undefined && lost.key === keyOf(lease)) throw lost.error;
  }

  peek(threadId: string): ConversationThread | undefined {
    return this.find(threadId)?.thread;
  }

  async read(
    threadId: string,
    lease: Lease | undefined,
    signal: AbortSignal | undefined,
  ): Promise<ConversationThread | undefined> {
    const own = this.ownLease(threadId, lease);
    const key = own && keyOf(own);
    const known = this.find(threadId);
    const isKnown = known !== undefined && isTrusted(known, key);
    const entry = isKnown ? known : await this.queue.run(threadId, () => this.refresh(threadId, key, false));
    // Not only when it was loaded for this: a restore may have come first, which makes no id.
    if (own !== undefined && !entry.isInThePast) {
      const { clock, maxClockSkewMs } = this.options;
      await waitForClock(entry.thread, clock, maxClockSkewMs, signal);
      entry.isInThePast = true;
    }
    return entry.thread.isEmpty ? undefined : entry.thread;
  }

  async write<T>(
    threadId: string,
    lease: Lease | undefined,
    step: (thread: ConversationThread) => T,
    { isEarly = false, ride }: WriteOptions = {},
  ): Promise<T> {
    this.authorise(threadId, lease);
    const own = this.ownLease(threadId, lease);
    const key = own && keyOf(own);
    const known = this.find(threadId);
    let write: Write;
    if (known !== undefined && mayChange(known, key)) {
      write = this.apply(threadId, known, own, step, ride);
    } else {
      write = await this.queue.run(threadId, async () => {
        // One that waited here before may have read it already.
        const ready = this.find(threadId);
        const isReady = ready !== undefined && mayChange(ready, key);
        const entry = isReady ? ready : await this.refresh(threadId, key, true);
        return this.apply(threadId, entry, own, step, ride);
      });
    }
    // An early answer can't be taken back; what follows under the lease then fails instead.
    if (isEarly && own !== undefined) write.stored.promise.catch(() => undefined);
    else await write.stored.promise;
    // The step's own result.
    return write.result as T;
  }

  /** Waits until what was written is stored, or can't be any more. */
  async settled(threadId: string): Promise<void> {
    for (let entry = this.busy.get(threadId); entry !== undefined; entry = this.busy.get(threadId)) {
      const own = entry;
      await this.queue.run(threadId, () => this.commit(threadId, own));
    }
  }

  /** Lets go of what is kept here of a thread that the engine has forgotten. */
  forget(threadId: string): void {
    const entry = this.find(threadId);
    // A busy one will find out when it commits.
    if (entry !== undefined && !isBusy(entry)) this.drop(threadId, entry);
  }

  async delete(threadId: string): Promise<void> {
    await this.queue.run(threadId, async () => {
      const entry = this.find(threadId);
      // What was put before comes before.
      if (entry !== undefined) await this.commit(threadId, entry);
      await this.records.delete(threadId);
      this.forget(threadId);
    });
  }

  async *threadIds(): AsyncGenerator<string> {
    let after: string | undefined;
    for (;;) {
      const page = await this.records.threads({ after, limit: THREADS_PER_PAGE });
      yield* page;
      after = page.at(-1);
      if (after === undefined) return;
    }
  }

  /** An unfenced source lets leases pass unread. */
  private ownLease(threadId: string, lease: Lease | undefined): Lease | undefined {
    return this.options.isFenced && lease?.threadId === threadId ? lease : undefined;
  }

  private find(threadId: string): Entry | undefined {
    return this.busy.get(threadId) ?? (this.settings.live.thread(threadId) as Entry | undefined);
  }

  /**
   * Makes the thread what the engine has, with no foreign changes in it. In the queue. An entry that is only to be
   * read without a lease may be one beside the cached one.
   */
  private async refresh(threadId: string, key: string | undefined, isForWrite: boolean): Promise<Entry> {
    for (;;) {
      const known = this.find(threadId);
      if (known !== undefined) await this.commit(threadId, known);
      const entry = this.find(threadId);
      const loaded = await this.records.load(threadId, entry?.version);
      const isUnchanged = loaded === "unchanged" || (loaded === undefined && entry?.version === undefined);
      // Writes under the lease that had it till now may have come in the meantime: let them succeed or fail first.
      const isOurs = isUnchanged && entry !== undefined && isTrusted(entry, key);
      if (entry !== undefined && isBusy(entry) && !isOurs && (key !== undefined || isForWrite)) continue;
      if (isUnchanged && entry !== undefined) {
        if (key !== undefined) entry.trustedBy = key;
        if (!isBusy(entry)) this.settings.live.keepThread(threadId, entry);
        return entry;
      }
      const fresh = this.create(loaded === "unchanged" ? undefined : loaded);
      if (entry !== undefined && isBusy(entry)) return fresh;
      if (entry !== undefined) this.drop(threadId, entry);
      fresh.trustedBy = key;
      if (fresh.version !== undefined || key !== undefined) this.settings.live.keepThread(threadId, fresh);
      return fresh;
    }
  }

  private apply(
    threadId: string,
    entry: Entry,
    lease: Lease | undefined,
    step: Step,
    ride: EventRide | undefined,
  ): Write {
    // It may have been lost while this waited.
    if (lease !== undefined) this.authorise(threadId, lease);
    const write: Write = { step, stored: deferred(), ride, result: step(entry.thread) };
    this.settings.live.takeThread(threadId);
    this.busy.set(threadId, entry);
    entry.lease = lease;
    entry.trustedBy = lease && keyOf(lease);
    entry.waiting.push(write);
    if (entry.waiting.length === 1) {
      setImmediate(() => {
        void this.queue.run(threadId, () => this.commit(threadId, entry));
      });
    }
    return write;
  }

  /** Stores what waits. In the queue; never rejects. */
  private async commit(threadId: string, entry: Entry): Promise<void> {
    const batch = entry.waiting.splice(0);
    if (batch.length === 0) return;
    entry.isCommitting = true;
    try {
      await this.store(threadId, entry, batch);
    } catch (error) {
      if (entry.lease !== undefined) this.lost.set(threadId, { key: keyOf(entry.lease), error });
      this.drop(threadId, entry);
      for (const { stored } of [...batch, ...entry.waiting.splice(0)]) stored.reject(error);
      return;
    } finally {
      entry.isCommitting = false;
    }
    for (const { stored } of batch) stored.resolve();
    if (entry.waiting.length > 0) return;
    entry.lease = undefined;
    this.busy.delete(threadId);
    this.settings.live.keepThread(threadId, entry);
  }

  private async store(threadId: string, entry: Entry, batch: readonly Write[]): Promise<void> {
    const { lease } = entry;
    for (let attempt = 1; ; attempt += 1) {
      const changes = entry.recorder.changes(entry.thread);
      const isSame = changes.puts.length === 0 && changes.deletes.length === 0;
      // A step that came too late changes nothing and must fail all the same: only the engine knows that the lease is stale.
      if (isSame && (lease === undefined || batch.every(({ result }) => result === false))) return;
      const token = randomUUID();
      const change = { threadId, base: entry.version, token, lease, ...changes };
      const commit = (events?: EventBatch): Promise<boolean> => this.records.commit({ ...change, events });
      // All are of the lease's one run.
      const ride = batch.find((write) => write.ride !== undefined)?.ride;
      if (await (ride === undefined || lease === undefined ? commit() : ride.run(commit))) {
        entry.version = token;
        return;
      }
      if (lease !== undefined || attempt === MAX_ATTEMPTS) {
        throw new AgentError(
          lease === undefined ? "STORE_UNAVAILABLE" : "LEASE_LOST",
          `Another writer has changed thread ${JSON.stringify(threadId)}.`,
        );
      }
      const loaded = await this.records.load(threadId);
      const { thread, recorder, version } = this.create(loaded === "unchanged" ? undefined : loaded);
      this.settings.live.forgetMessages(entry.thread);
      Object.assign(entry, { thread, recorder, version });
      for (const write of [...batch, ...entry.waiting]) write.result = write.step(thread);
    }
  }

  private create(loaded: ThreadRecords | undefined): Entry {
    const { retention, live } = this.settings;
    const { thread, recorder } = ThreadRecorder.read(
      loaded?.records ?? new Map<string, string>(),
      (state, own) =>
        new ConversationThread(
          retention,
          (value) => {
            if (value.kind === "message") own.forget(value);
            else live.dropMessages(value);
          },
          state,
        ),
    );
    return {
      thread,
      recorder,
      version: loaded?.version,
      trustedBy: undefined,
      isInThePast: false,
      lease: undefined,
      waiting: [],
      isCommitting: false,
    };
  }

  private drop(threadId: string, entry: Entry): void {
    if (this.busy.get(threadId) === entry) this.busy.delete(threadId);
    this.settings.live.takeThread(threadId);
    this.settings.live.forgetMessages(entry.thread);
  }
}

function keyOf({ epoch, owner }: Lease): string {
  return `${String(epoch)} ${owner}`;
}

function isBusy(entry: Entry): boolean {
  return entry.isCommitting || entry.waiting.length > 0;
}

function isTrusted(entry: Entry, key: string | undefined): boolean {
  return key !== undefined && entry.trustedBy === key;
}

/** Whether a write may go onto it as it is. Without a lease it will be seen at the commit if it may not. */
function mayChange(entry: Entry, key: string | undefined): boolean {
  if (key !== undefined) return isTrusted(entry, key);
  return !isBusy(entry) || entry.lease === undefined;
}

import type { IndexedHeap, Positioned } from "../../internal/indexed-heap.js";
import type { Linked, LinkedList } from "../../internal/linked-list.js";
import type { JsonObject } from "../../json.js";
import type { SessionIdentity } from "../../session.js";
import type { RunRecord } from "../store.js";
import type { UserLane, WaitingUser } from "./user-rotation.js";

/**
 * A run as the ledger keeps it. It is in one list at most: its session's queue while it is queued, the list of
 * parked runs while its interrupts wait, the list of finished runs while it is retained.
 */
export class LedgerRun implements Linked<LedgerRun> {
  list: LinkedList<LedgerRun> | undefined;
  previous: LedgerRun | undefined;
  next: LedgerRun | undefined;

  /** What is told of the run; replaced and never changed, so that it can be handed out. */
  record: RunRecord;
  readonly session: LedgerSessionEntry;
  /** Place in the order of acceptance over all sessions. */
  readonly order: number;
  /** Monotonic time since when it is parked or retained. */
  since = 0;
  /** How many of the session's turns to undo it was given when it was claimed. */
  undoCount = 0;
  /** How many of its claims ended with a release. */
  releases = 0;
  /** The owner of the lease that finished it: that one may finish it again, to the same result. */
  finishedBy: string | undefined;
  /** The run of the same session that was retained next. */
  newerRetained: LedgerRun | undefined;
  bytes = 0;

  constructor(session: LedgerSessionEntry, record: RunRecord, order: number) {
    this.session = session;
    this.record = record;
    this.order = order;
  }
}

/** Who may write a session and until when, in monotonic time. */
export interface HeldLease {
  readonly owner: string;
  readonly epoch: number;
  expiresAt: number;
}

/**
 * All that the ledger knows of one session. There is one per idle session too, so what only a busy one needs is
 * left undefined. It is in the heap of runnable sessions or in that of leases that can expire, never in both, and
 * in the list of idle sessions only when in neither.
 */
export class LedgerSessionEntry implements Linked<LedgerSessionEntry>, Positioned {
  list: LinkedList<LedgerSessionEntry> | undefined;
  previous: LedgerSessionEntry | undefined;
  next: LedgerSessionEntry | undefined;
  position = -1;

  readonly threadId: string;
  readonly sessionId: string;
  readonly userId: string | undefined;
  /** What writes are fenced with. Deleting raises it while `lease` stays, so that the run can still be finished. */
  epoch: number;
  lease: HeldLease | undefined = undefined;
  running: LedgerRun | undefined = undefined;
  parked: LedgerRun | undefined = undefined;
  queue: LinkedList<LedgerRun> | undefined = undefined;
  /** Queued, running, parked and retained runs by id. */
  runs: Map<string, LedgerRun> | undefined = undefined;
  oldestRetained: LedgerRun | undefined = undefined;
  newestRetained: LedgerRun | undefined = undefined;
  retained = 0;
  /** Turns that rollbacks have cancelled, oldest first. */
  undo: string[] | undefined = undefined;
  /** What sticks of the config given with runs. */
  config: JsonObject | undefined = undefined;
  /** The state slot as JSON text. */
  state: string | undefined = undefined;
  tombstone = false;
  /** Set while the session is runnable or running. */
  user: WaitingUser | undefined = undefined;
  /** Where it waits for its turn, while it is runnable. */
  lane: UserLane | undefined = undefined;
  /** Monotonic time since when nothing is queued, running or parked. */
  idleSince = 0;
  /** Runs, slot and conversation together. */
  bytes = 0;
  /** The part of `bytes` that the conversation saver told. */
  conversationBytes = 0;

  constructor(identity: SessionIdentity, epoch: number) {
    this.threadId = identity.threadId;
    this.sessionId = identity.sessionId;
    this.userId = identity.userId;
    this.epoch = epoch;
  }

  /** The run that is next, while nothing stands in its way. */
  get runnable(): LedgerRun | undefined {
    const blocked = this.running !== undefined || this.parked !== undefined || this.tombstone;
    return blocked ? undefined : this.queue?.first;
  }

  get isIdle(): boolean {
    return (
      this.running === undefined && this.parked === undefined && this.queue === undefined && !this.tombstone
    );
  }

  get identity(): SessionIdentity {
    const { threadId, sessionId, userId } = this;
    return userId === undefined ? { threadId, sessionId } : { threadId, sessionId, userId };
  }
}

export type SessionHeap = IndexedHeap<LedgerSessionEntry>;

import { IndexedHeap, type Positioned } from "../../internal/indexed-heap.js";
import type { LedgerSessionEntry, SessionHeap } from "./ledger-session.js";

/*
 * Whose turn it is.
 *
 * A session is runnable while it has a queued run and nothing runs or waits for answers in it. A user waits while
 * one of its sessions is runnable; a session without user is a user of its own. Each waiting user has a turn
 * number: a new one, behind all others, when it begins to wait and each time it is given a run. The user with the
 * lowest number is next, so turns go round, and of its runnable sessions the one whose next run was accepted first.
 *
 * Lanes keep runs that only one process may claim out of the way of the others: the sessions whose next run has an
 * affinity wait in that process's lane, all else in the common one, and a process looks at these two alone.
 *
 * A user at its limit is set aside, keeping its number, until one of its runs ends; so nobody is looked at in vain
 * twice. Every step costs O(log n) of users and of one user's runnable sessions.
 */

/** One user's runnable sessions in one lane. */
export class UserLane implements Positioned {
  position = -1;
  readonly user: WaitingUser;
  readonly affinity: string | undefined;
  readonly sessions: SessionHeap = new IndexedHeap(
    (a, b) => (a.runnable?.order ?? Infinity) < (b.runnable?.order ?? Infinity),
  );

  constructor(user: WaitingUser, affinity: string | undefined) {
    this.user = user;
    this.affinity = affinity;
  }
}

/** A user with runnable or running sessions. */
export class WaitingUser {
  readonly userId: string | undefined;
  turn = 0;
  running = 0;
  /** How many sessions are runnable. */
  waiting = 0;
  /** How many sessions refer to it: the runnable and the running ones. */
  sessions = 0;
  /** Mostly one: the common lane. */
  readonly lanes: UserLane[] = [];

  constructor(userId: string | undefined) {
    this.userId = userId;
  }
}

type LaneHeap = IndexedHeap<UserLane>;

export class UserRotation {
  readonly #users = new Map<string, WaitingUser>();
  readonly #lanes = new Map<string | undefined, LaneHeap>();
  readonly #aside = new Set<WaitingUser>();
  /** The limit under which users were set aside. */
  #asideLimit = Infinity;
  #turns = 0;

  /** Brings the session's place up to date after its queue, its running or its parked run changed. */
  place(session: LedgerSessionEntry): void {
    const next = session.runnable;
    if (next === undefined && session.lane === undefined) return;
    const user = this.#userOf(session);
    const waited = user.waiting > 0;
    const lane = session.lane;
    if (lane !== undefined && (next === undefined || lane.affinity !== next.record.affinity)) {
      this.#leave(session, lane);
    }
    if (next !== undefined) {
      if (!waited) user.turn = ++this.#turns;
      if (session.lane === undefined) this.#enter(session, user, next.record.affinity);
      else session.lane.sessions.update(session);
    }
    this.#letGo(session);
  }

  /** The session whose turn it is for this process, left in its place. */
  next(processId: string, maxRunning = Infinity): LedgerSessionEntry | undefined {
    if (maxRunning !== this.#asideLimit) {
      for (const user of this.#aside) this.#bringBack(user);
      this.#asideLimit = maxRunning;
    }
    for (;;) {
      const common = this.#lanes.get(undefined)?.peek();
      const own = this.#lanes.get(processId)?.peek();
      const user =
        own === undefined || (common !== undefined && isBefore(common, own)) ? common?.user : own.user;
      if (user === undefined) return undefined;
      if (user.running < maxRunning) return firstSession(user, processId);
      this.#setAside(user);
    }
  }

  /** Counts a run of the session, which has been taken out by {@link place} or is about to be; ends the user's turn. */
  started(session: LedgerSessionEntry): void {
    const user = this.#userOf(session);
    user.running++;
    user.turn = ++this.#turns;
    for (const lane of user.lanes) {
      const heap = this.#lanes.get(lane.affinity);
      if (heap?.has(lane) === true) heap.update(lane);
    }
  }

  /** Takes back {@link started}; the session's `running` is gone already. */
  stopped(session: LedgerSessionEntry): void {
    const user = this.#userOf(session);
    user.running--;
    if (this.#aside.has(user)) this.#bringBack(user);
    this.#letGo(session);
  }

  #userOf(session: LedgerSessionEntry): WaitingUser {
    if (session.user !== undefined) return session.user;
    const { userId } = session;
    let user = userId === undefined ? undefined : this.#users.get(userId);
    if (user === undefined) {
      user = new WaitingUser(userId);
      if (userId !== undefined) this.#users.set(userId, user);
    }
    user.sessions++;
    session.user = user;
    return user;
  }

  #letGo(session: LedgerSessionEntry): void {
    const { user } = session;
    if (user === undefined || session.lane !== undefined || session.running !== undefined) return;
    session.user = undefined;
    user.sessions--;
    if (user.sessions === 0 && user.userId !== undefined) this.#users.delete(user.userId);
  }

  #enter(session: LedgerSessionEntry, user: WaitingUser, affinity: string | undefined): void {
    let lane = user.lanes.find((candidate) => candidate.affinity === affinity);
    if (lane === undefined) {
      lane = new UserLane(user, affinity);
      user.lanes.push(lane);
      if (!this.#aside.has(user)) this.#heap(affinity).add(lane);
    }
    lane.sessions.add(session);
    session.lane = lane;
    user.waiting++;
  }

  #leave(session: LedgerSessionEntry, lane: UserLane): void {
    const { user } = lane;
    lane.sessions.remove(session);
    session.lane = undefined;
    user.waiting--;
    if (lane.sessions.size > 0) return;
    user.lanes.splice(user.lanes.indexOf(lane), 1);
    this.#withdraw(lane);
  }

  #heap(affinity: string | undefined): LaneHeap {
    let heap = this.#lanes.get(affinity);
    if (heap === undefined) {
      heap = new IndexedHeap(isBefore);
      this.#lanes.set(affinity, heap);
    }
    return heap;
  }

  #withdraw(lane: UserLane): void {
    const heap = this.#lanes.get(lane.affinity);
    heap?.remove(lane);
    if (heap?.size === 0) this.#lanes.delete(lane.affinity);
  }

  #setAside(user: WaitingUser): void {
    this.#aside.add(user);
    for (const lane of user.lanes) this.#withdraw(lane);
  }

  #bringBack(user: WaitingUser): void {
    this.#aside.delete(user);
    for (const lane of user.lanes) this.#heap(lane.affinity).add(lane);
  }
}

function isBefore(a: UserLane, b: UserLane): boolean {
  return a.user.turn < b.user.turn;
}

/** Of the user's sessions that the process may take, the one whose next run was accepted first. */
function firstSession(user: WaitingUser, processId: string): LedgerSessionEntry | undefined {
  let first: LedgerSessionEntry | undefined;
  for (const lane of user.lanes) {
    if (lane.affinity !== undefined && lane.affinity !== processId) continue;
    const candidate = lane.sessions.peek();
    if (candidate === undefined) continue;
    if ((candidate.runnable?.order ?? Infinity) < (first?.runnable?.order ?? Infinity)) first = candidate;
  }
  return first;
}

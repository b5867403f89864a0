import { AgentError } from "../../../src/errors.js";
import { identify } from "../../../src/session.js";
import type { LedgerHint, RunLedger, RunRecord } from "../../../src/store/store.js";
import { breaking, type Break } from "./break.js";

/* Ledgers that get the order, an outcome or a listener wrong, and tell what is not so. */

function ledger(change: (inner: RunLedger) => Partial<RunLedger>): Break {
  return breaking("runs", change);
}

/** What `get` gives is changed on its way. */
function reading(change: (run: RunRecord) => RunRecord | undefined): Break {
  return ledger((inner) => ({
    get: async (threadId, runId) => {
      const run = await inner.get(threadId, runId);
      return run && change(run);
    },
  }));
}

/** Looks at the queue before it looks whether it knows the run. */
const asksPolicyFirst = ledger((inner) => ({
  submit: async (given) => {
    const session = (await inner.sessions([given.threadId])).get(given.threadId);
    if (given.onBusy === "reject" && (session?.queued ?? 0) > 0) throw new AgentError("SESSION_BUSY", "busy");
    return inner.submit(given);
  },
}));
const asksAnswersForRoom = ledger((inner) => ({
  submit: async (given) => {
    const session = (await inner.sessions([given.threadId])).get(given.threadId);
    const isFull = (session?.queued ?? 0) > given.queueLimit;
    if (given.input.kind === "answers" && isFull) throw new AgentError("QUEUE_FULL", "full");
    return inner.submit(given);
  },
}));
/** Has what a rollback displaced undone, begun or not. */
const undoesWhatWaited = ledger((inner) => {
  const waited: string[] = [];
  return {
    submit: async (given) => {
      if (given.onBusy !== "rollback") waited.push(given.runId);
      return inner.submit(given);
    },
    claim: async (request) => {
      const claim = await inner.claim(request);
      return claim && { ...claim, undo: [...claim.undo, ...waited.splice(0)] };
    },
  };
});
/** A column that is one character too short. */
const cutsIds = ledger((inner) => ({
  submit: (given) => {
    const [sessionId, userId] = [given.sessionId.slice(0, 199), given.userId?.slice(0, 199)];
    return inner.submit({
      ...given,
      ...identify({ sessionId, userId }),
      runId: given.runId.slice(0, 199),
    });
  },
}));
const answersAreTurns = ledger((inner) => ({
  submit: async (given) => {
    const submitted = await inner.submit(given);
    if (given.input.kind !== "answers") return submitted;
    return { ...submitted, run: { ...submitted.run, turnId: given.runId } };
  },
}));
const freshAnswers = ledger((inner) => ({
  submit: (given) =>
    inner.submit(given.input.kind === "answers" ? { ...given, runId: `${given.runId} again` } : given),
}));
const parksOnce = ledger((inner) => {
  const parked = new Set<string>();
  return {
    finish: async (lease, runId, how) => {
      const { interrupts } = how.summary;
      const isSecond = interrupts.length > 0 && parked.has(lease.threadId);
      if (interrupts.length > 0) parked.add(lease.threadId);
      return inner.finish(
        lease,
        runId,
        isSecond ? { ...how, summary: { ...how.summary, interrupts: [] } } : how,
      );
    },
  };
});
/** One run at a time in all sessions. */
const oneAtATime = ledger((inner) => {
  let isHeld = false;
  return {
    claim: async (request) => {
      if (isHeld) return undefined;
      const claim = await inner.claim(request);
      isHeld = claim !== undefined;
      return claim;
    },
    finish: async (lease, runId, how) => {
      isHeld = false;
      return inner.finish(lease, runId, how);
    },
  };
});
/** Takes all sessions without user for those of one, and each session of a user for one without. */
const mixesUsersUp = ledger((inner) => ({
  submit: (given) => inner.submit({ ...given, userId: given.userId === undefined ? "nobody" : undefined }),
}));
const secondInLine = ledger((inner) => ({
  claim: async (request) => {
    const first = await inner.claim(request);
    const second = await inner.claim(request);
    if (first === undefined || second === undefined) return first;
    await inner.release(first.lease, first.run.runId);
    return second;
  },
}));
/** Says that it has ended a run, and has not. */
const finishesNothing = ledger((inner) => ({
  finish: async (lease, runId, { outcome, summary }) => {
    const run = await inner.get(lease.threadId, runId);
    return { ...run!, status: outcome, summary };
  },
}));
/** Knows better than the owner how its run has ended. */
const stoppedIsCancelled = ledger((inner) => ({
  finish: async (lease, runId, how) => {
    const run = await inner.get(lease.threadId, runId);
    const outcome = run?.cancelRequested === undefined ? how.outcome : "cancelled";
    return inner.finish(lease, runId, { ...how, outcome });
  },
}));
const cancelsTheFinished = ledger((inner) => ({
  cancel: async (threadId, runId) => {
    const run = await inner.cancel(threadId, runId);
    return run && { ...run, status: "cancelled" };
  },
}));
/** Gives the session's run for one that it does not know. */
const cancelsAny = ledger((inner) => ({
  cancel: async (threadId, runId) => (await inner.cancel(threadId, runId)) ?? inner.current(threadId),
}));
const getsAny = ledger((inner) => ({
  get: async (threadId, runId) => (await inner.get(threadId, runId)) ?? inner.current(threadId),
}));
/** A cache that nobody tells of changes. */
const readsItsCache = ledger((inner) => {
  const cache = new Map<string, RunRecord>();
  return {
    get: async (threadId, runId) => {
      const key = `${threadId} ${runId}`;
      const run = cache.get(key) ?? (await inner.get(threadId, runId));
      if (run !== undefined) cache.set(key, run);
      return run;
    },
  };
});

/** Hints of runs are passed on, those of the queue are not. */
const tellsNothingOfQueues = ledger((inner) => ({
  watch: (listener) =>
    inner.watch((hint) => {
      if (hint.type !== "queue") listener(hint);
    }),
}));
const keepsListeners = ledger((inner) => ({
  watch: (listener) => {
    inner.watch(listener);
    return () => undefined;
  },
}));
/** Calls them one after another, and stops at the first that throws. */
const callsUntilOneThrows = ledger((inner) => {
  const listeners = new Set<(hint: LedgerHint) => void>();
  inner.watch((hint) => {
    for (const listener of listeners) listener(hint);
  });
  return {
    watch: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
});
/** Accepts before it has put in line. */
const acceptsEarly = ledger((inner) => {
  let submissions = 0;
  return {
    submit: async (given) => {
      if (submissions++ % 2 === 1) return inner.submit(given);
      setTimeout(() => void inner.submit(given), 20).unref();
      const { threadId, sessionId, runId, input, fingerprint } = given;
      const run = { threadId, sessionId, runId, input, fingerprint, turnId: runId, config: {} };
      return { run: { ...run, status: "queued", attempt: 0, createdAt: 0 }, created: true };
    },
  };
});

/** By rule, a ledger that breaks it. */
export const disorderlyLedgers: Readonly<Record<string, Break>> = {
  "ledger: a known run id is recognised before any policy is asked": asksPolicyFirst,
  "ledger: rollback undoes no turn that never began": undoesWhatWaited,
  "ledger: ids of 200 characters in any script are told apart": cutsIds,
  "ledger: answers have turn and config of the run that asked": answersAreTurns,
  "ledger: the same answers under one run id are one run": freshAnswers,
  "ledger: answers need no room in a full queue": asksAnswersForRoom,
  "ledger: answers that leave interrupts park again": parksOnce,
  "ledger: a held session does not hold up the others": oneAtATime,
  "ledger: turns go round among users, and a session without user is one of its own": mixesUsersUp,
  "ledger: of one user's sessions the one whose next run was accepted first": secondInLine,
  "ledger: sessions without user have the limit each for itself": mixesUsersUp,
  "ledger: a user has one turn per round, with affinity or without": secondInLine,
  "ledger: finish frees the session": finishesNothing,
  "ledger: a run that ended although told to stop has the outcome that finish says": stoppedIsCancelled,
  "ledger: cancel leaves a finished run as it is": cancelsTheFinished,
  "ledger: cancel of what nobody knows gives nothing": cancelsAny,
  "ledger: get knows nothing of unknown runs": getsAny,
  "ledger: every process sees the same": readsItsCache,
  "ledger: all runs that one step ended can be read after it": reading((run) =>
    run.status === "cancelled" ? undefined : run,
  ),
  "ledger: a run that nobody finishes knows its last event": reading((run) => ({ ...run, lastSeq: 0 })),
  "ledger: a finish that lets the next run go is hinted": tellsNothingOfQueues,
  "ledger: a released run is hinted to other processes": tellsNothingOfQueues,
  "ledger: announce tells other processes that runs wait": ledger(() => ({ announce: () => undefined })),
  "ledger: a listener that was taken off is called no more": keepsListeners,
  "ledger: a listener that throws harms neither the step nor the others": callsUntilOneThrows,
  "ledger: runs that race into one session start in an order that each submitter would expect": acceptsEarly,
};

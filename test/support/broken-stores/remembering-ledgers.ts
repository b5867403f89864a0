import { AgentError } from "../../../src/errors.js";
import { identify } from "../../../src/session.js";
import type { Lease, RunLedger, RunRecord, Submitted } from "../../../src/store/store.js";
import { breaking, swallowing, type Break } from "./break.js";

/* Ledgers that break a rule by what they remember of earlier steps, as caches and copies beside an engine do. */

function ledger(change: (inner: RunLedger) => Partial<RunLedger>): Break {
  return breaking("runs", change);
}

/** Writes of the first owner take a while, and are then made in the name of who holds the lease by now. */
const writesBehind = ledger((inner) => {
  let first: Lease | undefined;
  let now: Lease | undefined;
  return {
    claim: async (request) => {
      const claim = await inner.claim(request);
      now = claim?.lease ?? now;
      first ??= now;
      return claim;
    },
    writeState: async (lease, value) => {
      if (lease.owner !== first?.owner) return inner.writeState(lease, value);
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      await inner.writeState(now ?? lease, value);
    },
  };
});

/** Believes whoever says that a run has ended. */
const believesFinishes = ledger((inner) => ({
  finish: async (lease, runId, how) => ({
    ...(await inner.finish(lease, runId, how)),
    status: how.outcome,
    summary: how.summary,
    lastSeq: how.lastSeq,
  }),
}));

/** Takes the clock for the authority: a lease past its time is lost, though nobody has taken over. */
const strictAboutTime = ledger((inner) => {
  const check = async (lease: Lease): Promise<void> => {
    const [renewal] = await inner.renew([lease], 60_000);
    if (renewal?.held !== true) throw new AgentError("LEASE_LOST", "too late");
  };
  return {
    finish: async (lease, runId, how) => {
      await check(lease);
      return inner.finish(lease, runId, how);
    },
    release: async (lease, runId) => {
      await check(lease);
      await inner.release(lease, runId);
    },
  };
});

/** A cache of finished runs that nothing is ever taken out of. */
const neverForgets = ledger((inner) => {
  const seen = new Map<string, RunRecord>();
  return {
    finish: async (lease, runId, how) => {
      const run = await inner.finish(lease, runId, how);
      seen.set(`${lease.threadId} ${runId}`, run);
      return run;
    },
    get: async (threadId, runId) => (await inner.get(threadId, runId)) ?? seen.get(`${threadId} ${runId}`),
  };
});

/** Sweeps out what still waits. */
const sweepsAll = ledger((inner) => {
  const threads = new Set<string>();
  return {
    submit: async (given) => {
      threads.add(given.threadId);
      return inner.submit(given);
    },
    sweep: async (options) => {
      for (const threadId of threads) await inner.cancel(threadId);
      return inner.sweep(options);
    },
  };
});

/** Drops a session by when something was last at work in it. */
const dropsTheParked: Break = (store) => {
  const parked = new Set<string>();
  const remembering = ledger((inner) => ({
    finish: async (lease, runId, how) => {
      if (how.summary.interrupts.length > 0) parked.add(lease.threadId);
      return inner.finish(lease, runId, how);
    },
  }))(store);
  return {
    ...remembering,
    sweep: async () => {
      for (const threadId of parked) {
        await store.runs?.tombstone(threadId);
        await store.runs?.purge(threadId);
      }
    },
  };
};

/** One name space of run ids for all sessions. */
const globalRunIds = ledger((inner) => {
  const known = new Map<string, Submitted>();
  return {
    submit: async (given) => {
      const same = known.get(given.runId);
      if (same !== undefined) return { ...same, created: false };
      const submitted = await inner.submit(given);
      known.set(given.runId, submitted);
      return submitted;
    },
  };
});

const freshRunIds = ledger((inner) => ({
  submit: (given) => inner.submit({ ...given, runId: `${given.runId}${String(Math.random())}` }),
}));
const ignoresUsers = ledger((inner) => ({
  submit: (given) => inner.submit({ ...given, ...identify({ sessionId: given.sessionId }) }),
}));
const acceptsAnything = (code: string): Break =>
  ledger((inner) => ({
    submit: swallowing(inner.submit.bind(inner), [code], (given) => ({
      run: { ...given, turnId: given.runId, config: {}, status: "queued" as const, attempt: 0, createdAt: 0 },
      created: true,
    })),
  }));
const handsOutTwice = ledger((inner) => {
  let last: Awaited<ReturnType<RunLedger["claim"]>>;
  return { claim: async (request) => (last = (await inner.claim(request)) ?? last) };
});
const undoesNothing = ledger((inner) => ({
  claim: async (request) => {
    const claim = await inner.claim(request);
    return claim && { ...claim, undo: [] };
  },
}));

/** Deleting takes the lease of the run at work, which then can't even end. */
const deletesLeases = ledger((inner) => {
  const deleted = new Set<string>();
  return {
    tombstone: async (threadId) => {
      deleted.add(threadId);
      return inner.tombstone(threadId);
    },
    renew: async (leases, leaseMs) =>
      (await inner.renew(leases, leaseMs)).map((renewal) =>
        renewal !== undefined && deleted.has(renewal.lease.threadId)
          ? { lease: renewal.lease, held: false }
          : renewal,
      ),
  };
});
const deletesNeighbours = ledger((inner) => {
  const threads = new Set<string>();
  return {
    submit: async (given) => {
      threads.add(given.threadId);
      return inner.submit(given);
    },
    tombstone: async (threadId) => {
      for (const other of threads) await inner.tombstone(other);
      return inner.tombstone(threadId);
    },
  };
});
const keepsTombstones = ledger(() => ({ purge: async () => undefined }));

/** By rule, a ledger that breaks it. */
export const rememberingLedgers: Readonly<Record<string, Break>> = {
  "ledger: run ids are scoped to their session": globalRunIds,
  "ledger: a session id of two users names two sessions": ignoresUsers,
  "ledger: a takeover undoes what its run was to undo, and not its own turn": undoesNothing,
  "ledger: an expired lease that nobody took over still finishes": strictAboutTime,
  "ledger: an expired lease that nobody took over still releases and writes": strictAboutTime,
  "ledger: finish again gives back what was stored first": believesFinishes,
  "ledger: a tombstone lets the running owner renew and finish, as cancelled": deletesLeases,
  "ledger: deleting one session leaves the others": deletesNeighbours,
  "ledger: a deletion is told from a session that is not known": ledger(() => ({ purged: async () => true })),
  "ledger: retention takes nothing that is queued, running or parked": sweepsAll,
  "ledger: a session is not dropped for the time that its question has waited": dropsTheParked,
  "ledger: a session keeps at most maxRetainedRuns finished runs, the newest": neverForgets,
  "ledger: racing submits under one run id create it once": freshRunIds,
  "ledger: racing submits with different requests under one run id accept one of them":
    acceptsAnything("RUN_ID_CONFLICT"),
  "ledger: racing claims hand each run out once": handsOutTwice,
  "ledger: of racing answers exactly one is accepted": acceptsAnything("INTERRUPT_STALE"),
  "ledger: racing finish, release and cancel leave one final state": believesFinishes,
  "ledger: a finish that races the takeover of its run ends it, or is refused": handsOutTwice,
  "ledger: racing deletions and new runs end in the new session or in nothing": keepsTombstones,
  "ledger: writes of a stale and a fresh owner that race leave the fresh one's": writesBehind,
};

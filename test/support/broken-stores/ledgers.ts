import type { RunLedger, RunRecord, Submission } from "../../../src/store/store.js";
import { identify } from "../../../src/session.js";
import { breaking, mangled, swallowing, type Break } from "./break.js";

function ledger(change: (inner: RunLedger) => Partial<RunLedger>): Break {
  return breaking("runs", change);
}

/** What is submitted is changed on its way. */
function submitting(change: (submission: Submission) => Submission): Break {
  return ledger((inner) => ({ submit: (given) => inner.submit(change(given)) }));
}

/** A refusal is taken for an acceptance. */
function accepting(...codes: readonly string[]): Break {
  return ledger((inner) => ({
    submit: swallowing(inner.submit.bind(inner), codes, (given) => ({
      run: { ...given, turnId: given.runId, config: {}, status: "queued" as const, attempt: 0, createdAt: 0 },
      created: true,
    })),
  }));
}

/** What reads and steps give of runs is changed on its way. */
function showing(change: (run: RunRecord) => RunRecord): Break {
  return ledger((inner) => ({
    get: async (threadId, runId) => {
      const run = await inner.get(threadId, runId);
      return run && change(run);
    },
    claim: async (request) => {
      const claim = await inner.claim(request);
      return claim && { ...claim, run: change(claim.run) };
    },
    submit: async (given) => {
      const submitted = await inner.submit(given);
      return { ...submitted, run: change(submitted.run) };
    },
  }));
}

const mangles = showing((run) => JSON.parse(mangled(JSON.stringify(run))) as RunRecord);
const truncates = showing((run) => ({
  ...run,
  input: { kind: "message", message: { id: "m", content: "cut" } },
}));
const staleFinish = ledger((inner) => ({
  finish: swallowing(inner.finish.bind(inner), ["LEASE_LOST"], (lease, runId) =>
    inner.get(lease.threadId, runId).then((run) => run!),
  ),
}));
const staleRelease = ledger((inner) => ({
  release: swallowing(inner.release.bind(inner), ["LEASE_LOST"], () => undefined),
}));
const staleState = ledger((inner) => ({
  writeState: swallowing(inner.writeState.bind(inner), ["LEASE_LOST"], () => undefined),
}));
const anyState = ledger((inner) => ({
  writeState: swallowing(inner.writeState.bind(inner), ["INVALID_INPUT"], () => undefined),
}));
const enqueues = submitting((given) => ({ ...given, onBusy: "enqueue" }));
const interruptsOnly = submitting((given) =>
  given.onBusy === "rollback" ? { ...given, onBusy: "interrupt" } : given,
);
const undoesNothing = ledger((inner) => ({
  claim: async (request) => {
    const claim = await inner.claim(request);
    return claim && { ...claim, undo: [] };
  },
}));
const undoesTwice = ledger((inner) => ({
  finish: (lease, runId, how) => inner.finish(lease, runId, { ...how, undone: false }),
}));
const forgetsConfig = submitting((given) => ({ ...given, configPatch: {} }));
const neverCancels = ledger((inner) => ({ cancel: (threadId, runId) => inner.get(threadId, runId ?? "") }));
const deaf = ledger(() => ({ watch: () => () => undefined }));
const neverExpires = ledger((inner) => ({
  claim: (request) => inner.claim({ ...request, leaseMs: Infinity }),
}));
const alwaysExpires = ledger((inner) => ({ claim: (request) => inner.claim({ ...request, leaseMs: 1 }) }));
const handsOutTwice = ledger((inner) => {
  let last: Awaited<ReturnType<RunLedger["claim"]>>;
  return { claim: async (request) => (last = (await inner.claim(request)) ?? last) };
});
const noParking = ledger((inner) => ({
  finish: (lease, runId, how) =>
    inner.finish(lease, runId, { ...how, summary: { ...how.summary, interrupts: [] } }),
}));
const neverAbandons = ledger((inner) => ({
  claim: (request) => inner.claim({ ...request, maxAttempts: Infinity }),
}));
/** Takes a handover for an attempt. */
const countsReleases = ledger((inner) => {
  const released = new Map<string, number>();
  return {
    release: async (lease, runId) => {
      await inner.release(lease, runId);
      released.set(runId, (released.get(runId) ?? 0) + 1);
    },
    claim: async (request) => {
      const claim = await inner.claim(request);
      const isSpent = claim !== undefined && (released.get(claim.run.runId) ?? 0) >= request.maxAttempts;
      return isSpent ? undefined : claim;
    },
  };
});
/** A shared ledger that ends runs whose process may just not be listed yet, or never. */
const sweepsNoOrphans = ledger(() => ({ shared: true }));
const sweepsAnyOrphan = ledger((inner) => ({
  sweep: async () => ((await inner.cancel(identify({ sessionId: "s" }).threadId)) === undefined ? 0 : 1),
}));
const noUserLimit = ledger((inner) => ({
  claim: (request) => inner.claim({ ...request, maxConcurrentRunsPerUser: undefined }),
}));
const noTombstone = ledger(() => ({ tombstone: async () => true }));
const noPurge = ledger(() => ({ purge: async () => undefined }));
const cheerfulRenew = ledger((inner) => ({
  renew: async (leases, leaseMs) => {
    await inner.renew(leases, leaseMs);
    return leases.map((lease) => ({ lease, held: true }));
  },
}));
const noSweep = ledger(() => ({ sweep: async () => 0 }));
const sameOwner = ledger((inner) => ({
  claim: async (request) => {
    const claim = await inner.claim(request);
    return claim && { ...claim, lease: { ...claim.lease, owner: request.processId } };
  },
}));
const sameEpoch = ledger((inner) => ({
  claim: async (request) => {
    const claim = await inner.claim(request);
    return claim && { ...claim, lease: { ...claim.lease, epoch: 1 } };
  },
}));
const forgetsAffinity = submitting(({ affinity: _, ...given }) => given);
const noStateSlot = ledger(() => ({ readState: async () => undefined }));

/** Checks first and acts later: what a store without transactions does. */
const checkThenAct: Break = ledger((inner) => ({
  submit: async (given) => {
    const session = (await inner.sessions([given.threadId])).get(given.threadId);
    const isBusy = (session?.queued ?? 0) > 0 || session?.running !== undefined;
    await Promise.resolve();
    return inner.submit(
      isBusy ? given : { ...given, onBusy: "enqueue", queueLimit: 1_000, totalQueueLimit: 1_000 },
    );
  },
}));

/** By rule, a ledger that breaks it. */
export const brokenLedgers: Readonly<Record<string, Break>> = {
  "ledger: an accepted run is queued with what was submitted": showing((run) => ({
    ...run,
    turnId: "other",
  })),
  "ledger: a run of a session without user has none": showing((run) => ({ ...run, userId: "" })),
  "ledger: the same request under the same run id is the same run": submitting((given) => ({
    ...given,
    runId: `${given.runId}${String(Math.random())}`,
  })),
  "ledger: another request under a known run id is refused": accepting("RUN_ID_CONFLICT"),
  "ledger: a refused run leaves nothing": accepting("SESSION_BUSY", "QUEUE_FULL"),
  "ledger: reject refuses a session that is not free": enqueues,
  "ledger: queueLimit runs wait behind the one that is next": submitting((given) => ({
    ...given,
    queueLimit: 9,
  })),
  "ledger: totalQueueLimit runs wait in all sessions": submitting((given) => ({
    ...given,
    totalQueueLimit: 9,
  })),
  "ledger: config sticks to its session, over the defaults": forgetsConfig,
  "ledger: a run keeps the config that it was accepted with": forgetsConfig,
  "ledger: a config value that is undefined changes nothing": forgetsConfig,
  "ledger: interrupt cancels what waits and marks what runs": enqueues,
  "ledger: interrupt and rollback need no room in the session's queue": enqueues,
  "ledger: a run that was told to stop parks nothing": enqueues,
  "ledger: rollback gives the turn that has begun to the next claim, to be undone": interruptsOnly,
  "ledger: rollback undoes a turn that was released": interruptsOnly,
  "ledger: turns come to be undone, oldest first, until a run says that they are": undoesTwice,
  "ledger: texts and JSON of every kind come back unchanged": mangles,
  "ledger: texts of a summary and an error come back unchanged": mangles,
  "ledger: a message of 200 KB comes back unchanged": truncates,
  "ledger: interrupts park the session, and what waits stays": noParking,
  "ledger: a parked session refuses new runs": accepting("INTERRUPT_PENDING"),
  "ledger: answers end the parking and go ahead of what waits": noParking,
  "ledger: answers must name interrupts that wait": accepting("INTERRUPT_STALE"),
  "ledger: interrupt ids of every kind can be answered": accepting("INTERRUPT_STALE"),
  "ledger: interrupt and rollback close a parked run, which keeps its one status": interruptsOnly,
  "ledger: rollback undoes a turn whose answers wait": undoesNothing,
  "ledger: rollback of answers undoes the turn that they belong to": undoesNothing,
  "ledger: cancel closes a parked run, and what waited goes on": neverCancels,
  "ledger: cancelled answers do not bring their interrupts back": accepting("INTERRUPT_STALE"),
  "ledger: sweep closes runs that are parked for interruptTtlMs, and no others": noSweep,
  "ledger: claim hands out a run as running, with a lease on its thread": showing((run) => ({
    ...run,
    attempt: 7,
  })),
  "ledger: one run of a session at a time, in the order of acceptance": handsOutTwice,
  "ledger: each acquisition has a higher epoch and an owner of its own": sameOwner,
  "ledger: no user has more runs running than the limit, and the others pass": noUserLimit,
  "ledger: a takeover takes no second place of its user's limit": noUserLimit,
  "ledger: the limit per user is that of the caller": noUserLimit,
  "ledger: a run that ends otherwise gives back its user's place too": noUserLimit,
  "ledger: a run with affinity goes to its process alone and holds up no other session": forgetsAffinity,
  "ledger: a run that was claimed maxAttempts times is given up, and the next goes on": neverAbandons,
  "ledger: a claim that ended with a release is none of a run's attempts": countsReleases,
  "ledger: sweep ends a run that only a process might claim that is gone, in a shared ledger":
    sweepsNoOrphans,
  "ledger: sweep without orphans leaves every run to its process": sweepsAnyOrphan,
  "ledger: a live lease keeps others out": alwaysExpires,
  "ledger: the run of an expired lease goes to another owner as its next attempt": neverExpires,
  "ledger: a run that was claimed by its own process again has a fresh lease too": sameOwner,
  "ledger: a stale owner cannot finish": staleFinish,
  "ledger: a stale owner cannot release": staleRelease,
  "ledger: a stale owner cannot write state": staleState,
  "ledger: a forged lease is refused": staleFinish,
  "ledger: a lease is good for its own thread alone": staleRelease,
  "ledger: renew prolongs a lease that holds": ledger((inner) => ({
    renew: (leases) => inner.renew(leases, 1),
  })),
  "ledger: renew never revives an expired lease": cheerfulRenew,
  "ledger: renew tells of each lease by itself, in their order": cheerfulRenew,
  "ledger: renew tells why the run is to stop": cheerfulRenew,
  "ledger: a run whose owners all went silent is given up, and the next goes on": neverAbandons,
  "ledger: a run that is given up although told to stop is cancelled": neverCancels,
  "ledger: a stop mark survives the owner": neverCancels,
  "ledger: a run with affinity ends with its process": forgetsAffinity,
  "ledger: finish stores outcome, summary, error and last event": ledger((inner) => ({
    finish: (lease, runId, how) => inner.finish(lease, runId, { ...how, error: undefined }),
  })),
  "ledger: finish ends the run of its lease alone": staleFinish,
  "ledger: a released lease is lost": staleState,
  "ledger: release puts a run back to the head of its queue": ledger(() => ({
    release: async () => undefined,
  })),
  "ledger: release ends a run that was told to stop": neverCancels,
  "ledger: cancel ends a queued run": neverCancels,
  "ledger: cancel marks a running run, whose owner goes on to end it": neverCancels,
  "ledger: cancel without run id takes the running run, else the parked, else the oldest queued":
    neverCancels,
  "ledger: cancel takes a run out of the middle of the queue": neverCancels,
  "ledger: a stronger reason to stop replaces a weaker one and never the other way": interruptsOnly,
  "ledger: current is the running run, else the parked, the oldest queued, the last retained": ledger(() => ({
    current: async () => undefined,
  })),
  "ledger: sessions tells of those that it knows, each with its runs": ledger(() => ({
    sessions: async () => new Map(),
  })),
  "ledger: a session with a tombstone takes no runs": noTombstone,
  "ledger: a tombstone cancels what waits and marks what runs": noTombstone,
  "ledger: a tombstone closes what is parked": noTombstone,
  "ledger: a tombstone refuses the running owner's writes": noTombstone,
  "ledger: a tombstone hides the state slot": noTombstone,
  "ledger: a tombstone on an unknown session is none, and a second one is harmless": noTombstone,
  "ledger: tombstones lists deletions that have begun, at most as many as asked for": noPurge,
  "ledger: purge does nothing without a tombstone": ledger((inner) => ({
    purge: async (threadId) => {
      await inner.tombstone(threadId);
      await inner.purge(threadId);
    },
  })),
  "ledger: purge forgets runs, config, slot and tombstone": noPurge,
  "ledger: the owner of a purged session has lost its lease": noPurge,
  "ledger: epochs grow over a purge": sameEpoch,
  "ledger: purge gives back its run's place of the user's limit": noPurge,
  "ledger: the run of a deleted session is not taken over": noTombstone,
  "ledger: sweep forgets finished runs past retention": noSweep,
  "ledger: the state slot gives back what was written last": noStateSlot,
  "ledger: state comes back unchanged whatever text is in it": noStateSlot,
  "ledger: the state slot refuses what is not JSON": anyState,
  "ledger: the state slot holds up to maxStateBytes of UTF-8": anyState,
  "ledger: the state slot takes 1 MB": noStateSlot,
  "ledger: no state is written outside of a run": staleState,
  "ledger: who submits a run hears that one may be claimable": deaf,
  "ledger: the end of a queued run is hinted, to other processes too": deaf,
  "ledger: the end of a run is hinted, to other processes too": deaf,
  "ledger: the stop mark of a run is hinted, to other processes too": deaf,
  "ledger: a deletion is hinted to the owner of the running run": deaf,
  "ledger: of racing runs under reject exactly one is accepted": checkThenAct,
  "ledger: racing submits keep the queue limit": checkThenAct,
  "ledger: racing submits keep the total queue limit": checkThenAct,
  "ledger: config patches that race all stick": forgetsConfig,
  "ledger: racing claims keep each user under the limit": noUserLimit,
  "ledger: racing claims hand out one run of a session at a time": handsOutTwice,
  "ledger: a ledger in which nothing waits hands out nothing": handsOutTwice,
  "ledger: a claim is called the last only when nothing else can be claimed": ledger((inner) => ({
    claim: async (request) => {
      const claim = await inner.claim(request);
      return claim && { ...claim, last: true };
    },
  })),
  "ledger: racing takeovers of one run: exactly one gets it": neverExpires,
  "ledger: racing interrupts leave one run to go on, and all others ended": enqueues,
  "ledger: no run gets past a tombstone that races it": noTombstone,
  "ledger: a claim that races a tombstone cannot write": noTombstone,
};

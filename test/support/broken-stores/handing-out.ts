import type { Claim, ClaimRequest, RunLedger, Submission, Submitted } from "../../../src/store/store.js";
import { breaking, type Break } from "./break.js";

/* Ledgers that hand a run out with its submit, and should not have, or not so. */

/** Changes the answers of submits that ask for their run. */
function handing(
  hand: (inner: RunLedger, submitted: Submitted, claim: ClaimRequest) => Promise<Claim | undefined>,
): Break {
  return breaking("runs", (inner) => ({
    submit: async (given: Submission) => {
      const submitted = await inner.submit(given);
      if (given.claim === undefined) return submitted;
      const claim = await hand(inner, submitted, given.claim);
      return claim === undefined ? submitted : { ...submitted, claim };
    },
  }));
}

/** Says so of every run, and holds nothing. */
const handsOutAll = handing((_inner, { run }, { processId }) =>
  Promise.resolve({
    lease: { threadId: run.threadId, owner: processId, epoch: 1 },
    run: { ...run, status: "running", attempt: 1 },
    undo: [],
  }),
);
/** Takes the lease for as long as nobody asked for. */
const handsOutForEver = handing((inner, _submitted, claim) => inner.claim({ ...claim, leaseMs: 1e9 }));
const cutsConfigs = breaking("runs", (inner) => ({
  submit: (given: Submission) => {
    const isLong = JSON.stringify(given.configPatch).length > 40_000;
    return inner.submit(isLong ? { ...given, configPatch: {} } : given);
  },
}));

export const handingOut: Readonly<Record<string, Break>> = {
  "ledger: a long config sticks as a short one does": cutsConfigs,
  "ledger: a run that its submit hands out is held as after a claim": handsOutAll,
  "ledger: a run that its submit hands out and whose lease expires goes on as its second attempt":
    handsOutForEver,
  "ledger: a submit hands out no run that has to wait in its session": handsOutAll,
  "ledger: a submit hands out no run before one that waits": handsOutAll,
  "ledger: a submit hands out no run over its user's limit": handsOutAll,
  "ledger: a submit hands out no run that another process alone may claim": handsOutAll,
  "ledger: of submits that race into one session and ask for their runs one gets its own": handsOutAll,
};

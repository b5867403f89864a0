import type { Rule } from "./bench.js";
import { checkpointRules } from "./checkpoints.js";
import { eventRules } from "./events.js";
import { alongRules } from "./events-along.js";
import { claimRules } from "./ledger-claim.js";
import { deletionRules } from "./ledger-deletion.js";
import { endRules } from "./ledger-end.js";
import { hintRules } from "./ledger-hints.js";
import { leaseRules } from "./ledger-lease.js";
import { parkingRules } from "./ledger-parking.js";
import { raceRules } from "./ledger-races.js";
import { retentionRules } from "./ledger-retention.js";
import { slotRules } from "./ledger-slot.js";
import { submitRules } from "./ledger-submit.js";
import { submitClaimRules } from "./ledger-submit-claim.js";
import { processRules } from "./processes.js";
import { sessionRules } from "./sessions.js";

/** All promises of a store. */
export const rules: readonly Rule[] = [
  ...submitRules,
  ...parkingRules,
  ...claimRules,
  ...submitClaimRules,
  ...leaseRules,
  ...endRules,
  ...deletionRules,
  ...retentionRules,
  ...slotRules,
  ...hintRules,
  ...raceRules,
  ...sessionRules,
  ...eventRules,
  ...alongRules,
  ...checkpointRules,
  ...processRules,
];

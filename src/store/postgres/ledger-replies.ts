import type { JsonObject } from "../../json.js";
import type { SessionIdentity } from "../../session.js";
import type { StickyConfig } from "../engine/sticky-configs.js";
import type { CancelReason, Lease, LedgerSession, Renewal, RunRecord } from "../store.js";
import type { SqlRow } from "./client.js";

/* What the functions of the schema answer, and what it means to the ledger. Their JSON is put together by run_record. */

/** What a step that changes runs answers. */
export interface StepResult {
  readonly run: RunRecord | null;
  readonly changed: readonly string[];
  readonly claimable: boolean;
}

/** Of a run that was handed out. */
export interface GrantResult {
  readonly epoch: number;
  readonly undo: readonly string[];
  readonly run: RunRecord;
}

export type SubmitResult =
  | {
      readonly created: boolean;
      /** Not told twice. */
      readonly run?: RunRecord;
      readonly claim?: GrantResult;
      readonly changed?: string[];
      readonly claimable?: boolean;
    }
  | { readonly sticky: JsonObject; readonly version: string };

/** Of a step that ended the run of some session: what it changed. A run of that session may be claimable now. */
export interface EndedRun {
  readonly thread: string;
  readonly changed: readonly string[];
}

export type ClaimResult =
  (GrantResult & { readonly last?: true }) | ({ readonly again: true } & Partial<EndedRun>);

/** A row of `renew_leases`; none for a lease that is lost. Undefined for one that was locked. */
export function renewalOf(lease: Lease, row: SqlRow | undefined): Renewal | undefined {
  if (row === undefined) return { lease, held: false };
  if (row["busy"] === true) return undefined;
  const cancelRequested = row["reason"] as CancelReason | null;
  return cancelRequested === null ? { lease, held: true } : { lease, held: true, cancelRequested };
}

/** A row of `drop_idle_sessions`. */
export function identityOf({ thread, session, usr }: SqlRow): SessionIdentity {
  const identity = { threadId: String(thread), sessionId: String(session) };
  return typeof usr === "string" ? { ...identity, userId: usr } : identity;
}

/** A row of `ledger_sessions`. */
interface SessionRow {
  readonly thread: string;
  readonly config: string;
  readonly version: string;
  readonly lease_owner: string | null;
  readonly queued: number;
  readonly running: string | null;
  readonly parked: string | null;
}

/** The uuid that makes a lease's owner unique, and the colon before it. */
const OWNER_SUFFIX = 37;

export function sessionOf(row: SqlRow): {
  readonly threadId: string;
  readonly sticky: StickyConfig;
  readonly session: LedgerSession;
} {
  const { thread, config, version, lease_owner: owner, queued, running, parked } = row as SessionRow;
  const session: LedgerSession = {
    config: JSON.parse(config) as JsonObject,
    ...(parked === null ? {} : { parked: JSON.parse(parked) as RunRecord }),
    ...(running === null ? {} : { running: JSON.parse(running) as RunRecord }),
    ...(owner === null ? {} : { owner: owner.slice(0, -OWNER_SUFFIX) }),
    queued,
  };
  return { threadId: thread, sticky: { version, text: config }, session };
}

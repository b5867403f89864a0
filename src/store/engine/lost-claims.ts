import { randomUUID } from "node:crypto";
import { isAgentError } from "../../errors.js";
import type { Clock } from "../../internal/clock.js";
import type { ClaimRequest, Submission } from "../store.js";

/** How long after its answer was given up a claim may still be done: it may wait in a connection, or for a lock. */
const LATE_MS = 1_000;
/** The oldest are kept: what is lost later, in a long outage, has mostly never been sent. */
const MOST = 64;

/** The owner of a fresh lease. */
export function ownerOf({ processId }: ClaimRequest): string {
  return `${processId}:${randomUUID()}`;
}

/** The claim that goes along with a submission, under a fresh owner; none for a run that is another process's alone. */
export function claimOf({
  claim,
  affinity,
}: Submission): (ClaimRequest & { readonly owner: string }) | undefined {
  if (claim === undefined || (affinity !== undefined && affinity !== claim.processId)) return undefined;
  return { ...claim, owner: ownerOf(claim) };
}

/**
 * The claims of one process whose answers never came. The engine may have done them: then a run belongs to a lease that
 * nobody knows of, and would wait until that expires, to go on as if it had broken a process. So the next claims name
 * the owners of such leases; the engine hands a run of theirs out again, under a fresh lease, and counts no attempt:
 * nobody has begun it.
 */
export class LostClaims {
  readonly #clock: Clock;
  /** When the answer of each owner's claim was given up. */
  readonly #lostAt = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Makes the claim of a fresh `owner`, which is given the owners of claims that were lost. */
  async claim<T>(owner: string, send: (lost: readonly string[]) => Promise<T>): Promise<T> {
    const lost = [...this.#lostAt.keys()];
    const sentAt = this.#clock.monotonic();
    let result: T;
    try {
      result = await send(lost);
    } catch (error) {
      this.#lost(owner);
      throw error;
    }
    for (const asked of lost) {
      if (sentAt - (this.#lostAt.get(asked) ?? 0) >= LATE_MS) this.#lostAt.delete(asked);
    }
    return result;
  }

  /** A submit has failed in which the owner was to get the run: it may have, unless the submit was refused. */
  failed(owner: string, error: unknown): void {
    if (!isAgentError(error) || error.code === "STORE_UNAVAILABLE") this.#lost(owner);
  }

  #lost(owner: string): void {
    if (this.#lostAt.size < MOST) this.#lostAt.set(owner, this.#clock.monotonic());
  }
}

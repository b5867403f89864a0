import { Pool, type PoolClient } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import type { Claim } from "../../src/store/store.js";
import { describeWithPostgres, startPostgres, type PostgresServer } from "../support/engines/index.js";
import { claimRequest, submission } from "../support/ledger-requests.js";
import { PostgresLedgerParts } from "../support/postgres-ledger.js";
import { deltas } from "../support/postgres-parts.js";

describeWithPostgres("a store whose rows somebody else has locked", () => {
  let server: PostgresServer;
  let parts: PostgresLedgerParts;
  let outside: Pool;
  let holder: PoolClient;

  beforeAll(async () => {
    server = await startPostgres();
    parts = new PostgresLedgerParts(server.url, { schema: "locks" });
    outside = new Pool({ connectionString: server.url });
    await parts.init();
  });

  beforeEach(async () => {
    await parts.clear();
    holder = await outside.connect();
  });

  afterEach(async () => {
    await holder.query("ROLLBACK");
    holder.release();
  });

  afterAll(async () => {
    await parts.close();
    await outside.end();
    await server.stop();
  });

  async function running(...sessionIds: readonly string[]): Promise<Claim[]> {
    const claims: Claim[] = [];
    for (const sessionId of sessionIds) {
      await parts.runs.submit(submission({ sessionId, runId: "r" }));
      claims.push((await parts.runs.claim(claimRequest({ leaseMs: 600_000 })))!);
    }
    return claims;
  }

  async function lock({ lease }: Claim): Promise<void> {
    await holder.query("BEGIN");
    await holder.query("SELECT FROM locks.sessions WHERE thread_id = $1 FOR UPDATE", [lease.threadId]);
  }

  it("renews the other leases, and that one when it is free again", async () => {
    const claims = await running("a", "b", "c");
    const leases = claims.map(({ lease }) => lease);
    await lock(claims[1]!);
    expect(await parts.runs.renew(leases, 600_000)).toEqual([
      { lease: leases[0], held: true },
      undefined,
      { lease: leases[2], held: true },
    ]);
    await holder.query("ROLLBACK");
    expect(await parts.runs.renew(leases, 600_000)).toEqual(leases.map((lease) => ({ lease, held: true })));
  });

  it("takes the events of other runs that come with those that have to wait", async () => {
    const claims = await running("a", "b", "c", "d", "e", "f");
    await lock(claims[4]!);
    const done = new Set<string>();
    const appends = claims.map(async ({ lease, run }) => {
      await parts.events.append(lease, "r", deltas(1, 2));
      done.add(run.sessionId);
    });
    await Promise.all(appends.filter((_, i) => i !== 4));
    expect([...done].sort()).toEqual(["a", "b", "c", "d", "f"]);
    await holder.query("ROLLBACK");
    await appends[4];
    const { events } = await parts.events.read(claims[4]!.lease.threadId, "r", { after: 0, limit: 9 });
    expect(events).toEqual(deltas(1, 2));
  });

  it("gives greater epochs after a crash that took back the last claims", async () => {
    const [claim] = await running("a");
    await parts.sql("UPDATE @.sessions SET epoch = 0, lease_epoch = 0, expires_at = 0");
    await parts.sql("SELECT setval('@.ticks', 1)");
    const again = await parts.runs.claim(claimRequest({ leaseMs: 600_000 }));
    expect(again?.lease.epoch).toBeGreaterThan(claim!.lease.epoch);
  });
});

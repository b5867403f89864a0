import { PGlite } from "@electric-sql/pglite";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PostgresClient } from "../../src/store/postgres/client.js";
import { describeWithPostgres, startPostgres, type PostgresServer } from "../support/engines/index.js";
import { LedgerPair, operation } from "../support/ledger-pair.js";
import { PostgresLedgerParts } from "../support/postgres-ledger.js";

/** So long that the time which the test itself takes makes no difference. */
const MODEL_MS = 100_000_000;

function ledgerFacts(client: () => string | PostgresClient, numRuns: number, maxLength: number): void {
  let parts: PostgresLedgerParts;

  beforeAll(async () => {
    const limits = { maxRetainedRuns: Infinity, runRetentionMs: Infinity };
    parts = new PostgresLedgerParts(client(), { schema: "property", limits });
    await parts.init();
  });

  afterAll(() => parts.close());

  /** What is left of sessions anywhere, and the sums of what is counted. */
  async function rest(): Promise<unknown> {
    const [row] = await parts.sql(
      `SELECT (SELECT count(*) FROM @.sessions)::int AS sessions, (SELECT count(*) FROM @.runs)::int AS runs,
         (SELECT count(*) FROM @.lanes)::int AS lanes,
         (SELECT sum(queued) FROM @.counters)::int AS queued, (SELECT sum(listed) FROM @.counters)::int AS listed`,
    );
    return row;
  }

  it("does what the model does, operation by operation, and gets to the end of every run", async () => {
    const given = fc.array(operation, { minLength: 1, maxLength, size: "max" });
    await fc.assert(
      fc.asyncProperty(given, async (operations) => {
        // What a failed try has left must not count for the next, smaller one.
        await parts.clear();
        const pair = new LedgerPair({
          ledger: parts.runs,
          advance: (ms) => parts.advance(ms),
          size: () => parts.size(),
          unit: MODEL_MS,
        });
        for (const op of operations) {
          await pair.do(op);
          await pair.compare();
        }
        await pair.drain();
        await pair.purgeAll();
        expect(await rest()).toEqual({ sessions: 0, runs: 0, lanes: 0, queued: 0, listed: 0 });
      }),
      { numRuns, interruptAfterTimeLimit: 30_000 },
    );
  }, 180_000);
}

describeWithPostgres("the ledger on Postgres", () => {
  let server: PostgresServer;

  beforeAll(async () => {
    server = await startPostgres();
  });

  afterAll(() => server.stop());

  ledgerFacts(() => server.url, 30, 80);
});

describe("the ledger on PGlite", () => {
  let embedded: PGlite;

  beforeAll(async () => {
    embedded = await PGlite.create();
  });

  afterAll(() => embedded.close());

  ledgerFacts(() => embedded, 8, 50);
});

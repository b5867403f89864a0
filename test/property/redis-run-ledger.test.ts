import fc from "fast-check";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeWithRedis, startRedis, type RedisServer } from "../support/engines/index.js";
import { LedgerPair, operation } from "../support/ledger-pair.js";
import { RedisLedgerFixture } from "../support/redis-ledger.js";

/** So long that the time which the test itself takes makes no difference. */
const MODEL_MS = 100_000_000;

/** Keys of the store itself. */
const STORE_KEYS: ReadonlySet<string> = new Set(["counters", "format", "hints"]);

describeWithRedis("the ledger on Redis", () => {
  let server: RedisServer;
  let client: Redis;

  beforeAll(async () => {
    server = await startRedis();
    client = new Redis(server.url);
  });

  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  it("does what the model does, operation by operation, and gets to the end of every run", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(operation, { minLength: 1, maxLength: 100, size: "max" }),
        async (operations) => {
          const fixture = new RedisLedgerFixture(client, {
            maxRetainedRuns: Infinity,
            runRetentionMs: Infinity,
          });
          const pair = new LedgerPair({
            ledger: fixture.ledger,
            advance: (ms) => fixture.advance(ms),
            size: () => fixture.sessions.count(),
            unit: MODEL_MS,
          });
          for (const op of operations) {
            await pair.do(op);
            await pair.compare();
          }
          await pair.drain();
          await pair.purgeAll();
          // Nothing of a session is left anywhere, but for a while the mark that it was deleted.
          const left = await fixture.keys();
          const marks = left.filter((key) => key.startsWith("purged:"));
          expect(left.filter((key) => !STORE_KEYS.has(key) && !marks.includes(key))).toEqual([]);
          for (const mark of marks) expect(await client.pttl(`${fixture.tag}:${mark}`)).toBeGreaterThan(0);
          expect(Number(await client.hget(`${fixture.tag}:counters`, "queued"))).toBe(0);
          for (const key of left) await client.del(`${fixture.tag}:${key}`);
        },
      ),
      { numRuns: 40, interruptAfterTimeLimit: 30_000 },
    );
  }, 180_000);
});

import { Redis } from "ioredis";
import { afterAll, beforeAll } from "vitest";
import { describeWithRedis, startRedis, type RedisServer } from "../support/engines/index.js";
import { describeLedger } from "../support/ledger-suite.js";
import { RedisLedgerFixture } from "../support/redis-ledger.js";

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

  describeLedger((limits) => {
    const fixture = new RedisLedgerFixture(client, limits);
    return {
      ledger: fixture.ledger,
      advance: (ms) => fixture.advance(ms),
      size: () => fixture.sessions.count(),
    };
  }, 20_000);
});

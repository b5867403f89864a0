import type { Cluster, Redis } from "ioredis";
import { expectTypeOf, test } from "vitest";
import type { RedisClient } from "../../src/store/redis/client.js";

test("ioredis clients are Redis clients, whatever the shape of their replies", () => {
  expectTypeOf<Redis>().toExtend<RedisClient>();
  expectTypeOf<Cluster>().toExtend<RedisClient>();
  expectTypeOf<Redis<"resp3">>().toExtend<RedisClient>();
  expectTypeOf<Cluster<"resp3">>().toExtend<RedisClient>();
});

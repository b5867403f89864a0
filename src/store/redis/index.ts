export type { ConversationOptions as RedisConversationOptions } from "../engine/conversation-options.js";
export type { RedisClient } from "./client.js";
export type { RedisConnectionOptions } from "./connect.js";
export {
  redisStore,
  redisStoreDefaults,
  unfencedRedisCheckpointer,
  type RedisStore,
  type RedisStoreOptions,
  type UnfencedRedisCheckpointerOptions,
} from "./redis-store.js";
export {
  redisEventLog,
  redisEventLogDefaults,
  type RedisEventLogOptions,
  type StandaloneRedisEventLog,
} from "./standalone-event-log.js";

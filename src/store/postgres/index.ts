export type { PostgresClient, PostgresConnection, PostgresPool, PostgresResult } from "./client.js";
export type {
  ClosableEmbedded,
  EmbeddedDirectory,
  EmbeddedPostgres,
  EmbeddedTransaction,
} from "./embedded.js";
export type { ConversationOptions as PostgresConversationOptions } from "../engine/conversation-options.js";
export type { PostgresConnectionOptions } from "./options.js";
export {
  postgresStore,
  postgresStoreDefaults,
  unfencedPostgresCheckpointer,
  type PostgresStore,
  type PostgresStoreOptions,
  type UnfencedPostgresCheckpointerOptions,
} from "./postgres-store.js";

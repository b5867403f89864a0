export type {
  Agent,
  AgentConfig,
  AgentContext,
  AgentEvents,
  AgentFactory,
  AgentFactoryLike,
  AgentInput,
  AgentRunOptions,
  Answers,
  ContentBlock,
  Conversation,
  HistoryMessage,
  SessionState as AgentSessionState,
  Turn,
  UserMessage,
} from "./agent.js";
export { AgentManager, type AgentManagerStats } from "./agent-manager.js";
export type {
  CleanupReport,
  ServiceHealth,
  ServiceStats,
  SessionInfo,
  SessionListing,
  SessionState,
} from "./service/admin.js";
export { ChatService } from "./chat-service.js";
export type { HistoryPage } from "./service/conversations.js";
export type { CreateChatOptions } from "./create-chat-service.js";
export {
  AgentError,
  errorTraits,
  isAgentError,
  type AgentErrorCode,
  type AgentErrorOptions,
  type ErrorInfo,
} from "./errors.js";
export type { AgentManagerEvents, ChatServiceEvents, EvictReason } from "./events.js";
export { systemClock, type Clock, type TimerHandle } from "./internal/clock.js";
export type { JsonObject, JsonValue } from "./json.js";
export {
  defaults,
  optionsFromEnv,
  type AgentManagerOptions,
  type ChatOptions,
  type EnvOptions,
} from "./options.js";
export type {
  ChatRequest,
  EditRequest,
  MessageInput,
  RegenerateRequest,
  ResumeRequest,
  RunRequest,
} from "./requests.js";
export type { AcceptedRun, Run, RunResult } from "./run.js";
export type { AgentEvent, Interrupt, RunEvent, RunLifecycleEvent, RunOutcome, Usage } from "./run-event.js";
export type { ClusterStats, ProcessStats } from "./service/presence.js";
export type { RunInfo } from "./service/run-info.js";
export type { ChatServiceOptions } from "./service/service-options.js";
export type { SessionAgent } from "./agents/session-agent.js";
export { isValidId, type SessionIdentity, type SessionRef } from "./session.js";
export {
  memoryStore,
  memoryStoreDefaults,
  type MemoryStore,
  type MemoryStoreOptions,
} from "./store/memory/memory-store.js";
export {
  RUN_KEY,
  type BusyPolicy,
  type CancelReason,
  type Claim,
  type ClaimRequest,
  type DropReason,
  type EventBatch,
  type EventLog,
  type EventPage,
  type EventRide,
  type ForkingSaver,
  type ForkPoint,
  type Lease,
  type LedgerHint,
  type LedgerSession,
  type Renewal,
  type RunCompletion,
  type RunConfigurable,
  type RunInput,
  type RunLedger,
  type RunRecord,
  type RunStatus,
  type RunSummary,
  type SessionPage,
  type SessionRecord,
  type SessionStore,
  type Store,
  type Submission,
  type Submitted,
} from "./store/store.js";

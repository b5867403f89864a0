export { ManualClock } from "./manual-clock.js";
export { ScriptedChatModel } from "./scripted-chat-model.js";
export type {
  Script,
  ScriptedCall,
  ScriptedCallOptions,
  ScriptedChatModelOptions,
  ScriptedReply,
  ScriptedToolCall,
} from "./scripted-chat-model.js";
export type { Clock, TimerHandle } from "../internal/clock.js";
export { assertIsolation } from "./assert-isolation.js";
export type { IsolationOptions, IsolationTarget } from "./assert-isolation.js";
export { storeConformance } from "./store-conformance/index.js";
export type {
  ConformanceCase,
  ConformanceLimits,
  StoreConformanceOptions,
  StorePart,
} from "./store-conformance/index.js";
export { faultyStore } from "./faulty-store.js";
export type { Fault, FaultPlan, FaultTarget, FaultyStore, StoreCall } from "./faulty-store.js";

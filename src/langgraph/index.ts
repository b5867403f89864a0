export {
  createLangGraphFactory,
  langGraphDefaults,
  type AgentOptions,
  type CredentialsRequest,
  type GraphOptions,
  type LangGraphConfig,
  type LangGraphFactoryOptions,
  type ModelFunction,
  type PerAgent,
} from "./factory.js";
export { idempotencyKey, type ToolCallConfig } from "./idempotency-key.js";
export type { CompiledGraph } from "./graph.js";
export type { Credentials } from "./providers.js";

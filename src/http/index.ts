export { createHttpHandler, type HttpCall, type HttpHandler } from "./handler.js";
export type { ClientError, HttpErrorCode } from "./errors.js";
export { openApiDocument } from "./openapi.js";
export {
  httpDefaults,
  type CorsOptions,
  type HttpHandlerOptions,
  type HttpUser,
  type ModelChoice,
} from "./options.js";
export { AgUiMapper, type AgUiEvent, type AgUiOptions } from "./protocols/ag-ui.js";
export { toAgUiMessages, type AgUiMessage } from "./protocols/ag-ui-history.js";
export type { AgUiInterrupt } from "./protocols/ag-ui-interrupts.js";
export { parseAgUiRequest, type AgUiRequest } from "./protocols/ag-ui-request.js";
export { UiChunkMapper, type UiChunkOptions, type UiMessageChunk } from "./protocols/ai-sdk.js";
export {
  toUiMessages,
  type UiHistoryOptions,
  type UiMessage,
  type UiPart,
} from "./protocols/ai-sdk-history.js";
export { parseUiChatRequest, type UiChatRequest, type UserInput } from "./protocols/ai-sdk-request.js";
export type { ApprovalAnswer, ShownToolCall } from "./protocols/approvals.js";
export { parseEventId, toClientEvent, toEventId, type ClientEvent } from "./protocols/events.js";
export type { WaitUntil } from "./route.js";

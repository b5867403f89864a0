import { clientTexts } from "./errors.js";

/*
 * JSON schemas of bodies. Answers list every field and allow no others, so that a test sees what is not documented;
 * requests allow more, since front ends send fields of their own.
 */

const string = { type: "string" } as const;
const nullableString = { type: ["string", "null"] } as const;
const integer = { type: "integer", minimum: 0 } as const;
const boolean = { type: "boolean" } as const;

function closed(properties: Readonly<Record<string, unknown>>, optional: readonly string[] = []): object {
  return {
    type: "object",
    properties,
    required: Object.keys(properties).filter((name) => !optional.includes(name)),
    additionalProperties: false,
  };
}

const interrupts = {
  type: "array",
  items: closed({ id: string, kind: { enum: ["approval", "input"] }, value: {} }),
} as const;

const agUiInterrupts = {
  type: "array",
  items: closed(
    {
      id: string,
      reason: { enum: ["tool_call", "input_required"] },
      message: string,
      toolCallId: string,
      responseSchema: { type: "object" },
      metadata: { type: "object" },
    },
    ["message", "toolCallId", "responseSchema"],
  ),
} as const;

const status = { enum: ["queued", "running", "completed", "interrupted", "cancelled", "failed"] } as const;

const agents = {
  total_agents: integer,
  active_agents: integer,
  idle_agents: integer,
  closing_agents: integer,
  max_agents: integer,
  agent_ttl: { type: "number", description: "In seconds." },
} as const;

const content = {
  oneOf: [string, { type: "array", items: { type: "object", required: ["type"] } }],
} as const;

export const schemas = {
  Error: closed({
    error: closed({ code: { enum: Object.keys(clientTexts) }, message: string, retryable: boolean }),
  }),
  RunResult: closed({
    session_id: string,
    run_id: string,
    outcome: { enum: ["completed", "interrupted", "cancelled"] },
    text: string,
    usage: closed({ input_tokens: integer, output_tokens: integer, total_tokens: integer }),
    interrupts,
  }),
  StoppedRun: closed({ run_id: string, status }),
  MessagePage: closed({
    messages: {
      type: "array",
      items: {
        // Plain text is the same in two of them.
        anyOf: [
          closed(
            {
              id: string,
              role: { enum: ["user", "assistant", "tool"] },
              content,
              tool_calls: { type: "array", items: closed({ id: string, name: string, input: {} }) },
              tool_call_id: string,
              tool_name: string,
              is_error: boolean,
            },
            ["tool_calls", "tool_call_id", "tool_name", "is_error"],
          ),
          closed({
            id: string,
            role: { enum: ["user", "assistant"] },
            parts: { type: "array", items: { type: "object", required: ["type"] } },
          }),
          closed(
            {
              id: string,
              role: { enum: ["user", "assistant", "tool", "reasoning"] },
              content,
              toolCalls: {
                type: "array",
                items: closed({
                  id: string,
                  type: { const: "function" },
                  function: closed({ name: string, arguments: string }),
                }),
              },
              toolCallId: string,
            },
            ["content", "toolCalls", "toolCallId"],
          ),
        ],
      },
    },
    before: nullableString,
    interrupts: {
      anyOf: [interrupts, agUiInterrupts],
      description:
        "The questions that wait. With `format=ag-ui` as a run's end tells them: `resume` of `POST /ag-ui` answers their ids.",
    },
    run: { oneOf: [{ type: "null" }, closed({ run_id: string, status })] },
  }),
  SessionPage: closed({
    sessions: {
      type: "array",
      items: closed({
        user_id: nullableString,
        session_id: string,
        created_at: { type: "string", format: "date-time" },
        last_used: { type: "string", format: "date-time" },
        state: { enum: ["running", "queued", "interrupted", "idle", "stored"] },
        provider: nullableString,
        model: nullableString,
        owner: {
          ...nullableString,
          description: "The process that works on it; null while none does, or when the store is not shared.",
        },
      }),
    },
    next: nullableString,
  }),
  Deleted: closed({ deleted: { const: true } }),
  Removed: closed({ removed: boolean }),
  Stats: closed(
    {
      ...agents,
      active_runs: integer,
      sessions: integer,
      processes: {
        type: "array",
        description:
          "The live processes of a shared store, oldest first; figures of others are up to 5 s old.",
        items: closed({
          process_id: string,
          hostname: string,
          pid: integer,
          started_at: { type: "string", format: "date-time" },
          last_seen: { type: "string", format: "date-time" },
          draining: boolean,
          ...agents,
          active_runs: integer,
          info: { type: "object", description: "What the host had it say of itself: `processInfo`." },
        }),
      },
      cluster: closed({
        processes: integer,
        total_agents: integer,
        active_agents: integer,
        idle_agents: integer,
        closing_agents: integer,
        max_agents: integer,
        active_runs: integer,
      }),
    },
    ["processes", "cluster"],
  ),
  Health: closed(
    {
      status: { enum: ["ok", "draining", "unavailable"] },
      ready: boolean,
      store: { enum: ["ok", "unavailable"] },
      agents: closed(agents),
      process_id: string,
      processes: { ...integer, description: "How many processes share the store and live." },
    },
    ["store", "agents", "process_id", "processes"],
  ),
  Cleanup: closed({ expired_agents: integer, expired_runs: integer, deleted_sessions: integer }),
} as const;

const message = {
  oneOf: [
    ...content.oneOf,
    {
      type: "object",
      properties: { id: { ...string, description: "The client's own." }, content },
      required: ["content"],
    },
  ],
} as const;

const model = {
  provider: { ...string, description: "Only within what the host allows, as is `model_name`." },
  model_name: string,
} as const;

const run = {
  run_id: { ...string, description: "A request sent again under the same id runs once." },
  stream: { ...boolean, default: true, description: "False asks for one JSON object in place of events." },
} as const;

const busy = {
  on_busy: {
    enum: ["enqueue", "reject", "interrupt", "rollback"],
    description: "What a message does that finds its session busy. Default: as the service is set.",
  },
} as const;

export const requestSchemas = {
  ChatRequest: {
    oneOf: [
      {
        type: "object",
        properties: {
          session_id: string,
          message,
          ...busy,
          ...model,
          ...run,
        },
        required: ["session_id", "message"],
      },
      {
        type: "object",
        description: "What the AI SDK's chat transport sends; only the last message is read.",
        properties: {
          id: { ...string, description: "The session id." },
          messages: { type: "array", items: { type: "object" } },
          trigger: { enum: ["submit-message", "regenerate-message"] },
          messageId: string,
          ...busy,
          ...model,
          ...run,
        },
        required: ["id", "messages"],
      },
    ],
  },
  ResumeRequest: {
    type: "object",
    properties: {
      answers: {
        type: "object",
        description: "By interrupt id: for an approval `{ decisions: [...] }`, else any JSON.",
        additionalProperties: true,
      },
      ...run,
    },
    required: ["answers"],
  },
  StopRequest: { type: "object", properties: { run_id: string } },
  AgUiRequest: {
    type: "object",
    properties: {
      threadId: { ...string, description: "The session id." },
      runId: string,
      messages: { type: "array", items: { type: "object" } },
      resume: { type: "array", items: { type: "object" } },
    },
    required: ["threadId", "runId"],
  },
} as const;

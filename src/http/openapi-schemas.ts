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

/*
 * What requests may be is what the handler takes, to the letter; a test holds both to it. Three things no schema can say: what the
 * last message of a list has to be, that an id counts UTF-16 units, and what the options of handler and service bound.
 */

/** What `isValidId` takes. */
const id = {
  type: "string",
  minLength: 1,
  maxLength: 200,
  pattern: "^(?!\\.{1,2}$)[^\\p{Cc}\\p{Cs}]+$",
} as const;

/** Fields that may be left out may also be null: clients in other languages write out all that they have. */
function orNull<T extends { readonly type: string }>(schema: T) {
  return { ...schema, type: [schema.type, "null"] } as const;
}

const input = {
  oneOf: [
    { type: "string", pattern: "\\S" },
    {
      type: "array",
      minItems: 1,
      items: { type: "object", required: ["type"], properties: { type: string } },
    },
  ],
} as const;

const message = {
  description:
    "Under an id that the conversation has, it takes that message's place, and what came after is undone.",
  oneOf: [
    ...input.oneOf,
    {
      type: "object",
      properties: { id: { ...orNull(id), description: "The client's own." }, content: input },
      required: ["content"],
    },
  ],
} as const;

/** Fields of both forms of a message that name its session; `session_id` goes first. */
const session = {
  session_id: { ...orNull(string), description: "The session; one of its two names has to be there." },
  id: { ...orNull(string), description: "The same as `session_id`, where that is left out." },
} as const;

const isNamed = {
  anyOf: [
    { properties: { session_id: id }, required: ["session_id"] },
    { properties: { session_id: { type: "null" }, id }, required: ["id"] },
  ],
} as const;

const model = {
  provider: { ...orNull(string), description: "Only within what the host allows, as is `model_name`." },
  model_name: orNull(string),
  model: { ...orNull(string), description: "The same as `model_name`, where that is left out." },
} as const;

const run = {
  run_id: { ...orNull(id), description: "A request sent again under the same id runs once." },
  stream: {
    ...orNull(boolean),
    default: true,
    description: "False asks for one JSON object in place of events.",
  },
} as const;

const busy = {
  on_busy: {
    enum: ["enqueue", "reject", "interrupt", "rollback", null],
    description: "What a message does that finds its session busy. Default: as the service is set.",
  },
} as const;

export const requestSchemas = {
  ChatRequest: {
    oneOf: [
      {
        type: "object",
        properties: { ...session, message, ...busy, ...model, ...run },
        required: ["message"],
        ...isNamed,
      },
      {
        type: "object",
        description:
          "What the AI SDK's chat transport sends. Of the messages only the last one is read: `{ id, role, parts }`, the user's, or an assistant's in which approvals are answered.",
        properties: {
          ...session,
          messages: { type: "array", minItems: 1, items: { type: "object" } },
          trigger: { enum: ["submit-message", "regenerate-message", null] },
          messageId: orNull(string),
          ...busy,
          ...model,
          ...run,
        },
        required: ["messages"],
        allOf: [{ properties: { message: { type: "null" } } }],
        ...isNamed,
      },
    ],
  },
  ResumeRequest: {
    type: "object",
    properties: {
      answers: {
        type: "object",
        description: "By interrupt id: for an approval `{ decisions: [...] }`, else any JSON.",
        minProperties: 1,
        additionalProperties: true,
      },
      ...run,
    },
    required: ["answers"],
  },
  StopRequest: { type: "object", properties: { run_id: orNull(id) } },
  AgUiRequest: {
    type: "object",
    description:
      "Of the messages only the last one is read, the user's, and with `resume` none. Under an id that the conversation has, it takes that message's place, and what came after is undone.",
    properties: {
      threadId: { ...id, description: "The session id." },
      runId: id,
      messages: { type: ["array", "null"], items: { type: "object" } },
      resume: {
        type: ["array", "null"],
        items: {
          type: "object",
          properties: { interruptId: string, status: { enum: ["resolved", "cancelled"] }, payload: {} },
          required: ["interruptId", "status"],
        },
      },
    },
    required: ["threadId", "runId"],
    anyOf: [
      { properties: { messages: { type: "array", minItems: 1 } }, required: ["messages"] },
      { properties: { resume: { type: "array", minItems: 1 } }, required: ["resume"] },
    ],
  },
} as const;

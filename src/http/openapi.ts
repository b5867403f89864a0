import { clientTexts, statusOf, type HttpErrorCode } from "./errors.js";
import { requestSchemas, schemas } from "./openapi-schemas.js";

/*
 * The handler's routes as an OpenAPI 3.1 document. A test holds it to the table of routes, and answers to its schemas.
 */

type Json = Readonly<Record<string, unknown>>;

function ref(name: keyof typeof schemas | keyof typeof requestSchemas): Json {
  return { $ref: `#/components/schemas/${name}` };
}

function json(description: string, name: keyof typeof schemas): Json {
  return { description, content: { "application/json": { schema: ref(name) } } };
}

const STREAM: Json = {
  description:
    "The events of the run as server-sent events: the AI SDK's UI message stream, with `format=events` the library's own events under ids `<run id>:<number>`. With `stream: false` one JSON object.",
  content: {
    "text/event-stream": { schema: { type: "string" } },
    "application/json": { schema: ref("RunResult") },
  },
};

const EVENTS_ONLY: Json = {
  description: "The events of the run as server-sent events.",
  content: { "text/event-stream": { schema: { type: "string" } } },
};

const REFUSED: Json = json("Refused: see `error.code`.", "Error");

function query(name: string, schema: Json, description: string): Json {
  return { name, in: "query", required: false, schema, description };
}

const STRING: Json = { type: "string" };
const ID: Json = { name: "id", in: "path", required: true, schema: STRING, description: "The session id." };
const FORMAT = query("format", { enum: ["ai-sdk", "events"], default: "ai-sdk" }, "What the events come as.");
const LIMIT = query("limit", { type: "integer", minimum: 1 }, "The most that is given; at most 1000.");
const AFTER = query("after", STRING, "The `next` of the page before.");
const USER_ID = query("user_id", STRING, "Only this user's.");

interface Operation {
  readonly summary: string;
  readonly access: "public" | "user" | "admin";
  readonly parameters?: readonly Json[];
  readonly body?: keyof typeof requestSchemas;
  readonly bodyOptional?: boolean;
  readonly responses: Readonly<Record<string, Json>>;
}

function operation(
  operationId: string,
  { summary, access, parameters, body, bodyOptional, responses }: Operation,
): Json {
  return {
    operationId,
    summary,
    tags: [access === "admin" ? "admin" : "chat"],
    ...(access === "public" ? { security: [] } : undefined),
    ...(parameters === undefined ? undefined : { parameters }),
    ...(body === undefined
      ? undefined
      : {
          requestBody: {
            required: bodyOptional !== true,
            content: { "application/json": { schema: ref(body) } },
          },
        }),
    responses: { ...responses, default: REFUSED },
  };
}

const paths: Readonly<Record<string, Readonly<Record<string, Json>>>> = {
  "/chat": {
    post: operation("chat", {
      summary: "Send a message to a session, which begins with its first message.",
      access: "user",
      parameters: [FORMAT],
      body: "ChatRequest",
      responses: { "200": STREAM },
    }),
  },
  "/chat/{id}/stream": {
    get: operation("followRun", {
      summary: "Follow the session's run from its beginning, or from the event named in Last-Event-ID.",
      access: "user",
      parameters: [
        ID,
        FORMAT,
        query("run_id", STRING, "Another run than the present one."),
        query("last_event_id", STRING, "As the header, for who cannot set it."),
        {
          name: "last-event-id",
          in: "header",
          required: false,
          schema: STRING,
          description: "With `format=events`.",
        },
      ],
      responses: { "200": EVENTS_ONLY, "204": { description: "There is nothing to follow." } },
    }),
  },
  "/chat/{id}/stop": {
    post: operation("stopRun", {
      summary: "Stop the session's run; answers when it has ended.",
      access: "user",
      parameters: [ID],
      body: "StopRequest",
      bodyOptional: true,
      responses: { "200": json("The run as it ended.", "StoppedRun") },
    }),
  },
  "/chat/{id}/resume": {
    post: operation("resumeRun", {
      summary: "Answer the questions that the session waits with.",
      access: "user",
      parameters: [ID, FORMAT],
      body: "ResumeRequest",
      responses: { "200": STREAM },
    }),
  },
  "/chat/{id}/messages": {
    get: operation("listMessages", {
      summary: "The session's newest messages, oldest first, and the questions that wait.",
      access: "user",
      parameters: [
        ID,
        query(
          "format",
          { enum: ["neutral", "ai-sdk", "ag-ui"], default: "neutral" },
          "What the messages come as, and with `ag-ui` also the questions.",
        ),
        query(
          "limit",
          { type: "integer", minimum: 1 },
          "The most that is given; at most 1000. In the formats of front ends the turn that it cuts is given whole.",
        ),
        query("before", STRING, "The id of the message before which to begin."),
      ],
      responses: { "200": json("A page of messages.", "MessagePage") },
    }),
  },
  "/sessions": {
    get: operation("listOwnSessions", {
      summary: "The caller's sessions, newest first.",
      access: "user",
      parameters: [LIMIT, AFTER],
      responses: { "200": json("A page of sessions.", "SessionPage") },
    }),
  },
  "/sessions/{id}": {
    delete: operation("deleteSession", {
      summary: "Delete a session with its conversation.",
      access: "user",
      parameters: [ID],
      responses: { "200": json("It is gone.", "Deleted") },
    }),
  },
  "/ag-ui": {
    post: operation("agUiRun", {
      summary: "Run the agent for an AG-UI client.",
      access: "user",
      body: "AgUiRequest",
      responses: { "200": EVENTS_ONLY },
    }),
  },
  "/agent-stats": {
    get: operation("agentStats", {
      summary: "Agents and runs of this process, sessions of the store.",
      access: "admin",
      responses: { "200": json("Now.", "Stats") },
    }),
  },
  "/agent-sessions": {
    get: operation("listSessions", {
      summary: "Everybody's sessions, newest first.",
      access: "admin",
      parameters: [USER_ID, LIMIT, AFTER],
      responses: { "200": json("A page of sessions.", "SessionPage") },
    }),
  },
  "/agent-sessions/{id}": {
    delete: operation("removeAgent", {
      summary:
        "Close the agent of a session, not its conversation. 409 when several users have such a session.",
      access: "admin",
      parameters: [ID, USER_ID],
      responses: { "200": json("Whether there was an agent to close.", "Removed") },
    }),
  },
  "/agent-health": {
    get: operation("health", {
      summary: "Whether new work is taken; details for admins.",
      access: "public",
      responses: { "200": json("Ready.", "Health"), "503": json("Not ready.", "Health") },
    }),
  },
  "/agent-cleanup": {
    post: operation("cleanup", {
      summary: "Do the periodic cleanup now.",
      access: "admin",
      responses: { "200": json("What it did.", "Cleanup") },
    }),
  },
  "/openapi.json": {
    get: operation("openapi", {
      summary: "This document.",
      access: "public",
      responses: {
        "200": {
          description: "OpenAPI 3.1.",
          content: { "application/json": { schema: { type: "object" } } },
        },
      },
    }),
  },
};

/** The handler's routes as an OpenAPI 3.1 document. */
export function openApiDocument(basePath: string): Json {
  return {
    openapi: "3.1.0",
    info: {
      title: "agent-sessions",
      version: "1",
      description: `Errors are \`{ error: { code, message, retryable } }\`. Codes: ${Object.keys(clientTexts).join(", ")}.`,
    },
    servers: [{ url: basePath === "" ? "/" : basePath }],
    security: [{ host: [] }],
    paths,
    components: {
      securitySchemes: {
        host: {
          type: "apiKey",
          in: "header",
          name: "authorization",
          description: "Whatever the host's `authenticate` accepts: a session cookie, a token, a key.",
        },
      },
      schemas: { ...schemas, ...requestSchemas },
    },
    // Its keys are the codes, as its type says.
    "x-errors": (Object.keys(clientTexts) as HttpErrorCode[]).map((code) => ({
      code,
      status: statusOf(code),
      message: clientTexts[code],
    })),
  };
}

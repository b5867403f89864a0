/**
 * Who is compared over HTTP: the server to start, the request of one turn, and what a user installs for it (`from`: where
 * it is installed here). Requests are made by the process of the clients, so nothing else may be imported here.
 */
const handWritten = (session) => ({ path: "/chat", body: { session_id: session, message: "hello" } });

const ours = (session) => ({
  path: "/agent_backend/chat",
  headers: { "x-user": session },
  body: { session_id: session, message: "hello" },
});

const langgraphRun = (session) => ({
  path: `/threads/${session}/runs/stream`,
  body: {
    assistant_id: "agent",
    input: { messages: [{ role: "user", content: "hello" }] },
    stream_mode: ["messages-tuple"],
    if_not_exists: "create",
  },
});

const mastra = (session) => ({
  path: "/api/agents/assistant/stream",
  body: { messages: "hello", memory: { thread: session, resource: session } },
});

/** CopilotKit's client keeps the conversation and sends all of it with each message. */
const copilotkit = (session, number, tokens) => {
  const answer = Array.from({ length: tokens }, (_, index) => `tok${index} `).join("");
  const messages = Array.from({ length: 2 * number + 1 }, (_, index) => ({
    id: `${session}-${index}`,
    ...(index % 2 === 0 ? { role: "user", content: "hello" } : { role: "assistant", content: answer }),
  }));
  return {
    path: "/api/copilotkit/agent/default/run",
    body: {
      threadId: session,
      runId: `${session}-${number}`,
      state: {},
      messages,
      tools: [],
      context: [],
      forwardedProps: {},
    },
  };
};

const langchain = ["langchain", "@langchain/langgraph", "@langchain/core"];

export const CONTESTANTS = {
  "agent-sessions, Express": {
    script: "servers/ours-express.mjs",
    request: ours,
    from: "..",
    install: ["agent-sessions", ...langchain, "express"],
  },
  "agent-sessions, fetch handler": {
    script: "servers/ours-fetch.mjs",
    request: ours,
    from: "..",
    install: ["agent-sessions", ...langchain],
  },
  "hand-written Express route": {
    script: "servers/hand-written.mjs",
    request: handWritten,
    from: "..",
    install: [...langchain, "express"],
  },
  "a `Map` of agents": {
    script: "servers/hand-written-map.mjs",
    request: handWritten,
    from: "..",
    install: [...langchain, "express"],
  },
  createEmbedServer: {
    script: "peers/embed.mjs",
    request: langgraphRun,
    from: "peers",
    install: ["@langchain/langgraph-api", ...langchain, "@hono/node-server"],
  },
  "LangGraph's in-memory server": {
    script: "peers/langgraph-server.mjs",
    request: langgraphRun,
    from: "peers",
    install: ["@langchain/langgraph-api", ...langchain],
  },
  Mastra: {
    script: "peers/mastra.mjs",
    request: mastra,
    from: "peers",
    install: ["@mastra/core", "@mastra/express", "@mastra/memory", "@mastra/libsql", "express"],
  },
  CopilotKit: {
    script: "peers/copilotkit.mjs",
    request: copilotkit,
    from: "peers",
    install: ["@copilotkit/runtime", "express"],
  },
  "OpenAI Agents, Express route": {
    script: "peers/openai-agents.mjs",
    request: handWritten,
    from: "peers",
    install: ["@openai/agents", "zod", "express"],
  },
  "AI SDK, Express route": {
    script: "peers/ai-sdk.mjs",
    request: handWritten,
    from: "peers",
    install: ["ai", "zod", "express"],
  },
  "bare LangGraph `stream`, node:http": {
    script: "servers/langgraph-bare.mjs",
    request: handWritten,
    from: "..",
    install: langchain,
  },
  "50 frames by node:http, no agent": {
    script: "servers/node-http.mjs",
    request: handWritten,
    keepsNothing: true,
    from: "..",
    install: [],
  },
};

import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tool } from "langchain";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import type { AgentEvent } from "../../src/run-event.js";
import { createLangGraphFactory, type Credentials } from "../../src/langgraph/index.js";
import { agentOf, collect, message, runOptions, textOf } from "../support/langgraph-agent.js";
import { startProviderMock, type ProviderMock } from "../support/provider-mock.js";

/** The real clients, each with a model of its own. */
const PROVIDERS = [
  { provider: "openai", model: "gpt-4o-mini" },
  { provider: "deepseek", model: "deepseek-reasoner" },
  { provider: "anthropic", model: "claude-sonnet-4-5" },
  { provider: "ollama", model: "qwen3" },
] as const;

const weather = tool(({ city }: { city: string }) => `sun in ${city}`, {
  name: "weather",
  description: "The weather of a city",
  schema: z.object({ city: z.string() }),
});

let mock: ProviderMock;

beforeAll(async () => {
  mock = await startProviderMock();
  mock.server
    .on(
      { userMessage: "weather", hasToolResult: false },
      {
        content: "Let me see.",
        reasoning: "Think first.",
        toolCalls: [{ name: "weather", arguments: '{"city":"Bern"}' }],
      },
    )
    .on(
      { userMessage: "weather", hasToolResult: true },
      { content: "Sunny in Bern, all day long, says the tool." },
      { chunkSize: 5 },
    )
    .on(
      { userMessage: "tokens" },
      {
        content: "x",
        usage: { prompt_tokens: 11, completion_tokens: 7, input_tokens: 11, output_tokens: 7 },
      },
    )
    .on({ userMessage: "forever" }, { content: "word ".repeat(40) }, { chunkSize: 5, latency: 10 })
    .on(
      { userMessage: "break" },
      { content: "half of it ".repeat(40) },
      { chunkSize: 5, latency: 2, truncateAfterChunks: 4 },
    )
    .on({ userMessage: "slow" }, { content: "late" }, { latency: 3000 })
    .on({ userMessage: "hello" }, { content: "Hello from here." });
});

afterAll(() => mock.stop());

async function failure(run: Promise<unknown>): Promise<unknown> {
  return run.then(
    () => undefined,
    (error: unknown) => error,
  );
}

function factoryFor(modelOptions: Record<string, unknown> = {}): ReturnType<typeof createLangGraphFactory> {
  return createLangGraphFactory({
    tools: [weather],
    modelOptions: { maxRetries: 0, ...modelOptions },
    resolveCredentials: ({ provider }) => mock.credentials(provider),
  });
}

describe.each(PROVIDERS)("$provider", (config) => {
  test("text, reasoning, a tool and usage", async () => {
    const agent = await agentOf(factoryFor(), config);
    const events = await collect(agent, message("How is the weather?"));
    expect(textOf(events)).toBe("Let me see.Sunny in Bern, all day long, says the tool.");
    expect(events.filter((event) => event.type === "text-delta").length).toBeGreaterThan(5);
    const input = events.find((event) => event.type === "tool-input-available");
    expect(input).toMatchObject({ toolName: "weather", input: { city: "Bern" } });
    expect(events).toContainEqual({
      type: "tool-output-available",
      toolCallId: input?.toolCallId,
      toolName: "weather",
      output: "sun in Bern",
    });
    expect(events.filter((event) => event.type === "usage")).toHaveLength(2);
    // The mock has no reasoning for Ollama beside a tool call.
    const reasoning = events.map((event) => (event.type === "reasoning-delta" ? event.delta : "")).join("");
    expect(reasoning).toBe(config.provider === "ollama" ? "" : "Think first.");
    const history = await agent.conversation?.history();
    expect(history?.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "assistant"]);
    expect(history?.[1]?.toolCalls).toEqual([
      { id: input?.toolCallId, name: "weather", input: { city: "Bern" } },
    ]);
    expect(events.flatMap((event) => (event.type === "text-start" ? [event.id] : []))).toEqual([
      history?.[1]?.id,
      history?.[3]?.id,
    ]);
    expect(partsAreWhole(events)).toBe(true);
  });

  test("the history of earlier turns goes with the next, and a turn can follow a tool's", async () => {
    const agent = await agentOf(factoryFor(), config);
    await collect(agent, message("How is the weather?"));
    expect(textOf(await collect(agent, message("hello")))).toBe("Hello from here.");
    expect(mock.requests().at(-1)).toMatchObject({ model: config.model });
    expect(
      mock
        .requests()
        .at(-1)
        ?.messages.map(({ role }) => role),
    ).toEqual(["user", "assistant", "tool", "assistant", "user"]);
  });

  test("a cancel closes the connection to the provider", async () => {
    const controller = new AbortController();
    const reason = new Error("stop");
    const { promise: closed, resolve: onClosed } = deferred();
    // Takes the request, never answers, and sees whether the client hangs up.
    const silent = await listen((response) => {
      response.once("close", onClosed);
      controller.abort(reason);
    });
    const factory = createLangGraphFactory({
      resolveCredentials: ({ provider }) => ({ ...mock.credentials(provider), baseURL: silent.url }),
    });
    const agent = await agentOf(factory, config);
    expect(await failure(collect(agent, message("hi"), { signal: controller.signal }))).toBe(reason);
    await closed;
    await silent.close();
  });

  test("a cancel stops no other session's run on the same provider", async () => {
    const factory = factoryFor();
    const [first, second] = await Promise.all(
      ["first", "second"].map((sessionId) => agentOf(factory, config, { sessionId })),
    );
    const controller = new AbortController();
    const reason = new Error("stop");
    const other = collect(second!, message("forever"));
    const run = (async () => {
      for await (const event of first!.stream(
        message("forever"),
        runOptions({ signal: controller.signal }),
      )) {
        if (event.type === "text-delta") controller.abort(reason);
      }
    })();
    expect(await failure(run)).toBe(reason);
    expect(textOf(await other)).toBe("word ".repeat(40));
  });

  test("a cancel between tokens leaves the conversation usable", async () => {
    const agent = await agentOf(factoryFor(), config);
    const controller = new AbortController();
    const reason = new Error("stop");
    const run = (async () => {
      for await (const event of agent.stream(message("forever"), runOptions({ signal: controller.signal }))) {
        if (event.type === "text-delta") controller.abort(reason);
      }
    })();
    expect(await failure(run)).toBe(reason);
    expect(textOf(await collect(agent, message("hello")))).toBe("Hello from here.");
  });
});

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** Every delta lies between its start and its end. */
function partsAreWhole(events: readonly AgentEvent[]): boolean {
  const open = new Set<string>();
  for (const event of events) {
    if (event.type === "text-start" || event.type === "reasoning-start") open.add(event.id);
    else if (event.type === "text-end" || event.type === "reasoning-end") open.delete(event.id);
    else if ((event.type === "text-delta" || event.type === "reasoning-delta") && !open.has(event.id))
      return false;
  }
  return open.size === 0;
}

test("usage as the provider reports it", async () => {
  // The mock says Anthropic's twice, at the start and at the end.
  for (const config of PROVIDERS.slice(0, 2)) {
    const agent = await agentOf(factoryFor(), config);
    const events = await collect(agent, message("tokens"));
    expect(events.find((event) => event.type === "usage")?.usage).toMatchObject({
      inputTokens: 11,
      outputTokens: 7,
      totalTokens: 18,
    });
  }
});

describe("provider errors keep their kind", () => {
  const SECRET = "sk-secret-12345";
  const failures = [
    {
      name: "401",
      status: 401,
      body: { message: `Incorrect API key provided: ${SECRET}`, type: "authentication_error" },
      code: "MODEL_AUTH",
    },
    {
      name: "429",
      status: 429,
      body: { message: `Rate limit of ${SECRET}`, type: "rate_limit_error" },
      code: "MODEL_RATE_LIMITED",
    },
    {
      name: "500",
      status: 500,
      body: { message: `Broken at ${SECRET}`, type: "api_error" },
      code: "MODEL_UNAVAILABLE",
    },
    {
      name: "404",
      status: 404,
      body: { message: `No model for ${SECRET}`, type: "not_found_error" },
      code: "MODEL_NOT_CONFIGURED",
    },
    {
      name: "context length",
      status: 400,
      body: {
        message: `prompt is too long: this model's maximum context length is 10 tokens (${SECRET})`,
        type: "invalid_request_error",
        code: "context_length_exceeded",
      },
      code: "MODEL_CONTEXT_LENGTH",
    },
  ] as const;

  for (const { provider, model } of PROVIDERS) {
    test.each(failures)(`${provider}: $name`, async ({ status, body, code }) => {
      const errors = await startProviderMock([
        { match: {}, response: { error: { ...body }, status, retryAfter: 7 } },
      ]);
      try {
        const factory = createLangGraphFactory({
          modelOptions: { maxRetries: 0 },
          resolveCredentials: () => errors.credentials(provider),
        });
        const error = await failure(collect(await agentOf(factory, { provider, model }), message("hi")));
        expect(error).toMatchObject({ name: "AgentError", code, sessionId: "session" });
        expect((error as Error).message).not.toContain(SECRET);
        expect((error as Error).cause).toBeInstanceOf(Error);
        // Ollama's client keeps no headers of an error.
        if (code === "MODEL_RATE_LIMITED" && provider !== "ollama")
          expect(error).toMatchObject({ retryAfterMs: 7000 });
      } finally {
        await errors.stop();
      }
    });

    test(`${provider}: a connection that breaks half way`, async () => {
      const agent = await agentOf(factoryFor(), { provider, model });
      const events: AgentEvent[] = [];
      const run = (async () => {
        for await (const event of agent.stream(message("break"), runOptions())) events.push(event);
      })();
      expect(await failure(run)).toMatchObject({ code: "MODEL_UNAVAILABLE" });
      expect(textOf(events)).toContain("half");
      expect(partsAreWhole(events)).toBe(true);
      expect(textOf(await collect(agent, message("hello")))).toBe("Hello from here.");
    });

    test(`${provider}: nobody listens`, async () => {
      const { url, close } = await listen(() => undefined);
      await close();
      const credentials: Credentials = { ...mock.credentials(provider), baseURL: url };
      const factory = createLangGraphFactory({
        modelOptions: { maxRetries: 0 },
        resolveCredentials: () => credentials,
      });
      const error = await failure(collect(await agentOf(factory, { provider, model }), message("hi")));
      expect(error).toMatchObject({ code: "MODEL_UNAVAILABLE" });
      expect((error as Error).message).not.toContain(url);
    });
  }

  test.each(PROVIDERS.slice(0, 2))("$provider: no answer in time", async (config) => {
    const agent = await agentOf(factoryFor({ timeout: 100 }), config);
    expect(await failure(collect(agent, message("slow")))).toMatchObject({ code: "MODEL_TIMEOUT" });
  });
});

async function listen(
  answer: (response: ServerResponse) => void,
): Promise<{ server: Server; url: string; close: () => Promise<void> }> {
  const server = createServer((_request, response) => {
    answer(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    server,
    url: `http://127.0.0.1:${String(port)}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

test("three providers at once each reach their own, with each user's credentials", async () => {
  const factory = createLangGraphFactory({
    resolveCredentials: ({ provider, userId, sessionId }) =>
      mock.credentials(provider, { "x-user": userId ?? "", "x-session": sessionId }),
  });
  const before = mock.requests().length;
  const sessions = PROVIDERS.slice(0, 3).flatMap((config) =>
    ["ann", "bob", "cho"].map((userId) => ({ ...config, userId, sessionId: `${config.provider}-${userId}` })),
  );
  await Promise.all(
    sessions.map(async ({ provider, model, userId, sessionId }) => {
      const agent = await agentOf(factory, { provider, model }, { userId, sessionId });
      expect(textOf(await collect(agent, message(`hello, this is ${sessionId}`)))).toBe("Hello from here.");
    }),
  );
  const seen = mock
    .requests()
    .slice(before)
    .map((request) => ({
      path: request.path,
      model: request.model,
      user: request.headers["x-user"],
      text: JSON.stringify(request.messages),
    }));
  expect(seen).toHaveLength(sessions.length);
  for (const { provider, model, userId, sessionId } of sessions) {
    const own = seen.filter(({ text }) => text.includes(`this is ${sessionId}`));
    expect(own).toMatchObject([
      { model, user: userId, path: provider === "anthropic" ? "/v1/messages" : "/v1/chat/completions" },
    ]);
  }
});

test("images in the standard form reach the provider", async () => {
  const agent = await agentOf(factoryFor(), PROVIDERS[0]);
  const content = [
    { type: "text", text: "hello" },
    { type: "image", mimeType: "image/png", data: "aGk=" },
  ];
  await collect(agent, { kind: "message", message: { id: "m1", content } });
  expect(JSON.stringify(mock.requests().at(-1)?.messages)).toContain("data:image/png;base64,aGk=");
  expect((await agent.conversation?.history())?.[0]).toMatchObject({ id: "m1", role: "user", content });
});

import { tool } from "langchain";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { createChat } from "../support/chat.js";
import { startProviderMock, type ProviderMock } from "../support/provider-mock.js";

const PROVIDERS = [
  { provider: "openai", model: "gpt-4o-mini" },
  { provider: "deepseek", model: "deepseek-chat" },
  { provider: "anthropic", model: "claude-sonnet-4-5" },
] as const;

let mock: ProviderMock;

beforeAll(async () => {
  mock = await startProviderMock();
  mock.server
    .on(
      { userMessage: "weather", hasToolResult: false },
      {
        content: "Let me see.",
        toolCalls: [{ name: "weather", arguments: '{"city":"Bern"}' }],
      },
    )
    .on({ userMessage: "weather", hasToolResult: true }, { content: "Sunny." }, { chunkSize: 2 })
    .on({ userMessage: "hello" }, { content: "Hello from here." }, { chunkSize: 3, latency: 2 });
});

afterAll(() => mock.stop());

test("sessions on three providers at once each reach their own, with their own key, model and history", async () => {
  const weather = tool(({ city }: { city: string }) => `sun in ${city}`, {
    name: "weather",
    description: "The weather of a city",
    schema: z.object({ city: z.string() }),
  });
  const chat = await createChat({
    provider: "openai",
    model: "gpt-4o-mini",
    tools: [weather],
    modelOptions: { maxRetries: 0 },
    resolveCredentials: ({ provider, userId }) =>
      mock.credentials(provider, { "x-user": userId ?? "nobody", "x-provider": provider }),
  });
  await Promise.all(
    Array.from({ length: 12 }, async (_, index) => {
      const config = PROVIDERS[index % 3];
      if (config === undefined) return;
      const ref = { userId: `user${String(index)}`, sessionId: "1" };
      const first = await chat.chat({ ...ref, ...config, message: `hello user${String(index)}` }).result;
      expect(first.text).toBe("Hello from here.");
      // What was said once sticks.
      const second = await chat.chat({ ...ref, message: `weather user${String(index)}` }).result;
      expect(second.text).toBe("Sunny.");
    }),
  );
  const requests = mock.requests();
  expect(requests).toHaveLength(36);
  for (const { headers, model, messages } of requests) {
    const user = headers["x-user"] ?? "";
    const config = PROVIDERS[Number(user.slice(4)) % 3];
    expect([headers["x-provider"], model]).toEqual([config?.provider, config?.model]);
    const named = JSON.stringify(messages).match(/user\d+/g) ?? [];
    expect(new Set(named)).toEqual(new Set([user]));
  }
}, 180_000);

import { setTimeout as sleep } from "node:timers/promises";
import { ChatService, optionsFromEnv } from "agent-sessions";
import { humanInTheLoopMiddleware, tool, type ToolRuntime } from "langchain";
import { z } from "zod";
import type { Models } from "./models.js";

/** What each run is given by the host and no model ever sees or decides: who is asking. */
export type Caller = { readonly userId: string };

const SKIES = ["clear skies", "a few clouds", "light rain", "a fresh breeze from the sea"];

const getWeather = tool(
  async ({ city }) => {
    await sleep(600); // Stands for a call to a weather service.
    const seed = Buffer.from(city).reduce((sum, byte) => sum + byte, 0);
    return `${city}: ${SKIES[seed % SKIES.length] ?? ""}, ${String(8 + (seed % 17))} °C.`;
  },
  {
    name: "get_weather",
    description: "The weather in a city, now.",
    schema: z.object({ city: z.string() }),
  },
);

const sendMoney = tool(
  ({ to, amount }, runtime: ToolRuntime<unknown, Caller>) =>
    // Whose money it is comes from the login, never from the model.
    `${runtime.context.userId} sent ${String(amount)} euros to ${to}.`,
  {
    name: "send_money",
    description: "Sends money of the user who is asking to somebody.",
    schema: z.object({ to: z.string(), amount: z.number().describe("In euros") }),
  },
);

/** One service for all users: each (user, session) pair gets an agent, a history and a model of its own. */
export function createAssistant(models: Models) {
  const { provider, model } = models.offered[0];
  return ChatService.create<Caller>({
    ...optionsFromEnv(),
    provider,
    model,
    systemPrompt:
      "You are a friendly assistant. Use the tools for the weather and for sending money, at once and without asking " +
      "back. If a tool call was rejected, say so and do not call it again. Answer in plain text, without Markdown.",
    tools: [getWeather, sendMoney],
    middleware: [
      humanInTheLoopMiddleware({ interruptOn: { send_money: { allowedDecisions: ["approve", "reject"] } } }),
    ],
    resolveCredentials: ({ provider: name }) => models.credentials(name),
  });
}

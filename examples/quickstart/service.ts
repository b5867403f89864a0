import { ChatService } from "agent-sessions";
import { humanInTheLoopMiddleware, tool, type ToolRuntime } from "langchain";
import { z } from "zod";
import type { ProviderName, Providers } from "./providers.js";

/** What each run is given by the host and no model ever sees or decides: who is asking. */
export type Caller = { readonly userId: string };

type Runtime = ToolRuntime<unknown, Caller>;

/** Stands for the host's own database. */
export class Shop {
  readonly orders: Readonly<Record<string, string>> = {
    ada: "order 1001, a telescope",
    ben: "order 2002, a kettle",
    chloe: "order 3003, a tent",
  };
  /** The refunds that were made, e.g. "ben 30". */
  readonly refunds: string[] = [];
}

/** One service for all users: each (user, session) pair gets an agent, a history and a model of its own. */
export function createService(shop: Shop, providers: Providers) {
  const findOrder = tool((_input, runtime: Runtime) => shop.orders[runtime.context.userId] ?? "no order", {
    name: "find_order",
    description: "Finds the order of the user who is asking.",
    schema: z.object({}),
  });
  const refund = tool(
    ({ amount }, runtime: Runtime) => {
      shop.refunds.push(`${runtime.context.userId} ${String(amount)}`);
      return `${String(amount)} euros were refunded`;
    },
    {
      name: "refund",
      description: "Pays money back to the user who is asking.",
      schema: z.object({ amount: z.number().describe("In euros") }),
    },
  );

  return ChatService.create<Caller>({
    provider: "openai",
    model: "gpt-4.1-mini",
    systemPrompt:
      "You are the assistant of a small shop. Answer briefly. Use the tools for orders and refunds, at once and " +
      "without asking back. If a tool call was rejected, say so and do not call it again.",
    tools: [findOrder, refund],
    middleware: [
      humanInTheLoopMiddleware({ interruptOn: { refund: { allowedDecisions: ["approve", "reject"] } } }),
    ],
    // Without this, each provider's client takes its key from the environment.
    resolveCredentials: ({ provider }) => providers.credentials(provider as ProviderName),
    // Small, so that the demo can show an eviction. The default is 100.
    maxAgents: 3,
  });
}

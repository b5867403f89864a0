import { randomUUID } from "node:crypto";
import { ChatService } from "agent-sessions";
import { getOrCreate } from "agent-sessions/next";
import { humanInTheLoopMiddleware, tool, type ToolRuntime } from "langchain";
import { z } from "zod";
import { standIn } from "./stand-in";

/** What each run is told by the server and no model or client decides: who is asking. A type: no interface will do. */
export type Asker = { readonly userId: string };

type Runtime = ToolRuntime<unknown, Asker>;

/** Stands for a database. */
const ORDERS: Readonly<Record<string, string>> = {
  ada: "order 1001, a telescope, arrives on Friday",
  ben: "order 2002, a kettle, was left with the neighbour",
};

const findOrder = tool((_input, { context }: Runtime) => ORDERS[context.userId] ?? "no order", {
  name: "find_order",
  description: "Finds the order of the user who is asking.",
  schema: z.object({}),
});

const refund = tool(({ euros }) => `${String(euros)} euros are on their way back`, {
  name: "refund",
  description: "Pays money back to the user who is asking.",
  schema: z.object({ euros: z.number() }),
});

/** Which copy of this module this is: Next gives routes bundles of their own. The status route shows it. */
export const moduleId = randomUUID();

export interface Shared {
  readonly chat: ChatService<object, Asker>;
  /** The copy of this module that made it. */
  readonly madeBy: string;
}

/** The one service of this process, whichever route asks first. */
export function shared(): Promise<Shared> {
  return getOrCreate("chat", async () => ({ chat: await createChat(), madeBy: moduleId }));
}

function createChat(): Promise<ChatService<object, Asker>> {
  return ChatService.create<Asker>({
    // A real model if there is a key (OPENAI_BASE_URL may name any server of that kind), else one that pretends.
    ...(process.env["OPENAI_API_KEY"]
      ? { provider: "openai", model: process.env["OPENAI_MODEL"] ?? "gpt-4.1-mini" }
      : { model: standIn() }),
    systemPrompt: "You are the assistant of a small shop. Answer briefly, and use the tools at once.",
    tools: [findOrder, refund],
    // The run stops before a refund, and goes on when the user has said yes or no.
    middleware: [
      humanInTheLoopMiddleware({ interruptOn: { refund: { allowedDecisions: ["approve", "reject"] } } }),
    ],
  });
}

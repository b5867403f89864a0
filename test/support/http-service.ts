import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { humanInTheLoopMiddleware, tool, type AgentMiddleware } from "langchain";
import { onTestFinished } from "vitest";
import { z } from "zod";
import { ChatService } from "../../src/index.js";
import { createHttpHandler, type HttpHandler, type HttpHandlerOptions } from "../../src/http/index.js";
import { toExpress } from "../../src/express.js";
import { ScriptedChatModel, type Script } from "../../src/testing/index.js";

export interface TestUser {
  readonly userId: string;
  readonly admin: boolean;
}

/** A host's own way to know its users: `authorization: Bearer <name>`; "root" is an admin. */
export function authenticate(request: Request): TestUser | null {
  const name = /^Bearer (.+)$/.exec(request.headers.get("authorization") ?? "")?.[1];
  return name === undefined ? null : { userId: name, admin: name === "root" };
}

export function bearer(user: string): { authorization: string } {
  return { authorization: `Bearer ${user}` };
}

export const removeFile = tool(({ path }: { path: string }) => `removed ${path}`, {
  name: "remove",
  description: "removes a file",
  schema: z.object({ path: z.string() }),
});

export const add = tool(({ a, b }: { a: number; b: number }) => String(a + b), {
  name: "add",
  description: "adds",
  schema: z.object({ a: z.number(), b: z.number() }),
});

export type TestOptions = Partial<HttpHandlerOptions<TestUser>>;

export async function service(script: Script): Promise<ChatService> {
  const chat = await ChatService.create({
    model: new ScriptedChatModel(script),
    tools: [add, removeFile],
    middleware: [humanInTheLoopMiddleware({ interruptOn: { remove: true } }) as AgentMiddleware],
  });
  onTestFinished(() => chat.close({ drainMs: 0 }));
  return chat;
}

/** A handler over a service whose model plays a script. */
export async function handlerFor(
  script: Script,
  options: TestOptions = {},
): Promise<{ chat: ChatService; handler: HttpHandler }> {
  const chat = await service(script);
  const handler = createHttpHandler<object, unknown, TestUser>(chat, {
    authenticate,
    isAdmin: ({ admin }) => admin,
    heartbeatMs: 0,
    ...options,
  });
  return { chat, handler };
}

/** How many may knock before one is let in: clients of the same process all do so before the server's first turn. */
export const BACKLOG = 4_096;

/** Listens on a free port until the test is over; gives the origin. */
export async function listen(listener: RequestListener): Promise<string> {
  const server: Server = createServer(listener);
  await new Promise<void>((resolve) =>
    server.listen({ port: 0, host: "127.0.0.1", backlog: BACKLOG }, resolve),
  );
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
}

/** The base URL of a handler served by plain `node:http`. */
export async function serve(handler: HttpHandler): Promise<string> {
  const middleware = toExpress(handler);
  const origin = await listen((req, res) => void middleware(req, res));
  return origin + handler.basePath;
}

/** Posts JSON as a user, or as nobody. */
export async function post(url: string, body: unknown, user?: string): Promise<Response> {
  return fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...(user === undefined ? {} : bearer(user)) },
    body: JSON.stringify(body),
  });
}

/** The payloads of a stream's `data:` lines; `[DONE]` is left out. */
export function payloads(text: string): Record<string, unknown>[] {
  return text
    .split("\n\n")
    .flatMap((frame) => frame.split("\n").filter((line) => line.startsWith("data: ")))
    .map((line) => line.slice("data: ".length))
    .filter((data) => data !== "[DONE]")
    .map((data) => JSON.parse(data) as Record<string, unknown>);
}

/** Resolves when `check` is true; fails the test by its time limit otherwise. */
export async function until(check: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await check())) await new Promise((resolve) => setTimeout(resolve, 5));
}

export interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}

export function gate(): Gate {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import fastify from "fastify";
import { Hono } from "hono";
import Koa from "koa";
import { describe, expect, onTestFinished, test } from "vitest";
import { nodeRequestOf, toExpress } from "../../src/express.js";
import type { HttpHandler } from "../../src/http/index.js";
import { bearer, gate, handlerFor, payloads, post, until, type TestUser } from "../support/http-service.js";

/** Serves a handler as docs/http.md shows it for a host, beside a route of the host's own: `GET /other`. */
type Mount = (handler: HttpHandler) => Promise<Server>;

const hosts: Record<string, Mount> = {
  "node:http": (handler) => {
    const serve = toExpress(handler);
    return Promise.resolve(
      createServer((request, response) => {
        void serve(request, response, () => response.end("theirs"));
      }),
    );
  },

  Fastify: async (handler) => {
    const app = fastify();
    const serve = toExpress(handler);
    await app.register((routes, _options, done) => {
      routes.removeAllContentTypeParsers();
      routes.addContentTypeParser("*", (_request, _payload, parsed) => {
        parsed(null);
      });
      routes.all(`${handler.basePath}/*`, async (request, reply) => {
        reply.hijack();
        await serve(request.raw, reply.raw);
      });
      done();
    });
    app.get("/other", () => "theirs");
    await app.ready();
    return app.server;
  },

  Koa: (handler) => {
    const app = new Koa();
    const serve = toExpress(handler);
    app.use(async (context, next) => {
      if (!context.path.startsWith(`${handler.basePath}/`)) {
        await next();
        return;
      }
      context.respond = false;
      await serve(context.req, context.res);
    });
    app.use((context) => {
      context.body = "theirs";
    });
    const listener = app.callback();
    return Promise.resolve(createServer((request, response) => void listener(request, response)));
  },

  Hono: (handler) => {
    const app = new Hono();
    app.all(`${handler.basePath}/*`, (context) => handler(context.req.raw));
    app.get("/other", (context) => context.text("theirs"));
    // Its server is one of HTTP 1 unless told otherwise.
    return Promise.resolve(createAdaptorServer({ fetch: app.fetch }) as Server);
  },
};

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
}

function textOf(body: string): string {
  return payloads(body)
    .map(({ delta }) => (typeof delta === "string" ? delta : ""))
    .join("");
}

const session = { sessionId: "s1", userId: "ann" };

describe.each(Object.entries(hosts))("%s", (_name, mount) => {
  test("chats, follows, stops and deletes; other paths are the host's", async () => {
    const hold = gate();
    const { handler } = await handlerFor(async (_messages, { index }) => {
      if (index === 1) await hold.opened;
      return { text: ["He", "llo"] };
    });
    const origin = await listen(await mount(handler));
    const url = `${origin}/agent_backend`;
    const said = await post(`${url}/chat`, { session_id: "s1", message: "你好" }, "ann");
    expect(said.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(said.headers.get("cache-control")).toContain("no-transform");
    expect(textOf(await said.text())).toBe("Hello");

    const waiting = await post(`${url}/chat?format=events`, { session_id: "s1", message: "Hi" }, "ann");
    const followed = await fetch(`${url}/chat/s1/stream?format=events`, { headers: bearer("ann") });
    expect(followed.status).toBe(200);
    const stopped = await fetch(`${url}/chat/s1/stop`, { method: "POST", headers: bearer("ann") });
    expect(await stopped.json()).toMatchObject({ status: "cancelled" });
    hold.open();
    for (const stream of [waiting, followed])
      expect(payloads(await stream.text()).at(-1)).toMatchObject({
        type: "run-finished",
        outcome: "cancelled",
      });

    const messages = await fetch(`${url}/chat/s1/messages`, { headers: bearer("ann") });
    expect(await messages.json()).toMatchObject({ messages: [{ content: "你好" }, {}, {}] });
    const removed = await fetch(`${url}/sessions/s1`, { method: "DELETE", headers: bearer("ann") });
    expect(await removed.json()).toEqual({ deleted: true });
    expect((await post(`${url}/chat`, { session_id: "s1", message: "Hi" })).status).toBe(401);
    expect((await fetch(`${url}/nothing`)).status).toBe(404);
    expect(await (await fetch(`${origin}/other`)).text()).toBe("theirs");
  });

  test("JSON sent as plain text, and a body that is too large", async () => {
    const { handler } = await handlerFor(["Hello"]);
    const url = `${await listen(await mount(handler))}/agent_backend/chat`;
    const send = (message: string): Promise<Response> =>
      fetch(url, {
        method: "POST",
        headers: bearer("ann"),
        body: JSON.stringify({ session_id: "s1", message, stream: false }),
      });
    expect(await (await send("Hi")).json()).toMatchObject({ text: "Hello" });
    expect((await send("x".repeat(300_000))).status).toBe(413);
  });

  test("each piece arrives as it comes; a client that leaves detaches, and leaves nothing behind", async () => {
    const hold = gate();
    const { chat, handler } = await handlerFor(async (_messages, { index }) => {
      if (index === 0) return { text: ["first"], toolCalls: [{ name: "add", args: { a: 1, b: 2 } }] };
      await hold.opened;
      return "second";
    });
    let aborted = 0;
    const watched: HttpHandler = Object.assign(
      (...[request, call]: Parameters<HttpHandler>) => {
        request.signal.addEventListener("abort", () => (aborted += 1));
        return handler(request, call);
      },
      { basePath: handler.basePath },
    );
    const server = await mount(watched);
    let socket: IncomingMessage["socket"] | undefined;
    server.once("request", (request: IncomingMessage) => (socket = request.socket));
    const url = `${await listen(server)}/agent_backend/chat`;
    const leave = new AbortController();
    const answer = await fetch(url, {
      method: "POST",
      headers: { ...bearer("ann"), "content-type": "application/json" },
      body: JSON.stringify({ session_id: "s1", message: "Hi" }),
      signal: leave.signal,
    });
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (!text.includes("first")) text += (await reader.read()).value ?? "";
    expect(text).not.toContain("second");
    leave.abort();
    await until(() => aborted === 1);
    await until(() => socket?.destroyed === true);
    expect((await chat.getRun(session))?.status).toBe("running");
    hold.open();
    await until(async () => (await chat.getRun(session))?.status === "completed");

    const again = await fetch(`${url}/s1/stream`, { headers: bearer("ann") });
    expect(textOf(await again.text())).toContain("second");
  });

  test("many requests over one connection leave no listener on it or on the server", async () => {
    const { handler } = await handlerFor(() => "Hello");
    const server = await mount(handler);
    const listeners = (): number =>
      server.eventNames().reduce((sum, name) => sum + server.listenerCount(name), 0);
    const sockets = new Set<IncomingMessage["socket"]>();
    server.on("connection", (socket) => sockets.add(socket));
    const url = `${await listen(server)}/agent_backend`;
    const say = async (): Promise<void> => {
      const answer = await post(`${url}/chat`, { session_id: "s1", message: "Hi" }, "ann");
      expect(textOf(await answer.text())).toBe("Hello");
    };
    const onSockets = (): number[] =>
      [...sockets]
        .filter((socket) => !socket.destroyed)
        .map((socket) => socket.eventNames().reduce((sum, name) => sum + socket.listenerCount(name), 0));
    for (let turn = 0; turn < 3; turn += 1) await say();
    const [server1, sockets1] = [listeners(), Math.max(...onSockets())];
    for (let turn = 0; turn < 12; turn += 1) await say();
    expect(listeners()).toBe(server1);
    expect(Math.max(...onSockets())).toBeLessThanOrEqual(sockets1);
  });
});

describe("what the host knows of a user", () => {
  interface Known extends IncomingMessage {
    user?: TestUser;
  }
  const options = { authenticate: (request: Request) => nodeRequestOf<Known>(request)?.user ?? null };

  test("goes from Fastify to authenticate on the raw request", async () => {
    const { handler } = await handlerFor(["Hello"], options);
    const app = fastify();
    const serve = toExpress(handler);
    app.addHook("onRequest", (request, _reply, done) => {
      Object.assign(request.raw, { user: { userId: "ann", admin: false } });
      done();
    });
    // After Fastify's own parsers the body is handed on by the same way.
    app.all("/agent_backend/*", async (request, reply) => {
      Object.assign(request.raw, { body: request.body });
      reply.hijack();
      await serve(request.raw, reply.raw);
    });
    await app.ready();
    const url = `${await listen(app.server)}/agent_backend`;
    const answer = await post(`${url}/chat`, { session_id: "s1", message: "Hi" });
    expect(textOf(await answer.text())).toBe("Hello");
  });

  test("goes from Koa likewise, with a body that a parser has read", async () => {
    const { handler } = await handlerFor(["Hello"], options);
    const app = new Koa();
    const serve = toExpress(handler);
    app.use(async (context, next) => {
      const parts: Uint8Array[] = [];
      for await (const part of context.req) parts.push(part as Uint8Array);
      Object.assign(context.request, { body: JSON.parse(Buffer.concat(parts).toString()) as unknown });
      await next();
    });
    app.use(async (context) => {
      const { body } = context.request as { body?: unknown };
      Object.assign(context.req, { body, user: { userId: "ann", admin: false } });
      context.respond = false;
      await serve(context.req, context.res);
    });
    const listener = app.callback();
    const server = createServer((request, response) => void listener(request, response));
    const url = `${await listen(server)}/agent_backend`;
    const answer = await post(`${url}/chat`, { session_id: "s1", message: "Hi" });
    expect(textOf(await answer.text())).toBe("Hello");
  });
});

test("shutting down as docs/deploying.md has it: answers come to their end, new ones are told to come later", async () => {
  const hold = gate();
  const { chat, handler } = await handlerFor(async () => {
    await hold.opened;
    return { text: ["first ", "last"] };
  });
  const server = await hosts["node:http"]!(handler);
  const origin = await listen(server);
  const url = `${origin}/agent_backend`;
  const answer = await post(`${url}/chat`, { session_id: "s1", message: "Hi" }, "ann");
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  await until(async () => (await chat.getRun(session))?.status === "running");

  const closed = chat.close({ drainMs: 20_000 });
  const health = await fetch(`${url}/agent-health`);
  expect([health.status, await health.json()]).toEqual([503, { status: "draining", ready: false }]);
  const refused = await post(`${url}/chat`, { session_id: "s2", message: "Hi" }, "ann");
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "1"]);
  hold.open();
  await closed;
  // The run has ended; its reader has not read yet.
  const ended = new Promise((resolve) => server.close(resolve));
  server.closeIdleConnections();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
  expect(textOf(text)).toBe("first last");
  expect(text).toContain("[DONE]");
  server.closeAllConnections();
  await ended;
  await expect(fetch(`${url}/agent-health`)).rejects.toThrow();
});

import type { ServerResponse } from "node:http";
import { connect } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import compression from "compression";
import express5 from "express";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { nodeRequestOf, toExpress, type NodeRequest } from "../../src/express.js";
import { createHttpHandler } from "../../src/http/index.js";
import { getOrCreate, toNextHandlers } from "../../src/next.js";
import { agents, customChat } from "../support/chat.js";
import { express4 } from "../support/http-hosts.js";
import {
  authenticate,
  bearer,
  gate,
  handlerFor,
  listen,
  payloads,
  post,
  serve,
  until,
  type TestUser,
} from "../support/http-service.js";

async function say(url: string): Promise<string> {
  const answer = await post(`${url}/chat`, { session_id: "s1", message: "Hi" }, "ann");
  expect(answer.status).toBe(200);
  return payloads(await answer.text())
    .map(({ delta }) => (typeof delta === "string" ? delta : ""))
    .join("");
}

describe.each([
  ["Express 4", express4],
  ["Express 5", express5],
])("%s", (_name, express) => {
  test("before body parsers, at the root; other paths go on", async () => {
    const { handler } = await handlerFor([{ text: ["He", "llo"] }]);
    const app = express();
    app.use(toExpress(handler));
    app.use(express.json());
    app.get("/other", (_req, res) => void res.send("theirs"));
    const origin = await listen(app);
    expect(await say(`${origin}/agent_backend`)).toBe("Hello");
    expect(await (await fetch(`${origin}/other`)).text()).toBe("theirs");
    expect((await fetch(`${origin}/agent_backend/nothing`)).status).toBe(404);
  });

  test("after body parsers, JSON and text, also without a body", async () => {
    const { handler } = await handlerFor(["Hello", "Again"]);
    const app = express();
    app.use(express.json(), express.urlencoded({ extended: false }), express.text());
    app.use(toExpress(handler));
    const url = `${await listen(app)}/agent_backend`;
    expect(await say(url)).toBe("Hello");
    const plain = await fetch(`${url}/chat`, {
      method: "POST",
      headers: bearer("ann"),
      body: JSON.stringify({ session_id: "s1", message: "x", stream: false }),
    });
    expect(await plain.json()).toMatchObject({ text: "Again" });
    const stopped = await fetch(`${url}/chat/s1/stop`, { method: "POST", headers: bearer("ann") });
    expect(stopped.status).toBe(200);
    expect((await fetch(`${url}/sessions/s1`, { method: "DELETE", headers: bearer("ann") })).status).toBe(
      200,
    );
  });

  test("under a router's prefix, with the base path as the whole path or the rest", async () => {
    const whole = await handlerFor(["Hello"], { basePath: "/api/agents" });
    const rest = await handlerFor(["Hello"]);
    const app = express();
    const router = express.Router();
    router.use(toExpress(whole.handler), toExpress(rest.handler));
    app.use("/api", router);
    const origin = await listen(app);
    expect(await say(`${origin}/api/agents`)).toBe("Hello");
    expect(await say(`${origin}/api/agent_backend`)).toBe("Hello");
  });

  test("with compression() each piece arrives as it comes", async () => {
    const hold = gate();
    const { handler } = await handlerFor(async (_messages, { index }) => {
      if (index === 0) return { text: ["first"], toolCalls: [{ name: "add", args: { a: 1, b: 2 } }] };
      await hold.opened;
      return "second";
    });
    const app = express();
    app.use(compression());
    app.use(toExpress(handler));
    const url = `${await listen(app)}/agent_backend`;
    const answer = await fetch(`${url}/chat`, {
      method: "POST",
      headers: { ...bearer("ann"), "content-type": "application/json", "accept-encoding": "gzip" },
      body: JSON.stringify({ session_id: "s1", message: "Hi" }),
    });
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (!text.includes("first")) text += (await reader.read()).value ?? "";
    expect(text).not.toContain("second");
    hold.open();
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
    expect(text).toContain("second");
  });

  test("authenticate can use what the host's middleware left on the request", async () => {
    const { handler } = await handlerFor(["Hello"], {
      authenticate: (request) => nodeRequestOf<NodeRequest & { user?: TestUser }>(request)?.user ?? null,
    });
    const app = express();
    app.use((req, _res, next) => {
      if (req.headers.authorization !== undefined)
        Object.assign(req, { user: { userId: "ann", admin: false } });
      next();
    });
    app.use(toExpress(handler));
    const url = `${await listen(app)}/agent_backend`;
    expect(await say(url)).toBe("Hello");
    expect((await post(`${url}/chat`, { session_id: "s1", message: "Hi" })).status).toBe(401);
  });
});

describe("node:http", () => {
  test.each(["before", "after"])(
    "%s a body parser, authenticate may read a copy of the body",
    async (where) => {
      const { handler } = await handlerFor(["Hello"], {
        authenticate: async (request) =>
          (await request.clone().text()).includes("Hi") ? { userId: "ann", admin: false } : null,
      });
      const app = express5();
      if (where === "after") app.use(express5.json());
      app.use(toExpress(handler));
      const url = `${await listen(app)}/agent_backend`;
      expect(await say(url)).toBe("Hello");
      expect((await post(`${url}/chat`, { session_id: "s1", message: "Hey" }, "ann")).status).toBe(401);
    },
  );

  test("a body that authenticate used up is the host's mistake, one that the routes have read is gone", async () => {
    const errors: unknown[] = [];
    const { handler } = await handlerFor(["Hello"], {
      authenticate: async (request) => {
        if (request.headers.get("x-greedy") !== null) await request.json();
        return { userId: "ann", admin: false };
      },
      context: async (request) => {
        expect(request.bodyUsed).toBe(true);
        await expect(request.text()).rejects.toThrow("Body is unusable");
      },
      onError: (error) => errors.push(error),
    });
    const url = await serve(handler);
    const ask = async (headers: Record<string, string>): Promise<number> => {
      const answer = await fetch(`${url}/chat`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify({ session_id: "s1", message: "Hi", stream: false }),
      });
      return answer.status;
    };
    expect(await ask({})).toBe(200);
    expect(await ask({ "x-greedy": "yes" })).toBe(500);
    expect(String(errors)).toContain("has been read before");
  });

  test("a handler around ours goes by way of Request and Response", async () => {
    const { handler } = await handlerFor(["Hello"]);
    const seen: string[] = [];
    const around = Object.assign(
      async (request: Request) => {
        const response = await handler(request);
        seen.push(response.headers.get("content-type") ?? "");
        return response;
      },
      { basePath: handler.basePath },
    );
    const app = express5();
    app.use(toExpress(around));
    expect(await say(`${await listen(app)}/agent_backend`)).toBe("Hello");
    expect(seen).toEqual(["text/event-stream; charset=utf-8"]);
  });

  test("the signal of a request that has gone is aborted, and its half-sent body harms nobody", async () => {
    let signal: AbortSignal | undefined;
    const { handler } = await handlerFor(["Hello"], {
      authenticate: (request) => {
        signal = request.signal;
        return { userId: "ann", admin: false };
      },
    });
    const url = await serve(handler);
    const { port, pathname } = new URL(url);
    const socket = connect(Number(port), "127.0.0.1");
    socket.write(
      `POST ${pathname}/chat HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"se`,
    );
    await until(() => signal !== undefined);
    expect(signal?.aborted).toBe(false);
    socket.destroy();
    await until(() => signal?.aborted === true);
    expect(await say(url)).toBe("Hello");
  });

  test("a client that disconnects detaches: the run goes on, and nothing is left reading it", async () => {
    const hold = gate();
    const { chat, handler } = await handlerFor(async () => {
      await hold.opened;
      return "done";
    });
    const follow = vi.spyOn(chat.manager.store.events, "watch");
    const url = await serve(handler);
    const leave = new AbortController();
    const answer = await fetch(`${url}/chat`, {
      method: "POST",
      headers: { ...bearer("ann"), "content-type": "application/json" },
      body: JSON.stringify({ session_id: "s1", message: "Hi" }),
      signal: leave.signal,
    });
    const stops = follow.mock.results.map(({ value }) => value as () => void);
    expect(answer.status).toBe(200);
    const session = { sessionId: "s1", userId: "ann" };
    await until(async () => (await chat.getRun(session))?.status === "running");
    leave.abort();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect((await chat.getRun(session))?.status).toBe("running");
    hold.open();
    await until(async () => (await chat.getRun(session))?.status === "completed");
    expect(stops.length).toBeLessThanOrEqual(1);
  });

  test("a slow reader holds back its own reading, not the run", async () => {
    const words = Array.from({ length: 4_000 }, (_, index) => `${String(index)} ${"x".repeat(200)}`);
    const { chat, handler } = await handlerFor([{ text: words }]);
    const url = await serve(handler);
    const { port, pathname } = new URL(url);
    const body = JSON.stringify({ session_id: "s1", message: "Hi" });
    const socket = connect(Number(port), "127.0.0.1");
    socket.pause();
    socket.write(
      `POST ${pathname}/chat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ann\r\ncontent-type: application/json\r\ncontent-length: ${String(body.length)}\r\nconnection: close\r\n\r\n${body}`,
    );
    await until(async () => (await chat.getRun({ sessionId: "s1", userId: "ann" }))?.status === "completed");
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (part: string) => (text += part));
    socket.resume();
    await new Promise((resolve) => socket.on("close", resolve));
    expect(text).toContain("3999 xxx");
    expect(text).toContain("[DONE]");
  });

  test("a reader at 1 KB/s: its run ends on time, its buffers stay small, and nobody else feels it", async () => {
    const words = Array.from({ length: 2_000 }, (_, index) => `${String(index)} ${"x".repeat(4_000)}`);
    const { chat } = customChat(
      agents(async function* () {
        yield { type: "text-start", id: "1" };
        for (const delta of words) {
          yield { type: "text-delta", id: "1", delta };
          await turn();
        }
        yield { type: "text-end", id: "1" };
      }),
    );
    const handler = createHttpHandler(chat, { authenticate, heartbeatMs: 0 });
    const serving = toExpress(handler);
    const answers: ServerResponse[] = [];
    const origin = await listen((req, res) => {
      answers.push(res);
      void serving(req, res);
    });
    const body = JSON.stringify({ session_id: "slow", message: "Hi" });
    const socket = connect(Number(new URL(origin).port), "127.0.0.1");
    socket.pause();
    socket.write(
      `POST /agent_backend/chat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ann\r\ncontent-type: application/json\r\ncontent-length: ${String(body.length)}\r\n\r\n${body}`,
    );
    const read: Buffer[] = [];
    let buffered = 0;
    const pace = setInterval(() => {
      const piece = socket.read(100) as Buffer | null;
      if (piece !== null) read.push(piece);
      buffered = Math.max(buffered, answers[0]?.writableLength ?? 0);
    }, 100);
    onTestFinished(() => {
      clearInterval(pace);
      socket.destroy();
    });
    const slow = { sessionId: "slow", userId: "ann" };
    await until(async () => (await chat.getRun(slow))?.status === "completed" && read.length >= 20);
    // Nearly all of it is still to be read, and others get theirs whole.
    expect(await say(`${origin}/agent_backend`)).toBe(words.join(""));
    expect(read.length).toBeLessThan(1_000);
    expect(Buffer.concat(read).toString()).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answers[0]?.writableEnded).toBe(false);
    expect(buffered).toBeGreaterThan(0);
    expect(buffered).toBeLessThan(1_000_000);
  });

  test.each([
    "CONNECT / HTTP/1.1\r\nhost: x",
    "GET /agent_backend/sessions HTTP/1.1\r\nhost: a b",
    "TRACE /agent_backend/chat HTTP/1.1\r\nhost: x",
  ])("%j is refused and the server lives on", async (head) => {
    const { handler } = await handlerFor([]);
    const url = await serve(handler);
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    let text = "";
    socket.on("data", (part) => (text += part.toString()));
    socket.write(`${head}\r\nconnection: close\r\n\r\n`);
    await new Promise((resolve) => socket.on("close", resolve));
    expect(text).not.toMatch(/^HTTP\/1\.1 5/);
    expect((await fetch(`${url}/agent-health`)).status).toBe(200);
  });
});

describe("Next.js", () => {
  test("route handlers serve the same, and tell of runs that outlive the answer", async () => {
    const { handler } = await handlerFor(["Hello"]);
    const waiting: Promise<unknown>[] = [];
    const make = vi.fn(() => handler);
    const { POST, GET } = toNextHandlers(make, { waitUntil: (promise) => void waiting.push(promise) });
    expect(make).not.toHaveBeenCalled();
    const answer = await POST(
      new Request("http://x/agent_backend/chat", {
        method: "POST",
        headers: { ...bearer("ann"), "content-type": "application/json" },
        body: JSON.stringify({ session_id: "s1", message: "Hi" }),
      }),
    );
    expect(await answer.text()).toContain("Hello");
    expect(waiting).toHaveLength(1);
    await Promise.all(waiting);
    const listed = await GET(new Request("http://x/agent_backend/sessions", { headers: bearer("ann") }));
    expect(await listed.json()).toMatchObject({ sessions: [{ session_id: "s1" }] });
    expect(make).toHaveBeenCalledTimes(1);
  });

  test("what is made under a key is made once per process, however often its module is loaded", async () => {
    const key = crypto.randomUUID();
    const create = vi.fn(() => Promise.resolve({}));
    const first = await getOrCreate(key, create);
    vi.resetModules();
    const again = await import("../../src/next.js");
    expect(again.getOrCreate).not.toBe(getOrCreate);
    expect(await again.getOrCreate(key, create)).toBe(first);
    expect(create).toHaveBeenCalledTimes(1);
  });

  test("a creation that failed is tried again", async () => {
    const key = crypto.randomUUID();
    await expect(getOrCreate(key, () => Promise.reject(new Error("no key")))).rejects.toThrow("no key");
    expect(await getOrCreate(key, () => Promise.resolve("made"))).toBe("made");
  });
});

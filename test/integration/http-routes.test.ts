import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, test } from "vitest";
import { createHttpHandler, openApiDocument, type HttpHandler } from "../../src/http/index.js";
import { routes } from "../../src/http/routes.js";
import { ScriptedChatModel } from "../../src/testing/index.js";
import { ChatService } from "../../src/index.js";
import { authenticate, bearer, gate, handlerFor, payloads, service, until } from "../support/http-service.js";

const BASE = "http://host.test/agent_backend";

interface Ask {
  readonly user?: string | undefined;
  readonly method?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

function ask(
  handler: HttpHandler,
  path: string,
  { user, method, body, headers }: Ask = {},
): Promise<Response> {
  return handler(
    new Request(BASE + path, {
      method: method ?? (body === undefined ? "GET" : "POST"),
      headers: {
        ...(user === undefined ? {} : bearer(user)),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    }),
  );
}

function say(handler: HttpHandler, user: string, sessionId: string, more: object = {}): Promise<Response> {
  return ask(handler, "/chat", {
    user,
    body: { session_id: sessionId, message: "Hi", stream: false, ...more },
  });
}

async function codeOf(answer: Response): Promise<string> {
  return ((await answer.json()) as { error: { code: string } }).error.code;
}

const removes = { toolCalls: [{ name: "remove", args: { path: "/x" }, id: "call-1" }] };

const document = openApiDocument("/agent_backend") as {
  paths: Record<string, Record<string, { responses: Record<string, unknown> }>>;
};
const ajv = new Ajv2020({ strict: false, validateFormats: false });
ajv.addSchema(document, "openapi");

/** Checks an answer against what the document says of it, and gives its body. */
async function documented(answer: Response, method: string, path: string): Promise<unknown> {
  const body: unknown = await answer.clone().json();
  const { responses } = document.paths[path]![method]!;
  const status = String(answer.status) in responses ? String(answer.status) : "default";
  const pointer = [path, method, "responses", status, "content", "application/json", "schema"]
    .map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1")))
    .join("/");
  const validate = ajv.getSchema(`openapi#/paths/${pointer}`);
  if (validate === undefined) throw new Error(`No schema for ${method} ${path} ${status}`);
  expect(validate(body), JSON.stringify({ body, errors: validate.errors })).toBe(true);
  return body;
}

describe("construction fails closed", () => {
  test("without authenticate, with an unknown option, with a wrong one", async () => {
    const chat = await service([]);
    expect(() => createHttpHandler(chat, {})).toThrow(/`authenticate`/);
    expect(() => createHttpHandler(chat, { anonymous: true })).not.toThrow();
    expect(() => createHttpHandler(chat, { authenticate, isAdmn: () => true } as never)).toThrow(/isAdmn/);
    expect(() => createHttpHandler(chat, { authenticate, maxBodyBytes: 0 })).toThrow(RangeError);
    expect(() => createHttpHandler(chat, { authenticate, basePath: "agents" })).toThrow(/basePath/);
    expect(() => createHttpHandler(chat, { authenticate, cors: { origins: ["app.test"] } })).toThrow(
      /origin/,
    );
    expect(() => createHttpHandler({} as never, { authenticate })).toThrow(/ChatService/);
  });
});

describe("who may do what", () => {
  /** [method, path, body, then for: nobody, another user, the owner, an admin] */
  const matrix: [string, string, object | undefined, number, number, number, number][] = [
    ["POST", "/chat", { session_id: "new", message: "Hi", stream: false }, 401, 200, 200, 200],
    ["GET", "/chat/s1/stream", undefined, 401, 204, 200, 204],
    ["GET", "/chat/s1/stream?format=events", undefined, 401, 404, 200, 404],
    ["GET", "/chat/s1/messages", undefined, 401, 404, 200, 404],
    ["POST", "/chat/s1/resume", { answers: { x: 1 } }, 401, 404, 409, 404],
    ["POST", "/chat/s1/stop", {}, 401, 404, 200, 404],
    ["GET", "/sessions", undefined, 401, 200, 200, 200],
    [
      "POST",
      "/ag-ui",
      { threadId: "new2", runId: "r", messages: [{ id: "m", role: "user", content: "Hi" }] },
      401,
      200,
      200,
      200,
    ],
    ["GET", "/agent-stats", undefined, 401, 403, 403, 200],
    ["GET", "/agent-sessions", undefined, 401, 403, 403, 200],
    ["DELETE", "/agent-sessions/s1", undefined, 401, 403, 403, 200],
    ["GET", "/agent-health", undefined, 200, 200, 200, 200],
    ["POST", "/agent-cleanup", {}, 401, 403, 403, 200],
    ["GET", "/openapi.json", undefined, 200, 200, 200, 200],
    ["DELETE", "/sessions/s1", undefined, 401, 404, 200, 404],
  ];

  test("covers every route", () => {
    const covered = new Set(
      matrix.map(([method, path]) => `${method} ${path.replace("s1", ":id").split("?")[0]!}`),
    );
    expect([...covered].sort()).toEqual(routes.map(({ method, path }) => `${method} ${path}`).sort());
  });

  test.each(matrix)("%s %s", async (method, path, body, ...expected) => {
    const { handler } = await handlerFor(() => "Hello");
    await (await say(handler, "ann", "s1")).json();
    for (const [index, user] of [undefined, "bob", "ann", "root"].entries()) {
      const answer = await ask(handler, path, { user, method, ...(body === undefined ? {} : { body }) });
      expect([user, answer.status]).toEqual([user, expected[index]]);
      await answer.text();
    }
  });

  test("a stop that comes too late tells how the run ended, also when it writes out what it leaves out", async () => {
    const { handler } = await handlerFor(() => "Hello");
    await (await say(handler, "ann", "s1")).json();
    for (const body of [{}, { run_id: null }]) {
      const answer = await ask(handler, "/chat/s1/stop", { user: "ann", method: "POST", body });
      expect([answer.status, await answer.json()]).toEqual([
        200,
        { run_id: expect.any(String) as string, status: "completed" },
      ]);
    }
  });

  test("another user's session looks the same as one that does not exist", async () => {
    const { handler } = await handlerFor(() => "Hello");
    await (await say(handler, "ann", "s1")).json();
    for (const [method, path, body] of matrix.filter(([, path]) => path.includes("s1"))) {
      const extra = body === undefined ? {} : { body };
      const theirs = await ask(handler, path, { user: "bob", method, ...extra });
      const none = await ask(handler, path.replace("s1", "s2"), { user: "bob", method, ...extra });
      expect([theirs.status, await theirs.text(), [...theirs.headers]]).toEqual([
        none.status,
        await none.text(),
        [...none.headers],
      ]);
    }
  });

  test("the list holds the caller's own sessions alone", async () => {
    const { handler } = await handlerFor(() => "Hello");
    for (const user of ["ann", "bob"]) await (await say(handler, user, `of-${user}`)).json();
    const list = (await (await ask(handler, "/sessions", { user: "ann" })).json()) as {
      sessions: { session_id: string }[];
    };
    expect(list.sessions.map(({ session_id }) => session_id)).toEqual(["of-ann"]);
  });

  test("an admin must name the user where several have such a session", async () => {
    const { handler } = await handlerFor(() => "Hello");
    for (const user of ["ann", "bob"]) await (await say(handler, user, "s1")).json();
    const unnamed = await ask(handler, "/agent-sessions/s1", { user: "root", method: "DELETE" });
    expect([unnamed.status, await codeOf(unnamed)]).toEqual([409, "SESSION_AMBIGUOUS"]);
    const named = await ask(handler, "/agent-sessions/s1?user_id=bob", { user: "root", method: "DELETE" });
    expect(await named.json()).toEqual({ removed: true });
    const history = await ask(handler, "/chat/s1/messages", { user: "bob" });
    expect(await history.json()).toMatchObject({ messages: [{ content: "Hi" }, { content: "Hello" }] });
  });

  test("an `isAdmin` that gives anything but true opens nothing; one that throws neither", async () => {
    for (const isAdmin of [() => "yes" as never, () => Promise.reject(new Error("db"))]) {
      const { handler } = await handlerFor([], { isAdmin });
      expect((await ask(handler, "/agent-stats", { user: "ann" })).status).toBeGreaterThanOrEqual(400);
    }
  });

  test("a host whose `authenticate` throws or names no user is told, and lets nobody in", async () => {
    for (const broken of [() => Promise.reject(new Error("db at 10.0.0.1")), () => ({}) as never]) {
      const errors: unknown[] = [];
      const { handler } = await handlerFor([], {
        authenticate: broken,
        anonymous: true,
        onError: (error) => void errors.push(error),
      });
      const answer = await ask(handler, "/sessions");
      expect([answer.status, await codeOf(answer)]).toEqual([500, "INTERNAL"]);
      expect(errors).toHaveLength(1);
    }
  });

  test("anonymous callers need unguessable sessions and have no list", async () => {
    const { handler } = await handlerFor(() => "Hello", { authenticate: undefined, anonymous: true });
    const start = (session_id: string): Promise<Response> =>
      ask(handler, "/chat", { body: { session_id, message: "Hi", stream: false } });
    for (const id of ["s1", "a".repeat(40)]) expect((await start(id)).status).toBe(400);
    const id = crypto.randomUUID();
    expect((await start(id)).status).toBe(200);
    expect((await ask(handler, `/chat/${id}/messages`)).status).toBe(200);
    expect((await ask(handler, "/sessions")).status).toBe(403);
    expect((await ask(handler, "/agent-stats")).status).toBe(401);
  });

  test("anonymous callers cannot reach a session that the host began in-process under a plain id", async () => {
    const { chat, handler } = await handlerFor(() => "Hello", { authenticate: undefined, anonymous: true });
    await chat.chat({ sessionId: "main", message: "Hi" }).result;
    for (const id of ["main", "none"]) {
      const answers = [
        await ask(handler, `/chat/${id}/messages`),
        await ask(handler, `/chat/${id}/stream`),
        await ask(handler, `/chat/${id}/stream?format=events`),
        await ask(handler, `/chat/${id}/stop`, { method: "POST" }),
        await ask(handler, `/chat/${id}/resume`, { body: { answers: { x: 1 } } }),
        await ask(handler, `/sessions/${id}`, { method: "DELETE" }),
      ];
      for (const answer of answers)
        expect([answer.status, await codeOf(answer)]).toEqual([404, "SESSION_NOT_FOUND"]);
    }
    expect((await chat.getHistory({ sessionId: "main" })).messages).toHaveLength(2);
  });
});

describe("other sites", () => {
  const body = JSON.stringify({ session_id: "s1", message: "Hi", stream: false });
  const cookieUser = {
    authenticate: (request: Request) =>
      request.headers.has("cookie") ? { userId: "ann", admin: false } : null,
  };
  const cookie = { cookie: "session=1", "content-type": "text/plain;charset=UTF-8" };

  test.each<[string, Record<string, string>, number]>([
    ["same-origin by sec-fetch-site", { "sec-fetch-site": "same-origin", origin: "http://host.test" }, 200],
    ["same-origin by origin, in older browsers", { origin: "http://host.test" }, 200],
    [
      "behind a proxy that changes the host",
      { origin: "https://app.test", "x-forwarded-host": "app.test" },
      200,
    ],
    ["cross-site", { "sec-fetch-site": "cross-site", origin: "https://evil.test" }, 403],
    ["a sibling site", { "sec-fetch-site": "same-site", origin: "http://evil.host.test" }, 403],
    ["cross-site by origin", { origin: "https://evil.test" }, 403],
    ["a sandboxed frame", { origin: "null" }, 403],
  ])("a post of plain text with a cookie, %s", async (_name, headers, status) => {
    const { handler } = await handlerFor(() => "Hello", cookieUser);
    const answer = await ask(handler, "/chat", { body, headers: { ...cookie, ...headers } });
    expect(answer.status).toBe(status);
  });

  test("JSON with a cookie from another site, which a host's own CORS would let through", async () => {
    const { handler } = await handlerFor(() => "Hello", cookieUser);
    const json = { ...cookie, "content-type": "application/json", origin: "https://evil.test" };
    expect((await ask(handler, "/chat", { body, headers: json })).status).toBe(403);
    const bare = await ask(handler, "/chat/s1/stop", {
      method: "POST",
      headers: { cookie: "session=1", origin: "https://evil.test" },
    });
    expect(bare.status).toBe(403);
  });

  test("plain text from another site needs a header that no browser adds by itself", async () => {
    const { handler } = await handlerFor(() => "Hello", { authenticate: undefined, anonymous: true });
    const session = JSON.stringify({ session_id: crypto.randomUUID(), message: "Hi", stream: false });
    const headers = {
      "sec-fetch-site": "cross-site",
      origin: "https://evil.test",
      "content-type": "text/plain",
    };
    const from = async (more: object): Promise<number> =>
      (await ask(handler, "/chat", { body: session, headers: { ...headers, ...more } })).status;
    expect(await from({})).toBe(403);
    expect(await from({ authorization: "Basic eDp5" })).toBe(403);
    expect(await from({ authorization: "Bearer t" })).toBe(200);
  });

  test("CORS is off, and with origins answers them alone", async () => {
    const origin = { origin: "https://app.test" };
    const off = await handlerFor(() => "Hello");
    const none = await ask(off.handler, "/agent-health", { headers: origin });
    expect(none.headers.get("access-control-allow-origin")).toBeNull();
    expect((await ask(off.handler, "/chat", { method: "OPTIONS", headers: origin })).status).toBe(405);
    const { handler } = await handlerFor(() => "Hello", {
      ...cookieUser,
      cors: { origins: ["https://app.test"] },
    });
    const preflight = await ask(handler, "/chat", { method: "OPTIONS", headers: origin });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("https://app.test");
    const headers = { ...cookie, ...origin, "sec-fetch-site": "cross-site" };
    expect((await ask(handler, "/chat", { body, headers })).status).toBe(200);
    const evil = await ask(handler, "/chat", { body, headers: { ...headers, origin: "https://evil.test" } });
    expect(evil.status).toBe(403);
    expect(evil.headers.get("access-control-allow-origin")).toBeNull();
  });
});

describe("refusals are status codes", () => {
  test.each<[string, Ask & { path?: string }, number, string]>([
    ["no JSON", { body: "{" }, 400, "INVALID_INPUT"],
    ["no object", { body: "[]" }, 400, "INVALID_INPUT"],
    ["no session", { body: { message: "Hi" } }, 400, "INVALID_INPUT"],
    ["a bad session id", { body: { session_id: "a\nb", message: "Hi" } }, 400, "INVALID_INPUT"],
    ["no message", { body: { session_id: "s" } }, 400, "INVALID_INPUT"],
    ["a bad policy", { body: { session_id: "s", message: "Hi", on_busy: "x" } }, 400, "INVALID_INPUT"],
    [
      "a model that is not offered",
      { body: { session_id: "s", message: "Hi", provider: "openai" } },
      403,
      "FORBIDDEN",
    ],
    [
      "a form",
      { body: "a=b", headers: { "content-type": "application/x-www-form-urlencoded" } },
      415,
      "UNSUPPORTED_MEDIA_TYPE",
    ],
    [
      "a body over the limit",
      { body: { session_id: "s", message: "x".repeat(300_000) } },
      413,
      "BODY_TOO_LARGE",
    ],
    ["another method", { method: "PUT", body: {} }, 405, "METHOD_NOT_ALLOWED"],
    ["another path", { path: "/nothing", body: {} }, 404, "ROUTE_NOT_FOUND"],
  ])("%s", async (_name, { path = "/chat", ...asked }, status, code) => {
    const { handler } = await handlerFor([]);
    const answer = await ask(handler, path, { user: "ann", ...asked });
    expect([answer.status, await codeOf(answer)]).toEqual([status, code]);
  });

  test("a body that hides its length is cut off at the limit", async () => {
    const { handler } = await handlerFor([], { maxBodyBytes: 1_000 });
    let pulled = 0;
    const body = new ReadableStream({
      pull: (controller) => {
        pulled += 1;
        controller.enqueue(new Uint8Array(500).fill(32));
      },
    });
    const headers = { ...bearer("ann"), "content-type": "application/json" };
    const request = new Request(`${BASE}/chat`, { method: "POST", headers, body, duplex: "half" });
    expect((await handler(request)).status).toBe(413);
    expect(pulled).toBeLessThan(10);
  });

  test("a full queue is 429 with Retry-After, a closed service 503", async () => {
    const hold = gate();
    const chat = await ChatService.create({
      model: new ScriptedChatModel(async () => {
        await hold.opened;
        return "late";
      }),
      queueLimit: 1,
    });
    const handler = createHttpHandler(chat, { authenticate, heartbeatMs: 0 });
    const body = { session_id: "s1", message: "Hi" };
    const kept = [await ask(handler, "/chat", { user: "ann", body })];
    await until(async () => (await chat.getRun({ sessionId: "s1", userId: "ann" }))?.status === "running");
    kept.push(await ask(handler, "/chat", { user: "ann", body }));
    const full = await ask(handler, "/chat", { user: "ann", body });
    expect([full.status, full.headers.get("retry-after")]).toEqual([429, "1"]);
    hold.open();
    await chat.close({ drainMs: 1_000 });
    for (const answer of kept) await answer.body?.cancel();
    const closed = await ask(handler, "/chat", { user: "ann", body });
    expect([closed.status, closed.headers.get("retry-after")]).toEqual([503, "1"]);
    expect((await ask(handler, "/agent-health")).status).toBe(503);
  });

  test("one JSON answer of a failed run has its status and no word of the provider", async () => {
    const { chat, handler } = await handlerFor([{ error: new Error("401 sk-secret at api.internal") }]);
    const told: unknown[] = [];
    chat.on("error", ({ error }) => void told.push(error.cause));
    const answer = await say(handler, "ann", "s1");
    expect(answer.status).toBeGreaterThanOrEqual(500);
    expect(await answer.text()).not.toMatch(/sk-secret|internal/);
    expect(JSON.stringify(told, Object.getOwnPropertyNames(Error.prototype).concat("message"))).toContain(
      "sk-secret",
    );
  });
});

describe("models", () => {
  test("clients choose among allowModels, and get the whole choice", async () => {
    const chat = await service(() => "Hello");
    const handler = createHttpHandler(chat, {
      authenticate,
      allowModels: [
        { provider: "deepseek", model: "deepseek-chat" },
        { provider: "openai", model: "gpt-4.1" },
      ],
    });
    const refused = await say(handler, "ann", "s1", { provider: "openai", model_name: "o1" });
    expect(refused.status).toBe(403);
    const mixed = await say(handler, "ann", "s1", { provider: "deepseek", model_name: "gpt-4.1" });
    expect(mixed.status).toBe(403);
  });
});

describe("events", () => {
  test("a stream is taken up again after the last event that was had", async () => {
    const { handler } = await handlerFor([{ text: ["a", "b", "c"] }]);
    const body = { session_id: "s1", message: "Hi", run_id: "run:1/ü" };
    const answer = await ask(handler, "/chat?format=events", { user: "ann", body });
    const whole = await answer.text();
    const ids = [...whole.matchAll(/^id: (.+)$/gm)].map((match) => match[1]!);
    const all = payloads(whole);
    expect(all.at(-1)).toMatchObject({ type: "run-finished", outcome: "completed" });
    expect(ids).toHaveLength(all.length);
    for (const [index, id] of ids.entries()) {
      const rest = await ask(handler, "/chat/s1/stream?format=events", {
        user: "ann",
        headers: { "last-event-id": id },
      });
      // With everything had there is nothing more: an EventSource then stays away.
      expect(rest.status).toBe(index === ids.length - 1 ? 204 : 200);
      expect(payloads(await rest.text())).toEqual(all.slice(index + 1));
    }
    expect(whole).not.toContain("\r");
  });

  test("the same run id runs once; with another message it is a conflict", async () => {
    const { handler } = await handlerFor(["one", "two"]);
    const first: unknown = await (await say(handler, "ann", "s1", { run_id: "r1" })).json();
    expect(await (await say(handler, "ann", "s1", { run_id: "r1" })).json()).toEqual(first);
    expect((await say(handler, "ann", "s1", { run_id: "r1", message: "other" })).status).toBe(409);
  });

  test("answers by interrupt id, over the plain route", async () => {
    const { handler } = await handlerFor([removes, "Gone."]);
    const asked = (await (await say(handler, "ann", "s1")).json()) as { interrupts: { id: string }[] };
    const { interrupts } = (await (
      await ask(handler, "/chat/s1/messages", { user: "ann" })
    ).json()) as typeof asked;
    expect(interrupts).toEqual(asked.interrupts);
    const answers = { [interrupts[0]!.id]: { decisions: [{ type: "approve" }] } };
    const answer = await ask(handler, "/chat/s1/resume", { user: "ann", body: { answers, stream: false } });
    expect(await answer.json()).toMatchObject({ outcome: "completed", text: "Gone." });
    const again = await ask(handler, "/chat/s1/resume", { user: "ann", body: { answers, stream: false } });
    expect([again.status, await codeOf(again)]).toEqual([409, "INTERRUPT_STALE"]);
  });

  test("headers come when the run is accepted, the stream says open at once", async () => {
    const hold = gate();
    const { handler } = await handlerFor(async () => {
      await hold.opened;
      return "late";
    });
    const answer = await ask(handler, "/chat", { user: "ann", body: { session_id: "s1", message: "Hi" } });
    expect(answer.headers.get("x-vercel-ai-ui-message-stream")).toBe("v1");
    expect(answer.headers.get("cache-control")).toContain("no-transform");
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    expect((await reader.read()).value).toMatch(/^: open\n\n/);
    await reader.cancel();
    hold.open();
  });
});

describe("the OpenAPI document", () => {
  test("has every route of the table and no other", () => {
    const listed = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replace("{id}", ":id")}`),
    );
    expect(listed.sort()).toEqual(routes.map(({ method, path }) => `${method} ${path}`).sort());
  });

  test("describes the answers as they are", async () => {
    const { handler } = await handlerFor([
      { toolCalls: [{ name: "add", args: { a: 1, b: 2 } }], usage: { inputTokens: 1, outputTokens: 2 } },
      "3",
      removes,
    ]);
    const root = { user: "root" };
    await documented(await say(handler, "root", "s1"), "post", "/chat");
    await documented(await say(handler, "root", "s1"), "post", "/chat");
    for (const format of ["neutral", "ai-sdk", "ag-ui"]) {
      const page = await ask(handler, `/chat/s1/messages?format=${format}`, root);
      await documented(page, "get", "/chat/{id}/messages");
    }
    await documented(await ask(handler, "/chat/s1/messages?limit=1", root), "get", "/chat/{id}/messages");
    await documented(await ask(handler, "/sessions", root), "get", "/sessions");
    await documented(await ask(handler, "/agent-sessions?limit=1", root), "get", "/agent-sessions");
    await documented(await ask(handler, "/agent-stats", root), "get", "/agent-stats");
    await documented(await ask(handler, "/agent-health", root), "get", "/agent-health");
    await documented(await ask(handler, "/agent-health"), "get", "/agent-health");
    await documented(await ask(handler, "/agent-cleanup", { ...root, body: {} }), "post", "/agent-cleanup");
    await documented(await ask(handler, "/chat/s1/stop", { ...root, body: {} }), "post", "/chat/{id}/stop");
    const removed = await ask(handler, "/agent-sessions/s1", { ...root, method: "DELETE" });
    await documented(removed, "delete", "/agent-sessions/{id}");
    const deleted = await ask(handler, "/sessions/s1", { ...root, method: "DELETE" });
    await documented(deleted, "delete", "/sessions/{id}");
    await documented(
      await ask(handler, "/sessions/s1", { ...root, method: "DELETE" }),
      "delete",
      "/sessions/{id}",
    );
    await documented(await ask(handler, "/openapi.json"), "get", "/openapi.json");
  });
});

test("HEAD asks what GET would answer: status and headers without a body", async () => {
  const { handler } = await handlerFor(() => "hi");
  const health = await ask(handler, "/agent-health", { method: "HEAD" });
  expect([health.status, await health.text()]).toEqual([200, ""]);
  expect(health.headers.get("content-type")).toContain("application/json");
  await say(handler, "ada", "s1");
  const stream = await ask(handler, "/chat/s1/stream?format=events", { user: "ada", method: "HEAD" });
  expect([stream.status, stream.body]).toEqual([200, null]);
  expect((await ask(handler, "/chat/s1/messages", { method: "HEAD" })).status).toBe(401);
  expect((await ask(handler, "/chat", { user: "ada", method: "HEAD" })).status).toBe(405);
});

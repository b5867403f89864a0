import { describe, expect, test } from "vitest";
import { AgentManager, ChatService, isValidId } from "../../src/index.js";
import { createHttpHandler, type HttpHandler } from "../../src/http/index.js";
import { ManualClock } from "../../src/testing/index.js";
import { agents } from "../support/chat.js";
import { authenticate, bearer, handlerFor, service, until } from "../support/http-service.js";

const BASE = "http://host.test/agent_backend";

function get(handler: HttpHandler, path: string, headers: Record<string, string> = {}): Promise<Response> {
  return handler(new Request(BASE + path, { headers }));
}

function post(
  handler: HttpHandler,
  path: string,
  body: object,
  headers: Record<string, string> = bearer("ann"),
): Promise<Response> {
  return handler(
    new Request(BASE + path, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    }),
  );
}

function start(
  handler: HttpHandler,
  session_id: string,
  headers?: Record<string, string>,
): Promise<Response> {
  return post(handler, "/chat", { session_id, message: "Hi", stream: false }, headers);
}

async function codeOf(answer: Response): Promise<string> {
  return ((await answer.json()) as { error: { code: string } }).error.code;
}

describe("what anybody may ask", () => {
  test.each<[string, object]>([
    ["isAdmin", { isAdmin: () => Promise.reject(new Error("db at 10.0.0.1")) }],
    ["authenticate", { authenticate: () => Promise.reject(new Error("db at 10.0.0.1")) }],
  ])("is answered while `%s` fails, and the host is told", async (_name, broken) => {
    const errors: unknown[] = [];
    const { handler } = await handlerFor([], { ...broken, onError: (error) => void errors.push(error) });
    const answer = await get(handler, "/agent-health", bearer("root"));
    expect([answer.status, await answer.json()]).toEqual([200, { status: "ok", ready: true }]);
    expect(errors).toMatchObject([{ message: "db at 10.0.0.1" }]);
  });

  test.each(["isAdmin", "authenticate"])("waits a second for `%s`, and tells the host", async (name) => {
    const clock = new ManualClock();
    const errors: unknown[] = [];
    const { handler } = await handlerFor([], {
      [name]: () => new Promise<never>(() => undefined),
      clock,
      onError: (error) => void errors.push(error),
    });
    expect((await get(handler, "/openapi.json")).status).toBe(200);
    const asked = get(handler, "/agent-health", bearer("root"));
    await until(() => clock.pending === 1);
    await clock.advance(1_000);
    expect(await (await asked).json()).toEqual({ status: "ok", ready: true });
    expect(errors).toHaveLength(1);
    expect(clock.pending).toBe(0);
  });

  test("is no error for who has no user, and has its details for admins", async () => {
    const errors: unknown[] = [];
    const { handler } = await handlerFor([], { onError: (error) => void errors.push(error) });
    expect(await (await get(handler, "/agent-health")).json()).toEqual({ status: "ok", ready: true });
    expect(await (await get(handler, "/agent-health", bearer("root"))).json()).toMatchObject({ store: "ok" });
    expect(errors).toEqual([]);
  });
});

test("a user can be called what a session can, and `isValidId` tells what that is", async () => {
  const ids: [unknown, boolean][] = [
    ["a", true],
    ["ann@example.com", true],
    ["安", true],
    ["...", true],
    ["x".repeat(200), true],
    ["x".repeat(201), false],
    ["", false],
    [".", false],
    ["..", false],
    ["a\u0000b", false],
    ["a\u0085b", false],
    ["\ud800", false],
    [7, false],
    [null, false],
  ];
  const { chat, handler } = await handlerFor([], {
    authenticate: (request) =>
      ({ userId: ids[Number(request.headers.get("x-id"))]?.[0], admin: true }) as never,
    onError: () => undefined,
  });
  for (const [index, [id, valid]] of ids.entries()) {
    expect([id, isValidId(id)]).toEqual([id, valid]);
    const taken = await chat.getSession({ sessionId: id as string }).then(
      () => true,
      () => false,
    );
    const answer = await get(handler, "/sessions", { "x-id": String(index) });
    expect([id, taken, answer.status]).toEqual([id, valid, valid ? 200 : 500]);
  }
});

test.each(["", "x".repeat(201), "a\u0000b", ".", 7])(
  "a `userId` %j is a fault of the host, not of the client",
  async (userId) => {
    const errors: unknown[] = [];
    const { handler } = await handlerFor([], {
      authenticate: () => ({ userId, admin: false }) as never,
      onError: (error) => void errors.push(error),
    });
    const answer = await start(handler, "s1");
    expect([answer.status, await codeOf(answer)]).toEqual([500, "INTERNAL"]);
    expect(errors).toEqual([expect.any(TypeError)]);
  },
);

describe("the session of an anonymous caller", () => {
  const bytes = (): Uint8Array<ArrayBuffer> => crypto.getRandomValues(new Uint8Array(16));
  const base64url = (): string => Buffer.from(bytes()).toString("base64url");

  test.each([
    "1234567890123456789012",
    "0123456789abcdef012345",
    "2026-11-30-chat-of-anna",
    "2026-11-30-20-15-00-000-0001-0002-0003",
    "01JDXQ4T9V3K8W5Y2Z7ABCDEFG",
    "-".repeat(40),
    "conversation-with-anna-number-17",
  ])("is not kept by %s alone", async (id) => {
    const { handler } = await handlerFor(() => "Hello", { authenticate: undefined, anonymous: true });
    const answer = await start(handler, id, {});
    expect([answer.status, await codeOf(answer)]).toEqual([400, "INVALID_INPUT"]);
    expect((await get(handler, `/chat/${id}/messages`)).status).toBe(404);
  });

  test("may have an id of 128 random bits in any usual form", async () => {
    const { handler } = await handlerFor(() => "Hello", { authenticate: undefined, anonymous: true });
    const digits = [...crypto.getRandomValues(new Uint32Array(10))].map((part) =>
      String(part % 10_000).padStart(4, "0"),
    );
    const ids = [
      crypto.randomUUID(),
      crypto.randomUUID().toUpperCase(),
      Buffer.from(bytes()).toString("hex"),
      // One in 50 000 has no capital or no small letter in it.
      `aZ${base64url()}`,
      digits.join(""),
    ];
    for (const id of ids) expect([id, (await start(handler, id, {})).status]).toEqual([id, 200]);
  });
});

test.each([
  ["app.test, inner.test", 200],
  ["app.test:443,inner.test", 403],
  ["inner.test ,app.test", 200],
])("of several proxies that changed the host (%s) each is looked at", async (forwarded, status) => {
  const { handler } = await handlerFor(() => "Hello");
  const headers = { ...bearer("ann"), cookie: "a=b", origin: "https://app.test" };
  const answer = await start(handler, "s1", { ...headers, "x-forwarded-host": forwarded });
  expect(answer.status).toBe(status);
});

test("a `waitUntil` that throws changes no answer, and the host is told", async () => {
  const errors: unknown[] = [];
  const { handler } = await handlerFor(() => "Hello", { onError: (error) => void errors.push(error) });
  const request = new Request(`${BASE}/chat`, {
    method: "POST",
    headers: { "content-type": "application/json", ...bearer("ann") },
    body: JSON.stringify({ session_id: "s1", message: "Hi", stream: false }),
  });
  const answer = await handler(request, {
    waitUntil: () => {
      throw new Error("too late");
    },
  });
  expect(await answer.json()).toMatchObject({ text: "Hello" });
  expect(errors).toMatchObject([{ message: "too late" }]);
});

test("an admin cannot ask a store for what no user is called", async () => {
  const { handler } = await handlerFor([]);
  for (const path of ["/agent-sessions?user_id=%00", "/agent-sessions?user_id="]) {
    const answer = await get(handler, path, bearer("root"));
    expect([answer.status, await codeOf(answer)]).toEqual([400, "INVALID_INPUT"]);
  }
  expect((await get(handler, "/agent-sessions?user_id=ann", bearer("root"))).status).toBe(200);
});

describe("options", () => {
  test.each<[object, RegExp]>([
    [{ agUi: { legacy: true } }, /`legacy` of `agUi`/],
    [{ agUi: { legacyInterrupts: "yes" } }, /`agUi.legacyInterrupts`/],
    [{ agUi: true }, /`agUi`/],
    [{ cors: { origins: [], credentials: true } }, /`credentials` of `cors`/],
    [{ showToolErrors: "no" }, /`showToolErrors`/],
    [{ allowModels: [{}] }, /`allowModels`/],
    [{ allowModels: ["gpt-4.1"] }, /`allowModels`/],
    [{ allowModels: [{ model: 4 }] }, /`allowModels`/],
    [{ allowModels: [{ provider: "openai", model: "" }] }, /`allowModels`/],
    [
      { allowModels: [{ provider: "anthropic", model: "claude" }, { provider: "openai" }] },
      /name its `model`/,
    ],
    [{ allowModels: [{ provider: "anthropic", model: "claude" }, { model: "o1" }] }, /name its `provider`/],
  ])("%j are refused", async (options, problem) => {
    const chat = await service([]);
    expect(() => createHttpHandler(chat, { authenticate, ...options })).toThrow(problem);
  });

  test("a choice without a model is none where the service is configured with one", () => {
    const manager = new AgentManager({
      factory: agents(() => (async function* () {})()),
      defaultConfig: { provider: "anthropic", model: "claude" },
      cleanupIntervalMs: 0,
    });
    const chat = new ChatService({ manager });
    const make = (allowModels: object[]) => () => createHttpHandler(chat, { authenticate, allowModels });
    expect(make([{ provider: "anthropic" }, { provider: "openai" }])).toThrow(/name its `model`/);
    expect(make([{ model: "claude", label: "Claude" }, { model: "claude-small" }])).not.toThrow();
  });
});

import { describe, expect, test } from "vitest";
import { ChatService } from "../../../src/chat-service.js";
import type { ChatRequest } from "../../../src/requests.js";
import type { SessionRecord, SessionStore } from "../../../src/store/store.js";
import { ScriptedChatModel } from "../../../src/testing/index.js";
import { agents, codeOf, createChat, customChat, say, settle, untilAbort } from "../../support/chat.js";

const session = { sessionId: "s" };

/** Agents that say with what config they were built, and how many were. */
function telling(options: Parameters<typeof customChat>[1] = {}) {
  const built: string[] = [];
  const parts = customChat<{ tone?: unknown }>(
    (context) => {
      built.push(context.sessionId);
      return agents(async function* (input, { signal }) {
        if (input.kind === "message" && input.message.content === "wait") await untilAbort(signal);
        yield* say(JSON.stringify(context.config));
      })(context);
    },
    { configKeys: ["tone"], defaultConfig: { provider: "openai", model: "small" }, ...options },
  );
  const ask = async (request: Partial<ChatRequest> = {}): Promise<unknown> =>
    JSON.parse((await parts.chat.chat({ ...session, message: "x", ...request }).result).text);
  return { ...parts, built, ask };
}

describe("config of a session", () => {
  test("has the defaults, and what sticks over them", async () => {
    const { ask } = telling();
    expect(await ask()).toEqual({ provider: "openai", model: "small" });
    expect(await ask({ provider: "deepseek", model: "chat" })).toEqual({
      provider: "deepseek",
      model: "chat",
    });
    expect(await ask()).toEqual({ provider: "deepseek", model: "chat" });
    expect(await ask({ config: { tone: { deep: [1] } } as never })).toEqual({
      provider: "deepseek",
      model: "chat",
      tone: { deep: [1] },
    });
    expect(await ask({ model: undefined })).toMatchObject({ model: "chat" });
    expect(await ask({ sessionId: "other" })).toEqual({ provider: "openai", model: "small" });
  });

  test("goes on from the host's own directory where the ledger was lost, as after a restart", async () => {
    const rows = new Map<string, SessionRecord>();
    const sessions: SessionStore = {
      save: ({ threadId, sessionId, config }) => {
        rows.set(threadId, { threadId, sessionId, config, createdAt: 1, lastUsedAt: 1 });
        return Promise.resolve();
      },
      get: (threadId) => Promise.resolve(rows.get(threadId)),
      list: () => Promise.resolve({ sessions: [...rows.values()] }),
      delete: () => Promise.resolve(),
      count: () => Promise.resolve(rows.size),
    };
    const before = telling({ store: { sessions } });
    await before.ask({ model: "large" });
    const after = telling({ store: { sessions } });
    expect(await after.ask()).toEqual({ provider: "openai", model: "large" });
    expect(await after.ask({ model: "huge" })).toEqual({ provider: "openai", model: "huge" });
    expect(await after.ask()).toEqual({ provider: "openai", model: "huge" });
    expect(await after.ask({ sessionId: "other" })).toEqual({ provider: "openai", model: "small" });
  });

  test("rebuilds its own agent when it changes, and nobody else's", async () => {
    const { ask, built } = telling();
    await ask();
    await ask({ sessionId: "other" });
    await ask();
    await ask({ model: "small" });
    expect(built).toEqual(["s", "other"]);
    await ask({ model: "large" });
    await ask();
    await ask({ sessionId: "other" });
    expect(built).toEqual(["s", "other", "s"]);
  });

  test("is the one at acceptance: a later change does not reach a run that waits", async () => {
    const { chat } = telling();
    const wait = chat.chat({ ...session, message: "wait" });
    const before = chat.chat({ ...session, message: "x" });
    const after = chat.chat({ ...session, message: "x", model: "large" });
    await after.accepted;
    await wait.cancel();
    expect(JSON.parse((await before.result).text)).toMatchObject({ model: "small" });
    expect(JSON.parse((await after.result).text)).toMatchObject({ model: "large" });
  });

  test("does not stick when the run is refused", async () => {
    const { chat, ask } = telling();
    const wait = chat.chat({ ...session, message: "wait" });
    await wait.accepted;
    const refused = chat.chat({ ...session, message: "x", model: "large", onBusy: "reject" });
    expect(await codeOf(refused.accepted)).toBe("SESSION_BUSY");
    await wait.cancel();
    expect(await ask()).toMatchObject({ model: "small" });
  });

  test("survives eviction", async () => {
    const { ask, built } = telling({ maxAgents: 1 });
    await ask({ model: "large" });
    await ask({ sessionId: "other" });
    expect(await ask()).toMatchObject({ model: "large" });
    expect(built).toEqual(["s", "other", "s"]);
  });

  test("is shown in the list, as far as provider and model go", async () => {
    const { chat, ask } = telling();
    await ask({ model: "large", config: { tone: "secret" } as never });
    const { sessions } = await chat.listSessions();
    expect(sessions).toMatchObject([{ sessionId: "s", provider: "openai", model: "large", state: "idle" }]);
    expect(JSON.stringify(sessions)).not.toContain("secret");
  });

  test("is refused by the host's own check, as INVALID_INPUT with the cause", async () => {
    const { chat, ask } = telling({
      validateConfig: ({ model }) => {
        if (model === "gpt-5") throw new Error("too dear");
      },
    });
    await expect(chat.chat({ ...session, message: "x", model: "gpt-5" }).accepted).rejects.toMatchObject({
      code: "INVALID_INPUT",
      cause: { message: "too dear" },
    });
    expect(await ask({ model: "large" })).toMatchObject({ model: "large" });
  });
});

describe("bad input is told, and stores nothing", () => {
  const circular: unknown[] = [];
  circular.push(circular);
  const requests: [string, object][] = [
    ["an empty session id", { sessionId: "" }],
    ["a session id of 201 characters", { sessionId: "x".repeat(201) }],
    ["a session id of 10 KB", { sessionId: "x".repeat(10_240) }],
    ["a session id that is no text", { sessionId: 7 }],
    ["no session id", { sessionId: undefined }],
    ["a null in it", { sessionId: "a\0b" }],
    ["a line feed in it", { sessionId: "a\nb" }],
    ["a lone surrogate in it", { sessionId: "a\ud800" }],
    ["a path for an id", { sessionId: ".." }],
    ["an empty user id", { userId: "" }],
    ["a null user id", { userId: null }],
    ["a lone surrogate in the user id", { userId: "\udfff" }],
    ["an empty run id", { runId: "" }],
    ["an over-long run id", { runId: "x".repeat(201) }],
    ["no message", { message: undefined }],
    ["an empty message", { message: "" }],
    ["a blank message", { message: " \n\t" }],
    ["a message of no blocks", { message: [] }],
    ["a block without a type", { message: [{ text: "x" }] }],
    ["a block that is no object", { message: ["x"] }],
    ["a block that is no JSON", { message: [{ type: "text", text: 1n }] }],
    ["a circular block", { message: [{ type: "text", circular }] }],
    ["a message with a function", { message: { content: () => "x" } }],
    ["a message with an empty id", { message: { id: "", content: "x" } }],
    ["a message over the limit", { message: "é".repeat(600) }],
    ["blocks over the limit", { message: [{ type: "text", text: "x".repeat(2000) }] }],
    ["an unknown config key", { config: { temprature: 1 } }],
    ["a config that is a list", { config: [] }],
    ["a config that is no JSON", { config: { tone: () => 1 } }],
    ["a config with a date", { config: { tone: new Date() } }],
    ["a config with NaN", { config: { tone: Number.NaN } }],
    ["a huge config", { config: { tone: "x".repeat(70_000) } }],
    ["a provider that is no text", { provider: 7 }],
    ["an empty model", { model: "" }],
    ["an over-long model", { model: "x".repeat(201) }],
    ["an unknown policy", { onBusy: "later" }],
    ["a signal that is none", { signal: {} }],
  ];

  test.each(requests)("%s", async (_what, request) => {
    const { chat, built } = telling({ maxMessageBytes: 1000 });
    const run = chat.chat({ ...session, message: "x", ...request });
    const error: unknown = await run.accepted.catch((refused: unknown) => refused);
    expect(error).toMatchObject({ code: "INVALID_INPUT" });
    // What to do stands in it, and nothing that the caller had put in.
    expect((error as Error).message).toMatch(/^(Expected|Unknown)/);
    expect((error as Error).message.length).toBeLessThan(200);
    expect(await codeOf(run.result)).toBe("INVALID_INPUT");
    expect((await chat.listSessions()).sessions).toEqual([]);
    expect(await chat.getRun(session)).toBeUndefined();
    expect(built).toEqual([]);
  });

  const odd = [
    "__proto__",
    "constructor",
    "toString",
    "a/b",
    "a:b",
    "a.b",
    "用户一",
    "👩‍👩‍👧",
    " ",
    "%2e",
    "x".repeat(200),
  ];

  test("odd but good ids are sessions of their own", async () => {
    const { chat } = telling();
    for (const id of odd) {
      for (const ref of [{ sessionId: id }, { sessionId: id, userId: id }]) {
        await chat.chat({ ...ref, message: "x", model: id.slice(0, 100) }).result;
      }
    }
    for (const id of odd) {
      expect((await chat.getSession({ sessionId: id, userId: id }))?.model).toBe(id.slice(0, 100));
    }
    expect((await chat.listSessions({ limit: 1000 })).sessions).toHaveLength(odd.length * 2);
    expect((await chat.listSessions({ userId: "__proto__" })).sessions).toHaveLength(1);
    expect(({} as { model?: unknown }).model).toBeUndefined();
  });

  test.each([
    ["getHistory", (chat: ChatService) => chat.getHistory({ sessionId: "" })],
    ["getHistory limit", (chat: ChatService) => chat.getHistory({ ...session, limit: 0 })],
    ["cancel", (chat: ChatService) => chat.cancel({ sessionId: "" })],
    ["cancel run", (chat: ChatService) => chat.cancel({ ...session, runId: "" })],
    ["follow", (chat: ChatService) => chat.follow({ sessionId: "" }).next()],
    ["follow after", (chat: ChatService) => chat.follow({ ...session, after: -1 }).next()],
    ["getRun", (chat: ChatService) => chat.getRun({ sessionId: "" })],
    ["deleteSession", (chat: ChatService) => chat.deleteSession({ sessionId: "" })],
    ["getSession", (chat: ChatService) => chat.getSession({ sessionId: "" })],
    ["removeAgent", (chat: ChatService) => chat.removeAgent({ sessionId: "" })],
    ["withAgent", (chat: ChatService) => chat.withAgent({ sessionId: "" }, () => 1)],
    ["resume", (chat: ChatService) => chat.resume({ sessionId: "", answers: { a: 1 } }).accepted],
    ["regenerate", (chat: ChatService) => chat.regenerate({ sessionId: "" }).accepted],
    ["edit", (chat: ChatService) => chat.edit({ sessionId: "", messageId: "x", message: "x" }).accepted],
    ["listSessions", (chat: ChatService) => chat.listSessions({ limit: 0 })],
    ["listSessions of nobody", (chat: ChatService) => chat.listSessions({ userId: "" })],
  ] as const)("%s", async (_what, call) => {
    const { chat } = telling();
    const wrong = await codeOf(Promise.resolve().then((): unknown => call(chat as unknown as ChatService)));
    expect(["INVALID_INPUT", "RangeError"]).toContain(wrong);
  });
});

test("a service refuses what is no manager of its own copy of the library", () => {
  for (const manager of [undefined, null, {}, "manager"])
    expect(() => new ChatService({ manager } as never)).toThrow("Expected `manager` to be an AgentManager");
});

describe("ChatService.create", () => {
  const model = new ScriptedChatModel(() => "hi");
  const wrong: [string, object, string][] = [
    ["an unknown option", { model, maxAgent: 1 }, "TypeError"],
    ["an agent cap of 0", { model, maxAgents: 0 }, "RangeError"],
    ["an agent cap that is no number", { model, maxAgents: "9" }, "TypeError"],
    ["an unknown policy", { model, onBusy: "later" }, "TypeError"],
    ["a queue limit of 0", { model, queueLimit: 0 }, "RangeError"],
    ["half a run", { model, maxConcurrentRuns: 0.5 }, "RangeError"],
    ["tools that are no list", { model, tools: {} }, "TypeError"],
    ["a model that is none", { model: 7 }, "TypeError"],
    ["an unknown provider", { provider: "nobody", model: "x" }, "MODEL_NOT_CONFIGURED"],
    ["no model at all", {}, "MODEL_NOT_CONFIGURED"],
    ["a package that is not installed", { provider: "mistralai", model: "x" }, "MODEL_NOT_CONFIGURED"],
  ];
  test.each(wrong)("refuses %s", async (_what, options, code) => {
    expect(await codeOf(ChatService.create(options as never))).toBe(code);
  });

  test("refuses a provider without a key, naming the variable", async () => {
    const key = process.env["OPENAI_API_KEY"];
    delete process.env["OPENAI_API_KEY"];
    try {
      const refused: unknown = await ChatService.create({ provider: "openai", model: "x" }).catch(
        (error: unknown) => error,
      );
      expect(refused).toMatchObject({ code: "MODEL_NOT_CONFIGURED" });
      expect((refused as Error).message).toContain("OPENAI_API_KEY");
    } finally {
      if (key !== undefined) process.env["OPENAI_API_KEY"] = key;
    }
  });

  test("a session's unknown provider is refused before anything is stored", async () => {
    const chat = await createChat({
      provider: "openai",
      model: "x",
      resolveCredentials: () => ({ apiKey: "test-key" }),
    });
    const run = chat.chat({ ...session, message: "x", provider: "nobody", model: "y" });
    expect(await codeOf(run.accepted)).toBe("MODEL_NOT_CONFIGURED");
    await settle();
    expect((await chat.listSessions()).sessions).toEqual([]);
  });
});

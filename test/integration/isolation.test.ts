import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tool, type ToolRuntime } from "langchain";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { Agent, AgentContext } from "../../src/agent.js";
import type { SessionRef } from "../../src/session.js";
import { assertIsolation, ScriptedChatModel } from "../../src/testing/index.js";
import { agents, createChat, customChat, lastUserText, say, textOfInput } from "../support/chat.js";

const WORD = /zq[0-9a-f]{32}/;

function wordIn(text: string): string {
  return WORD.exec(text)?.[0] ?? "no word";
}

/** Calls the tool with the word of the message, then says what the tool gave. */
function toolUser(): ScriptedChatModel {
  return new ScriptedChatModel((messages) => {
    const last = messages.at(-1);
    if (last?.type === "tool") return { text: ["The tool ", "said ", last.text] };
    return { toolCalls: [{ name: "remember", args: { word: wordIn(lastUserText(messages)) } }] };
  });
}

/** What the tool saw, by thread: the threads' own words must be all that is there. */
function rememberingTool() {
  const seen = new Map<string, string[]>();
  const remember = tool(
    ({ word }: { word: string }, runtime: ToolRuntime) => {
      const configurable = runtime.configurable as { readonly thread_id: string };
      const words = seen.get(configurable.thread_id) ?? [];
      words.push(word);
      seen.set(configurable.thread_id, words);
      return `${word} after ${String(words.length)}`;
    },
    { name: "remember", description: "Remembers a word", schema: z.object({ word: z.string() }) },
  );
  return { remember, seen };
}

describe("LangGraph agents over one shared graph", () => {
  test.each([
    { sessions: 1000, maxAgents: 2000, what: "an agent for each" },
    { sessions: 100, maxAgents: 10, what: "ten sessions to one place" },
  ])(
    "$sessions sessions of 5 turns with tools, $what, share nothing",
    async ({ sessions, maxAgents }) => {
      const model = toolUser();
      const { remember, seen } = rememberingTool();
      const chat = await createChat({ model, tools: [remember], maxAgents });
      await assertIsolation(chat, {
        sessions,
        turns: 5,
        session: (index) => ({ sessionId: `s${String(index)}` }),
        modelInputs: () => model.calls.map((call) => call.messages),
      });
      expect(seen.size).toBe(sessions);
      const all = [...seen.values()].flat();
      expect(new Set(all).size).toBe(sessions * 5);
      expect(chat.manager.getStats().totalAgents).toBeLessThanOrEqual(maxAgents);
    },
    900_000,
  );

  test("50 sessions whose ids are the same for several users share nothing", async () => {
    const model = toolUser();
    const { remember, seen } = rememberingTool();
    const chat = await createChat({ model, tools: [remember] });
    await assertIsolation(chat, {
      sessions: 50,
      turns: 5,
      session: (index) => ({ userId: `user${String(index % 25)}`, sessionId: index < 25 ? "1" : "2" }),
      modelInputs: () => model.calls.map((call) => call.messages),
    });
    expect(seen.size).toBe(50);
  });

  test("ids that look alike when put together are different sessions", async () => {
    const model = toolUser();
    const { remember, seen } = rememberingTool();
    const chat = await createChat({ model, tools: [remember] });
    const refs: SessionRef[] = [
      { userId: "a", sessionId: "b.c" },
      { userId: "a.b", sessionId: "c" },
      { userId: "a", sessionId: "b:c" },
      { userId: "a:b", sessionId: "c" },
      { sessionId: "a.b.c" },
      { sessionId: "u.a.b%2ec" },
      { userId: "u", sessionId: "a.b" },
      { sessionId: "__proto__" },
      { sessionId: "constructor" },
      { userId: "__proto__", sessionId: "__proto__" },
      { sessionId: "é" },
      { sessionId: "e\u0301" },
      { sessionId: "S" },
      { sessionId: "s" },
      { sessionId: "s " },
    ];
    await assertIsolation(chat, {
      sessions: refs.length,
      turns: 3,
      session: (index) => refs[index] ?? { sessionId: "none" },
      modelInputs: () => model.calls.map((call) => call.messages),
    });
    expect(seen.size).toBe(refs.length);
  });

  test("each session's config reaches its own runs alone", async () => {
    const seen: string[] = [];
    const chat = await createChat({
      model: (config, context: string | undefined) => {
        seen.push(`${String(config.model)} ${String(context)}`);
        return new ScriptedChatModel(() => ({ text: `${String(config.model)} ${String(context)}` }));
      },
    });
    const turns = Array.from({ length: 5 }, (_, turn) => turn);
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const sessionId = String(index);
        for (const turn of turns) {
          const { text } = await chat.chat({
            sessionId,
            message: "hi",
            context: `context-${sessionId}-${String(turn)}`,
            ...(turn === 0 && { model: `model-${sessionId}` }),
          }).result;
          expect(text).toBe(`model-${sessionId} context-${sessionId}-${String(turn)}`);
        }
      }),
    );
    expect(new Set(seen).size).toBe(500);
  });
});

/** An agent that keeps to itself what a careless one would share: a counter, an open file, a key. */
function statefulAgent(directory: string, name: string): Agent & { readonly words: string[] } {
  const words: string[] = [];
  const path = join(directory, name);
  const file = openSync(path, "a+");
  const key = `key of ${name}`;
  return {
    words,
    async *stream(input) {
      const word = wordIn(textOfInput(input));
      words.push(word);
      await new Promise((resolve) => setImmediate(resolve));
      writeSync(file, `${word}\n`);
      yield* say(
        `${String(words.length)} words: ${words.join(" ")}; file: ${readFileSync(path, "utf8")}; ${key}`,
      );
    },
    conversation: {
      history: () =>
        Promise.resolve(words.map((word, id) => ({ id: String(id), role: "user" as const, content: word }))),
      pending: () => Promise.resolve([]),
      head: () => Promise.resolve(undefined),
      turns: () => Promise.resolve([]),
      restore: () => Promise.resolve(),
      repair: () => Promise.resolve(),
    },
    close: () => {
      closeSync(file);
    },
  };
}

function fileName({ threadId }: AgentContext): string {
  return encodeURIComponent(threadId);
}

async function withDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "isolation-"));
  try {
    return await use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

describe("agents with mutable state of their own", () => {
  test("1,000 sessions of 5 turns share no counter, file or key", async () => {
    await withDirectory(async (directory) => {
      const { chat, manager } = customChat((context) => statefulAgent(directory, fileName(context)), {
        // What they hold is in the object alone: none may be evicted.
        maxAgents: 1000,
      });
      await assertIsolation(chat, { sessions: 1000, turns: 5 });
      const results = await Promise.all(
        ["user-0", "user-1"].map(
          (userId) => chat.chat({ userId, sessionId: "session-0", message: "bye" }).result,
        ),
      );
      expect(results.map(({ text }) => text.split(" ")[0])).toEqual(["6", "6"]);
      expect(results.map(({ text }) => text.split(";").at(-1))).toEqual([
        " key of u.user-0.session-0",
        " key of u.user-1.session-0",
      ]);
      await manager.close();
    });
  });

  /** What a team would write by hand, with one of the usual mistakes. */
  function careless(directory: string, name: (context: AgentContext) => string) {
    const agentsByName = new Map<string, Agent>();
    return (context: AgentContext): Agent => {
      let inner = agentsByName.get(name(context));
      if (inner === undefined)
        agentsByName.set(name(context), (inner = statefulAgent(directory, name(context))));
      const shared = inner;
      const { conversation } = shared;
      return { stream: (input, options) => shared.stream(input, options), conversation };
    };
  }

  test.each([
    {
      what: "keys by the session id alone",
      name: (context: AgentContext) => encodeURIComponent(context.sessionId),
    },
    { what: "shares one agent", name: () => "all" },
  ])("the check finds out a build that $what", async ({ name }) => {
    await withDirectory(async (directory) => {
      const { chat } = customChat(careless(directory, name));
      await expect(assertIsolation(chat, { sessions: 8, turns: 2 })).rejects.toThrow("not isolated");
    });
  });

  test("a factory that returns one object for two sessions is refused", async () => {
    const one: Agent = agents(async function* () {
      yield* say("hi");
    })({} as AgentContext);
    const { chat } = customChat(() => one);
    expect((await chat.chat({ sessionId: "a", message: "hi" }).result).text).toBe("hi");
    await expect(chat.chat({ sessionId: "b", message: "hi" }).result).rejects.toMatchObject({
      code: "AGENT_CREATE_FAILED",
    });
    expect((await chat.chat({ sessionId: "a", message: "hi" }).result).text).toBe("hi");
  });
});

describe("a caller's own objects", () => {
  test("a request that is changed or reused after the call stays what it was", async () => {
    const chat = await createChat({
      model: new ScriptedChatModel((messages) => lastUserText(messages)),
    });
    const request = { sessionId: "", message: [{ type: "text", text: "" }] };
    const runs = Array.from({ length: 20 }, (_, index) => {
      request.sessionId = `s${String(index % 4)}`;
      const block = request.message[0];
      if (block !== undefined) block.text = `word ${String(index)}`;
      return chat.chat(request);
    });
    request.sessionId = "elsewhere";
    expect(await Promise.all(runs.map(async (run) => (await run.result).text))).toEqual(
      runs.map((_, index) => `word ${String(index)}`),
    );
  });

  test("events that an agent yields again, or in several sessions, keep their numbers", async () => {
    const end = Object.freeze({ type: "data", name: "tick", data: null } as const);
    const { chat } = customChat(
      agents(async function* (input) {
        yield end;
        yield* say(textOfInput(input));
        yield end;
        await Promise.resolve();
      }),
    );
    const runs = ["a", "b", "c"].map((sessionId) => chat.chat({ sessionId, message: sessionId }));
    for (const run of runs) {
      const seqs: number[] = [];
      for await (const { seq } of run) seqs.push(seq);
      expect(seqs).toEqual([1, 2, 3, 4, 5, 6, 7]);
    }
  });
});

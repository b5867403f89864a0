import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { ChatService } from "../../src/index.js";
import type { Script } from "../../src/testing/index.js";
import { hosts } from "../support/http-hosts.js";
import { bearer, gate, handlerFor, until } from "../support/http-service.js";
import { npmCi } from "./npm-ci.js";

/*
 * Front ends with packages of their own, which are too many to be development dependencies.
 */

interface Part {
  readonly type: string;
  readonly text?: string;
  readonly toolCallId?: string;
  readonly toolName?: string;
  readonly args?: unknown;
  readonly result?: unknown;
  readonly approval?: { readonly id: string; readonly approved?: boolean };
}
interface ThreadState {
  readonly isRunning: boolean;
  readonly messages: readonly {
    readonly role: string;
    readonly content: readonly Part[];
    readonly status?: { readonly type: string; readonly reason?: string; readonly error?: unknown };
  }[];
}
/** What of assistant-ui front-ends/assistant-ui.mjs gives. */
interface Thread {
  state(): ThreadState;
  send(text: string): void;
  stop(): void;
  answer(index: number, toolCallId: string, response: { approved: boolean; reason?: string }): void;
  edit(index: number, text: string): void;
  reload(index: number): void;
  close(): void;
}
interface ThreadOptions {
  readonly api: string;
  readonly headers: Record<string, string>;
  readonly id: string;
  readonly messages?: readonly object[];
  readonly fetch?: typeof fetch;
}

const source = fileURLToPath(new URL("front-ends", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "agent-sessions-front-ends-"));
let isInstalled = false;
let openThread: (options: ThreadOptions) => Thread;

beforeAll(async () => {
  cpSync(source, scratch, { recursive: true, filter: (path) => basename(path) !== "node_modules" });
  isInstalled = await npmCi(scratch, ["--omit=optional", "--ignore-scripts"]);
  if (!isInstalled) {
    console.warn("The package registry cannot be reached: front ends are not tested.");
    return;
  }
  const url = pathToFileURL(join(scratch, "assistant-ui.mjs")).href;
  ({ openThread } = (await import(url)) as { openThread: typeof openThread });
}, 600_000);

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

beforeEach(({ skip }) => {
  skip(!isInstalled, "the registry cannot be reached");
});

const ann = { sessionId: "s1", userId: "ann" };
const removes = { toolCalls: [{ name: "remove", args: { path: "/x" }, id: "call-1" }] };
const [express5] = hosts;

async function serviceOf(script: Script): Promise<{ chat: ChatService; url: string }> {
  const { chat, handler } = await handlerFor(script);
  return { chat, url: await express5!.serve(handler) };
}

function textOf({ messages }: ThreadState): string {
  return (messages.at(-1)?.content ?? []).map(({ text = "" }) => text).join("");
}

function callOf({ messages }: ThreadState): Part | undefined {
  return messages.at(-1)?.content.find(({ type }) => type === "tool-call");
}

describe("assistant-ui's AI SDK runtime", () => {
  const open = (url: string, options: Partial<ThreadOptions> = {}): Thread => {
    const thread = openThread({ api: `${url}/chat`, headers: bearer("ann"), id: "s1", ...options });
    onTestFinished(() => {
      thread.close();
    });
    return thread;
  };

  const answered = async (thread: Thread): Promise<ThreadState> => {
    await until(() => !thread.state().isRunning && thread.state().messages.at(-1)?.role === "assistant");
    return thread.state();
  };

  const historyOf = async (url: string): Promise<object[]> => {
    const answer = await fetch(`${url}/chat/s1/messages?format=ai-sdk`, { headers: bearer("ann") });
    return ((await answer.json()) as { messages: object[] }).messages;
  };

  test("chats in turns, word by word, with a tool", async () => {
    const hold = gate();
    const { url } = await serviceOf(async (_messages, { index }) => {
      if (index === 0)
        return {
          reasoning: ["hm"],
          text: ["I ", "add. "],
          toolCalls: [{ name: "add", args: { a: 1, b: 2 }, id: "call-0" }],
        };
      if (index === 2) return "Bye.";
      await hold.opened;
      return { text: ["It ", "is 3."] };
    });
    const thread = open(url);
    thread.send("1 + 2?");
    await until(() => textOf(thread.state()).includes("I add."));
    expect(thread.state().isRunning).toBe(true);
    hold.open();
    const state = await answered(thread);
    expect(state.messages.at(-1)?.status).toMatchObject({ type: "complete" });
    expect(callOf(state)).toMatchObject({ toolName: "add", args: { a: 1, b: 2 }, result: "3" });
    expect(textOf(state)).toContain("It is 3.");
    thread.send("Thanks");
    await until(() => textOf(thread.state()) === "Bye.");
    expect(thread.state().messages.map(({ role }) => role)).toEqual([
      "user",
      "assistant",
      "user",
      "assistant",
    ]);
  });

  test.each([
    [true, "removed /x"],
    [false, expect.stringContaining("not mine") as string],
  ])("an approval answered with %j goes back by itself", async (approved, result) => {
    const { chat, url } = await serviceOf([removes, "Done."]);
    const thread = open(url);
    thread.send("Remove /x");
    const asked = await answered(thread);
    expect(asked.messages.at(-1)?.status).toMatchObject({ type: "requires-action" });
    expect(callOf(asked)?.approval).toMatchObject({ id: expect.any(String) as string });
    thread.answer(1, "call-1", { approved, ...(!approved && { reason: "not mine" }) });
    await until(() => textOf(thread.state()) === "Done." && !thread.state().isRunning);
    expect(thread.state().messages).toHaveLength(2);
    expect((await chat.getRun(ann))?.status).toBe("completed");
    const { messages } = await chat.getHistory(ann);
    expect(messages.find(({ role }) => role === "tool")?.content).toEqual(result);
  });

  test("a page that is loaded in mid-answer goes on with it by itself", async () => {
    const hold = gate();
    const { url } = await serviceOf(async (_messages, { index }) => {
      if (index === 0)
        return { text: ["Let me ", "see. "], toolCalls: [{ name: "add", args: { a: 1, b: 2 } }] };
      await hold.opened;
      return { text: ["It ", "is 3."] };
    });
    const before = open(url);
    before.send("1 + 2?");
    await until(() => callOf(before.state())?.result === "3");
    before.close();
    const after = open(url, { messages: await historyOf(url) });
    await until(() => after.state().isRunning);
    hold.open();
    const state = await answered(after);
    expect(state.messages.map(({ role }) => role)).toEqual(["user", "assistant"]);
    expect(textOf(state)).toBe("Let me see. It is 3.");
    expect(state.messages[1]?.content.filter(({ type }) => type === "tool-call")).toHaveLength(1);
  });

  test("a page that is loaded while a question waits can answer it", async () => {
    const { url } = await serviceOf([removes, "Gone."]);
    const before = open(url);
    before.send("Remove /x");
    await answered(before);
    before.close();
    const after = open(url, { messages: await historyOf(url) });
    await until(() => callOf(after.state())?.approval !== undefined && !after.state().isRunning);
    after.answer(1, "call-1", { approved: true });
    await until(() => textOf(after.state()) === "Gone." && !after.state().isRunning);
    expect(after.state().messages).toHaveLength(2);
    expect(callOf(after.state())).toMatchObject({ result: "removed /x" });
  });

  test("a new conversation has nothing to go on with", async () => {
    const { url } = await serviceOf(["Hi."]);
    const asked: [string, number][] = [];
    const thread = open(url, {
      fetch: async (input, init) => {
        const answer = await fetch(input, init);
        asked.push([init?.method ?? "GET", answer.status]);
        return answer;
      },
    });
    await until(() => asked.length === 1);
    expect(asked).toEqual([["GET", 204]]);
    await until(() => !thread.state().isRunning);
    expect(thread.state().messages).toEqual([]);
    thread.send("Hello");
    expect(textOf(await answered(thread))).toBe("Hi.");
  });

  test("its stop button closes the stream alone, and `/stop` stops the run", async () => {
    const hold = gate();
    const { chat, url } = await serviceOf(async () => {
      await hold.opened;
      return "late";
    });
    const thread = open(url);
    thread.send("Hi");
    await until(async () => (await chat.getRun(ann))?.status === "running");
    await until(() => thread.state().isRunning);
    thread.stop();
    await until(() => !thread.state().isRunning);
    expect((await chat.getRun(ann))?.status).toBe("running");
    const stopped = await fetch(`${url}/chat/s1/stop`, { method: "POST", headers: bearer("ann") });
    expect(await stopped.json()).toMatchObject({ status: "cancelled" });
    hold.open();
  });

  test("an edited message and an answer given again fork the conversation", async () => {
    const seen: string[][] = [];
    const { url } = await serviceOf((messages, { index }) => {
      seen.push(messages.map(({ text }) => text));
      return `answer ${String(index)}`;
    });
    const thread = open(url);
    thread.send("one");
    await until(() => textOf(thread.state()) === "answer 0" && !thread.state().isRunning);
    thread.reload(1);
    await until(() => textOf(thread.state()) === "answer 1" && !thread.state().isRunning);
    expect(seen[1]).toEqual(["one"]);
    thread.edit(0, "two");
    await until(() => textOf(thread.state()) === "answer 2" && !thread.state().isRunning);
    expect(seen[2]).toEqual(["two"]);
    expect(await historyOf(url)).toHaveLength(2);
  });

  test("a failed run and a refusal are the message's error", async () => {
    const { url } = await serviceOf([removes]);
    const asking = open(url);
    asking.send("Remove /x");
    await answered(asking);
    const other = open(url);
    other.send("again");
    const { messages } = await answered(other);
    expect(messages.at(-1)?.status).toMatchObject({ type: "incomplete", reason: "error" });
    expect(JSON.stringify(messages.at(-1)?.status?.error)).toContain("INTERRUPT_PENDING");
  });
});

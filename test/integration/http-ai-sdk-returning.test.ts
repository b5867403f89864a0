import { describe, expect, test } from "vitest";
import { systemClock, type ChatService } from "../../src/index.js";
import type { Script } from "../../src/testing/index.js";
import { aiSdkClients, comeToFront, textOf, toolOf, type Message } from "../support/ai-sdk-clients.js";
import { bearer, gate, handlerFor, serve, until, type TestOptions } from "../support/http-service.js";

/** For the handler everything has been over for a minute. */
const aMinuteLater = { ...systemClock, now: () => Date.now() + 60_000 };
const session = { sessionId: "s1", userId: "ann" };

async function served(
  script: Script,
  options: TestOptions = {},
): Promise<{ chat: ChatService; url: string }> {
  const { chat, handler } = await handlerFor(script, { clock: aMinuteLater, ...options });
  return { chat, url: await serve(handler) };
}

async function historyOf(url: string, query = ""): Promise<{ messages: Message[]; before: string | null }> {
  const answer = await fetch(`${url}/chat/s1/messages?format=ai-sdk${query}`, { headers: bearer("ann") });
  return (await answer.json()) as { messages: Message[]; before: string | null };
}

/** What of messages is shown. */
function shown(messages: readonly Message[]): unknown {
  return messages.map(({ id, role, parts }) => ({
    id: role === "assistant" ? id : "",
    role,
    parts: parts.map(({ type, text, state, output }) => ({
      type,
      text,
      output,
      state: type === "dynamic-tool" ? state : undefined,
    })),
  }));
}

/** A `fetch` whose first answer breaks off, as a network does, when `word` has been read. */
function breakingAt(word: string): typeof fetch {
  let isFirst = true;
  return async (input, init) => {
    const response = await fetch(input, init);
    if (!isFirst) return response;
    isFirst = false;
    let text = "";
    const body = response.body!.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          controller.enqueue(chunk);
          text += new TextDecoder().decode(chunk);
          if (text.includes(word)) controller.error(new TypeError("network error"));
        },
      }),
    );
    return new Response(body, response);
  };
}

const removes = { toolCalls: [{ name: "remove", args: { path: "/x" }, id: "call-1" }] };

describe.each(aiSdkClients)("%s", (_version, makeClient) => {
  test.each<[string, Script]>([
    ["an answer", [{ toolCalls: [{ name: "add", args: { a: 1, b: 2 } }] }, { text: ["It is 3."] }]],
    ["a question", [{ text: ["I ask. "], ...removes }]],
    [
      "a second question",
      [
        { text: ["I ask. "], ...removes },
        { text: ["And "], toolCalls: [{ name: "remove", args: { path: "/x" } }] },
      ],
    ],
    [
      "an answer given anew",
      ["No.", { text: ["Yes."], toolCalls: [{ name: "add", args: { a: 1, b: 2 } }] }, "3."],
    ],
  ])("%s that a page has whole is not doubled when the page asks to go on", async (name, script) => {
    const { url } = await served(script);
    const first = makeClient(`${url}/chat`, "s1", { auto: true });
    await first.sendMessage({ text: "Do it" });
    if (name === "a second question") {
      await first.addToolApprovalResponse({ id: toolOf(first.messages[1])!.approval!.id, approved: true });
      await until(() => first.status === "ready" && textOf(first.messages[1]).includes("And "));
    }
    if (name === "an answer given anew") await first.regenerate();
    const { messages } = await historyOf(url);
    const loaded = shown(messages);
    const client = makeClient(`${url}/chat`, "s1", { messages });
    for (let time = 0; time < 2; time += 1) {
      await client.resumeStream();
      expect(client.status).toBe("ready");
      expect(shown(client.messages)).toEqual(loaded);
    }
  });

  test.each([
    ["an answer", "completed"],
    ["a question", "interrupted"],
  ])("a page that lost the network in mid-answer comes back to the whole of %s", async (name, status) => {
    const hold = gate();
    const { chat, url } = await served(async (_messages, { index }) => {
      if (index === 0)
        return { text: ["Let me see. "], toolCalls: [{ name: "add", args: { a: 1, b: 2 }, id: "sum" }] };
      await hold.opened;
      if (name === "a question" && index === 1) return { text: ["Removing. "], ...removes };
      return "Done.";
    });
    const client = makeClient(`${url}/chat`, "s1", { auto: true, fetch: breakingAt("see.") });
    await client.sendMessage({ text: "Do it" });
    expect(client.status).toBe("error");
    hold.open();
    await until(async () => (await chat.getRun(session))?.status === status);
    await comeToFront(client);
    expect(client.error).toBeUndefined();
    expect(shown(client.messages)).toMatchObject(shown((await historyOf(url)).messages) as object);
    if (name === "a question") {
      const asked = client.messages[1]!.parts.find(({ state }) => state === "approval-requested");
      await client.addToolApprovalResponse({ id: asked!.approval!.id, approved: true });
      await until(() => client.status === "ready" && textOf(client.messages[1]).includes("Done."));
    }
    expect(client.messages).toHaveLength(2);
    expect(textOf(client.messages[1])).toContain("Done.");
  });

  test("a refusal is shown as one after a reload, with and without a reason, and when it is replayed", async () => {
    const { url } = await served([
      {
        toolCalls: [
          { name: "remove", args: { path: "/a" }, id: "a" },
          { name: "remove", args: { path: "/b" }, id: "b" },
        ],
      },
      "Kept.",
    ]);
    const client = makeClient(`${url}/chat`, "s1", { auto: true });
    await client.sendMessage({ text: "Remove both" });
    const [first, second] = client.messages[1]!.parts.filter(({ type }) => type === "dynamic-tool");
    await client.addToolApprovalResponse({ id: first!.approval!.id, approved: false });
    await client.addToolApprovalResponse({ id: second!.approval!.id, approved: false, reason: "not today" });
    await until(() => client.status === "ready" && textOf(client.messages[1]).includes("Kept."));
    const statesOf = (messages: readonly Message[]): unknown =>
      messages[1]!.parts.filter(({ type }) => type === "dynamic-tool").map(({ state }) => state);
    expect(statesOf(client.messages)).toEqual(["output-denied", "output-denied"]);
    const { messages } = await historyOf(url);
    expect(statesOf(messages)).toEqual(["output-denied", "output-denied"]);
    await client.resumeStream();
    expect(client.error).toBeUndefined();
    expect(statesOf(client.messages)).toEqual(["output-denied", "output-denied"]);
    expect(shown(client.messages.slice(1))).toEqual(shown(messages.slice(1)));
  });

  test("an action that was approved beside a rejected one is in the way of no later approval", async () => {
    const { url } = await served([
      {
        toolCalls: [
          { name: "remove", args: { path: "/a" }, id: "a" },
          { name: "remove", args: { path: "/b" }, id: "b" },
        ],
      },
      { toolCalls: [{ name: "remove", args: { path: "/c" }, id: "c" }] },
      "Done.",
    ]);
    const client = makeClient(`${url}/chat`, "s1", { auto: true });
    await client.sendMessage({ text: "Remove both" });
    const [first, second] = client.messages[1]!.parts.filter(({ type }) => type === "dynamic-tool");
    await client.addToolApprovalResponse({ id: first!.approval!.id, approved: false });
    await client.addToolApprovalResponse({ id: second!.approval!.id, approved: true });
    const third = () => client.messages[1]!.parts.find(({ toolCallId }) => toolCallId === "c");
    await until(() => client.status === "ready" && third()?.state === "approval-requested");
    await client.addToolApprovalResponse({ id: third()!.approval!.id, approved: true });
    await until(() => client.status !== "submitted" && client.status !== "streaming");
    expect(client.error).toBeUndefined();
    expect(third()).toMatchObject({ state: "output-available", output: "removed /c" });
    expect(textOf(client.messages[1])).toContain("Done.");
  });

  test("a page of history begins with the user's message of its first turn", async () => {
    const sums = Array.from({ length: 3 }, (_, index) => ({
      toolCalls: [{ name: "add", args: { a: index, b: 1 } }],
    }));
    const { url } = await served(["Hi.", ...sums, { text: ["It is 3."] }]);
    const client = makeClient(`${url}/chat`, "s1");
    await client.sendMessage({ text: "Hello" });
    await client.sendMessage({ text: "Count" });
    const page = await historyOf(url, "&limit=2");
    expect(page.messages.map(({ role, id }) => [role, id])).toEqual(
      client.messages.slice(2).map(({ role, id }) => [role, id]),
    );
    const reloaded = makeClient(`${url}/chat`, "s1", { messages: page.messages });
    await reloaded.resumeStream();
    expect(reloaded.messages).toHaveLength(2);
    const older = await historyOf(url, `&limit=1&before=${page.before!}`);
    expect(older.messages.map(({ id }) => id)).toEqual(client.messages.slice(0, 2).map(({ id }) => id));
    expect(older.before).toBeNull();
  });
});

test("what was no run of a message, or never began, takes no message away", async () => {
  const hold = gate();
  const { chat, url } = await served(async (_messages, { index }) => {
    if (index > 0) await hold.opened;
    return "Hello.";
  });
  const [, makeClient] = aiSdkClients[0]!;
  await makeClient(`${url}/chat`, "s1").sendMessage({ text: "Hi" });
  await chat.withAgent(session, () => undefined);
  const { messages } = await historyOf(url);
  const client = makeClient(`${url}/chat`, "s1", { messages });
  await client.resumeStream();
  expect(shown(client.messages)).toEqual(shown(messages));

  const running = chat.chat({ ...session, message: "Wait" });
  const queued = chat.chat({ ...session, message: "Never" });
  await Promise.all([running.accepted, queued.accepted]);
  const { runId } = await chat.cancel({ ...session, runId: queued.id });
  const answer = await fetch(`${url}/chat/s1/stream?run_id=${runId}`, { headers: bearer("ann") });
  expect(answer.status).toBe(204);
  hold.open();
  await running.result;
});

import { describe, expect, test } from "vitest";
import type { Script } from "../../src/testing/index.js";
import { aiSdkClients, textOf, toolOf, type Message } from "../support/ai-sdk-clients.js";
import { dataHandler } from "../support/http-data.js";
import { hosts } from "../support/http-hosts.js";
import { bearer, gate, handlerFor, post, until, type TestOptions } from "../support/http-service.js";

const removes = { toolCalls: [{ name: "remove", args: { path: "/x" }, id: "call-1" }] };

const clients = hosts.flatMap((host) =>
  aiSdkClients.map(([version, makeClient]) => ({ name: `${version} on ${host.name}`, host, makeClient })),
);

describe.each(clients)("$name", ({ host: { serve, whole }, makeClient }) => {
  const base = async (script: Script, options: TestOptions = {}): Promise<string> =>
    serve((await handlerFor(script, options)).handler);
  /** A test of what no host has a part in: on one of them is enough. */
  const testOnce: typeof test | (() => void) = whole ? test : () => undefined;

  test("chats in turns; text, reasoning and tools arrive", async () => {
    const url = await base([
      {
        reasoning: ["hm"],
        text: ["I ", "add."],
        toolCalls: [{ name: "add", args: { a: 1, b: 2 }, id: "c1" }],
      },
      { text: ["It ", "is 3."], usage: { inputTokens: 3, outputTokens: 4 } },
      "Bye.",
    ]);
    const client = makeClient(`${url}/chat`, "s1");
    await client.sendMessage({ text: "1 + 2?" });
    expect(client.error).toBeUndefined();
    const reply = client.messages[1];
    expect(reply?.parts.map(({ type }) => type)).toEqual([
      "step-start",
      "reasoning",
      "text",
      "dynamic-tool",
      "step-start",
      "text",
    ]);
    expect(textOf(reply).replaceAll("|", "")).toBe("I add.It is 3.");
    expect(toolOf(reply)).toMatchObject({ state: "output-available", output: "3" });
    expect(reply?.metadata).toMatchObject({ outcome: "completed", usage: { totalTokens: 7 } });
    await client.sendMessage({ text: "Thanks" });
    expect(textOf(client.messages[3])).toContain("Bye.");
  });

  test("an approval that is given lets the tool run, in the same message", async () => {
    const url = await base([removes, "Gone."]);
    const client = makeClient(`${url}/chat`, "s1", { auto: true });
    await client.sendMessage({ text: "Remove /x" });
    const asked = toolOf(client.messages[1]);
    expect(asked).toMatchObject({ state: "approval-requested", toolCallId: "call-1" });
    await client.addToolApprovalResponse({ id: asked!.approval!.id, approved: true });
    await until(() => client.status === "ready" && textOf(client.messages[1]).includes("Gone."));
    expect(client.messages).toHaveLength(2);
    expect(client.messages[1]?.parts.filter(({ type }) => type === "dynamic-tool")).toHaveLength(1);
    expect(toolOf(client.messages[1])).toMatchObject({ state: "output-available", output: "removed /x" });
  });

  testOnce("an approval that is refused shows as denied, and the agent goes on", async () => {
    const url = await base([removes, "Kept."]);
    const client = makeClient(`${url}/chat`, "s1", { auto: true });
    await client.sendMessage({ text: "Remove /x" });
    const { approval } = toolOf(client.messages[1])!;
    await client.addToolApprovalResponse({ id: approval!.id, approved: false, reason: "no" });
    await until(() => client.status === "ready" && textOf(client.messages[1]).includes("Kept."));
    expect(client.error).toBeUndefined();
    expect(toolOf(client.messages[1])).toMatchObject({ state: "output-denied" });
  });

  testOnce("two actions asked about at once are answered together", async () => {
    const url = await base([
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
    const tools = client.messages[1]!.parts.filter(({ type }) => type === "dynamic-tool");
    expect(tools.map(({ state }) => state)).toEqual(["approval-requested", "approval-requested"]);
    // The second one first, and each its own way.
    await client.addToolApprovalResponse({ id: tools[1]!.approval!.id, approved: false });
    await client.addToolApprovalResponse({ id: tools[0]!.approval!.id, approved: true });
    const states = (): (string | undefined)[] =>
      client.messages[1]!.parts.filter(({ type }) => type === "dynamic-tool").map(
        ({ toolCallId, state }) => `${String(toolCallId)} ${String(state)}`,
      );
    // Beside a rejected action langchain does not run the approved one: it asks the model what to do now.
    await until(() => client.status === "ready" && states().length === 3);
    expect(states()).toEqual(["a approval-responded", "b output-denied", "c approval-requested"]);
    const third = client.messages[1]!.parts.find(({ toolCallId }) => toolCallId === "c");
    await client.addToolApprovalResponse({ id: third!.approval!.id, approved: true });
    await until(() => client.status === "ready" && textOf(client.messages[1]).includes("Done."));
    expect(states()[2]).toBe("c output-available");
  });

  testOnce("a failed run is an error with fixed text", async () => {
    const url = await base([{ text: ["half"], error: new Error("key sk-123 at 10.0.0.1"), errorAfter: 1 }]);
    const client = makeClient(`${url}/chat`, "s1");
    await client.sendMessage({ text: "Hi" });
    expect(client.status).toBe("error");
    expect(client.error?.message).not.toMatch(/sk-123|10\.0/);
    expect(client.error?.message).toMatch(/^The (agent|model) /);
  });

  test("stop only leaves; the stop route ends the run", async () => {
    const hold = gate();
    const script: Script = async () => {
      await hold.opened;
      return "late";
    };
    const { chat, handler } = await handlerFor(script);
    const url = await serve(handler);
    const client = makeClient(`${url}/chat`, "s1");
    const sent = client.sendMessage({ text: "Hi" });
    const session = { sessionId: "s1", userId: "ann" };
    await until(async () => (await chat.getRun(session))?.status === "running");
    await client.stop();
    await sent;
    expect((await chat.getRun(session))?.status).toBe("running");
    const stopped = await fetch(`${url}/chat/s1/stop`, { method: "POST", headers: bearer("ann") });
    expect(stopped.status).toBe(200);
    expect(await stopped.json()).toMatchObject({ status: "cancelled" });
    hold.open();
  });

  test("a reload in mid-answer goes on without a lost or doubled character", async () => {
    const hold = gate();
    const script: Script = async (_messages, { index }) => {
      if (index === 0)
        return { text: ["Let me ", "see. "], toolCalls: [{ name: "add", args: { a: 1, b: 2 } }] };
      await hold.opened;
      return { text: ["It ", "is ", "3."] };
    };
    const url = await base(script);
    const before = makeClient(`${url}/chat`, "s1");
    const sent = before.sendMessage({ text: "1 + 2?" });
    await until(() => toolOf(before.messages[1])?.state === "output-available");
    await before.stop();
    await sent;
    const loaded = await fetch(`${url}/chat/s1/messages?format=ai-sdk`, { headers: bearer("ann") });
    const { messages } = (await loaded.json()) as { messages: Message[] };
    expect(messages.map(({ role }) => role)).toEqual(["user", "assistant"]);
    const after = makeClient(`${url}/chat`, "s1", { messages });
    const resumed = after.resumeStream();
    hold.open();
    await resumed;
    expect(after.error).toBeUndefined();
    expect(after.messages.map(({ role }) => role)).toEqual(["user", "assistant"]);
    expect(textOf(after.messages[1]).replaceAll("|", "")).toBe("Let me see. It is 3.");
    expect(after.messages[1]?.parts.filter(({ type }) => type === "dynamic-tool")).toHaveLength(1);
  });

  testOnce("a reload after an approval goes on with the whole message", async () => {
    const hold = gate();
    const script: Script = async (_messages, { index }) => {
      if (index === 0) return { text: ["Removing. "], ...removes };
      await hold.opened;
      return { text: ["All ", "gone."] };
    };
    const { chat, handler } = await handlerFor(script);
    const url = await serve(handler);
    const before = makeClient(`${url}/chat`, "s1", { auto: true });
    await before.sendMessage({ text: "Remove /x" });
    await before.addToolApprovalResponse({ id: toolOf(before.messages[1])!.approval!.id, approved: true });
    await until(() => toolOf(before.messages[1])?.state === "output-available");
    await before.stop();
    const loaded = await fetch(`${url}/chat/s1/messages?format=ai-sdk`, { headers: bearer("ann") });
    const { messages } = (await loaded.json()) as { messages: Message[] };
    const after = makeClient(`${url}/chat`, "s1", { messages });
    const resumed = after.resumeStream();
    hold.open();
    await resumed;
    expect(after.error).toBeUndefined();
    expect(after.messages).toHaveLength(2);
    expect(textOf(after.messages[1]).replaceAll("|", "")).toBe("Removing. All gone.");
    expect(after.messages[1]?.parts.filter(({ type }) => type === "dynamic-tool")).toMatchObject([
      { state: "output-available", output: "removed /x" },
    ]);
    expect((await chat.getRun({ sessionId: "s1", userId: "ann" }))?.status).toBe("completed");
  });

  testOnce("a question that waits survives a reload and can be answered from the history", async () => {
    const url = await base([removes, "Gone."]);
    await makeClient(`${url}/chat`, "s1").sendMessage({ text: "Remove /x" });
    const loaded = await fetch(`${url}/chat/s1/messages?format=ai-sdk`, { headers: bearer("ann") });
    const { messages } = (await loaded.json()) as { messages: Message[] };
    const client = makeClient(`${url}/chat`, "s1", { messages, auto: true });
    expect(toolOf(client.messages[1])).toMatchObject({ state: "approval-requested" });
    await client.addToolApprovalResponse({ id: toolOf(client.messages[1])!.approval!.id, approved: true });
    await until(() => client.status === "ready" && textOf(client.messages[1]).includes("Gone."));
    expect(client.messages).toHaveLength(2);
  });

  testOnce("there is nothing to resume in a new chat", async () => {
    const url = await base(["Hi."]);
    const client = makeClient(`${url}/chat`, "s1");
    await client.resumeStream();
    expect(client.status).toBe("ready");
    expect(client.messages).toEqual([]);
    const answer = await fetch(`${url}/chat/s1/stream`, { headers: bearer("ann") });
    expect(answer.status).toBe(204);
  });

  testOnce(
    "regenerate gives the answer again, an edited message takes the place of the old one",
    async () => {
      const seen: string[][] = [];
      const script: Script = (messages, { index }) => {
        seen.push(messages.map((message) => message.text));
        return `answer ${String(index)}`;
      };
      const url = await base(script);
      const client = makeClient(`${url}/chat`, "s1");
      await client.sendMessage({ text: "one" });
      await client.regenerate();
      expect(client.error).toBeUndefined();
      expect(seen[1]).toEqual(["one"]);
      expect(textOf(client.messages[1])).toContain("answer 1");
      await client.sendMessage({ text: "two", messageId: client.messages[0]!.id });
      expect(client.error).toBeUndefined();
      expect(seen[2]).toEqual(["two"]);
      expect(client.messages).toHaveLength(2);
    },
  );

  testOnce("a refusal before the stream is the client's error", async () => {
    const url = await base([removes]);
    await post(`${url}/chat`, { session_id: "s1", message: "x", stream: false }, "ann");
    const client = makeClient(`${url}/chat`, "s1");
    await client.sendMessage({ text: "again" });
    expect(client.error?.message).toContain("INTERRUPT_PENDING");
  });

  testOnce(
    "what the agent writes for the user interface is parts, of which equal ids replace each other",
    async () => {
      const client = makeClient(`${await serve(dataHandler())}/chat`, "s1");
      await client.sendMessage({ text: "Hi" });
      expect(client.error).toBeUndefined();
      expect(client.messages[1]?.parts).toMatchObject([
        { type: "data-progress", id: "p", data: { percent: 100 } },
        { type: "data-note", data: ["你好", null] },
        { type: "text", text: "Done." },
      ]);
    },
  );
});

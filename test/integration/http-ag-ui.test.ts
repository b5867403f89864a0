import { MessagesSnapshotEventSchema } from "@ag-ui/core/schemas";
import { describe, expect, test } from "vitest";
import type { Script } from "../../src/testing/index.js";
import { agUiClients, interruptsOf, run, say, type Client } from "../support/ag-ui-clients.js";
import { dataHandler } from "../support/http-data.js";
import { hosts } from "../support/http-hosts.js";
import { bearer, gate, handlerFor, until, type TestOptions } from "../support/http-service.js";

interface Page {
  readonly messages: Client["messages"];
  readonly interrupts: readonly object[];
}

async function pageOf(url: string): Promise<Page> {
  const answer = await fetch(url.replace(/ag-ui$/, "chat/s1/messages?format=ag-ui"), {
    headers: bearer("ann"),
  });
  return (await answer.json()) as Page;
}

/** What of a message is shown. */
function shown({ role, content, toolCalls }: Client["messages"][number]): object {
  return { role, content, toolCalls: toolCalls?.map(({ id }) => id) };
}

const removes = { text: ["Removing."], toolCalls: [{ name: "remove", args: { path: "/x" }, id: "call-1" }] };

const clients = hosts.flatMap((host) =>
  agUiClients.map(([version, clientFor]) => ({ name: `${version} on ${host.name}`, host, clientFor })),
);

describe.each(clients)("$name", ({ host: { serve, whole }, clientFor }) => {
  const base = async (script: Script, options: TestOptions = {}): Promise<string> =>
    `${await serve((await handlerFor(script, options)).handler)}/ag-ui`;
  /** A test of what no host has a part in: on one of them is enough. */
  const testOnce: typeof test | (() => void) = whole ? test : () => undefined;
  const makeClient = (url: string, threadId: string) => clientFor(url, threadId, bearer("ann"));

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
    const client = makeClient(url, "s1");
    const events = await say(client, "1 + 2?");
    expect(events[0]?.type).toBe("RUN_STARTED");
    expect(events.at(-1)?.type).toBe("RUN_FINISHED");
    const contents = client.messages
      .filter(({ role }) => role !== "reasoning")
      .map(({ role, content }) => [role, content]);
    expect(contents).toEqual([
      ["user", "1 + 2?"],
      ["assistant", "I add."],
      ["tool", "3"],
      ["assistant", "It is 3."],
    ]);
    expect(client.messages.find(({ content }) => content === "I add.")?.toolCalls).toHaveLength(1);
    await say(client, "Thanks");
    expect(client.messages.at(-1)?.content).toBe("Bye.");
  });

  testOnce("the last message sent again, or an earlier one, is answered anew in its place", async () => {
    const seen: string[][] = [];
    const url = await base((messages, { index }) => {
      seen.push(messages.map(({ text }) => text));
      return `answer ${String(index)}`;
    });
    const client = makeClient(url, "s1");
    for (const content of ["one", "two"]) await say(client, content);
    const pairs = (messages: Client["messages"]) => messages.map(({ role, content }) => [role, content]);

    client.setMessages(client.messages.slice(0, 3));
    await run(client, {});
    expect(seen[2]).toEqual(["one", "answer 0", "two"]);
    const whole = [
      ["user", "one"],
      ["assistant", "answer 0"],
      ["user", "two"],
      ["assistant", "answer 2"],
    ];
    expect(pairs(client.messages)).toEqual(whole);
    expect(pairs((await pageOf(url)).messages)).toEqual(whole);

    const [first] = client.messages;
    client.setMessages([{ ...first!, content: "ONE" }]);
    await run(client, {});
    expect(seen[3]).toEqual(["ONE"]);
    expect(pairs((await pageOf(url)).messages)).toEqual(pairs(client.messages));
    await say(client, "three");
    expect(seen[4]).toEqual(["ONE", "answer 3", "three"]);
  });

  test("an interrupt is answered with resume, and the tool runs", async () => {
    const url = await base([removes, "Gone."]);
    const client = makeClient(url, "s1");
    const [interrupt, ...others] = interruptsOf(await say(client, "Remove /x"));
    expect(others).toEqual([]);
    expect(interrupt).toMatchObject({ toolCallId: "call-1" });
    const resume = [{ interruptId: interrupt!.id, status: "resolved", payload: { type: "approve" } }];
    const events = await run(client, { resume });
    expect(events.at(-1)).toMatchObject({ type: "RUN_FINISHED" });
    expect(client.messages.map(({ role, content }) => [role, content])).toEqual([
      ["user", "Remove /x"],
      ["assistant", "Removing."],
      ["tool", "removed /x"],
      ["assistant", "Gone."],
    ]);
  });

  testOnce("a cancelled interrupt is a rejection", async () => {
    const url = await base([removes, "Kept."]);
    const client = makeClient(url, "s1");
    const [interrupt] = interruptsOf(await say(client, "Remove /x"));
    await run(client, { resume: [{ interruptId: interrupt!.id, status: "cancelled" }] });
    expect(client.messages.at(-1)?.content).toBe("Kept.");
    expect(client.messages.some(({ content }) => content === "removed /x")).toBe(false);
  });

  testOnce("a page that is loaded anew has the same messages, and answers what waits", async () => {
    const url = await base([
      { reasoning: ["hm"], text: ["I add."], toolCalls: [{ name: "add", args: { a: 1, b: 2 }, id: "c1" }] },
      { text: ["It is 3."] },
      removes,
      "Gone.",
    ]);
    const before = makeClient(url, "s1");
    await say(before, "1 + 2?");
    const asked = interruptsOf(await say(before, "Remove /x"));
    const page = await pageOf(url);
    expect(() => MessagesSnapshotEventSchema.parse({ type: "MESSAGES_SNAPSHOT", ...page })).not.toThrow();
    expect(page.messages.map(shown)).toEqual(before.messages.map(shown));
    expect(page.interrupts).toEqual(asked);

    const after = makeClient(url, "s1");
    after.setMessages(page.messages);
    const [{ id: interruptId }] = page.interrupts as [{ id: string }];
    const resume = [{ interruptId, status: "resolved", payload: { type: "approve" } }];
    const events = await run(after, { resume });
    // The page shows the call already.
    expect(events.filter(({ type }) => type === "TOOL_CALL_START")).toEqual([]);
    expect(after.messages.slice(-4).map(shown)).toEqual([
      { role: "user", content: "Remove /x", toolCalls: undefined },
      { role: "assistant", content: "Removing.", toolCalls: ["call-1"] },
      { role: "tool", content: "removed /x", toolCalls: undefined },
      { role: "assistant", content: "Gone.", toolCalls: undefined },
    ]);
    expect((await pageOf(url)).interrupts).toEqual([]);
  });

  testOnce("a tool call is shown under an id that an earlier turn has used", async () => {
    const sum = { toolCalls: [{ name: "add", args: { a: 1, b: 2 }, id: "call-0" }] };
    const client = makeClient(await base([sum, "3.", sum, "3 again."]), "s1");
    await say(client, "1 + 2?");
    const events = await say(client, "And again?");
    expect(events.map(({ type }) => type)).toEqual(
      expect.arrayContaining(["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"]),
    );
  });

  testOnce("a failed run ends with RUN_ERROR and fixed text", async () => {
    const url = await base([{ text: ["half"], error: new Error("key sk-123"), errorAfter: 1 }]);
    const events = await say(makeClient(url, "s1"), "Hi");
    expect(events.at(-1)).toMatchObject({ type: "RUN_ERROR" });
    expect(JSON.stringify(events)).not.toContain("sk-123");
  });

  testOnce("a run that is stopped elsewhere ends without an error", async () => {
    const hold = gate();
    const { chat, handler } = await handlerFor(async () => {
      await hold.opened;
      return "late";
    });
    const client = makeClient(`${await serve(handler)}/ag-ui`, "s1");
    const said = say(client, "Hi");
    const session = { sessionId: "s1", userId: "ann" };
    await until(async () => (await chat.getRun(session))?.status === "running");
    await chat.cancel(session);
    expect((await said).at(-1)?.type).toBe("RUN_FINISHED");
    hold.open();
  });

  testOnce("CopilotKit's older form of interrupts, where the host asks for it", async () => {
    const url = await base([removes, "Gone."], { agUi: { legacyInterrupts: true } });
    const client = makeClient(url, "s1");
    const events = await say(client, "Remove /x");
    expect(events).toContainEqual(expect.objectContaining({ type: "CUSTOM", name: "on_interrupt" }));
    // The older clients do not know what waits; the newer ones would ask for `resume`.
    const older = makeClient(url, "s1");
    const answer = JSON.stringify({ decisions: [{ type: "approve" }] });
    await run(older, { forwardedProps: { command: { resume: answer } } });
    expect(older.messages.at(-1)?.content).toBe("Gone.");
  });

  testOnce("what the agent writes for the user interface is custom events", async () => {
    const events = await say(makeClient(`${await serve(dataHandler())}/ag-ui`, "s1"), "Hi");
    const custom = events.filter(({ type }) => type === "CUSTOM").map(({ name, value }) => [name, value]);
    expect(custom).toEqual([
      ["progress", { percent: 10 }],
      ["progress", { percent: 100 }],
      ["note", ["你好", null]],
    ]);
    expect(events.at(-1)?.type).toBe("RUN_FINISHED");
  });
});

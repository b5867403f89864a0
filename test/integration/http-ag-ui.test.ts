import { HttpAgent as Agent1 } from "@ag-ui/client";
import { HttpAgent as Agent0 } from "ag-ui-client-0";
import { describe, expect, test } from "vitest";
import type { Script } from "../../src/testing/index.js";
import { bearer, gate, handlerFor, serve, until, type TestOptions } from "../support/http-service.js";

interface AgUiEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}
interface Interrupt {
  readonly id: string;
  readonly toolCallId?: string;
  readonly message?: string;
}
interface ClientMessage {
  readonly id: string;
  readonly role: string;
  readonly content?: unknown;
  readonly toolCalls?: readonly { readonly id: string }[];
}
/** What both versions of the client have in common. */
interface Client {
  messages: ClientMessage[];
  addMessage(message: { id: string; role: "user"; content: string }): void;
  runAgent(
    input: object,
    subscriber: { onEvent(params: { event: AgUiEvent }): void; onRunErrorEvent?(): void },
  ): Promise<unknown>;
}

type MakeClient = (url: string, threadId: string) => Client;

const versions: [string, MakeClient][] = [
  ["@ag-ui/client 1.0.0", (url, threadId) => new Agent1({ url, threadId, headers: bearer("ann") })],
  ["@ag-ui/client 0.0.59", (url, threadId) => new Agent0({ url, threadId, headers: bearer("ann") })],
];

async function base(script: Script, options: TestOptions = {}): Promise<string> {
  return `${await serve((await handlerFor(script, options)).handler)}/ag-ui`;
}

let ids = 0;

async function say(client: Client, content: string): Promise<AgUiEvent[]> {
  ids += 1;
  client.addMessage({ id: `m-${String(ids)}`, role: "user", content });
  return run(client, {});
}

async function run(client: Client, input: object): Promise<AgUiEvent[]> {
  const events: AgUiEvent[] = [];
  ids += 1;
  await client
    .runAgent({ runId: `run-${String(ids)}`, ...input }, { onEvent: ({ event }) => void events.push(event) })
    .catch((error: unknown) => {
      // Clients differ in whether a run's own error rejects; the event tells either way.
      if (events.at(-1)?.type !== "RUN_ERROR") throw error;
    });
  return events;
}

function interruptsOf(events: readonly AgUiEvent[]): readonly Interrupt[] {
  const { outcome } = events.at(-1) as unknown as { outcome?: { interrupts?: readonly Interrupt[] } };
  return outcome?.interrupts ?? [];
}

const removes = { text: ["Removing."], toolCalls: [{ name: "remove", args: { path: "/x" }, id: "call-1" }] };

describe.each(versions)("%s", (_version, makeClient) => {
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

  test("a cancelled interrupt is a rejection", async () => {
    const url = await base([removes, "Kept."]);
    const client = makeClient(url, "s1");
    const [interrupt] = interruptsOf(await say(client, "Remove /x"));
    await run(client, { resume: [{ interruptId: interrupt!.id, status: "cancelled" }] });
    expect(client.messages.at(-1)?.content).toBe("Kept.");
    expect(client.messages.some(({ content }) => content === "removed /x")).toBe(false);
  });

  test("a failed run ends with RUN_ERROR and fixed text", async () => {
    const url = await base([{ text: ["half"], error: new Error("key sk-123"), errorAfter: 1 }]);
    const events = await say(makeClient(url, "s1"), "Hi");
    expect(events.at(-1)).toMatchObject({ type: "RUN_ERROR" });
    expect(JSON.stringify(events)).not.toContain("sk-123");
  });

  test("a run that is stopped elsewhere ends without an error", async () => {
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

  test("CopilotKit's older form of interrupts, where the host asks for it", async () => {
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
});

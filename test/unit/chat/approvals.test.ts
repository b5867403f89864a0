import { MessagesAnnotation, StateGraph, START, END, interrupt } from "@langchain/langgraph";
import { AIMessage } from "@langchain/core/messages";
import { humanInTheLoopMiddleware, tool } from "langchain";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { JsonValue } from "../../../src/json.js";
import { ManualClock, ScriptedChatModel } from "../../../src/testing/index.js";
import { codeOf, createChat, eventsOf, eventually, lastUserText, openToolCalls } from "../../support/chat.js";

const session = { sessionId: "s" };

/** A service whose agent sends mail, one per name in the message, with approval. */
async function mailer(
  options: {
    readonly maxAgents?: number;
    readonly interruptTtlMs?: number;
    readonly clock?: ManualClock;
  } = {},
) {
  const sent: string[] = [];
  const models: string[] = [];
  /** Whether no model is to be had. */
  const outage = { now: false };
  const send = tool(
    ({ to }: { to: string }) => {
      sent.push(to);
      return `sent to ${to}`;
    },
    { name: "send", description: "Sends mail", schema: z.object({ to: z.string() }) },
  );
  const chat = await createChat({
    model: (config) => {
      models.push(String(config.model));
      if (outage.now) throw new Error("The vault with the keys is out of reach");
      return new ScriptedChatModel((messages) => {
        const last = messages.at(-1);
        if (last?.type === "tool") return `Result: ${last.text}`;
        const names = /^mail (.*)$/.exec(lastUserText(messages))?.[1]?.split(" ");
        if (names === undefined) return "hello";
        return { toolCalls: names.map((to) => ({ name: "send", args: { to } })) };
      });
    },
    tools: [send],
    middleware: [humanInTheLoopMiddleware({ interruptOn: { send: true } })],
    ...options,
  });
  return { chat, sent, models, outage };
}

async function ask(chat: Awaited<ReturnType<typeof mailer>>["chat"], message: string) {
  const result = await chat.chat({ ...session, message }).result;
  expect(result.outcome).toBe("interrupted");
  const id = result.interrupts[0]?.id ?? "";
  expect(result.interrupts[0]?.kind).toBe("approval");
  return { id, interrupts: result.interrupts };
}

function decide(id: string, ...decisions: JsonValue[]) {
  return { ...session, answers: { [id]: { decisions } } };
}

const approve = { type: "approve" };

describe("approvals by langchain's middleware", () => {
  test("approve runs the tool, and the turn goes on", async () => {
    const { chat, sent } = await mailer();
    const { id } = await ask(chat, "mail ann");
    expect(sent).toEqual([]);
    expect((await chat.getSession(session))?.state).toBe("interrupted");
    expect((await chat.resume(decide(id, approve)).result).text).toBe("Result: sent to ann");
    expect(sent).toEqual(["ann"]);
    expect((await chat.chat({ ...session, message: "hi" }).result).text).toBe("hello");
  });

  test("edit runs it with the edited input, reject does not run it and says why", async () => {
    const { chat, sent } = await mailer();
    const edited = await ask(chat, "mail ann");
    const edit = { type: "edit", editedAction: { name: "send", args: { to: "eve" } } };
    await chat.resume(decide(edited.id, edit)).result;
    expect(sent).toEqual(["eve"]);
    const rejected = await ask(chat, "mail bob");
    expect(
      (await chat.resume(decide(rejected.id, { type: "reject", message: "never bob" })).result).text,
    ).toBe("Result: never bob");
    expect(sent).toEqual(["eve"]);
    expect(openToolCalls((await chat.getHistory(session)).messages)).toEqual([]);
  });

  test("several actions take one decision each", async () => {
    const { chat, sent } = await mailer();
    const { id } = await ask(chat, "mail ann bob cal");
    expect(await codeOf(chat.resume(decide(id, approve)).accepted)).toBe("INVALID_INPUT");
    const edit = { type: "edit", editedAction: { name: "send", args: { to: "eve" } } };
    expect((await chat.resume(decide(id, approve, edit, approve)).result).outcome).toBe("completed");
    expect(sent.sort()).toEqual(["ann", "cal", "eve"]);
    // As langchain has it, one rejection takes the other calls of its message back too.
    const mixed = await ask(chat, "mail dan fay");
    expect((await chat.resume(decide(mixed.id, approve, { type: "reject" })).result).outcome).toBe(
      "completed",
    );
    expect(sent).toHaveLength(3);
    expect(openToolCalls((await chat.getHistory(session)).messages)).toEqual([]);
  });

  test("malformed answers are refused, nothing is applied, and the right one still works", async () => {
    const { chat, sent } = await mailer();
    const { id } = await ask(chat, "mail ann");
    const wrong: [string, unknown][] = [
      ["INVALID_INPUT", undefined],
      ["INVALID_INPUT", {}],
      ["INVALID_INPUT", [approve]],
      ["INVALID_INPUT", { [id]: undefined }],
      ["INVALID_INPUT", { [id]: null }],
      ["INVALID_INPUT", { [id]: true }],
      ["INVALID_INPUT", { [id]: { decisions: [] } }],
      ["INVALID_INPUT", { [id]: { decisions: [null] } }],
      ["INVALID_INPUT", { [id]: { decisions: [{ type: "maybe" }] } }],
      ["INVALID_INPUT", { [id]: { decisions: [{ type: "edit" }] } }],
      [
        "INVALID_INPUT",
        { [id]: { decisions: [{ type: "edit", editedAction: { name: "send", args: null } }] } },
      ],
      [
        "INVALID_INPUT",
        { [id]: { decisions: [{ type: "edit", editedAction: { name: "send", args: [] } }] } },
      ],
      ["INVALID_INPUT", { [id]: { decisions: [{ type: "reject", message: 5 }] } }],
      ["INVALID_INPUT", { [id]: { decisions: [approve, approve] } }],
      ["INVALID_INPUT", { [id]: { decisions: [approve], when: new Date() } }],
      ["INTERRUPT_STALE", { other: { decisions: [approve] } }],
      ["INTERRUPT_STALE", { [id]: { decisions: [approve] }, other: 1 }],
      ["INTERRUPT_STALE", { __proto__x: 1 }],
    ];
    for (const [code, answers] of wrong) {
      expect([
        await codeOf(chat.resume({ ...session, answers: answers as never }).accepted),
        answers,
      ]).toEqual([code, answers]);
    }
    expect(sent).toEqual([]);
    expect((await chat.resume(decide(id, approve)).result).outcome).toBe("completed");
    expect(sent).toEqual(["ann"]);
  });

  test("of two racing answers one wins; a second and a stale one are refused", async () => {
    const { chat, sent } = await mailer();
    const { id } = await ask(chat, "mail ann");
    const codes = await Promise.all([1, 2, 3].map(() => codeOf(chat.resume(decide(id, approve)).result)));
    expect(codes).toEqual(["none", "INTERRUPT_STALE", "INTERRUPT_STALE"]);
    expect(await codeOf(chat.resume(decide(id, approve)).result)).toBe("INTERRUPT_STALE");
    expect(sent).toEqual(["ann"]);
  });

  test("the same answer sent again under its run id follows the first", async () => {
    const { chat, sent } = await mailer();
    const { id } = await ask(chat, "mail ann");
    const request = { ...decide(id, approve), runId: "answer" };
    const results = await Promise.all([chat.resume(request).result, chat.resume(request).result]);
    expect((await chat.resume(request).accepted).created).toBe(false);
    expect(results.map(({ text }) => text)).toEqual(["Result: sent to ann", "Result: sent to ann"]);
    expect(sent).toEqual(["ann"]);
    expect(await codeOf(chat.resume({ ...request, answers: { [id]: { decisions: [] } } }).accepted)).toBe(
      "RUN_ID_CONFLICT",
    );
  });

  test("a new message gets INTERRUPT_PENDING; one that waited already runs after the answer", async () => {
    const { chat } = await mailer();
    const asking = chat.chat({ ...session, message: "mail ann" });
    const waiting = chat.chat({ ...session, message: "hi" });
    const { interrupts } = await asking.result;
    expect(await codeOf(chat.chat({ ...session, message: "hi" }).accepted)).toBe("INTERRUPT_PENDING");
    expect((await chat.getRun({ ...session, runId: waiting.id }))?.status).toBe("queued");
    const order: string[] = [];
    chat.on("run:finished", ({ runId }) => order.push(runId));
    const answer = chat.resume(decide(interrupts[0]?.id ?? "", approve));
    expect((await waiting.result).text).toBe("hello");
    expect(order).toEqual([answer.id, waiting.id]);
  });

  test.each(["interrupt", "rollback"] as const)("policy %s closes the question", async (onBusy) => {
    const { chat, sent } = await mailer();
    await chat.chat({ ...session, message: "hi" }).result;
    const { id } = await ask(chat, "mail ann");
    expect((await chat.chat({ ...session, message: "never mind", onBusy }).result).text).toBe("hello");
    expect(await codeOf(chat.resume(decide(id, approve)).accepted)).toBe("INTERRUPT_STALE");
    expect(sent).toEqual([]);
    const { messages } = await chat.getHistory(session);
    expect(openToolCalls(messages)).toEqual([]);
    expect(messages.some(({ content }) => content === "mail ann")).toBe(onBusy === "interrupt");
  });

  test("a cancel closes the question, and the next message is fine", async () => {
    const { chat, sent } = await mailer();
    const { id } = await ask(chat, "mail ann");
    await chat.cancel(session);
    expect((await chat.chat({ ...session, message: "hi" }).result).text).toBe("hello");
    expect(await codeOf(chat.resume(decide(id, approve)).accepted)).toBe("INTERRUPT_STALE");
    expect(sent).toEqual([]);
    expect(openToolCalls((await chat.getHistory(session)).messages)).toEqual([]);
  });

  test("it survives the eviction of its agent, and the resume runs with the config of its run", async () => {
    const { chat, sent, models } = await mailer({ maxAgents: 1 });
    const first = await chat.chat({ ...session, message: "mail ann", model: "small" }).result;
    await chat.chat({ sessionId: "other", message: "hi", model: "large" }).result;
    expect(chat.manager.getStats().totalAgents).toBe(1);
    await chat.removeAgent({ sessionId: "other" });
    await chat.resume(decide(first.interrupts[0]?.id ?? "", approve)).result;
    expect(sent).toEqual(["ann"]);
    expect(models).toEqual(["small", "large", "small"]);
  });

  test("a resume that fails before the agent has its answer leaves the question, and can be sent again", async () => {
    const { chat, sent, outage } = await mailer();
    const { id } = await ask(chat, "mail ann");
    outage.now = true;
    expect(await codeOf(chat.resume(decide(id, approve)).result)).toBe("AGENT_FAILED");
    expect((await chat.getRun(session))?.interrupts.map((interrupt) => interrupt.id)).toEqual([id]);
    expect(await codeOf(chat.chat({ ...session, message: "hi" }).accepted)).toBe("INTERRUPT_PENDING");
    outage.now = false;
    expect((await chat.resume(decide(id, approve)).result).outcome).toBe("completed");
    expect(sent).toEqual(["ann"]);
  });

  test("interruptTtlMs closes it at a cleanup", async () => {
    const clock = new ManualClock();
    const { chat } = await mailer({ clock, interruptTtlMs: 1000 });
    const { id } = await ask(chat, "mail ann");
    await clock.advance(999);
    expect((await chat.cleanup()).expiredRuns).toBe(0);
    await clock.advance(1);
    expect((await chat.cleanup()).expiredRuns).toBe(1);
    expect(await codeOf(chat.resume(decide(id, approve)).accepted)).toBe("INTERRUPT_STALE");
    expect((await chat.chat({ ...session, message: "hi" }).result).text).toBe("hello");
  });
});

describe("interrupt() of a graph", () => {
  /** Three nodes that each ask at the same time, then one that says what they were told. */
  function asking() {
    const ask = (name: string) => () => ({
      messages: [new AIMessage(`${name} ${String(interrupt({ name }))}`)],
    });
    return new StateGraph(MessagesAnnotation)
      .addNode("a", ask("a"))
      .addNode("b", ask("b"))
      .addNode("c", ask("c"))
      .addNode("end", () => ({ messages: [new AIMessage("all answered")] }))
      .addEdge(START, "a")
      .addEdge(START, "b")
      .addEdge(START, "c")
      .addEdge(["a", "b", "c"], "end")
      .addEdge("end", END)
      .compile();
  }

  test("several at once are answered by id, a part of them at a time", async () => {
    const chat = await createChat({ graph: asking() });
    const run = chat.chat({ ...session, message: "go" });
    const events = await eventsOf(run);
    const asked = events.flatMap((event) => (event.type === "interrupt" ? [event] : []));
    expect(asked.map(({ kind, value }) => [kind, value])).toEqual(
      ["a", "b", "c"].map((name) => ["input", { name }]),
    );
    const [a, b, c] = asked.map(({ id }) => id);
    if (a === undefined || b === undefined || c === undefined) throw new Error("Three questions expected");

    const second = await chat.resume({ ...session, answers: { [b]: "two" } }).result;
    expect(second.outcome).toBe("interrupted");
    expect(second.interrupts.map(({ id }) => id).sort()).toEqual([a, c].sort());
    expect(await codeOf(chat.resume({ ...session, answers: { [b]: "again" } }).accepted)).toBe(
      "INTERRUPT_STALE",
    );
    expect(await codeOf(chat.resume({ ...session, answers: { [a]: "x", [b]: "y" } }).accepted)).toBe(
      "INTERRUPT_STALE",
    );
    const last = await chat.resume({ ...session, answers: { [c]: 3, [a]: { deep: ["one"] } } }).result;
    expect(last.outcome).toBe("completed");
    const { messages } = await chat.getHistory(session);
    expect(messages.map(({ content }) => content)).toEqual([
      "go",
      "a [object Object]",
      "b two",
      "c 3",
      "all answered",
    ]);
  });

  test("questions of one session are not there for another's answers", async () => {
    const chat = await createChat({ graph: asking() });
    const result = await chat.chat({ ...session, message: "go" }).result;
    await chat.chat({ sessionId: "t", message: "go" }).result;
    const answers = { [result.interrupts[0]?.id ?? ""]: "hi" };
    expect(await codeOf(chat.resume({ sessionId: "t", answers }).accepted)).toBe("INTERRUPT_STALE");
    expect(await codeOf(chat.resume({ ...session, userId: "u", answers }).accepted)).toBe("INTERRUPT_STALE");
  });

  test("a resume that is cancelled while it works leaves a session that goes on", async () => {
    const chat = await createChat({
      graph: new StateGraph(MessagesAnnotation)
        .addNode("ask", async (_state, config) => {
          const answer: unknown = interrupt("well?");
          if (answer === "hang")
            await new Promise((resolve) => {
              (config.signal as AbortSignal | undefined)?.addEventListener("abort", resolve);
            });
          return { messages: [new AIMessage(String(answer))] };
        })
        .addEdge(START, "ask")
        .compile(),
    });
    const { interrupts } = await chat.chat({ ...session, message: "go" }).result;
    const hanging = chat.resume({ ...session, answers: { [interrupts[0]?.id ?? ""]: "hang" } });
    await eventually(
      async () => (await chat.getRun({ ...session, runId: hanging.id }))?.status === "running",
    );
    await hanging.cancel();
    expect((await hanging.result).outcome).toBe("cancelled");
    const again = await chat.chat({ ...session, message: "again" }).result;
    expect(again.outcome).toBe("interrupted");
    const end = await chat.resume({ ...session, answers: { [again.interrupts[0]?.id ?? ""]: "fine" } })
      .result;
    expect(end.outcome).toBe("completed");
  });
});

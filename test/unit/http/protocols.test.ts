import { describe, expect, test } from "vitest";
import type { AgentEvent, HistoryMessage, RunEvent, RunLifecycleEvent } from "../../../src/index.js";
import {
  AgUiMapper,
  parseAgUiRequest,
  parseEventId,
  parseUiChatRequest,
  toEventId,
  toUiMessages,
  UiChunkMapper,
  type AgUiEvent,
  type AgUiOptions,
  type UiChunkOptions,
  type UiMessageChunk,
} from "../../../src/http/index.js";

import { answersOf } from "../../../src/http/protocols/approvals.js";
import { UiMessageStreamEncoder } from "../../../src/http/protocols/ai-sdk.js";
import { EventStreamEncoder } from "../../../src/http/protocols/events.js";
import { encodeAll } from "../../../src/http/protocols/protocol.js";

function events(...list: (AgentEvent | RunLifecycleEvent)[]): RunEvent[] {
  return list.map((event, index) => ({ ...event, seq: index + 1 }));
}

function ui(list: readonly RunEvent[], options: UiChunkOptions = {}): UiMessageChunk[] {
  const mapper = new UiChunkMapper(options);
  return list.flatMap((event) => mapper.map(event));
}

function agUi(list: readonly RunEvent[], options: Partial<AgUiOptions> = {}): AgUiEvent[] {
  const mapper = new AgUiMapper({ threadId: "t", runId: "r", ...options });
  return list.flatMap((event) => mapper.map(event));
}

const started = { type: "run-started", runId: "r", messageId: "m" } as const;
const completed = { type: "run-finished", outcome: "completed" } as const;
const interrupted = { type: "run-finished", outcome: "interrupted" } as const;

function call(toolCallId: string, path: string): AgentEvent {
  return { type: "tool-input-available", toolCallId, toolName: "remove", input: { path, force: true } };
}

function approval(id: string, ...paths: string[]): AgentEvent {
  return {
    type: "interrupt",
    id,
    kind: "approval",
    value: {
      // The keys stand in another order than in the call.
      actionRequests: paths.map((path) => ({ name: "remove", args: { force: true, path } })),
      reviewConfigs: [{ actionName: "remove", allowedDecisions: ["approve", "reject"] }],
    },
  };
}

describe("approvals", () => {
  const asked = events(
    started,
    { type: "step-started", step: 1 },
    call("a", "/1"),
    call("b", "/2"),
    call("c", "/2"),
    approval("i1", "/2", "/1"),
    approval("i2", "/2"),
    interrupted,
  );

  test("each action finds its tool call by name and arguments, over several interrupts", () => {
    expect(ui(asked).filter(({ type }) => type === "tool-approval-request")).toEqual([
      { type: "tool-approval-request", approvalId: "i1:0", toolCallId: "b" },
      { type: "tool-approval-request", approvalId: "i1:1", toolCallId: "a" },
      { type: "tool-approval-request", approvalId: "i2:0", toolCallId: "c" },
    ]);
    const { outcome } = agUi(asked).at(-1) as unknown as {
      outcome: { interrupts: { id: string; toolCallId: string }[] };
    };
    expect(outcome.interrupts.map(({ id, toolCallId }) => [id, toolCallId])).toEqual([
      ["i1:0", "b"],
      ["i1:1", "a"],
      ["i2:0", "c"],
    ]);
  });

  test("an action without a tool call gets one that can be approved", () => {
    const chunks = ui(events(started, approval("i1", "/1"), interrupted));
    expect(chunks.slice(1, 3)).toEqual([
      {
        type: "tool-input-available",
        toolCallId: "i1:0",
        toolName: "remove",
        dynamic: true,
        input: { force: true, path: "/1" },
      },
      { type: "tool-approval-request", approvalId: "i1:0", toolCallId: "i1:0" },
    ]);
  });

  test("decisions about single actions become answers by interrupt, in the order of its actions", () => {
    const part = (id: string, approved: boolean): object => ({
      type: "dynamic-tool",
      toolCallId: id,
      state: "approval-responded",
      approval: { id, approved, ...(approved ? {} : { reason: "no" }) },
    });
    const parse = (...parts: object[]): unknown => {
      const asked = parseUiChatRequest({ id: "s", messages: [{ id: "x", role: "assistant", parts }] });
      return asked.kind === "answers" ? { ...asked, answers: answersOf(asked.approvals) } : asked;
    };
    expect(parse(part("i:1:1", false), part("i2:0", true), part("i:1:0", true))).toMatchObject({
      messageId: "x",
      answers: {
        "i:1": {
          decisions: [{ type: "approve" }, { type: "reject", message: "User rejected the tool call: no" }],
        },
        i2: { decisions: [{ type: "approve" }] },
      },
    });
    expect(() => parse(part("i:1", true))).toThrow(/every action/);
    expect(() => parse(part("nothing", true))).toThrow(/id of an approval/);
    const resume = [
      { interruptId: "i1:1", status: "cancelled" },
      { interruptId: "i1:0", status: "resolved", payload: { approved: true } },
      { interruptId: "q:input", status: "resolved", payload: 5 },
      { interruptId: "p:input", status: "cancelled", payload: 6 },
    ];
    expect(parseAgUiRequest({ threadId: "t", runId: "r", resume }).input).toEqual({
      kind: "answers",
      answers: { q: 5, p: null, i1: { decisions: [{ type: "approve" }, { type: "reject" }] } },
    });
  });

  test.each([undefined, null, {}, "yes", { approved: "true" }])(
    "nothing is approved by the payload %j",
    (payload) => {
      const resume = [{ interruptId: "i1:0", status: "resolved", payload }];
      expect(() => parseAgUiRequest({ threadId: "t", runId: "r", resume })).toThrow(/payload/);
    },
  );

  test("a question that is no approval comes as data, and in AG-UI as an interrupt of its own", () => {
    const list = events(started, { type: "interrupt", id: "q", kind: "input", value: "Which?" }, interrupted);
    expect(ui(list)[1]).toEqual({
      type: "data-interrupt",
      id: "q",
      data: { id: "q", kind: "input", value: "Which?" },
    });
    expect(agUi(list).at(-1)).toMatchObject({
      outcome: {
        type: "interrupt",
        interrupts: [{ id: "q:input", reason: "input_required", message: "Which?" }],
      },
    });
  });
});

describe("the AI SDK's stream", () => {
  test("arguments are written only of a call that this stream has begun", () => {
    const delta = { type: "tool-input-delta", toolCallId: "a", delta: "{" } as const;
    const known = { knownToolCalls: [{ toolCallId: "a", toolName: "add", input: undefined }] };
    for (const options of [{}, known]) {
      expect(ui(events(started, delta), options).map(({ type }) => type)).toEqual(["start"]);
    }
    const start = { type: "tool-input-start", toolCallId: "a", toolName: "add" } as const;
    expect(ui(events(started, start, delta)).map(({ type }) => type)).toEqual([
      "start",
      "tool-input-start",
      "tool-input-delta",
    ]);
    // The client shows it whole.
    expect(ui(events(started, start, delta), known).map(({ type }) => type)).toEqual(["start"]);
  });

  test("a question is put to no call that has been answered, though it looks the same", () => {
    const knownToolCalls = ["a", "b"].map((toolCallId) => ({
      toolCallId,
      toolName: "remove",
      input: { path: "/1", force: true },
      answered: toolCallId === "a",
    }));
    expect(ui(events(started, approval("i", "/1"), interrupted), { knownToolCalls })).toContainEqual({
      type: "tool-approval-request",
      approvalId: "i:0",
      toolCallId: "b",
    });
  });

  test("an output whose call was never shown is given one first", () => {
    const output: AgentEvent = { type: "tool-output-available", toolCallId: "a", toolName: "add", output: 3 };
    expect(ui(events(started, output)).map(({ type }) => type)).toEqual([
      "start",
      "tool-input-available",
      "tool-output-available",
    ]);
    const knownToolCalls = [{ toolCallId: "a", toolName: "add", input: {} }];
    expect(ui(events(started, output), { knownToolCalls }).map(({ type }) => type)).toEqual([
      "start",
      "tool-output-available",
    ]);
  });

  test("a call that a human edited is shown again, one that is the same is not", () => {
    const list = events(started, call("a", "/1"), call("a", "/1"), call("a", "/2"));
    expect(ui(list).filter(({ type }) => type === "tool-input-available")).toHaveLength(2);
  });

  test("what a lost attempt left open is closed when another one takes over", () => {
    const list = events(
      started,
      { type: "step-started", step: 1 },
      { type: "text-start", id: "t" },
      { type: "text-delta", id: "t", delta: "half" },
      { type: "run-resumed", attempt: 2 },
      { type: "step-started", step: 1 },
      completed,
    );
    expect(ui(list).map(({ type }) => type)).toEqual([
      "start",
      "start-step",
      "text-start",
      "text-delta",
      "text-end",
      "finish-step",
      "data-run-resumed",
      "start-step",
      "finish-step",
      "finish",
    ]);
    expect(ui(list)).toContainEqual({ type: "data-run-resumed", data: { attempt: 2, cutOff: 1 } });
    expect(agUi(list).map(({ type }) => type)).toEqual([
      "RUN_STARTED",
      "STEP_STARTED",
      "TEXT_MESSAGE_START",
      "TEXT_MESSAGE_CONTENT",
      "TEXT_MESSAGE_END",
      "STEP_FINISHED",
      "CUSTOM",
      "STEP_STARTED",
      "STEP_FINISHED",
      "RUN_FINISHED",
    ]);
    const value = { attempt: 2, messageIds: ["t"] };
    expect(agUi(list)).toContainEqual({ type: "CUSTOM", name: "run-resumed", value });
  });

  test("a run that was handed over between two steps has nothing cut off", () => {
    const list = events(
      started,
      { type: "step-started", step: 1 },
      { type: "text-start", id: "t" },
      { type: "text-delta", id: "t", delta: "whole" },
      { type: "text-end", id: "t" },
      { type: "run-resumed", attempt: 2 },
      completed,
    );
    expect(ui(list)).toContainEqual({ type: "data-run-resumed", data: { attempt: 2, cutOff: 0 } });
    const value = { attempt: 2, messageIds: [] };
    expect(agUi(list)).toContainEqual({ type: "CUSTOM", name: "run-resumed", value });
  });

  test("the words of failing tools and runs are not shown, unless the host says so for tools", () => {
    const list = events(
      started,
      call("a", "/1"),
      { type: "tool-output-error", toolCallId: "a", toolName: "remove", message: "refused by 10.0.0.1" },
      {
        type: "run-finished",
        outcome: "failed",
        error: { code: "MODEL_AUTH", message: "key sk-1", retryable: false },
      },
    );
    for (const shown of [ui(list), agUi(list)]) expect(JSON.stringify(shown)).not.toMatch(/10\.0|sk-1/);
    for (const shown of [ui(list, { showToolErrors: true }), agUi(list, { showToolErrors: true })]) {
      expect(JSON.stringify(shown)).toContain("10.0.0.1");
      expect(JSON.stringify(shown)).not.toContain("sk-1");
    }
    expect(ui(list).at(-1)).toEqual({ type: "error", errorText: "The model refused the service." });
    expect(agUi(list).at(-1)).toEqual({
      type: "RUN_ERROR",
      code: "MODEL_AUTH",
      message: "The model refused the service.",
    });
  });
});

describe("history as messages of the AI SDK", () => {
  const history: HistoryMessage[] = [
    { id: "sys", role: "system", content: "secret prompt" },
    {
      id: "u1",
      role: "user",
      content: [
        { type: "text", text: "Look" },
        { type: "image", mimeType: "image/png", data: "AA" },
      ],
    },
    {
      id: "a1",
      role: "assistant",
      content: "Hm",
      toolCalls: [{ id: "c1", name: "remove", input: { path: "/1" } }],
    },
    { id: "t1", role: "tool", content: "at 10.0.0.1", toolCallId: "c1", isError: true },
    {
      id: "a2",
      role: "assistant",
      content: "",
      toolCalls: [{ id: "c2", name: "remove", input: { path: "/2" } }],
    },
  ];

  test("an answer is one message under the id that its stream has; waiting approvals show in it", () => {
    const messages = toUiMessages(history, {
      interrupts: [
        {
          id: "i",
          kind: "approval",
          value: { actionRequests: [{ name: "remove", args: { path: "/2" } }], reviewConfigs: [] },
        },
      ],
    });
    const started = ui(events({ type: "run-started", runId: "r", messageId: "u1" }))[0];
    expect(messages.map(({ id, role }) => [id, role])).toEqual([
      ["u1", "user"],
      [started?.["messageId"], "assistant"],
    ]);
    expect(messages[0]?.parts[1]).toEqual({
      type: "file",
      mediaType: "image/png",
      url: "data:image/png;base64,AA",
    });
    const tools = messages[1]!.parts.filter(({ type }) => type === "dynamic-tool");
    expect(tools).toMatchObject([
      { toolCallId: "c1", state: "output-error" },
      { toolCallId: "c2", state: "approval-requested", approval: { id: "i:0" } },
    ]);
    expect(JSON.stringify(messages)).not.toMatch(/secret|10\.0/);
  });
});

test.each(["r", "a:b/c ü\n", "%:%"])("event ids are read back: %j", (runId) => {
  const id = toEventId(runId, 12);
  expect(id).not.toMatch(/[\r\n]/);
  expect(parseEventId(id)).toEqual({ runId, seq: 12 });
});

describe("events that are there together", () => {
  const together = events(
    { type: "step-started", step: 1 },
    { type: "reasoning-start", id: "r" },
    { type: "reasoning-delta", id: "r", delta: "why" },
    { type: "reasoning-end", id: "r" },
    { type: "text-start", id: "t" },
    { type: "text-delta", id: "t", delta: "a" },
    { type: "text-delta", id: "t", delta: "b" },
    { type: "text-start", id: "u" },
    { type: "text-delta", id: "t", delta: "c" },
    { type: "text-delta", id: "u", delta: "d" },
    { type: "text-delta", id: "u", delta: "e" },
  );

  test("pieces of one text come joined where nothing lies between them", () => {
    const text = encodeAll(new UiMessageStreamEncoder(), together);
    expect([...text.matchAll(/"id":"(.)","delta":"(\w+)"/g)].map(([, id, delta]) => [id, delta])).toEqual([
      ["r", "why"],
      ["t", "ab"],
      ["t", "c"],
      ["u", "de"],
    ]);
  });

  test("numbered ones stay apart: a reader goes on from any of them", () => {
    const encoder = new EventStreamEncoder("run");
    expect(encodeAll(encoder, together)).toBe(together.map((event) => encoder.encode(event)).join(""));
    expect(encodeAll(encoder, together).match(/^id: run:\d+$/gm)).toHaveLength(together.length);
  });
});

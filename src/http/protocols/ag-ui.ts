import type { Interrupt, JsonObject, JsonValue, RunEvent, Usage } from "../../index.js";
import { maskError, maskErrorInfo, TOOL_ERROR_TEXT, clientTexts } from "../errors.js";
import { resultIdOf } from "./ag-ui-history.js";
import { toAgUiInterrupts, type AgUiInterrupt } from "./ag-ui-interrupts.js";
import type { ShownToolCall } from "./approvals.js";
import { frame, type StreamEncoder } from "./protocol.js";

/** One event of AG-UI; its further fields depend on the type. */
export interface AgUiEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

export interface AgUiOptions {
  readonly threadId: string;
  readonly runId: string;
  /** Whether the client speaks 1.0: older ones don't know the outcome `cancelled` and usage. @defaultValue true */
  readonly protocol1?: boolean | undefined;
  /** Also tell interrupts as `CUSTOM { name: "on_interrupt" }`, as CopilotKit expects. @defaultValue false */
  readonly legacyInterrupts?: boolean | undefined;
  /** Tool calls that the client shows and that have no result yet: it answers an interrupt. */
  readonly knownToolCalls?: readonly ShownToolCall[] | undefined;
  readonly showToolErrors?: boolean | undefined;
}

interface Call {
  readonly toolName: string;
  input: JsonValue | undefined;
  /** `started` and not yet `ended`: the client takes arguments. */
  state: "started" | "ended";
  hasArgs: boolean;
  answered: boolean;
}

/** Maps the events of one run to AG-UI. One per stream. Whatever was opened is closed before the run ends. */
export class AgUiMapper {
  readonly #options: AgUiOptions;
  readonly #calls = new Map<string, Call>();
  readonly #open = new Map<string, "text" | "reasoning">();
  readonly #interrupts: AgUiInterrupt[] = [];
  #begun = false;
  #step: string | undefined;
  #parentMessageId: string | undefined;

  constructor(options: AgUiOptions) {
    this.#options = options;
    for (const { toolCallId, toolName, input } of options.knownToolCalls ?? []) {
      this.#calls.set(toolCallId, { toolName, input, state: "ended", hasArgs: true, answered: false });
    }
  }

  map(event: RunEvent): readonly AgUiEvent[] {
    const out: AgUiEvent[] = [];
    if (!this.#begun) {
      this.#begun = true;
      const { threadId, runId } = this.#options;
      out.push({ type: "RUN_STARTED", threadId, runId });
    }
    this.#map(event, out);
    return out;
  }

  /** The end of a stream that could not be read on. */
  fail(error: unknown): readonly AgUiEvent[] {
    const { threadId, runId } = this.#options;
    const { code, message } = maskError(error);
    return [
      ...(this.#begun ? [] : [{ type: "RUN_STARTED", threadId, runId }]),
      { type: "RUN_ERROR", message, code },
    ];
  }

  #map(event: RunEvent, out: AgUiEvent[]): void {
    switch (event.type) {
      case "step-started":
        this.#endStep(out);
        this.#step = `step-${String(event.step)}`;
        this.#parentMessageId = undefined;
        out.push({ type: "STEP_STARTED", stepName: this.#step });
        return;
      case "text-start":
        this.#open.set(event.id, "text");
        this.#parentMessageId = event.id;
        out.push({ type: "TEXT_MESSAGE_START", messageId: event.id, role: "assistant" });
        return;
      case "text-delta":
        if (event.delta !== "")
          out.push({ type: "TEXT_MESSAGE_CONTENT", messageId: event.id, delta: event.delta });
        return;
      case "text-end":
      case "reasoning-end":
        this.#close(event.id, out);
        return;
      case "reasoning-start":
        this.#open.set(event.id, "reasoning");
        out.push(
          { type: "REASONING_START", messageId: event.id },
          { type: "REASONING_MESSAGE_START", messageId: event.id, role: "reasoning" },
        );
        return;
      case "reasoning-delta":
        if (event.delta !== "")
          out.push({ type: "REASONING_MESSAGE_CONTENT", messageId: event.id, delta: event.delta });
        return;
      case "tool-input-start":
        this.#startCall(event.toolCallId, event.toolName, out);
        return;
      case "tool-input-delta":
        this.#args(event.toolCallId, event.delta, out);
        return;
      case "tool-input-available":
        this.#startCall(event.toolCallId, event.toolName, out);
        this.#endCall(event.toolCallId, event.input, out);
        return;
      case "tool-output-available":
        this.#result(
          event,
          typeof event.output === "string" ? event.output : JSON.stringify(event.output),
          out,
        );
        return;
      case "tool-output-error":
        this.#result(event, this.#options.showToolErrors === true ? event.message : TOOL_ERROR_TEXT, out);
        return;
      case "interrupt":
        this.#interrupt(event, out);
        return;
      case "data":
        out.push({ type: "CUSTOM", name: event.name, value: event.data });
        return;
      case "run-resumed": {
        // What was cut off cannot be taken back, but named: the messages to leave out.
        const messageIds = [...this.#open.keys()];
        this.#endStep(out);
        out.push({ type: "CUSTOM", name: "run-resumed", value: { attempt: event.attempt, messageIds } });
        return;
      }
      case "run-finished":
        this.#finish(event, out);
        return;
      case "run-started":
      case "run-rewound":
      case "usage":
        return;
    }
  }

  #close(id: string, out: AgUiEvent[]): void {
    const part = this.#open.get(id);
    if (part === undefined) return;
    this.#open.delete(id);
    if (part === "text") out.push({ type: "TEXT_MESSAGE_END", messageId: id });
    else out.push({ type: "REASONING_MESSAGE_END", messageId: id }, { type: "REASONING_END", messageId: id });
  }

  #startCall(toolCallId: string, toolName: string, out: AgUiEvent[]): void {
    if (this.#calls.has(toolCallId)) return;
    this.#calls.set(toolCallId, {
      toolName,
      input: undefined,
      state: "started",
      hasArgs: false,
      answered: false,
    });
    const parent = this.#parentMessageId;
    out.push({
      type: "TOOL_CALL_START",
      toolCallId,
      toolCallName: toolName,
      ...(parent === undefined ? undefined : { parentMessageId: parent }),
    });
  }

  #args(toolCallId: string, delta: string, out: AgUiEvent[]): void {
    const call = this.#calls.get(toolCallId);
    if (call?.state !== "started" || delta === "") return;
    call.hasArgs = true;
    out.push({ type: "TOOL_CALL_ARGS", toolCallId, delta });
  }

  #endCall(toolCallId: string, input: JsonValue | undefined, out: AgUiEvent[]): void {
    const call = this.#calls.get(toolCallId);
    if (call === undefined) return;
    if (input !== undefined) call.input = input;
    // A human may have edited the call, but the protocol has no way to say so.
    if (call.state === "ended") return;
    if (!call.hasArgs && input !== undefined) this.#args(toolCallId, JSON.stringify(input), out);
    call.state = "ended";
    out.push({ type: "TOOL_CALL_END", toolCallId });
  }

  #result(
    { toolCallId, toolName }: { readonly toolCallId: string; readonly toolName: string },
    content: string,
    out: AgUiEvent[],
  ): void {
    this.#startCall(toolCallId, toolName, out);
    this.#endCall(toolCallId, undefined, out);
    const call = this.#calls.get(toolCallId);
    if (call !== undefined) call.answered = true;
    const messageId = resultIdOf(toolCallId);
    out.push({ type: "TOOL_CALL_RESULT", messageId, toolCallId, content, role: "tool" });
  }

  #interrupt(interrupt: Interrupt, out: AgUiEvent[]): void {
    const open = [...this.#calls]
      .filter(([, call]) => !call.answered)
      .map(([toolCallId, { toolName, input }]) => ({ toolCallId, toolName, input }));
    for (const asked of toAgUiInterrupts(interrupt, open)) {
      const call = asked.toolCallId === undefined ? undefined : this.#calls.get(asked.toolCallId);
      // No other interrupt may take the same call.
      if (call !== undefined) call.answered = true;
      this.#interrupts.push(asked);
    }
    if (this.#options.legacyInterrupts === true) {
      out.push({ type: "CUSTOM", name: "on_interrupt", value: interrupt.value });
    }
  }

  #endStep(out: AgUiEvent[]): void {
    for (const id of [...this.#open.keys()]) this.#close(id, out);
    for (const toolCallId of this.#calls.keys()) this.#endCall(toolCallId, undefined, out);
    if (this.#step !== undefined) out.push({ type: "STEP_FINISHED", stepName: this.#step });
    this.#step = undefined;
  }

  #finish(event: Extract<RunEvent, { type: "run-finished" }>, out: AgUiEvent[]): void {
    const { threadId, runId, protocol1 = true } = this.#options;
    const { outcome, error, usage } = event;
    this.#endStep(out);
    if (outcome === "failed") {
      const { code, message } =
        error === undefined
          ? { code: "AGENT_FAILED", message: clientTexts.AGENT_FAILED }
          : maskErrorInfo(error);
      out.push({ type: "RUN_ERROR", message, code });
      return;
    }
    const told =
      outcome === "interrupted" && this.#interrupts.length > 0
        ? { type: "interrupt", interrupts: this.#interrupts }
        : outcome === "cancelled"
          ? { type: "cancelled" }
          : { type: "success" };
    out.push({
      type: "RUN_FINISHED",
      threadId,
      runId,
      ...(protocol1 || told.type !== "cancelled" ? { outcome: told } : undefined),
      ...(protocol1 && usage !== undefined ? { usage: [tokenUsage(usage)] } : undefined),
    });
  }
}

function tokenUsage(usage: Usage): JsonObject {
  const { inputTokens, outputTokens, totalTokens, cachedInputTokens, reasoningTokens } = usage;
  return {
    inputTokens,
    outputTokens,
    totalTokens,
    ...(cachedInputTokens === undefined ? undefined : { cachedInputTokens }),
    ...(reasoningTokens === undefined ? undefined : { reasoningTokens }),
  };
}

/** The AG-UI stream of one run as frames. */
export class AgUiStreamEncoder implements StreamEncoder {
  readonly joins = true;
  readonly #mapper: AgUiMapper;

  constructor(options: AgUiOptions) {
    this.#mapper = new AgUiMapper(options);
  }

  encode(event: RunEvent): string {
    return this.#mapper.map(event).map(frame).join("");
  }

  fail(error: unknown): string {
    return this.#mapper.fail(error).map(frame).join("");
  }
}

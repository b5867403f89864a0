import type { Interrupt, JsonValue, RunEvent, Usage } from "../../index.js";
import { clientTexts, maskError, maskErrorInfo, TOOL_ERROR_TEXT } from "../errors.js";
import { approvalRequestsOf, isRejection, matchToolCalls, type ShownToolCall } from "./approvals.js";
import { frame, type StreamEncoder } from "./protocol.js";

/*
 * The AI SDK's UI message stream, in the subset that `ai` 6 and 7 have in common. Clients are strict: an unknown chunk
 * type, a delta without its start, or the output of a tool call that they have not seen ends their stream. What an
 * agent leaves out is therefore made up for here.
 */

/** One chunk of the stream; its further fields depend on the type. */
export interface UiMessageChunk {
  readonly type: string;
  readonly [field: string]: unknown;
}

export interface UiChunkOptions {
  /** The id of the assistant message. @defaultValue one made from the user's message, else from the run */
  readonly messageId?: string | undefined;
  /** Tool calls that the client shows already: it answers an approval. */
  readonly knownToolCalls?: readonly ShownToolCall[] | undefined;
  /** Tool calls that the user has rejected: their error is shown as a denial. */
  readonly deniedToolCallIds?: readonly string[] | undefined;
  /** What the assistant message held before this run. */
  readonly before?: readonly UiMessageChunk[] | undefined;
  /** Messages whose texts and reasonings `before` has; the run's own events of them are left out. */
  readonly knownPartIds?: readonly string[] | undefined;
  readonly showToolErrors?: boolean | undefined;
}

/** The id under which a client shows the answer to a user's message: the same now, on replay, and in the history. */
export function replyIdOf(userMessageId: string): string {
  return `reply-${userMessageId}`;
}

const FINISH_REASONS = { completed: "stop", interrupted: "tool-calls", cancelled: "other" } as const;

/** Maps the events of one run to chunks. One per stream. */
export class UiChunkMapper {
  readonly #options: UiChunkOptions;
  readonly #calls = new Map<string, { toolName: string; input: JsonValue | undefined; answered: boolean }>();
  /** The calls whose input is being written in this stream. */
  readonly #writing = new Set<string>();
  readonly #denied: ReadonlySet<string>;
  readonly #knownParts: ReadonlySet<string>;
  /** Open texts and reasonings, in order. */
  readonly #open = new Map<string, "text" | "reasoning">();
  #runId: string | undefined;
  #begun = false;
  /** A step of an answer that the client has in part is `due` until something new comes in it. */
  #step: "closed" | "due" | "open" = "closed";

  constructor(options: UiChunkOptions = {}) {
    this.#options = options;
    this.#denied = new Set(options.deniedToolCallIds);
    this.#knownParts = new Set(options.knownPartIds);
    for (const { toolCallId, toolName, input, answered = false } of options.knownToolCalls ?? []) {
      this.#calls.set(toolCallId, { toolName, input, answered });
    }
  }

  map(event: RunEvent): readonly UiMessageChunk[] {
    if (event.type === "run-started") return this.#begin(event.runId, event.messageId);
    const chunks = this.#begun ? [] : [...this.#begin(undefined, undefined)];
    this.#map(event, chunks);
    return chunks;
  }

  #map(event: RunEvent, chunks: UiMessageChunk[]): void {
    switch (event.type) {
      case "step-started":
        this.#endStep(chunks);
        this.#step = "due";
        // Clients ask whether the last step is complete: an empty one would hide what waits in the one before.
        if (this.#options.before === undefined) this.#openStep(chunks);
        return;
      case "text-start":
      case "reasoning-start":
        if (this.#isKnown(event.id)) return;
        this.#openStep(chunks);
        this.#open.set(event.id, event.type === "text-start" ? "text" : "reasoning");
        chunks.push({ type: event.type, id: event.id });
        return;
      case "text-delta":
      case "reasoning-delta":
        if (this.#open.has(event.id)) chunks.push({ type: event.type, id: event.id, delta: event.delta });
        return;
      case "text-end":
      case "reasoning-end":
        if (this.#open.delete(event.id)) chunks.push({ type: event.type, id: event.id });
        return;
      case "tool-input-start":
        if (this.#calls.has(event.toolCallId)) return;
        this.#calls.set(event.toolCallId, { toolName: event.toolName, input: undefined, answered: false });
        this.#openStep(chunks);
        this.#writing.add(event.toolCallId);
        chunks.push(toolChunk("tool-input-start", event));
        return;
      case "tool-input-delta":
        if (!this.#writing.has(event.toolCallId)) return;
        chunks.push({
          type: "tool-input-delta",
          toolCallId: event.toolCallId,
          inputTextDelta: event.delta,
        });
        return;
      case "tool-input-available":
        this.#toolInput(event.toolCallId, event.toolName, event.input, chunks);
        return;
      case "tool-output-available":
        this.#toolOutput(event, chunks);
        chunks.push({
          type: "tool-output-available",
          toolCallId: event.toolCallId,
          output: event.output,
        });
        return;
      case "tool-output-error":
        this.#toolOutput(event, chunks);
        chunks.push(
          this.#denied.has(event.toolCallId) || isRejection(event.message)
            ? { type: "tool-output-denied", toolCallId: event.toolCallId }
            : {
                type: "tool-output-error",
                toolCallId: event.toolCallId,
                errorText: this.#options.showToolErrors === true ? event.message : TOOL_ERROR_TEXT,
              },
        );
        return;
      case "interrupt":
        this.#interrupt(event, chunks);
        return;
      case "data":
        chunks.push({
          type: `data-${event.name}`,
          ...(event.id === undefined ? undefined : { id: event.id }),
          data: event.data,
        });
        return;
      case "run-resumed":
        this.#resume(event.attempt, chunks);
        return;
      case "run-finished":
        this.#finish(event, chunks);
        return;
      case "run-started":
      case "run-rewound":
      case "usage":
        return;
    }
  }

  #begin(runId: string | undefined, userMessageId: string | undefined): readonly UiMessageChunk[] {
    if (this.#begun) return [];
    this.#begun = true;
    this.#runId = runId;
    const messageId =
      this.#options.messageId ??
      (userMessageId === undefined
        ? runId === undefined
          ? undefined
          : replyIdOf(runId)
        : replyIdOf(userMessageId));
    return [
      {
        type: "start",
        ...(messageId === undefined ? undefined : { messageId }),
        ...(runId === undefined ? undefined : { messageMetadata: { runId } }),
      },
      ...(this.#options.before ?? []),
    ];
  }

  /** Parts are named after their message: `<id>`, `<id>.2`, `<id>.reasoning`, `<id>.reasoning.2`. */
  #isKnown(partId: string): boolean {
    if (this.#knownParts.size === 0) return false;
    return (
      this.#knownParts.has(partId) || this.#knownParts.has(partId.replace(/(\.reasoning)?(\.\d+)?$/, ""))
    );
  }

  #toolInput(toolCallId: string, toolName: string, input: JsonValue, chunks: UiMessageChunk[]): void {
    const known = this.#calls.get(toolCallId);
    this.#writing.delete(toolCallId);
    // The client shows it already, just so; announcing it again would add a second one in a later step.
    if (known?.input !== undefined && JSON.stringify(known.input) === JSON.stringify(input)) return;
    this.#openStep(chunks);
    this.#calls.set(toolCallId, { toolName, input, answered: known?.answered ?? false });
    chunks.push({ ...toolChunk("tool-input-available", { toolCallId, toolName }), input });
  }

  /** Before an output: the client must know the call. */
  #toolOutput(
    event: { readonly toolCallId: string; readonly toolName: string },
    chunks: UiMessageChunk[],
  ): void {
    const { toolCallId, toolName } = event;
    if (!this.#calls.has(toolCallId)) this.#toolInput(toolCallId, toolName, {}, chunks);
    const call = this.#calls.get(toolCallId);
    if (call !== undefined) call.answered = true;
  }

  #interrupt(interrupt: Interrupt, chunks: UiMessageChunk[]): void {
    if (interrupt.kind === "input") {
      const { id, kind, value } = interrupt;
      chunks.push({ type: "data-interrupt", id, data: { id, kind, value } });
      return;
    }
    const requests = approvalRequestsOf(interrupt);
    const waiting = [...this.#calls]
      .filter(([, call]) => !call.answered)
      .map(([toolCallId, { toolName, input }]) => ({ toolCallId, toolName, input }));
    const calls = matchToolCalls(requests, waiting);
    for (const [index, { approvalId, toolName, input }] of requests.entries()) {
      // An action that no tool call was shown for still needs something that can be approved.
      const toolCallId = calls[index]?.toolCallId ?? approvalId;
      if (calls[index] === undefined) this.#toolInput(toolCallId, toolName, input, chunks);
      const call = this.#calls.get(toolCallId);
      // No other interrupt may take the same call.
      if (call !== undefined) call.answered = true;
      chunks.push({ type: "tool-approval-request", approvalId, toolCallId });
    }
  }

  /**
   * This protocol cannot take back what a lost attempt had shown, and the new attempt follows it. What was cut off is
   * named, so that a front end can leave it out: the last `cutOff` text and reasoning parts before this part.
   */
  #resume(attempt: number, chunks: UiMessageChunk[]): void {
    const cutOff = this.#open.size;
    this.#endStep(chunks);
    chunks.push({ type: "data-run-resumed", data: { attempt, cutOff } });
  }

  #openStep(chunks: UiMessageChunk[]): void {
    if (this.#step === "due") {
      this.#step = "open";
      chunks.push({ type: "start-step" });
    }
  }

  #endStep(chunks: UiMessageChunk[]): void {
    for (const [id, part] of this.#open) chunks.push({ type: `${part}-end`, id });
    this.#open.clear();
    if (this.#step === "open") chunks.push({ type: "finish-step" });
    this.#step = "closed";
  }

  #finish(event: Extract<RunEvent, { type: "run-finished" }>, chunks: UiMessageChunk[]): void {
    const { outcome, error, usage } = event;
    this.#endStep(chunks);
    const metadata = {
      ...(this.#runId === undefined ? undefined : { runId: this.#runId }),
      outcome,
      ...(usage === undefined ? undefined : { usage }),
    } satisfies { runId?: string; outcome: string; usage?: Usage };
    if (outcome === "failed") {
      const errorText = error === undefined ? clientTexts.AGENT_FAILED : maskErrorInfo(error).message;
      chunks.push({ type: "message-metadata", messageMetadata: metadata }, { type: "error", errorText });
      return;
    }
    if (outcome === "cancelled") chunks.push({ type: "abort", reason: "cancelled" });
    chunks.push({ type: "finish", finishReason: FINISH_REASONS[outcome], messageMetadata: metadata });
  }
}

/** Tools run on the server and are not declared in the client: `dynamic`. */
function toolChunk(
  type: string,
  { toolCallId, toolName }: { readonly toolCallId: string; readonly toolName: string },
): UiMessageChunk {
  return { type, toolCallId, toolName, dynamic: true };
}

const DONE = "data: [DONE]\n\n";

/** The UI message stream of one run as frames. */
export class UiMessageStreamEncoder implements StreamEncoder {
  readonly joins = true;
  readonly #mapper: UiChunkMapper;

  constructor(options: UiChunkOptions = {}) {
    this.#mapper = new UiChunkMapper(options);
  }

  encode(event: RunEvent): string {
    let text = "";
    for (const chunk of this.#mapper.map(event)) text += frame(chunk);
    return event.type === "run-finished" ? text + DONE : text;
  }

  fail(error: unknown): string {
    return frame({ type: "error", errorText: maskError(error).message }) + DONE;
  }
}

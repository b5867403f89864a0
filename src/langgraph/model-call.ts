import type { AIMessage, AIMessageChunk } from "@langchain/core/messages";
import { reasoningOf } from "./event-parts.js";
import type { RunQueue } from "./run-queue.js";
import { isRecord } from "./to-json.js";

/** What a run knows of one of its tool calls. */
export interface ToolCall {
  readonly toolName: string;
  /** The JSON of the input that was last shown. */
  input: string | undefined;
  answered: boolean;
}

/** By the call's id. */
export type ToolCalls = Map<string, ToolCall>;

type Part = "text" | "reasoning";

/** One model call whose tokens are shown: its message as parts of text and reasoning, and as inputs of tools. */
export class ModelCall {
  readonly runId: string;
  /** The message's id, known from the first token on. Its first text part has the same, others are named after it. */
  messageId: string | undefined;
  /** Whether a token came. */
  streamed = false;
  readonly #queue: RunQueue;
  readonly #toolCalls: ToolCalls;
  #texts = 0;
  #reasonings = 0;
  #open: Part | undefined = undefined;
  #openId = "";
  /** By the index of the chunk. */
  readonly #toolCallIds: (string | undefined)[] = [];

  /** @param toolCalls - The calls of the whole run, to which those of this message come. */
  constructor(runId: string, messageId: string | undefined, queue: RunQueue, toolCalls: ToolCalls) {
    this.runId = runId;
    this.messageId = messageId;
    this.#queue = queue;
    this.#toolCalls = toolCalls;
  }

  text(token: string): Promise<void> | undefined {
    return this.#delta("text", token);
  }

  /** Everything that one chunk, or a whole message of a model that does not stream, adds. */
  content(message: AIMessage | AIMessageChunk): Promise<void> | undefined {
    let wait: Promise<void> | undefined;
    const reasoning = reasoningOf(message.additional_kwargs);
    if (reasoning !== "") wait = this.#delta("reasoning", reasoning);
    const { content } = message;
    if (typeof content === "string") {
      if (content !== "") wait = this.#delta("text", content) ?? wait;
    } else {
      for (const block of content as readonly Record<string, unknown>[]) wait = this.#block(block) ?? wait;
    }
    const chunks = (message as Partial<AIMessageChunk>).tool_call_chunks;
    if (chunks !== undefined && chunks.length > 0) wait = this.#toolChunks(chunks) ?? wait;
    return wait;
  }

  #block(block: Record<string, unknown>): Promise<void> | undefined {
    const type = block["type"];
    if (type === "text" || type === "text_delta" || type === "output_text")
      return this.#some("text", block["text"]);
    if (type === "thinking" || type === "thinking_delta") return this.#some("reasoning", block["thinking"]);
    if (type === "reasoning") return this.#some("reasoning", block["reasoning"]);
    if (type === "reasoning_content" && isRecord(block["reasoningText"])) {
      return this.#some("reasoning", block["reasoningText"]["text"]);
    }
    return undefined;
  }

  #some(part: Part, delta: unknown): Promise<void> | undefined {
    return typeof delta === "string" && delta !== "" ? this.#delta(part, delta) : undefined;
  }

  #delta(part: Part, delta: string): Promise<void> | undefined {
    if (this.#open !== part) this.#startPart(part);
    return part === "text"
      ? this.#queue.push({ type: "text-delta", id: this.#openId, delta })
      : this.#queue.push({ type: "reasoning-delta", id: this.#openId, delta });
  }

  #startPart(part: Part): void {
    void this.endPart();
    // What LangChain names a message that its provider gave no id.
    const messageId = (this.messageId ??= `run-${this.runId}`);
    this.#open = part;
    const name = part === "text" ? messageId : `${messageId}.reasoning`;
    const count = part === "text" ? (this.#texts += 1) : (this.#reasonings += 1);
    this.#openId = count === 1 ? name : `${name}.${String(count)}`;
    void this.#queue.push({ type: part === "text" ? "text-start" : "reasoning-start", id: this.#openId });
  }

  endPart(): Promise<void> | undefined {
    const open = this.#open;
    if (open === undefined) return undefined;
    this.#open = undefined;
    return this.#queue.push({ type: open === "text" ? "text-end" : "reasoning-end", id: this.#openId });
  }

  #toolChunks(chunks: NonNullable<AIMessageChunk["tool_call_chunks"]>): Promise<void> | undefined {
    let wait: Promise<void> | undefined;
    for (const chunk of chunks) {
      // Without an index a chunk with an id begins a call, and one without goes on with the last.
      const index =
        chunk.index ??
        (chunk.id === undefined ? Math.max(0, this.#toolCallIds.length - 1) : this.#toolCallIds.length);
      let id = this.#toolCallIds[index];
      if (id === undefined) {
        if (chunk.id === undefined || chunk.id === "" || chunk.name === undefined || chunk.name === "")
          continue;
        id = chunk.id;
        this.#toolCallIds[index] = id;
        void this.endPart();
        this.#toolCalls.set(id, { toolName: chunk.name, input: undefined, answered: false });
        wait = this.#queue.push({ type: "tool-input-start", toolCallId: id, toolName: chunk.name }) ?? wait;
      }
      if (chunk.args !== undefined && chunk.args !== "") {
        wait = this.#queue.push({ type: "tool-input-delta", toolCallId: id, delta: chunk.args }) ?? wait;
      }
    }
    return wait;
  }
}

import { BaseCallbackHandler } from "@langchain/core/callbacks/base";
import { AIMessage, ToolMessage, type AIMessageChunk, type BaseMessage } from "@langchain/core/messages";
import type { LLMResult } from "@langchain/core/outputs";
import type { JsonValue } from "../json.js";
import { parseInput, toDataEvent, toInterrupt, toolMessageOf, toUsage } from "./event-parts.js";
import { ModelCall, type ToolCall, type ToolCalls } from "./model-call.js";
import type { RunQueue } from "./run-queue.js";
import { isRecord, toJson } from "./to-json.js";

const HIDDEN_TAGS = ["nostream", "langsmith:nostream"];

/**
 * Turns LangChain's callbacks and LangGraph's updates into a run's events. One per run, given with the call and never
 * set on a model, which many runs share.
 *
 * Why not the `messages` stream mode: its handler goes through one queue of the whole process, in which a slow
 * callback of one run starves all others. A handler that awaits is called directly.
 *
 * What is shown: models and tools that run in a node of the graph or of a subgraph. What runs inside a tool is the
 * tool's own business (nested agents too), known by descent: a run whose parent is a tool run or lies inside one.
 * Chains are therefore watched from the first tool on, and ignored before.
 */
export class RunTap extends BaseCallbackHandler {
  readonly name = "agent-sessions";
  readonly lc_prefer_streaming = true;
  override awaitHandlers = true;
  override ignoreChain = true;
  override ignoreRetriever = true;
  override ignoreCustomEvent = true;

  readonly #queue: RunQueue;
  #steps = 0;
  #current: ModelCall | undefined;
  readonly #calls = new Map<string, ModelCall>();
  readonly #toolCalls: ToolCalls = new Map();
  readonly #toolRuns = new Map<string, string>();
  readonly #insideTools = new Set<string>();
  /** Messages that were shown, or are not to be. */
  readonly #seenMessages = new Set<string>();
  readonly #interrupts = new Set<string>();
  readonly #modelErrors = new Set<unknown>();
  #before: readonly BaseMessage[];
  #beforeIsSeen = false;

  /** @param before - The messages that are no news: updates may hold them again. */
  constructor(queue: RunQueue, before: readonly BaseMessage[]) {
    super();
    this.#queue = queue;
    this.#before = before;
  }

  isModelError(error: unknown): boolean {
    return this.#modelErrors.has(error);
  }

  // Models

  override async handleChatModelStart(
    _model: unknown,
    _messages: unknown,
    runId: string,
    parentRunId?: string,
    _extra?: unknown,
    tags?: string[],
  ): Promise<void> {
    if (parentRunId !== undefined && this.#insideTools.has(parentRunId)) return;
    if (tags?.some((tag) => HIDDEN_TAGS.includes(tag)) === true) return;
    this.#calls.set(runId, this.#newCall(runId, undefined));
    this.#steps += 1;
    await this.#queue.push({ type: "step-started", step: this.#steps });
  }

  /** The hot path: returns nothing unless the queue is full, and allocates one event per token. */
  override handleLLMNewToken(
    token: string,
    _indices: unknown,
    runId: string,
    _parentRunId?: string,
    _tags?: string[],
    fields?: { chunk?: unknown },
  ): Promise<void> | undefined {
    const current = this.#current;
    const call = current?.runId === runId ? current : this.#calls.get(runId);
    if (call === undefined) return undefined;
    this.#current = call;
    call.streamed = true;
    // Only chat models come here, whose chunk has a message; completion models have none.
    const message = (fields?.chunk as { message?: AIMessageChunk } | undefined)?.message;
    if (message === undefined) return token === "" ? undefined : call.text(token);
    call.messageId ??= message.id;
    return call.content(message);
  }

  override async handleLLMEnd(output: LLMResult, runId: string): Promise<void> {
    const message = (output.generations[0]?.[0] as { message?: AIMessage } | undefined)?.message;
    const call = this.#calls.get(runId);
    if (message?.id !== undefined) this.#seenMessages.add(message.id);
    if (call !== undefined) {
      this.#calls.delete(runId);
      if (message !== undefined) {
        call.messageId ??= message.id;
        if (!call.streamed) await call.content(message);
      }
      await call.endPart();
      if (message !== undefined) await this.#toolInputs(message);
    }
    // Hidden calls cost tokens too.
    const usage = message === undefined ? undefined : toUsage(message.usage_metadata);
    if (usage !== undefined) await this.#queue.push({ type: "usage", usage });
  }

  override async handleLLMError(error: unknown, runId: string): Promise<void> {
    this.#modelErrors.add(error);
    const call = this.#calls.get(runId);
    if (call === undefined) return;
    this.#calls.delete(runId);
    await call.endPart();
  }

  #newCall(runId: string, messageId: string | undefined): ModelCall {
    return new ModelCall(runId, messageId, this.#queue, this.#toolCalls);
  }

  // Tools

  async #toolInputs(message: AIMessage): Promise<void> {
    for (const { id, name, args } of message.tool_calls ?? []) {
      if (id !== undefined) await this.#toolInput(id, name, JSON.stringify(args));
    }
    for (const { id, name } of message.invalid_tool_calls ?? []) {
      if (id === undefined) continue;
      await this.#queue.push({
        type: "tool-output-error",
        toolCallId: id,
        toolName: name ?? "",
        message: "The model's input for this tool is not valid JSON.",
      });
    }
  }

  /** Shows the input, unless it is what was shown last: a human may edit a call before it runs. */
  async #toolInput(toolCallId: string, toolName: string, input: string): Promise<void> {
    const known = this.#toolCalls.get(toolCallId);
    if (known?.input === input) return;
    if (known === undefined) this.#toolCalls.set(toolCallId, { toolName, input, answered: false });
    else known.input = input;
    await this.#queue.push({ type: "tool-input-available", toolCallId, toolName, input: parseInput(input) });
  }

  override async handleToolStart(
    tool: unknown,
    input: string,
    runId: string,
    parentRunId?: string,
    _tags?: string[],
    _metadata?: Record<string, unknown>,
    runName?: string,
    toolCallId?: string,
  ): Promise<void> {
    this.ignoreChain = false;
    const hidden = parentRunId !== undefined && this.#insideTools.has(parentRunId);
    this.#insideTools.add(runId);
    if (hidden) return;
    const id = toolCallId ?? runId;
    this.#toolRuns.set(runId, id);
    const name =
      this.#toolCalls.get(id)?.toolName ??
      runName ??
      (isRecord(tool) && typeof tool["name"] === "string" ? tool["name"] : "tool");
    await this.#toolInput(id, name, input);
  }

  override async handleToolEnd(output: unknown, runId: string): Promise<void> {
    const toolCallId = this.#toolRuns.get(runId);
    if (toolCallId === undefined) return;
    this.#toolRuns.delete(runId);
    const message = toolMessageOf(output, toolCallId);
    if (message !== undefined) await this.#toolMessage(message);
    else
      await this.#toolOutput(
        toolCallId,
        undefined,
        isRecord(output) && "lg_name" in output ? null : toJson(output),
      );
  }

  override async handleToolError(error: unknown, runId: string): Promise<void> {
    const toolCallId = this.#toolRuns.get(runId);
    if (toolCallId === undefined) return;
    this.#toolRuns.delete(runId);
    // An interrupt, or a command for the parent graph: no failure.
    if (isRecord(error) && error["is_bubble_up"] === true) return;
    const call = this.#toolCalls.get(toolCallId);
    if (call !== undefined) call.answered = true;
    await this.#queue.push({
      type: "tool-output-error",
      toolCallId,
      toolName: call?.toolName ?? "",
      message: error instanceof Error ? error.message : "The tool failed.",
    });
  }

  #toolMessage(message: ToolMessage): Promise<void> | undefined {
    const { tool_call_id: toolCallId, name, content, status } = message;
    if (status !== "error") return this.#toolOutput(toolCallId, name, toJson(content));
    const call = this.#answer(toolCallId, name);
    return this.#queue.push({
      type: "tool-output-error",
      toolCallId,
      toolName: call.toolName,
      message: message.text,
    });
  }

  #toolOutput(toolCallId: string, name: string | undefined, output: JsonValue): Promise<void> | undefined {
    const call = this.#answer(toolCallId, name);
    return this.#queue.push({ type: "tool-output-available", toolCallId, toolName: call.toolName, output });
  }

  #answer(toolCallId: string, name: string | undefined): ToolCall {
    let call = this.#toolCalls.get(toolCallId);
    if (call === undefined) {
      call = { toolName: name ?? "", input: undefined, answered: true };
      this.#toolCalls.set(toolCallId, call);
    }
    call.answered = true;
    return call;
  }

  // Descent: called only once a tool has started.

  override handleChainStart(_chain: unknown, _inputs: unknown, runId: string, parentRunId?: string): void {
    if (parentRunId !== undefined && this.#insideTools.has(parentRunId)) this.#insideTools.add(runId);
  }

  override handleChainEnd(_outputs: unknown, runId: string): void {
    this.#insideTools.delete(runId);
  }

  override handleChainError(_error: unknown, runId: string): void {
    this.#insideTools.delete(runId);
  }

  // The graph

  /** What a node wrote with `config.writer`. It cannot wait, so the queue's hard limit holds here. */
  write(chunk: unknown): void {
    void this.#queue.push(toDataEvent(chunk));
  }

  /** One chunk of the `updates` mode: what nodes returned, and interrupts. */
  async update(chunk: unknown): Promise<void> {
    if (!isRecord(chunk)) return;
    for (const [node, update] of Object.entries(chunk)) {
      if (node === "__interrupt__") await this.#interruptsOf(update);
      else if (Array.isArray(update)) for (const part of update) await this.#nodeUpdate(part);
      else await this.#nodeUpdate(update);
    }
  }

  async #interruptsOf(update: unknown): Promise<void> {
    if (!Array.isArray(update)) return;
    for (const interrupt of update.map(toInterrupt)) {
      if (interrupt === undefined || this.#interrupts.has(interrupt.id)) continue;
      this.#interrupts.add(interrupt.id);
      await this.#queue.push({ type: "interrupt", ...interrupt });
    }
  }

  /**
   * Shows what came without a callback: answers of tools that did not run (rejected, unknown), and messages that
   * a node wrote itself (a canned reply, a limit's notice).
   */
  async #nodeUpdate(update: unknown): Promise<void> {
    const messages = isRecord(update) ? update["messages"] : undefined;
    for (const message of Array.isArray(messages) ? (messages as unknown[]) : [messages]) {
      if (ToolMessage.isInstance(message)) {
        const isAnswered = this.#toolCalls.get(message.tool_call_id)?.answered === true;
        if (!isAnswered && this.#isNews(message)) await this.#toolMessage(message);
      } else if (AIMessage.isInstance(message) && this.#isNews(message)) {
        await this.#wholeMessage(message);
      }
    }
  }

  async #wholeMessage(message: AIMessage): Promise<void> {
    const call = this.#newCall(message.id ?? String(this.#seenMessages.size), message.id);
    await call.content(message);
    await call.endPart();
    await this.#toolInputs(message);
  }

  #isNews(message: BaseMessage): boolean {
    if (message.id === undefined) return true;
    // Mostly a model call has just told it: then nothing need be known of the history.
    if (this.#seenMessages.has(message.id)) return false;
    if (!this.#beforeIsSeen) {
      this.#beforeIsSeen = true;
      for (const { id } of this.#before) if (id !== undefined) this.#seenMessages.add(id);
      this.#before = [];
    }
    if (this.#seenMessages.has(message.id)) return false;
    this.#seenMessages.add(message.id);
    return true;
  }
}

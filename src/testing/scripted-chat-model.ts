import type { CallbackManagerForLLMRun } from "@langchain/core/callbacks/manager";
import type { BaseLanguageModelInput } from "@langchain/core/language_models/base";
import {
  BaseChatModel,
  type BaseChatModelCallOptions,
  type BaseChatModelParams,
  type BindToolsInput,
} from "@langchain/core/language_models/chat_models";
import { AIMessage, AIMessageChunk, type BaseMessage } from "@langchain/core/messages";
import { ChatGenerationChunk, type ChatResult } from "@langchain/core/outputs";
import type { Runnable } from "@langchain/core/runnables";
import type { Clock, TimerHandle } from "../internal/clock.js";
import type { Usage } from "../run-event.js";
import { checkReply, planChunks, type ChunkFields } from "./scripted-reply.js";

/** A tool call that the model makes. */
export interface ScriptedToolCall {
  readonly name: string;
  /** The arguments; a string is sent as it stands, which makes malformed JSON possible. */
  readonly args: object | string;
  /** @defaultValue a unique one */
  readonly id?: string | undefined;
}

/** What the model answers to one call. Streamed in the order reasoning, text, tool calls, usage. */
export interface ScriptedReply {
  /** An array is streamed as these chunks, a string as one. */
  readonly text?: string | readonly string[] | undefined;
  /** As `text`, and streamed before it. */
  readonly reasoning?: string | readonly string[] | undefined;
  /** Each is streamed as its name and then its arguments in two halves. */
  readonly toolCalls?: readonly ScriptedToolCall[] | undefined;
  /** Sent with the last chunk. `totalTokens` is summed when it is left out. */
  readonly usage?: (Omit<Usage, "totalTokens"> & { readonly totalTokens?: number | undefined }) | undefined;
  /** Milliseconds of the clock before each chunk. @defaultValue 0 */
  readonly delayMs?: number | undefined;
  /** What the call throws, as it is. Without `errorAfter` instead of any chunk. */
  readonly error?: unknown;
  /** How many chunks of reasoning, text and tool calls are streamed before `error`. */
  readonly errorAfter?: number | undefined;
}

/** One reply per call, in order; or a function of what the model is given. A string is short for `{ text }`. */
export type Script =
  | readonly (string | ScriptedReply)[]
  | ((
      messages: readonly BaseMessage[],
      call: ScriptedCall,
    ) => string | ScriptedReply | Promise<string | ScriptedReply>);

export interface ScriptedCallOptions extends BaseChatModelCallOptions {
  tools?: BindToolsInput[] | undefined;
}

/** What is known of one call of the model. */
export interface ScriptedCall {
  /** From 0, in the order in which the calls came. */
  readonly index: number;
  readonly messages: readonly BaseMessage[];
  /** The names of the tools that were bound. */
  readonly toolNames: readonly string[];
  /** The call's options: `signal`, `tools`, `tool_choice`, `stop`, … */
  readonly options: Readonly<Omit<ScriptedCallOptions, "configurable">>;
  /** The id of the answer; unique, for LangGraph replaces messages of equal id. */
  readonly responseId: string;
  /** `aborted`: by its signal, or its reader left. */
  readonly outcome: "pending" | "completed" | "failed" | "aborted";
}

export interface ScriptedChatModelOptions extends BaseChatModelParams {
  /** What `delayMs` is measured by. @defaultValue real timers */
  readonly clock?: Pick<Clock, "setTimeout" | "clearTimeout"> | undefined;
}

type CallRecord = { -readonly [Key in keyof ScriptedCall]: ScriptedCall[Key] };

/** Unlike the library's own timers these keep the process alive, as a provider's socket would. */
const realTimers: Pick<Clock, "setTimeout" | "clearTimeout"> = {
  setTimeout: (callback, ms) => setTimeout(callback, ms),
  clearTimeout: (handle) => {
    clearTimeout(handle as NodeJS.Timeout | undefined);
  },
};

/**
 * A chat model that answers from a script, for unit tests: it streams and invokes alike, calls tools, reports
 * usage, fails before or within an answer, obeys abort, and records what it was asked.
 *
 * A call keeps nothing outside its record, so that one model may serve many sessions at once. An array hands out
 * its replies in the order of the calls; give sessions that run side by side a function.
 *
 * @example
 * const model = new ScriptedChatModel([{ toolCalls: [{ name: "add", args: { a: 1, b: 2 } }] }, "It is 3."]);
 * // … run the agent …
 * model.assertComplete();
 */
export class ScriptedChatModel extends BaseChatModel<ScriptedCallOptions> {
  readonly #script: readonly ScriptedReply[] | Exclude<Script, readonly unknown[]>;
  readonly #timers: Pick<Clock, "setTimeout" | "clearTimeout">;
  readonly #calls: CallRecord[] = [];

  /** @throws {TypeError} when the script, or a reply in its array, is not one. */
  constructor(script: Script, options: ScriptedChatModelOptions = {}) {
    const { clock, ...params } = options;
    super(params);
    this.#timers = clock ?? realTimers;
    if (typeof script === "function") {
      this.#script = script;
      return;
    }
    if (!isArray(script)) {
      throw new TypeError(`Expected \`script\` to be an array or a function, got ${typeof script}`);
    }
    this.#script = script.map(checkReply);
  }

  /** All calls so far, oldest first. */
  get calls(): readonly ScriptedCall[] {
    return this.#calls;
  }

  /**
   * Checks that the script was played to its end: every reply of an array was used, no call came beyond it, and
   * no call is under way.
   *
   * @throws {Error} that says what is amiss.
   */
  assertComplete(): void {
    const problems: string[] = [];
    const calls = this.#calls.length;
    if (typeof this.#script !== "function" && calls !== this.#script.length) {
      problems.push(
        `the script has ${count(this.#script.length, "reply", "replies")}, the model was called ${count(calls, "time")}`,
      );
    }
    const pending = this.#calls.filter((call) => call.outcome === "pending");
    if (pending.length > 0) {
      const which = pending.map((call) => String(call.index)).join(", ");
      problems.push(`${count(pending.length, "call")} still under way (index ${which})`);
    }
    if (problems.length > 0) throw new Error(`The script is not complete: ${problems.join("; ")}.`);
  }

  override _llmType(): string {
    return "scripted";
  }

  override bindTools(
    tools: BindToolsInput[],
    kwargs?: Partial<ScriptedCallOptions>,
  ): Runnable<BaseLanguageModelInput, AIMessageChunk, ScriptedCallOptions> {
    return this.withConfig({ ...kwargs, tools });
  }

  override async _generate(messages: BaseMessage[], options: this["ParsedCallOptions"]): Promise<ChatResult> {
    let whole: AIMessageChunk | undefined;
    for await (const fields of this.#answer(messages, options)) {
      const chunk = new AIMessageChunk(fields);
      whole = whole === undefined ? chunk : whole.concat(chunk);
    }
    if (whole === undefined) throw new Error("A reply has at least its last chunk.");
    const {
      id,
      content,
      tool_calls,
      invalid_tool_calls,
      additional_kwargs,
      response_metadata,
      usage_metadata,
    } = whole;
    const message = new AIMessage({
      content,
      additional_kwargs,
      response_metadata,
      ...(id !== undefined && { id }),
      ...(tool_calls !== undefined && { tool_calls }),
      ...(invalid_tool_calls !== undefined && { invalid_tool_calls }),
      // The class infers `undefined` for it, though it may well be there.
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition
      ...(usage_metadata !== undefined && { usage_metadata }),
    });
    return { generations: [{ message, text: whole.text }] };
  }

  override async *_streamResponseChunks(
    messages: BaseMessage[],
    options: this["ParsedCallOptions"],
    runManager?: CallbackManagerForLLMRun,
  ): AsyncGenerator<ChatGenerationChunk> {
    for await (const fields of this.#answer(messages, options)) {
      const message = new AIMessageChunk(fields);
      const chunk = new ChatGenerationChunk({ message, text: message.text });
      yield chunk;
      await runManager?.handleLLMNewToken(chunk.text, undefined, undefined, undefined, undefined, { chunk });
    }
  }

  /** Records the call and gives the fields of its chunks, each after its delay. */
  async *#answer(messages: BaseMessage[], options: this["ParsedCallOptions"]): AsyncGenerator<ChunkFields> {
    const { signal } = options;
    const call: CallRecord = {
      index: this.#calls.length,
      messages: [...messages],
      toolNames: (options.tools ?? []).map(toolName),
      options,
      responseId: `scripted-${crypto.randomUUID()}`,
      outcome: "pending",
    };
    this.#calls.push(call);
    // What it stays when the reader leaves at a `yield`.
    let outcome: ScriptedCall["outcome"] = "aborted";
    try {
      signal?.throwIfAborted();
      const reply = await this.#replyTo(call);
      const failing = reply.error !== undefined;
      const chunks = planChunks(reply, call.responseId);
      const content = chunks.slice(0, -1);
      for (const fields of failing ? content.slice(0, reply.errorAfter ?? 0) : content) {
        await this.#wait(reply.delayMs ?? 0, signal);
        yield fields;
      }
      signal?.throwIfAborted();
      // Whatever the script wants thrown.
      // eslint-disable-next-line @typescript-eslint/only-throw-error
      if (failing) throw reply.error;
      yield* chunks.slice(-1);
      signal?.throwIfAborted();
      outcome = "completed";
    } catch (error) {
      outcome = signal?.aborted === true ? "aborted" : "failed";
      throw error;
    } finally {
      call.outcome = outcome;
    }
  }

  async #replyTo(call: ScriptedCall): Promise<ScriptedReply> {
    const script = this.#script;
    if (typeof script === "function") {
      const { signal } = call.options;
      const reply = await untilAborted(signal, async () => script(call.messages, call));
      return checkReply(reply, call.index);
    }
    const reply = script[call.index];
    if (reply === undefined) {
      const replies = count(script.length, "reply", "replies");
      throw new Error(`The script has ${replies}, and this is call ${String(call.index + 1)} of the model.`);
    }
    return reply;
  }

  async #wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (ms <= 0) return;
    let timer: TimerHandle | undefined;
    const elapsed = () =>
      new Promise<void>((resolve) => {
        timer = this.#timers.setTimeout(resolve, ms);
      });
    try {
      await untilAborted(signal, elapsed);
    } finally {
      this.#timers.clearTimeout(timer);
    }
  }
}

/** What `start` gives, or the signal's reason if that comes first. */
async function untilAborted<T>(signal: AbortSignal | undefined, start: () => Promise<T>): Promise<T> {
  if (signal === undefined) return start();
  signal.throwIfAborted();
  const { promise, reject } = withReject();
  const abort = () => {
    reject(signal.reason);
  };
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([start(), promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function withReject(): { promise: Promise<never>; reject: (reason: unknown) => void } {
  let reject: (reason: unknown) => void = () => undefined;
  const promise = new Promise<never>((_, fail) => {
    reject = fail;
  });
  return { promise, reject };
}

/** As `Array.isArray`, which forgets what a readonly array holds. */
function isArray(value: readonly unknown[]): boolean {
  return Array.isArray(value);
}

function toolName(tool: BindToolsInput): string {
  // Tools come in a dozen shapes; all of them keep their name in one of these two places.
  const { name, function: inner } = tool as { name?: unknown; function?: { name?: unknown } };
  const found = name ?? inner?.name;
  return typeof found === "string" ? found : "(unnamed)";
}

function count(n: number, one: string, many = `${one}s`): string {
  return `${String(n)} ${n === 1 ? one : many}`;
}

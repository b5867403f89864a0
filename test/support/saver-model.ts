import { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { AIMessage, BaseMessage, type ToolCall } from "@langchain/core/messages";
import type { ChatResult } from "@langchain/core/outputs";
import { type AgentMiddleware, humanInTheLoopMiddleware, summarizationMiddleware } from "langchain";

/** What the model says to a conversation: text, or tool calls. */
export type Reply = string | { readonly text?: string; readonly calls: readonly Omit<ToolCall, "type">[] };

/** A chat model that is a function of the messages: equal conversations get equal answers. */
export class ReplyingModel extends BaseChatModel {
  private readonly reply: (messages: readonly BaseMessage[]) => Reply;

  constructor(reply: (messages: readonly BaseMessage[]) => Reply) {
    super({});
    this.reply = reply;
  }

  override _llmType(): string {
    return "replying";
  }

  override bindTools(): this {
    return this;
  }

  override async _generate(messages: BaseMessage[]): Promise<ChatResult> {
    const reply = this.reply(messages);
    const text = typeof reply === "string" ? reply : (reply.text ?? "");
    const calls = typeof reply === "string" ? [] : reply.calls;
    const message = new AIMessage({
      content: text,
      tool_calls: calls.map((call): ToolCall => ({ ...call, type: "tool_call" })),
      usage_metadata: { input_tokens: messages.length, output_tokens: 1, total_tokens: messages.length + 1 },
      response_metadata: { finish_reason: calls.length > 0 ? "tool_calls" : "stop" },
      // The tool calls are of no declared tools.
    });
    return { generations: [{ message, text }] };
  }
}

/** Approval for every call of `toolName`. Its options' type resolves to `never` beside zod 4. */
export function approvals(toolName: string): AgentMiddleware {
  return humanInTheLoopMiddleware({ interruptOn: { [toolName]: true } }) as AgentMiddleware;
}

/** Rewrites the history to a summary and the last `keep` messages once it has `trigger` of them. */
export function summaries(model: BaseChatModel, trigger: number, keep: number): AgentMiddleware {
  const options = { model, trigger: { messages: trigger }, keep: { messages: keep } };
  // As above.
  return summarizationMiddleware(options);
}

/** What a reader of the conversation sees: all but generated ids. */
export function seen(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(seen);
  if (typeof value !== "object" || value === null) return value;
  if (isMessage(value)) {
    const { tool_calls, usage_metadata, tool_call_id, status, artifact } = value as BaseMessage &
      Partial<Pick<AIMessage, "tool_calls" | "usage_metadata">> & {
        tool_call_id?: string;
        status?: string;
        artifact?: unknown;
      };
    return {
      type: value.type,
      className: value.constructor.name,
      content: value.content,
      name: value.name,
      extra: value.additional_kwargs,
      metadata: value.response_metadata,
      tool_calls,
      usage_metadata,
      tool_call_id,
      status,
      artifact,
    };
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, seen(item)]));
}

function isMessage(value: object): value is BaseMessage {
  return BaseMessage.isInstance(value);
}

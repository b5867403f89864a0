import { RUN_KEY, type RunConfigurable } from "../store/store.js";

/** What a tool gets beside its input, as far as it is read here: langchain's `ToolRuntime`, LangGraph's config. */
export interface ToolCallConfig {
  readonly configurable?: Readonly<Record<string, unknown>> | undefined;
  readonly toolCallId?: string | undefined;
  readonly toolCall?: { readonly id?: string | undefined } | undefined;
}

/**
 * Names one tool call of one turn: `<turn id>:<tool call id>`. The same each time that call is made, by a process that
 * takes the run over and after an answer to an interrupt; another one for every other call, also of another session if
 * the host's run ids are unique (those made by the library are).
 *
 * A tool runs at least once: when its process dies between its effect and the checkpoint of its step, it runs again.
 * Give the key to whatever has the effect, so that it happens once.
 *
 * @example
 * const charge = tool((input, config) => payments.charge(input, { idempotencyKey: idempotencyKey(config) }), { … });
 *
 * @throws {TypeError} outside of a tool call in a run of `agent-sessions`.
 */
export function idempotencyKey(config: ToolCallConfig): string {
  const run = config.configurable?.[RUN_KEY] as Partial<RunConfigurable> | undefined;
  const toolCallId = config.toolCall?.id ?? config.toolCallId;
  if (typeof run?.turnId !== "string" || typeof toolCallId !== "string" || toolCallId === "")
    throw new TypeError("Expected `config` to be the second argument of a tool that is called within a run");
  return `${run.turnId}:${toolCallId}`;
}

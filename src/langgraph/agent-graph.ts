import { BaseChatModel } from "@langchain/core/language_models/chat_models";
import type { ChatResult } from "@langchain/core/outputs";
import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import { RUN_KEY, type RunConfigurable } from "../store/store.js";
import type { CompiledGraph } from "./graph.js";
import { messagesState } from "./messages-reducer.js";
import { importOptional } from "./optional-packages.js";

/** What a graph is made of, as `createAgent` takes it. */
export interface AgentParts {
  /** A model that all runs use; without it each run brings its own. */
  readonly model: BaseChatModel | undefined;
  readonly tools: readonly object[] | undefined;
  readonly systemPrompt: unknown;
  readonly middleware: readonly object[] | undefined;
  readonly stateSchema: unknown;
  readonly contextSchema: unknown;
  readonly responseFormat: unknown;
  readonly store: unknown;
  readonly name: string | undefined;
}

/** Stands where `createAgent` wants a model; the run's own takes its place in every call. */
class RunModel extends BaseChatModel {
  constructor() {
    super({});
  }

  override _llmType(): string {
    return "agent-sessions";
  }

  override _generate(): Promise<ChatResult> {
    return Promise.reject(
      new Error("This model call has no run: it must come from an agent of createLangGraphFactory."),
    );
  }
}

interface ModelCallRequest {
  readonly model: BaseChatModel;
  readonly runtime: { readonly configurable?: Readonly<Record<string, unknown>> };
}

/**
 * Gives each model call the model of its run. First, so that a host's middleware sees the real model and may replace
 * it, as `modelFallbackMiddleware` does.
 */
function runModelMiddleware(models: WeakMap<RunConfigurable, BaseChatModel>): object {
  return {
    name: "AgentSessionsModel",
    wrapModelCall(request: ModelCallRequest, next: (request: ModelCallRequest) => unknown): unknown {
      // The factory's own runs put it there; other callers of the graph have none.
      const run = request.runtime.configurable?.[RUN_KEY] as RunConfigurable | undefined;
      const model = run === undefined ? undefined : models.get(run);
      return next(model === undefined ? request : { ...request, model });
    },
  };
}

type CreateAgent = (options: Record<string, unknown>) => { readonly graph: CompiledGraph };

/**
 * Builds a graph with langchain's `createAgent`.
 *
 * @throws {AgentError} `MODEL_NOT_CONFIGURED` when langchain is not installed.
 */
export async function buildAgentGraph(
  parts: AgentParts,
  models: WeakMap<RunConfigurable, BaseChatModel>,
  checkpointer: BaseCheckpointSaver,
): Promise<CompiledGraph> {
  const langchain = await importOptional("langchain", "An agent without an own `graph`");
  const createAgent = langchain["createAgent"] as CreateAgent;
  const { model, middleware, ...rest } = parts;
  const options: Record<string, unknown> = {
    model: model ?? new RunModel(),
    middleware: [
      ...(model === undefined ? [runModelMiddleware(models)] : []),
      ...(middleware ?? []),
      // Last: a state schema of the host's that has `messages` comes first and wins.
      { name: "AgentSessionsMessages", stateSchema: messagesState() },
    ],
    checkpointer,
  };
  for (const [name, value] of Object.entries(rest)) if (value !== undefined) options[name] = value;
  return createAgent(options).graph;
}

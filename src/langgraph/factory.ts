import type { BaseChatModel } from "@langchain/core/language_models/chat_models";
import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import { LRUCache } from "lru-cache";
import type { AgentConfig, AgentContext, AgentFactory, Conversation } from "../agent.js";
import { AgentError } from "../errors.js";
import { canonicalJson } from "../internal/canonical-json.js";
import { integerOption, optionalInteger, refuseUnknownKeys } from "../internal/check-options.js";
import { systemClock, type Clock } from "../internal/clock.js";
import type { JsonObject, JsonValue } from "../json.js";
import type { RunConfigurable } from "../store/store.js";
import { LangGraphAgent, type AgentRuntime, type AgentSession } from "./agent.js";
import { buildAgentGraph, type AgentParts } from "./agent-graph.js";
import { LangGraphConversation } from "./conversation.js";
import { withCheckpointer, type CompiledGraph, type RunnableGraph } from "./graph.js";
import { checkModelOptions, ModelCache, nameOf, type ModelRequest } from "./models.js";
import { importOptional } from "./optional-packages.js";
import type { Credentials } from "./providers.js";
import { isRecord } from "./to-json.js";

/** The config of one session, beside `provider` and `model`. */
export interface LangGraphConfig {
  /** Options of the model client such as `temperature` and `maxTokens`; over those of the factory. */
  readonly modelOptions?: JsonObject | undefined;
}

/** For whom credentials are wanted. */
export interface CredentialsRequest<TContext = unknown> {
  readonly provider: string;
  readonly model: string;
  readonly sessionId: string;
  readonly userId: string | undefined;
  readonly config: AgentConfig<LangGraphConfig>;
  readonly context: TContext | undefined;
}

type Awaitable<T> = T | Promise<T>;

/** Which model a run uses: an instance or a name, decided anew for each run. */
export type ModelFunction<TContext = unknown> = (
  config: AgentConfig<LangGraphConfig>,
  context: TContext | undefined,
) => Awaitable<BaseChatModel | string>;

/** A value that all sessions share, or a function that is called once for each agent. */
export type PerAgent<T> =
  T | ((config: AgentConfig<LangGraphConfig>, context: AgentContext<LangGraphConfig>) => Awaitable<T>);

interface CommonOptions {
  /** The most steps of a graph in one run. @defaultValue LangGraph's own, 25 */
  readonly recursionLimit?: number | undefined;
  /** @internal */
  readonly clock?: Clock | undefined;
}

/** An agent built with langchain's `createAgent`; needs the package `langchain`. */
export interface AgentOptions<TContext = unknown> extends CommonOptions {
  /** One of the names that langchain's `initChatModel` knows. A session's config goes over it. */
  readonly provider?: string | undefined;
  /**
   * A name; a chat model instance, which all sessions then use whatever their config says; or a function that
   * chooses for each run. Instances must be concrete (`new ChatOpenAI(…)`), not what `initChatModel` gives.
   */
  readonly model?: string | BaseChatModel | ModelFunction<TContext> | undefined;
  /** Options for the model clients, whatever the provider. The session's go over them. */
  readonly modelOptions?: Readonly<Record<string, unknown>> | undefined;
  /**
   * The key, address and headers for one run. Asked for each run; the answer is kept in the model client alone.
   * Without it, or when it gives nothing, the provider's own environment variable is used.
   */
  readonly resolveCredentials?:
    ((request: CredentialsRequest<TContext>) => Awaitable<Credentials | undefined>) | undefined;
  /**
   * Values make one graph that all sessions share. If any of `tools`, `systemPrompt` and `middleware` is a
   * function, each agent gets a graph of its own (some 20 KB).
   */
  readonly tools?: PerAgent<readonly object[]> | undefined;
  /** A string or a `SystemMessage`. */
  readonly systemPrompt?: PerAgent<string | object> | undefined;
  readonly middleware?: PerAgent<readonly object[]> | undefined;
  readonly stateSchema?: object | undefined;
  /** The shape of the per-run context, as zod object. */
  readonly contextSchema?: object | undefined;
  readonly responseFormat?: unknown;
  /** What `createAgent` calls `store`: LangGraph's long-term memory across conversations. */
  readonly longTermStore?: object | undefined;
  readonly name?: string | undefined;
  /** The most model clients that are kept. @defaultValue 1000 */
  readonly maxModels?: number | undefined;
}

/** An agent over a graph of the host's own, whose state has the channel `messages`. */
export interface GraphOptions extends CommonOptions {
  /**
   * A compiled graph that all sessions share, or a function that gives the graph of one agent (which may well be
   * the same for several). Compile it without a checkpointer, or with `context.checkpointer`.
   */
  readonly graph: PerAgent<CompiledGraph>;
}

export type LangGraphFactoryOptions<TContext = unknown> = AgentOptions<TContext> | GraphOptions;

const COMMON_KEYS = ["recursionLimit", "clock"];
const GRAPH_KEYS = [...COMMON_KEYS, "graph"];
const AGENT_KEYS = [
  ...COMMON_KEYS,
  "provider",
  "model",
  "modelOptions",
  "resolveCredentials",
  "tools",
  "systemPrompt",
  "middleware",
  "stateSchema",
  "contextSchema",
  "responseFormat",
  "longTermStore",
  "name",
  "maxModels",
];

export const langGraphDefaults = Object.freeze({ maxModels: 1000 });

/** Sessions with equal config share one object; beyond this many kinds of config new ones are made. */
const MAX_SHARED_CONFIGS = 1000;

/**
 * Builds LangGraph agents: many sessions over one compiled graph, each with its own thread, model and credentials.
 *
 * Cancelling a run loses the part of an answer that was streamed but not finished: LangGraph stores whole messages.
 *
 * @throws {TypeError | RangeError} when an option has a wrong type or is unknown.
 */
export function createLangGraphFactory<TContext = unknown>(
  options: LangGraphFactoryOptions<TContext> = {},
): AgentFactory<LangGraphConfig, TContext> {
  return new LangGraphFactory<TContext>(options);
}

class LangGraphFactory<TContext> implements AgentFactory<LangGraphConfig, TContext>, AgentRuntime<TContext> {
  readonly configKeys = ["modelOptions"];
  readonly clock: Clock;
  readonly recursionLimit: number | undefined;
  readonly models = new WeakMap<RunConfigurable, BaseChatModel>();
  readonly #options: AgentOptions<TContext>;
  readonly #graph: GraphOptions["graph"] | undefined;
  readonly #clients: ModelCache;
  readonly #sharedGraphs = new WeakMap<BaseCheckpointSaver, Promise<RunnableGraph>>();
  readonly #configs = new LRUCache<string, AgentConfig<LangGraphConfig>>({ max: MAX_SHARED_CONFIGS });

  constructor(options: LangGraphFactoryOptions<TContext>) {
    requireOptions(options);
    const own = isGraphOptions(options);
    refuseUnknownKeys("createLangGraphFactory", options, own ? GRAPH_KEYS : AGENT_KEYS);
    this.#graph = own ? options.graph : undefined;
    this.#options = own ? {} : options;
    checkAgentOptions(this.#options);
    this.clock = options.clock ?? systemClock;
    this.recursionLimit = optionalInteger("recursionLimit", options.recursionLimit, 1);
    this.#clients = new ModelCache(
      integerOption("maxModels", this.#options.maxModels, langGraphDefaults.maxModels, 1),
    );
  }

  async create(context: AgentContext<LangGraphConfig>): Promise<LangGraphAgent<TContext>> {
    const graph = await this.#graphFor(context);
    const { sessionId, userId, threadId } = context;
    const session = { sessionId, userId, threadId, config: this.#share(context.config) };
    return new LangGraphAgent(this, session, graph, context.checkpointer);
  }

  conversation(context: AgentContext<LangGraphConfig>): Conversation {
    return new LangGraphConversation(context.checkpointer, context.threadId, () => this.#graphFor(context));
  }

  /** @throws {AgentError} `MODEL_NOT_CONFIGURED`, `INVALID_INPUT` */
  async check(config: AgentConfig<LangGraphConfig>): Promise<void> {
    checkModelOptions(config.modelOptions);
    for (const key of ["provider", "model"] as const) {
      if (config[key] !== undefined && typeof config[key] !== "string")
        throw new AgentError("INVALID_INPUT", `Expected \`${key}\` to be a string.`);
    }
    if (this.#graph !== undefined) return;
    await importOptional("langchain", "An agent without an own `graph`");
    const { model, resolveCredentials } = this.#options;
    // An instance needs no name, and which one a function will choose is known in its run only.
    if (model !== undefined && typeof model !== "string") return;
    await this.#clients.check(this.#request(config, model), resolveCredentials !== undefined);
  }

  close(): void {
    this.#clients.clear();
    this.#configs.clear();
  }

  async modelFor(
    session: AgentSession,
    context: TContext | undefined,
    signal: AbortSignal,
  ): Promise<BaseChatModel | undefined> {
    const { model, resolveCredentials } = this.#options;
    if (this.#graph !== undefined || isChatModel(model)) return undefined;
    const config: AgentConfig<LangGraphConfig> = session.config;
    const chosen = typeof model === "function" ? await model(config, context) : model;
    if (chosen !== undefined && typeof chosen !== "string") return requireConcrete(chosen);
    // A name that a function chose is not overruled by the session's.
    const request = this.#request(
      typeof model === "function" ? { ...config, model: chosen } : config,
      chosen,
    );
    const named = nameOf(request);
    const { sessionId, userId } = session;
    const credentials = await resolveCredentials?.({ ...named, sessionId, userId, config, context });
    return this.#clients.get(request, credentials, signal);
  }

  #request(config: AgentConfig<LangGraphConfig>, defaultModel: string | undefined): ModelRequest {
    const provider = config.provider ?? this.#options.provider;
    // The factory's model belongs to the factory's provider.
    const isOwnProvider =
      config.provider === undefined ||
      config.provider === this.#options.provider ||
      this.#options.provider === undefined;
    return {
      provider,
      model: config.model ?? (isOwnProvider ? defaultModel : undefined),
      modelOptions: { ...this.#options.modelOptions, ...config.modelOptions },
    };
  }

  #share(config: AgentConfig<LangGraphConfig>): AgentConfig<LangGraphConfig> {
    // Configs are plain JSON; TypeScript does not know it of the host's own keys.
    const key = canonicalJson(config as unknown as JsonValue);
    const known = this.#configs.get(key);
    if (known !== undefined) return known;
    this.#configs.set(key, config);
    return config;
  }

  #graphFor(context: AgentContext<LangGraphConfig>): Promise<RunnableGraph> {
    if (!this.#isShared()) return this.#buildGraph(context);
    const { checkpointer } = context;
    const known = this.#sharedGraphs.get(checkpointer);
    if (known !== undefined) return known;
    const building = this.#buildGraph(context);
    this.#sharedGraphs.set(checkpointer, building);
    building.catch(() => this.#sharedGraphs.delete(checkpointer));
    return building;
  }

  #isShared(): boolean {
    const { tools, systemPrompt, middleware } = this.#options;
    return [this.#graph, tools, systemPrompt, middleware].every((part) => typeof part !== "function");
  }

  async #buildGraph(context: AgentContext<LangGraphConfig>): Promise<RunnableGraph> {
    const { checkpointer } = context;
    if (this.#graph !== undefined)
      return withCheckpointer(await forAgent(this.#graph, context), checkpointer);
    const { model, stateSchema, contextSchema, responseFormat, longTermStore, name } = this.#options;
    const parts: AgentParts = {
      model: isChatModel(model) ? model : undefined,
      tools: await forAgent(this.#options.tools, context),
      systemPrompt: await forAgent(this.#options.systemPrompt, context),
      middleware: await forAgent(this.#options.middleware, context),
      stateSchema,
      contextSchema,
      responseFormat,
      store: longTermStore,
      name,
    };
    return withCheckpointer(await buildAgentGraph(parts, this.models, checkpointer), checkpointer);
  }
}

function requireOptions(options: unknown): void {
  if (!isRecord(options)) throw expected("options", "an object", options);
  const { graph } = options;
  if ("graph" in options && typeof graph !== "function" && !isRecord(graph)) {
    throw expected("graph", "a compiled graph or a function", graph);
  }
}

function isGraphOptions<TContext>(options: LangGraphFactoryOptions<TContext>): options is GraphOptions {
  return "graph" in options;
}

function forAgent<T>(part: PerAgent<T>, context: AgentContext<LangGraphConfig>): Awaitable<T> {
  // None of the values is itself callable.
  return typeof part === "function"
    ? (
        part as (config: AgentConfig<LangGraphConfig>, context: AgentContext<LangGraphConfig>) => Awaitable<T>
      )(context.config, context)
    : part;
}

function isChatModel(value: unknown): value is BaseChatModel {
  return isRecord(value) && typeof value["invoke"] === "function";
}

/** `initChatModel`'s result makes a client per call, or keeps one per thread for ever. */
function requireConcrete(model: unknown): BaseChatModel {
  if (isChatModel(model) && !("_getModelInstance" in model)) return model;
  throw new TypeError(
    isChatModel(model)
      ? "Expected `model` to be a concrete chat model such as `new ChatOpenAI(…)`, got the result of `initChatModel`: give `provider` and `model` as names instead"
      : `Expected \`model\` to be a name, a chat model or a function, got ${model === null ? "null" : typeof model}`,
  );
}

function checkAgentOptions(options: AgentOptions<never>): void {
  const { model, provider, resolveCredentials, modelOptions, tools, middleware } = options;
  if (model !== undefined && typeof model !== "string" && typeof model !== "function") requireConcrete(model);
  if (provider !== undefined && typeof provider !== "string")
    throw expected("provider", "a string", provider);
  if (resolveCredentials !== undefined && typeof resolveCredentials !== "function")
    throw expected("resolveCredentials", "a function", resolveCredentials);
  if (modelOptions !== undefined && !isRecord(modelOptions))
    throw expected("modelOptions", "an object", modelOptions);
  if (tools !== undefined && typeof tools !== "function" && !Array.isArray(tools))
    throw expected("tools", "an array or a function", tools);
  if (middleware !== undefined && typeof middleware !== "function" && !Array.isArray(middleware))
    throw expected("middleware", "an array or a function", middleware);
}

function expected(name: string, what: string, value: unknown): TypeError {
  return new TypeError(`Expected \`${name}\` to be ${what}, got ${value === null ? "null" : typeof value}`);
}

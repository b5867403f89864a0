/** What a run's model call authenticates with; built by `resolveCredentials`. Kept in the model client alone. */
export interface Credentials {
  readonly apiKey?: string | undefined;
  /** Where the provider is reached, if not at its own address. `baseUrl` is the same. */
  readonly baseURL?: string | undefined;
  readonly baseUrl?: string | undefined;
  /** Headers sent with every call. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Anything else goes to the client's constructor as it is, e.g. `region` and `credentials` for Bedrock. */
  readonly [option: string]: unknown;
}

type ClientOptions = Record<string, unknown>;

export interface Provider {
  readonly package: string;
  readonly className: string;
  /** Where the client looks for its key: one of these is needed. Empty if it needs none or has other ways. */
  readonly keyVariables: readonly string[];
  /** How the client's constructor wants address and headers. */
  readonly place: (
    baseURL: string | undefined,
    headers: Readonly<Record<string, string>> | undefined,
  ) => ClientOptions;
  /**
   * Set when a client must not be shared: it is then made for each run, with these options. Ollama's, on a cancel,
   * stops everything that goes through it, whoever's it is, and before the first token it stops nothing.
   */
  readonly perRun?: (signal: AbortSignal, options: ClientOptions) => ClientOptions;
}

const openAIStyle: Provider["place"] = (baseURL, headers) =>
  baseURL === undefined && headers === undefined
    ? {}
    : {
        configuration: {
          ...(baseURL !== undefined && { baseURL }),
          ...(headers !== undefined && { defaultHeaders: headers }),
        },
      };

/** Clients that name both options themselves. */
function named(urlOption: string, headersOption: string): Provider["place"] {
  return (baseURL, headers) => ({
    ...(baseURL !== undefined && { [urlOption]: baseURL }),
    ...(headers !== undefined && { [headersOption]: headers }),
  });
}

const anthropicStyle: Provider["place"] = (baseURL, headers) => ({
  ...(baseURL !== undefined && { anthropicApiUrl: baseURL }),
  ...(headers !== undefined && { clientOptions: { defaultHeaders: headers } }),
});

const mistral: Provider = {
  package: "@langchain/mistralai",
  className: "ChatMistralAI",
  keyVariables: ["MISTRAL_API_KEY"],
  place: named("serverURL", "headers"),
};
const bedrock: Provider = {
  package: "@langchain/aws",
  className: "ChatBedrockConverse",
  keyVariables: [],
  place: named("endpointHost", "headers"),
};

type Fetch = typeof globalThis.fetch;

/** A fetch that ends with its run. */
function abortableFetch(signal: AbortSignal, options: ClientOptions): ClientOptions {
  // `fetch` is what Ollama's client takes under this name.
  const send = (options["fetch"] as Fetch | undefined) ?? globalThis.fetch;
  const fetch: Fetch = (input, init) =>
    send(input, { ...init, signal: init?.signal == null ? signal : AbortSignal.any([init.signal, signal]) });
  return { fetch };
}

/** The providers that langchain's `initChatModel` knows, under the same names. */
export const providers: Readonly<Record<string, Provider>> = {
  openai: {
    package: "@langchain/openai",
    className: "ChatOpenAI",
    keyVariables: ["OPENAI_API_KEY"],
    place: openAIStyle,
  },
  anthropic: {
    package: "@langchain/anthropic",
    className: "ChatAnthropic",
    keyVariables: ["ANTHROPIC_API_KEY"],
    place: anthropicStyle,
  },
  deepseek: {
    package: "@langchain/deepseek",
    className: "ChatDeepSeek",
    keyVariables: ["DEEPSEEK_API_KEY"],
    place: openAIStyle,
  },
  ollama: {
    package: "@langchain/ollama",
    className: "ChatOllama",
    keyVariables: [],
    place: named("baseUrl", "headers"),
    perRun: abortableFetch,
  },
  azure_openai: {
    package: "@langchain/openai",
    className: "AzureChatOpenAI",
    keyVariables: ["AZURE_OPENAI_API_KEY"],
    place: openAIStyle,
  },
  groq: {
    package: "@langchain/groq",
    className: "ChatGroq",
    keyVariables: ["GROQ_API_KEY"],
    place: named("baseUrl", "defaultHeaders"),
  },
  mistralai: mistral,
  mistral,
  google: {
    package: "@langchain/google",
    className: "ChatGoogle",
    keyVariables: [],
    place: named("baseUrl", "headers"),
  },
  "google-genai": {
    package: "@langchain/google-genai",
    className: "ChatGoogleGenerativeAI",
    keyVariables: ["GOOGLE_API_KEY"],
    place: named("baseUrl", "customHeaders"),
  },
  "google-vertexai": {
    package: "@langchain/google-vertexai",
    className: "ChatVertexAI",
    keyVariables: [],
    place: named("endpoint", "headers"),
  },
  "google-vertexai-web": {
    package: "@langchain/google-vertexai-web",
    className: "ChatVertexAI",
    keyVariables: [],
    place: named("endpoint", "headers"),
  },
  bedrock,
  aws: bedrock,
  cohere: {
    package: "@langchain/cohere",
    className: "ChatCohere",
    keyVariables: ["COHERE_API_KEY"],
    place: named("baseUrl", "headers"),
  },
  xai: { package: "@langchain/xai", className: "ChatXAI", keyVariables: ["XAI_API_KEY"], place: openAIStyle },
  cerebras: {
    package: "@langchain/cerebras",
    className: "ChatCerebras",
    keyVariables: ["CEREBRAS_API_KEY"],
    place: named("baseURL", "defaultHeaders"),
  },
  fireworks: {
    package: "@langchain/fireworks",
    className: "ChatFireworks",
    keyVariables: ["FIREWORKS_API_KEY"],
    place: openAIStyle,
  },
  together: {
    package: "@langchain/together-ai",
    className: "ChatTogetherAI",
    keyVariables: ["TOGETHER_AI_API_KEY"],
    place: openAIStyle,
  },
  perplexity: {
    package: "@langchain/perplexity",
    className: "ChatPerplexity",
    keyVariables: ["PERPLEXITY_API_KEY"],
    place: named("baseURL", "headers"),
  },
};

/** Looks a provider up by its own name alone: `constructor` is none. */
export function findProvider(name: string): Provider | undefined {
  return Object.hasOwn(providers, name) ? providers[name] : undefined;
}

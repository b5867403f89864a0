import { createHmac, randomBytes } from "node:crypto";
import type { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { LRUCache } from "lru-cache";
import { AgentError } from "../errors.js";
import type { JsonObject } from "../json.js";
import { importOptional } from "./optional-packages.js";
import { findProvider, providers, type Credentials, type Provider } from "./providers.js";
import { isRecord } from "./to-json.js";

/** Which model a run wants. */
export interface ModelRequest {
  readonly provider: string | undefined;
  readonly model: string | undefined;
  /** Of the host and the session together. */
  readonly modelOptions: Readonly<Record<string, unknown>>;
}

export interface NamedModel {
  readonly provider: string;
  readonly model: string;
}

type ModelClass = new (options: Record<string, unknown>) => BaseChatModel;

/**
 * langchain's own default of 6 lets a user wait for more than a minute before a rate limit is reported.
 */
const DEFAULT_MAX_RETRIES = 2;

/**
 * The provider clients, one for all runs with equal provider, model, options and credentials. A client is named by
 * a keyed hash, so that no credential can be read from the cache's keys; the credential itself is in the client
 * alone and goes with it.
 */
export class ModelCache {
  readonly #clients: LRUCache<string, BaseChatModel>;
  readonly #classes = new Map<Provider, Promise<ModelClass>>();
  readonly #secret = randomBytes(32);
  /** Functions among the credentials (a token source) have no content to hash: each counts as one of its own. */
  readonly #functionIds = new WeakMap<object, number>();
  #nextFunctionId = 0;

  constructor(maxModels: number) {
    this.#clients = new LRUCache({ max: maxModels });
  }

  get size(): number {
    return this.#clients.size;
  }

  clear(): void {
    this.#clients.clear();
  }

  /**
   * Checks that the provider is known, its package is there and a key can be had.
   *
   * @throws {AgentError} `MODEL_NOT_CONFIGURED`
   */
  async check(request: ModelRequest, hasResolver: boolean): Promise<void> {
    const named = nameOf(request);
    const provider = requireProvider(named.provider);
    if (!hasResolver) requireKey(named.provider, provider, request.modelOptions);
    await this.#load(named.provider, provider);
  }

  /** @throws {AgentError} `MODEL_NOT_CONFIGURED` */
  async get(
    request: ModelRequest,
    credentials: Credentials | undefined,
    signal: AbortSignal,
  ): Promise<BaseChatModel> {
    const { provider: name, model } = nameOf(request);
    const provider = requireProvider(name);
    if (provider.perRun !== undefined) {
      const Model = await this.#load(name, provider);
      const options = clientOptions(provider, model, request.modelOptions, credentials);
      return new Model({ ...options, ...provider.perRun(signal, options) });
    }
    const key = this.#key([name, model, request.modelOptions, credentials ?? null]);
    const known = this.#clients.get(key);
    if (known !== undefined) return known;
    if (credentials?.apiKey === undefined)
      requireKey(name, provider, { ...request.modelOptions, ...credentials });
    const Model = await this.#load(name, provider);
    // Another run may have made it meanwhile.
    const meanwhile = this.#clients.get(key);
    if (meanwhile !== undefined) return meanwhile;
    const client = new Model(clientOptions(provider, model, request.modelOptions, credentials));
    this.#clients.set(key, client);
    return client;
  }

  #load(name: string, provider: Provider): Promise<ModelClass> {
    let loading = this.#classes.get(provider);
    if (loading === undefined) {
      loading = importClass(name, provider);
      this.#classes.set(provider, loading);
      // The package may be installed later: a failure is not remembered.
      loading.catch(() => this.#classes.delete(provider));
    }
    return loading;
  }

  #key(parts: unknown): string {
    return createHmac("sha256", this.#secret).update(this.#canonical(parts)).digest("base64");
  }

  /** JSON with sorted keys. */
  #canonical(value: unknown): string {
    if (typeof value === "function") return `function ${String(this.#idOf(value))}`;
    if (Array.isArray(value)) return `[${value.map((part) => this.#canonical(part)).join(",")}]`;
    if (typeof value !== "object" || value === null)
      return value === undefined ? "undefined" : JSON.stringify(value);
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) return `object ${String(this.#idOf(value))}`;
    const entries = Object.entries(value).filter(([, part]) => part !== undefined);
    entries.sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([name, part]) => `${JSON.stringify(name)}:${this.#canonical(part)}`).join(",")}}`;
  }

  #idOf(value: object): number {
    let id = this.#functionIds.get(value);
    if (id === undefined) {
      id = this.#nextFunctionId++;
      this.#functionIds.set(value, id);
    }
    return id;
  }
}

/** Splits `provider:model` when no provider is given, as langchain writes it. */
export function nameOf({ provider, model }: Pick<ModelRequest, "provider" | "model">): NamedModel {
  if (model === undefined || model === "") {
    throw new AgentError(
      "MODEL_NOT_CONFIGURED",
      "No model is configured. Give `model`, and `provider` with it, to the service or to `chat`.",
    );
  }
  if (provider !== undefined) return { provider, model };
  const colon = model.indexOf(":");
  const prefix = model.slice(0, Math.max(0, colon));
  if (findProvider(prefix) !== undefined) return { provider: prefix, model: model.slice(colon + 1) };
  throw new AgentError(
    "MODEL_NOT_CONFIGURED",
    `No provider is configured. Give \`provider\` beside \`model\`; known are ${knownProviders()}.`,
  );
}

function knownProviders(): string {
  return Object.keys(providers).join(", ");
}

function requireProvider(name: string): Provider {
  const provider = findProvider(name);
  if (provider !== undefined) return provider;
  throw new AgentError(
    "MODEL_NOT_CONFIGURED",
    `The provider ${JSON.stringify(name.slice(0, 40))} is not known. Known are ${knownProviders()}.`,
  );
}

function requireKey(name: string, provider: Provider, options: Readonly<Record<string, unknown>>): void {
  const { keyVariables } = provider;
  if (keyVariables.length === 0 || "apiKey" in options) return;
  if (keyVariables.some((variable) => (process.env[variable] ?? "") !== "")) return;
  throw new AgentError(
    "MODEL_NOT_CONFIGURED",
    `The provider \`${name}\` needs a key: set ${keyVariables.join(" or ")}, or give \`resolveCredentials\`.`,
  );
}

async function importClass(name: string, provider: Provider): Promise<ModelClass> {
  const module = await importOptional(provider.package, `The provider \`${name}\``);
  const found = module[provider.className];
  if (typeof found === "function") return found as ModelClass;
  throw new AgentError(
    "MODEL_NOT_CONFIGURED",
    `\`${provider.package}\` has no \`${provider.className}\`: its version does not fit. Run \`npm i ${provider.package}\`.`,
  );
}

function clientOptions(
  provider: Provider,
  model: string,
  modelOptions: Readonly<Record<string, unknown>>,
  credentials: Credentials | undefined,
): Record<string, unknown> {
  const { apiKey, baseURL, baseUrl, headers, ...rest } = credentials ?? {};
  return {
    maxRetries: DEFAULT_MAX_RETRIES,
    ...modelOptions,
    ...rest,
    ...provider.place(baseURL ?? baseUrl, headers),
    ...(apiKey !== undefined && { apiKey }),
    model,
  };
}

/** Options that say where a request goes or who pays for it: the host's to set, never a session's. */
const HOST_OPTION =
  /key|secret|token$|ur[il]|host|endpoint|path|header|credential|auth|client|configuration|fetch|callback|proxy|agent$|model|region|project|organi[sz]ation|cache|^lc_|^__/i;

/**
 * Checks the `modelOptions` of a session, such as `temperature` and `maxTokens`.
 *
 * @throws {AgentError} `INVALID_INPUT`
 */
export function checkModelOptions(value: unknown): asserts value is JsonObject | undefined {
  if (value === undefined) return;
  if (!isRecord(value))
    throw new AgentError(
      "INVALID_INPUT",
      "Expected `modelOptions` to be an object such as `{ temperature: 0 }`.",
    );
  for (const option of Object.keys(value)) {
    if (HOST_OPTION.test(option)) {
      throw new AgentError(
        "INVALID_INPUT",
        `\`modelOptions.${option.slice(0, 40)}\` cannot be set for a session: give it to the factory, or return it from \`resolveCredentials\`.`,
      );
    }
  }
}

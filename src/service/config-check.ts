import { LRUCache } from "lru-cache";
import type { AgentConfig, AgentFactory } from "../agent.js";
import { AgentError, isAgentError } from "../errors.js";
import { canonicalJson } from "../internal/canonical-json.js";
import type { JsonObject } from "../json.js";

/** Asks the factory and the host whether a config will do, and remembers those that did. */
export class ConfigCheck<TConfig extends object, TContext> {
  /** The keys that a request may set. */
  readonly knownKeys: ReadonlySet<string>;
  readonly #factory: AgentFactory<TConfig, TContext>;
  readonly #validate: ((config: AgentConfig<TConfig>) => void) | undefined;
  readonly #passed = new LRUCache<string, true>({ max: 1_000, maxSize: 1_000_000 });

  constructor(
    factory: AgentFactory<TConfig, TContext>,
    configKeys: readonly string[],
    validate: ((config: AgentConfig<TConfig>) => void) | undefined,
  ) {
    this.#factory = factory;
    this.#validate = validate;
    this.knownKeys = new Set(["provider", "model", ...(factory.configKeys ?? []), ...configKeys]);
  }

  /** Whether a config is known to pass, so that no waiting is needed. */
  hasPassed(config: JsonObject): boolean {
    return this.#nothingToAsk || this.#passed.has(canonicalJson(config));
  }

  /** @throws {AgentError} the factory's, or `INVALID_INPUT` with what the host threw as its cause. */
  async check(config: JsonObject): Promise<void> {
    if (this.hasPassed(config)) return;
    // Plain JSON whose keys were checked.
    const checked = config as AgentConfig<TConfig>;
    try {
      this.#validate?.(checked);
    } catch (error) {
      if (isAgentError(error)) throw error;
      throw new AgentError("INVALID_INPUT", "The config was refused.", { cause: error });
    }
    await this.#factory.check?.(checked);
    const passed = canonicalJson(config);
    this.#passed.set(passed, true, { size: passed.length });
  }

  get #nothingToAsk(): boolean {
    return this.#validate === undefined && this.#factory.check === undefined;
  }
}

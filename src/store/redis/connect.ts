import { AgentError } from "../../errors.js";
import { integerOption } from "../../internal/check-options.js";
import { systemClock, type Clock } from "../../internal/clock.js";
import { listOf, numberOf, RedisEngine, textOf, type RedisClient } from "./client.js";
import { redisKeys } from "./scripts/fence.js";
import { claimFormat, FORMAT, inspectServer, READABLE_BY } from "./scripts/format.js";

/** What all that is made over a Redis client has in common. */
export interface RedisConnectionOptions {
  /**
   * What the names of all keys begin with, in braces, so that on a cluster they share a slot. Stores of one prefix on
   * one server are one store. @defaultValue `"agent-sessions"`
   */
  readonly prefix?: string | undefined;
  /** How long one command may take, whatever the client's options say. @defaultValue 5,000 */
  readonly commandTimeoutMs?: number | undefined;
  /**
   * For how long a step is tried again while Redis can't be reached, where that does no harm. 0 never tries again.
   * @defaultValue 5,000
   */
  readonly retryMs?: number | undefined;
  /** @defaultValue the system's clock */
  readonly clock?: Clock | undefined;
}

export const connectionDefaults = {
  prefix: "agent-sessions",
  commandTimeoutMs: 5_000,
  retryMs: 5_000,
} as const;

export const CONNECTION_OPTIONS = ["prefix", "commandTimeoutMs", "retryMs", "clock"];

/** @throws {TypeError | RangeError} on what is no client, or on options of a wrong type or out of range. */
export function createEngine(client: RedisClient, options: RedisConnectionOptions): RedisEngine {
  checkClient(client);
  return new RedisEngine({
    client,
    tag: redisKeys(prefixOption(options.prefix)).tag,
    clock: options.clock ?? systemClock,
    commandTimeoutMs: integerOption(
      "commandTimeoutMs",
      options.commandTimeoutMs,
      connectionDefaults.commandTimeoutMs,
      1,
    ),
    retryMs: integerOption("retryMs", options.retryMs, connectionDefaults.retryMs, 0),
  });
}

export function prefixOption(value: string | undefined): string {
  const prefix: unknown = value ?? connectionDefaults.prefix;
  if (typeof prefix === "string" && /^[^{}\p{Cc}]{1,100}$/u.test(prefix)) return prefix;
  throw new TypeError(
    `Expected \`prefix\` to be 1 to 100 characters without braces, got \`${String(prefix)}\` (${typeof prefix})`,
  );
}

function checkClient(client: unknown): void {
  const { call, duplicate, options } = (client ?? {}) as Partial<RedisClient>;
  if (typeof call !== "function" || typeof duplicate !== "function") {
    throw new TypeError("Expected `client` to be a Redis or Cluster of ioredis");
  }
  const { keyPrefix, redisOptions } = (options ?? {}) as {
    readonly keyPrefix?: unknown;
    readonly redisOptions?: { readonly keyPrefix?: unknown };
  };
  if ((keyPrefix ?? "") !== "" || (redisOptions?.keyPrefix ?? "") !== "") {
    // Scripts build names themselves.
    throw new TypeError("Expected `client` to have no `keyPrefix`; give the store a `prefix` instead");
  }
}

/**
 * Checks that the store can work on this server, and notes under its prefix how its data are laid out.
 *
 * @throws {AgentError} `UNSUPPORTED` on a server older than 7.0, one that throws keys away when memory runs out, or data
 * of a later version of this library that this one can't work with, or that do not say their format; `STORE_UNAVAILABLE`
 * on a replica.
 */
export async function prepare(engine: RedisEngine, allowEviction: boolean): Promise<void> {
  const [version, policy] = listOf(await engine.run(inspectServer, [], { repeat: true })).map(textOf);
  if (Number.parseInt(version ?? "", 10) < 7 || !version) {
    throw new AgentError("UNSUPPORTED", "Redis must be of version 7.0 or later.");
  }
  if (policy?.startsWith("allkeys-") === true && !allowEviction) {
    throw new AgentError(
      "UNSUPPORTED",
      `Redis throws keys away when memory runs out (maxmemory-policy ${policy}), conversations and leases among them. Set it to noeviction, or accept the loss with \`allowEviction\`.`,
    );
  }
  const [isMine, found] = listOf(await engine.run(claimFormat, [FORMAT, READABLE_BY], { repeat: true }));
  if (numberOf(isMine) === 1) return;
  if (found === null) {
    throw new AgentError(
      "UNSUPPORTED",
      `Key \`${engine.tag}:format\` does not say of which format the data in Redis are: it is damaged, or belongs to another program. Restore the data, or use another \`prefix\`.`,
    );
  }
  throw new AgentError(
    "UNSUPPORTED",
    `The data in Redis are of format ${String(numberOf(found))}, which this version of agent-sessions can't work with (it knows ${String(FORMAT)}). Upgrade it.`,
  );
}

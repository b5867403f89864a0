import { AgentError, type AgentConfig } from "../index.js";
import type { ModelChoice } from "./options.js";
import { isObject } from "./protocols/approvals.js";

/** What a request asks for; a whole choice of the host's list comes of it, so that no field stays from an earlier one. */
export function chooseModel(
  wanted: ModelChoice,
  allowed: readonly ModelChoice[],
  configured: ModelChoice,
): ModelChoice {
  if (wanted.provider === undefined && wanted.model === undefined) return {};
  const fits = (choice: ModelChoice): boolean =>
    (wanted.provider === undefined || choice.provider === wanted.provider) &&
    (wanted.model === undefined || choice.model === wanted.model);
  // Of several providers that have a model of this name, the configured one is meant.
  const found =
    allowed.find((choice) => fits(choice) && choice.provider === configured.provider) ?? allowed.find(fits);
  if (found === undefined)
    throw new AgentError("FORBIDDEN", "The request asks for a model that is not offered.");
  const { provider, model } = found;
  return {
    ...(provider === undefined ? undefined : { provider }),
    ...(model === undefined ? undefined : { model }),
  };
}

/** The model of a config, as far as it names one. */
export function modelOf(config: AgentConfig): ModelChoice {
  const { provider, model } = config;
  return { provider, model };
}

/**
 * What a session was told sticks to it. A choice that leaves out what another one names would keep that of the other,
 * and with it become a mix that nobody offers.
 *
 * @throws {TypeError}
 */
export function checkModels(
  allowed: readonly ModelChoice[],
  configured: ModelChoice,
): readonly ModelChoice[] {
  if (!Array.isArray(allowed))
    throw new TypeError("Expected `allowModels` to be a list of { provider, model }");
  const choices: readonly ModelChoice[] = allowed.map(toChoice);
  for (const name of ["provider", "model"] as const) {
    const named = choices.filter((choice) => choice[name] !== undefined);
    // A model means nothing under another provider; a provider that is never chosen is the configured one.
    const isConfigured = name === "model" && configured.model !== undefined;
    if (named.length < choices.length && (named.length > 0 || isConfigured)) {
      throw new TypeError(
        `Expected each of \`allowModels\` to name its \`${name}\`, as others or the service's configuration do`,
      );
    }
  }
  return choices;
}

/** An entry without what else the host keeps in it, such as a label. */
function toChoice(value: unknown): ModelChoice {
  const { provider, model } = isObject(value) ? value : {};
  const isName = (name: unknown): boolean => name === undefined || (typeof name === "string" && name !== "");
  if ((provider === undefined && model === undefined) || !isName(provider) || !isName(model)) {
    throw new TypeError("Expected each of `allowModels` to be { provider, model }, as text");
  }
  // As just checked.
  return { provider, model } as ModelChoice;
}

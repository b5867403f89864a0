import { AgentError, type AgentConfig } from "../index.js";
import type { ModelChoice } from "./options.js";

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

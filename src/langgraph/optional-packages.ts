import { AgentError } from "../errors.js";
import { isRecord } from "./to-json.js";

/**
 * Loads an optional peer, or says how to install it.
 *
 * Each is named where it is imported: a bundler cannot follow a name in a variable, and a host that bundles its server
 * (as Next.js does) would find none of them. For those that are not installed, being within `try` makes webpack and
 * esbuild go on, the comment Turbopack.
 *
 * @throws {AgentError} `MODEL_NOT_CONFIGURED`
 */
export async function importOptional(specifier: string, who: string): Promise<Record<string, unknown>> {
  // What an import gives is an object.
  return (await importNamed(specifier, who)) as Record<string, unknown>;
}

async function importNamed(specifier: string, who: string): Promise<unknown> {
  try {
    switch (specifier) {
      case "langchain":
        return await import(/* turbopackOptional: true */ "langchain");
      case "@langchain/anthropic":
        return await import(/* turbopackOptional: true */ "@langchain/anthropic");
      case "@langchain/aws":
        // @ts-expect-error -- not installed here
        return await import(/* turbopackOptional: true */ "@langchain/aws");
      case "@langchain/cerebras":
        // @ts-expect-error -- not installed here
        return await import(/* turbopackOptional: true */ "@langchain/cerebras");
      case "@langchain/cohere":
        // @ts-expect-error -- not installed here
        return await import(/* turbopackOptional: true */ "@langchain/cohere");
      case "@langchain/deepseek":
        return await import(/* turbopackOptional: true */ "@langchain/deepseek");
      case "@langchain/google":
        // @ts-expect-error -- not installed here
        return await import(/* turbopackOptional: true */ "@langchain/google");
      case "@langchain/google-genai":
        // @ts-expect-error -- not installed here
        return await import(/* turbopackOptional: true */ "@langchain/google-genai");
      case "@langchain/google-vertexai":
        // @ts-expect-error -- not installed here
        return await import(/* turbopackOptional: true */ "@langchain/google-vertexai");
      case "@langchain/google-vertexai-web":
        // @ts-expect-error -- not installed here
        return await import(/* turbopackOptional: true */ "@langchain/google-vertexai-web");
      case "@langchain/groq":
        // @ts-expect-error -- not installed here
        return await import(/* turbopackOptional: true */ "@langchain/groq");
      case "@langchain/mistralai":
        // @ts-expect-error -- not installed here
        return await import(/* turbopackOptional: true */ "@langchain/mistralai");
      case "@langchain/ollama":
        return await import(/* turbopackOptional: true */ "@langchain/ollama");
      case "@langchain/openai":
        return await import(/* turbopackOptional: true */ "@langchain/openai");
      case "@langchain/xai":
        // @ts-expect-error -- not installed here
        return await import(/* turbopackOptional: true */ "@langchain/xai");
      default:
        // Left to Node, by bundlers too.
        return await import(/* webpackIgnore: true */ specifier);
    }
  } catch (error) {
    if (!isMissing(error, specifier)) throw error;
    throw new AgentError(
      "MODEL_NOT_CONFIGURED",
      `${who} needs the package \`${specifier}\`. Run \`npm i ${specifier}\`.`,
      { cause: error },
    );
  }
}

/** Whether it is this package that is not there; one that is there but lacks one of its own has another name here. */
function isMissing(error: unknown, specifier: string): boolean {
  if (!(error instanceof Error)) return false;
  const code = isRecord(error) ? error["code"] : undefined;
  if (code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND") {
    return error.message.includes(`'${specifier}'`);
  }
  // What Vite puts in the place of an optional peer.
  return error.message.startsWith(`Could not resolve "${specifier}"`);
}

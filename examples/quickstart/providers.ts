import type { SeenRequest, StandIn } from "./stand-in.js";
import { startStandIn } from "./stand-in.js";

export type ProviderName = "openai" | "deepseek" | "anthropic";

interface ProviderPlace {
  readonly keyVariable: string;
  readonly urlVariable: string;
  /** What its client expects below the server's address. */
  readonly path: string;
}

const PLACES: Readonly<Record<ProviderName, ProviderPlace>> = {
  openai: { keyVariable: "OPENAI_API_KEY", urlVariable: "OPENAI_BASE_URL", path: "/v1" },
  deepseek: { keyVariable: "DEEPSEEK_API_KEY", urlVariable: "DEEPSEEK_BASE_URL", path: "/v1" },
  anthropic: { keyVariable: "ANTHROPIC_API_KEY", urlVariable: "ANTHROPIC_BASE_URL", path: "" },
};

/** Where the three providers are reached: for real if the environment has a key, else a local stand-in. */
export class Providers {
  readonly #standIns = new Map<ProviderName, StandIn>();

  static async open(names: readonly ProviderName[]): Promise<Providers> {
    const providers = new Providers();
    // Loaded at first use otherwise; here beforehand, so that it doesn't hold up the streams that are shown first.
    await Promise.all(names.map((name) => import(`@langchain/${name}`)));
    for (const name of names) {
      if ((process.env[PLACES[name].keyVariable] ?? "") === "")
        providers.#standIns.set(name, await startStandIn());
    }
    return providers;
  }

  /** Whether any of them will be real, by the environment. */
  static get anyReal(): boolean {
    return Object.values(PLACES).some(({ keyVariable }) => (process.env[keyVariable] ?? "") !== "");
  }

  isReal(name: ProviderName): boolean {
    return !this.#standIns.has(name);
  }

  describe(name: ProviderName): string {
    const { keyVariable, urlVariable } = PLACES[name];
    if (!this.isReal(name)) return `local stand-in (${keyVariable} is not set)`;
    const atOwnUrl = (process.env[urlVariable] ?? "") !== "";
    return `REAL provider (${atOwnUrl ? `${keyVariable} and ${urlVariable} are` : `${keyVariable} is`} set)`;
  }

  /** For `resolveCredentials`: asked in each run, kept nowhere but in the model client. */
  credentials(name: ProviderName): { apiKey: string | undefined; baseURL?: string } {
    const { keyVariable, urlVariable, path } = PLACES[name];
    const standIn = this.#standIns.get(name);
    if (standIn !== undefined) return { apiKey: "stand-in", baseURL: `${standIn.url}${path}` };
    const url = process.env[urlVariable] ?? "";
    return { apiKey: process.env[keyVariable], ...(url === "" ? undefined : { baseURL: url }) };
  }

  /** Every request that reached a stand-in. What a real provider gets can't be seen from here. */
  seen(): readonly (SeenRequest & { readonly provider: ProviderName })[] {
    return [...this.#standIns].flatMap(([provider, standIn]) =>
      standIn.seen().map((request) => ({ ...request, provider })),
    );
  }

  async close(): Promise<void> {
    await Promise.all([...this.#standIns.values()].map((standIn) => standIn.stop()));
  }
}

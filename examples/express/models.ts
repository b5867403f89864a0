import { startMockModel, type MockModel } from "./mock-model.js";

/** A model that users may choose, as the page shows it. */
export interface OfferedModel {
  readonly provider: string;
  readonly model: string;
  /** Whether a local stand-in answers in its place. */
  readonly mock: boolean;
}

interface Provider {
  readonly name: string;
  readonly models: readonly string[];
  readonly keyVariable: string;
  readonly urlVariable: string;
  /** What its client expects below the address of the mock. */
  readonly mockPath: string;
}

const PROVIDERS: readonly Provider[] = [
  {
    name: "openai",
    models: ["gpt-4.1-mini", "gpt-4.1"],
    keyVariable: "OPENAI_API_KEY",
    urlVariable: "OPENAI_BASE_URL",
    mockPath: "/v1",
  },
  {
    name: "deepseek",
    models: ["deepseek-chat"],
    keyVariable: "DEEPSEEK_API_KEY",
    urlVariable: "DEEPSEEK_BASE_URL",
    mockPath: "/v1",
  },
  {
    name: "anthropic",
    models: ["claude-haiku-4-5"],
    keyVariable: "ANTHROPIC_API_KEY",
    urlVariable: "ANTHROPIC_BASE_URL",
    mockPath: "",
  },
];

/** The providers that the environment has a key for; without any key all of them, played by one local mock. */
export class Models {
  readonly offered: readonly [OfferedModel, ...OfferedModel[]];
  readonly #mock: MockModel | undefined;

  private constructor(offered: readonly [OfferedModel, ...OfferedModel[]], mock: MockModel | undefined) {
    this.offered = offered;
    this.#mock = mock;
  }

  static async open(): Promise<Models> {
    const real = PROVIDERS.filter(({ keyVariable }) => env(keyVariable) !== undefined);
    const mock = real.length === 0 ? await startMockModel() : undefined;
    const [first, ...others] = (mock === undefined ? real : PROVIDERS).flatMap(({ name, models }) =>
      models.map((model): OfferedModel => ({ provider: name, model, mock: mock !== undefined })),
    );
    if (first === undefined) throw new Error("No provider has a model.");
    return new Models([first, ...others], mock);
  }

  get areMocks(): boolean {
    return this.#mock !== undefined;
  }

  /** For `resolveCredentials`: asked in each run, kept nowhere but in the model's client. */
  credentials(providerName: string | undefined): { apiKey?: string; baseURL?: string } {
    const provider = PROVIDERS.find(({ name }) => name === providerName);
    if (provider === undefined) return {};
    if (this.#mock !== undefined) return { apiKey: "mock", baseURL: this.#mock.url + provider.mockPath };
    const apiKey = env(provider.keyVariable);
    const baseURL = env(provider.urlVariable);
    return { ...(apiKey === undefined ? {} : { apiKey }), ...(baseURL === undefined ? {} : { baseURL }) };
  }

  async close(): Promise<void> {
    await this.#mock?.stop();
  }
}

function env(name: string): string | undefined {
  const value = process.env[name]?.trim();
  return value === "" ? undefined : value;
}

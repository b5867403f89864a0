import { LLMock, type ChatCompletionRequest, type Fixture, type JournalEntry } from "@copilotkit/aimock";
import type { Credentials } from "../../src/langgraph/index.js";

/** A local server that answers as the providers do, on a port of the system's choosing. */
export interface ProviderMock {
  /** The server itself, for fixtures: the first that matches a request answers it. */
  readonly server: LLMock;
  /** What makes a provider's real client talk to the server; `headers` go with every request. */
  credentials(provider: string, headers?: Readonly<Record<string, string>>): Credentials;
  /** The requests so far, oldest first. */
  requests(): readonly ProviderRequest[];
  stop(): Promise<void>;
}

export interface ProviderRequest {
  readonly path: string;
  readonly model: string | undefined;
  readonly messages: readonly { readonly role: string; readonly content: unknown }[];
  /** With credentials blotted out; the tests tell users apart by a header of their own. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Where each provider's client looks for its API below the server's root. */
const PATHS: Readonly<Record<string, string>> = { openai: "/v1", deepseek: "/v1", anthropic: "", ollama: "" };

export async function startProviderMock(fixtures: readonly Fixture[] = []): Promise<ProviderMock> {
  const server = new LLMock({ port: 0, host: "127.0.0.1" });
  server.addFixtures([...fixtures]);
  await server.start();
  return {
    server,
    credentials: (provider, headers) => ({
      ...(provider !== "ollama" && { apiKey: "test-key" }),
      ...(headers !== undefined && { headers }),
      baseURL: `${server.url}${PATHS[provider] ?? "/v1"}`,
    }),
    requests: () => server.getRequests().map(toRequest),
    stop: () => server.stop(),
  };
}

function toRequest(entry: JournalEntry): ProviderRequest {
  const body = (entry.body ?? {}) as Partial<ChatCompletionRequest>;
  return {
    path: entry.path,
    model: body.model,
    messages: body.messages ?? [],
    headers: entry.headers,
  };
}

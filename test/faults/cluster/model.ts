/* The provider of the faults: answers each user message with the program that it holds, and keeps the one true list of calls. */
import type { ChatCompletionRequest, Fixture } from "@copilotkit/aimock";
import { startProviderMock, type ProviderMock } from "../../support/provider-mock.js";
import type { Gates } from "./gates.js";
import { answerOf, type Program } from "./protocol.js";
import { now, type ModelCall } from "./records.js";

export interface Model {
  readonly url: string;
  readonly calls: readonly ModelCall[];
  stop(): Promise<void>;
}

export async function startModel(gates: Gates): Promise<Model> {
  const calls: ModelCall[] = [];
  let toolCalls = 0;
  const response = async (request: ChatCompletionRequest) => {
    const { program, step, userMessages } = readTurn(request);
    calls.push({ runId: program.run, step, at: now(), userMessages });
    await gates.pass(`model:${String(step) as `${number}`}`, program.run, "model");
    const tools = program.rounds[step];
    if (tools === undefined) return { content: answerOf(program) };
    // Ids are new in each call, as a provider's are: a model call done again shows in the tools' keys.
    const calling = tools.map((name) => ({ id: `call-${String(++toolCalls)}`, name, arguments: "{}" }));
    return { toolCalls: calling };
  };
  const fixtures: Fixture[] = [
    {
      match: { predicate: (request) => (readTurn(request).program.slowMs ?? 0) > 0 },
      response,
      latency: 20,
      chunkSize: 4,
    },
    { match: { predicate: () => true }, response, chunkSize: 12 },
  ];
  const mock: ProviderMock = await startProviderMock(fixtures);
  const url = mock.credentials("openai").baseURL;
  if (url === undefined) throw new TypeError("The provider mock has an address");
  return { url, calls, stop: () => mock.stop() };
}

function readTurn({ messages }: ChatCompletionRequest): {
  readonly program: Program;
  readonly step: number;
  readonly userMessages: number;
} {
  const last = messages.findLastIndex(({ role }) => role === "user");
  const content = contentOf(messages[last]);
  return {
    program: JSON.parse(content) as Program,
    step: messages.slice(last + 1).filter(({ role }) => role === "assistant").length,
    userMessages: messages.filter((message) => message.role === "user" && contentOf(message) === content)
      .length,
  };
}

function contentOf(message: { readonly content?: unknown } | undefined): string {
  const content = message?.content;
  if (typeof content === "string") return content;
  return (content as { text?: string }[]).map(({ text }) => text ?? "").join("");
}

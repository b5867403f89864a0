import { LLMock, type ChatCompletionRequest, type FixtureResponse } from "@copilotkit/aimock";

/** What the stand-in says of a ship, in the end: long enough that one can be killed in the middle of it. */
export function storyOf(ship: string): string {
  const watches = Array.from({ length: 24 }, (_, i) => `watch ${String(i + 1)} of ship ${ship} was quiet`);
  return `The log of ship ${ship}: ${watches.join(", ")}. That is all.`;
}

/** A local server that speaks a provider's protocol, `pace` pieces of eight characters a second. */
export async function startStandIn(pace: number): Promise<LLMock> {
  const server = new LLMock({ port: 0, host: "127.0.0.1", logLevel: "silent" });
  server.addFixture({
    match: { predicate: () => true },
    response: answer,
    chunkSize: 8,
    streamingProfile: { ttft: 150, tps: pace, jitter: 0.2 },
  });
  await server.start();
  return server;
}

/** First a tool call, then the story: two model calls and a tool between them. */
function answer({ messages }: ChatCompletionRequest): FixtureResponse {
  const asked = messages.findLast(({ role }) => role === "user")?.content;
  const ship = /ship (\w+)/.exec(typeof asked === "string" ? asked : JSON.stringify(asked))?.[1] ?? "none";
  if (messages.at(-1)?.role === "tool") return { content: storyOf(ship) };
  return { toolCalls: [{ name: "find_ship", arguments: JSON.stringify({ number: ship }) }] };
}

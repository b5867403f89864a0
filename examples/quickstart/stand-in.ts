import { LLMock, type ChatCompletionRequest, type FixtureResponse } from "@copilotkit/aimock";

/** What a stand-in was asked. */
export interface SeenRequest {
  readonly model: string;
  /** The whole request, as text. */
  readonly text: string;
}

/** A local server that answers as a model provider does. */
export interface StandIn {
  readonly url: string;
  seen(): readonly SeenRequest[];
  stop(): Promise<void>;
}

/** Starts a server on a port that the system assigns. The provider's real client can't tell it from the real one. */
export async function startStandIn(): Promise<StandIn> {
  const server = new LLMock({ port: 0, host: "127.0.0.1", logLevel: "silent" });
  server.addFixture({
    match: { predicate: () => true },
    response: answer,
    chunkSize: 7,
    streamingProfile: { ttft: 150, tps: 40, jitter: 0.4 },
  });
  await server.start();
  return {
    url: server.url,
    seen: () =>
      server.getRequests().map(({ body }) => ({
        model: String(body?.["model"]),
        text: JSON.stringify(body),
      })),
    stop: () => server.stop(),
  };
}

const WORD = /my secret word is ([\w-]+)/i;

/**
 * What it says, made from the request alone: as a real model, it knows of the conversation what was sent to it and
 * nothing else. So it can tell a secret word only if the history came with the question.
 */
function answer({ messages }: ChatCompletionRequest): FixtureResponse {
  const last = messages.at(-1);
  if (last?.role === "tool") return { content: afterTool(textOf(last.content)) };
  const asked = textOf(messages.findLast(({ role }) => role === "user")?.content);
  if (/order/i.test(asked)) return { toolCalls: [{ name: "find_order", arguments: "{}" }] };
  const refund = /refund me (\d+)/i.exec(asked);
  if (refund) return { toolCalls: [{ name: "refund", arguments: `{"amount":${String(refund[1])}}` }] };
  if (/what is my secret word/i.test(asked)) {
    const told = messages.map(({ role, content }) => (role === "user" ? WORD.exec(textOf(content)) : null));
    const word = told.find((match) => match !== null)?.[1];
    return {
      content: word === undefined ? "You have not told me a word." : `Your secret word is "${word}".`,
    };
  }
  const topic = Object.keys(TOPICS).find((name) => asked.toLowerCase().includes(name));
  return { content: topic === undefined ? "I see." : (TOPICS[topic] ?? "") };
}

function afterTool(result: string): string {
  return /not approved/i.test(result)
    ? "I did not make the refund: it was not approved."
    : `Here is what I got: ${result}`;
}

function textOf(content: ChatCompletionRequest["messages"][number]["content"] | undefined): string {
  if (typeof content === "string") return content;
  return (content ?? []).map((part) => part.text ?? "").join(" ");
}

const STORY =
  "Once there was a lighthouse on a rock so small that its keeper knew every stone by name. Each evening he climbed " +
  "the stairs, lit the lamp and counted the ships. One night there was a ship that he could not see, only hear. ";

const TOPICS: Readonly<Record<string, string>> = {
  lighthouse: STORY.repeat(10),
  sky: "Sunlight holds all colours. Air scatters the blue part of it far more than the red part, so blue light comes to your eyes from everywhere, and red light from the sun alone.",
  sea: "Water takes in red light first and lets blue light pass. The deeper the sea, the more of the red is gone, and the bluer it looks. What the sky lends it comes on top.",
  leaves:
    "Leaves hold chlorophyll, which takes in red and blue light to make sugar. The green light is of no use to it, so that is what leaves send back.",
  rainbow: "A rainbow is sunlight, bent and split by drops of rain in front of you.",
  halo: "A halo is light bent by crystals of ice, high up around the sun or the moon.",
  snow: "Snow is white because its crystals throw back all colours alike.",
};

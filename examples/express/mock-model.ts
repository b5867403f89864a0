import { LLMock, type ChatCompletionRequest, type FixtureResponse } from "@copilotkit/aimock";

/** A local server that speaks the protocols of model providers, so that their real clients run without a key. */
export interface MockModel {
  readonly url: string;
  stop(): Promise<void>;
}

export async function startMockModel(): Promise<MockModel> {
  const server = new LLMock({ port: 0, host: "127.0.0.1", logLevel: "silent" });
  server.addFixture({
    match: { predicate: () => true },
    response: answer,
    // About the pace of a real model: 30 pieces of 6 characters per second.
    chunkSize: 6,
    streamingProfile: { ttft: 250, tps: 30, jitter: 0.3 },
  });
  await server.start();
  return { url: server.url, stop: () => server.stop() };
}

/** What it says. As a real model, it knows of the conversation what was sent to it, and nothing else. */
function answer({ messages }: ChatCompletionRequest): FixtureResponse {
  const last = messages.at(-1);
  if (last?.role === "tool") return { content: afterTool(textOf(last.content)) };
  const asked = textOf(messages.findLast(({ role }) => role === "user")?.content);

  if (/\bweather\b/i.test(asked)) {
    const city = /\b(?:in|for|at)\s+(\p{Lu}[\p{L}-]*(?:\s\p{Lu}[\p{L}-]*)*)/u.exec(asked)?.[1] ?? "Lisbon";
    return { toolCalls: [{ name: "get_weather", arguments: JSON.stringify({ city }) }] };
  }
  if (/\b(pay|send)\b/i.test(asked)) {
    const amount = Number(/\d+/.exec(asked)?.[0] ?? 20);
    const to = /\bto\s+([\p{L}-]+)/u.exec(asked)?.[1] ?? "Ben";
    return { toolCalls: [{ name: "send_money", arguments: JSON.stringify({ to, amount }) }] };
  }
  if (/\bstory\b/i.test(asked)) return { content: STORY };
  if (/\bmy name\b.*\?/i.test(asked)) {
    const told = messages.findLast(({ role, content }) => role === "user" && NAME.test(textOf(content)));
    const name = NAME.exec(textOf(told?.content))?.[1];
    return {
      content: name === undefined ? "You have not told me in this session." : `Your name is ${name}.`,
    };
  }
  const name = NAME.exec(asked)?.[1];
  if (name !== undefined) return { content: `Hello ${name}. I shall remember it in this session.` };
  return { content: HELP };
}

const NAME = /\b(?:my name is|i am)\s+([\p{L}-]+)/iu;

function afterTool(result: string): string {
  return /reject/i.test(result)
    ? "All right, I have not sent anything."
    : `Here is what came of it: ${result} Is there anything else?`;
}

function textOf(content: ChatCompletionRequest["messages"][number]["content"] | undefined): string {
  if (typeof content === "string") return content;
  return (content ?? []).map((part) => part.text ?? "").join(" ");
}

const HELP =
  "I am a mock model, so I know only a few tricks. Ask me for the weather in a city and I call a tool. Ask me to " +
  "send somebody money and you will be asked to approve it. Ask for a story and I talk for a while, which is a good " +
  "time to reload the page. Tell me your name and I remember it, in this session and in no other.";

const STORY = [
  "The lighthouse stood on a rock so small that its keeper knew every stone by name. Each evening she climbed the " +
    "hundred and twelve steps, lit the lamp, and wrote down the ships that passed.",
  "One night in November the fog came in, thick as wool. She could not see her own hands on the rail. But far out, " +
    "between two gusts of wind, she heard a bell: once, then twice, then nothing.",
  "She had no boat that would live in that sea, so she did what she could. She turned the lamp by hand, slowly, and " +
    "stopped it each time it pointed down the one safe channel between the reefs. Light, wait. Light, wait. All night " +
    "long, until her arms no longer felt like hers.",
  "In the morning the fog lifted. A small grey schooner lay at anchor in the bay, with its sails in rags and " +
    "everybody aboard asleep on the deck. Its bell hung from a piece of rope, cracked down one side.",
  "The captain rowed over at noon with a loaf of bread and a question. “How did you know where we were?” he asked. " +
    "“I didn’t,” she said. “I only knew where the rocks were.”",
  "He thought about that for a while. Then he gave her the bell, which had no use any more except to be listened to, " +
    "and she hung it by the door. On quiet evenings, when the wind is right, it still rings: once, then twice, then " +
    "nothing.",
].join("\n\n");

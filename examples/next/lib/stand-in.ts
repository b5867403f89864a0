import type { BaseMessage } from "@langchain/core/messages";
import { ScriptedChatModel, type ScriptedReply } from "agent-sessions/testing";

/** A model that needs no key: it answers from a few rules, word by word, as fast as a real one. */
export function standIn(): ScriptedChatModel {
  return new ScriptedChatModel((messages) => ({ delayMs: 40, ...reply(messages) }));
}

function reply(messages: readonly BaseMessage[]): ScriptedReply {
  const last = messages.at(-1);
  if (last?.type === "tool") {
    const refused = "status" in last && last.status === "error";
    return words(refused ? "All right, I did not do that." : `Here is what I found: ${last.text}.`);
  }
  const asked = last?.text ?? "";
  const amount = /refund\D*(\d+)/i.exec(asked)?.[1];
  if (amount !== undefined) {
    return {
      ...words("That needs your approval."),
      toolCalls: [{ name: "refund", args: { euros: Number(amount) } }],
    };
  }
  if (/order/i.test(asked)) {
    return {
      reasoning: "The user asks about an order; the tool knows it.".split(/(?<= )/),
      text: "",
      toolCalls: [{ name: "find_order", args: {} }],
    };
  }
  if (/fail/i.test(asked))
    return { ...words("This will not end well"), error: new Error("secret"), errorAfter: 4 };
  if (/story/i.test(asked)) return words(STORY);
  const earlier = messages.filter((message) => message.type === "human").length - 1;
  return words(
    earlier === 0
      ? "Hello! Ask me about your order, for a refund, or for a story."
      : `You have asked me ${String(earlier)} other ${earlier === 1 ? "thing" : "things"} before. What else can I do?`,
  );
}

const words = (text: string): ScriptedReply => ({ text: text.split(/(?<= )/) });

const STORY = [
  "Once there was a lighthouse on a rock so small that its keeper knew every stone by name.",
  "Each evening she climbed the stairs, lit the lamp and counted the ships.",
  "One night there was a ship that she could not see, only hear: a slow bell, somewhere beyond the fog.",
  "She rang back. The bell answered, a little nearer.",
  "So it went until morning, ring for ring, and when the fog rose, there lay a small boat in the lee of the rock,",
  "with a boy asleep in it and a bell in his hand.",
  "He had not been lost, he said. He had only wanted to know whether somebody was there.",
].join(" ");

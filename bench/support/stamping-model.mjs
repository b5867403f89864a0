/** A model that writes at a pace, and whose tokens tell when each was due and when it was written. */
import { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { AIMessageChunk } from "@langchain/core/messages";
import { ChatGenerationChunk } from "@langchain/core/outputs";

/** One clock for all processes of a machine. */
export const now = () => performance.timeOrigin + performance.now();
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** When the token was due, and when it was written. */
export function stampsOf(delta) {
  const [due, written] = delta.trim().split(" ").map(Number);
  return { due, written };
}

export class StampingModel extends BaseChatModel {
  #options;

  /** `asked` is called by each answer that begins; none writes before `begin` is resolved. */
  constructor({ tokens, msPerToken, asked = () => {}, begin }) {
    super({});
    this.#options = { tokens, msPerToken, asked, begin };
  }

  _llmType() {
    return "stamping";
  }

  bindTools() {
    return this;
  }

  async _generate() {
    throw new Error("It streams only");
  }

  async *_streamResponseChunks(_messages, _options, runManager) {
    const { tokens, msPerToken, asked, begin } = this.#options;
    asked();
    await begin;
    // Streams of many users are not in step.
    const from = now() + Math.random() * msPerToken;
    for (let index = 0; index < tokens; index += 1) {
      const due = from + index * msPerToken;
      // A timer may come up to a millisecond early.
      for (let left = due - now(); left > 0; left = due - now()) await sleep(left);
      const token = `${due.toFixed(2)} ${now().toFixed(2)} `;
      const chunk = new ChatGenerationChunk({ message: new AIMessageChunk({ content: token }), text: token });
      yield chunk;
      await runManager?.handleLLMNewToken(token, undefined, undefined, undefined, undefined, { chunk });
    }
  }
}

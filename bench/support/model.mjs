import { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { AIMessage, AIMessageChunk, HumanMessage } from "@langchain/core/messages";
import { ChatGenerationChunk } from "@langchain/core/outputs";

/** A model that answers at once with a fixed number of tokens: what is left to measure is everything else. */
export class InstantModel extends BaseChatModel {
  constructor(tokens = 1) {
    super({});
    this.tokens = Array.from({ length: tokens }, (_, index) => `tok${index} `);
  }

  _llmType() {
    return "instant";
  }

  bindTools(tools) {
    return this.withConfig({ tools });
  }

  async _generate(messages, options, runManager) {
    let whole;
    for await (const chunk of this._streamResponseChunks(messages, options, runManager)) {
      whole = whole === undefined ? chunk : whole.concat(chunk);
    }
    return { generations: [{ message: whole.message, text: whole.text }] };
  }

  async *_streamResponseChunks(_messages, _options, runManager) {
    for (const token of this.tokens) {
      const chunk = new ChatGenerationChunk({ message: new AIMessageChunk({ content: token }), text: token });
      yield chunk;
      await runManager?.handleLLMNewToken(token, undefined, undefined, undefined, undefined, { chunk });
    }
  }
}

/** Messages of 200 characters, alternating between user and model. */
export function history(count, length = 200) {
  return Array.from({ length: count }, (_, index) =>
    index % 2 === 0
      ? new HumanMessage({ id: `seed-${index}`, content: "x".repeat(length) })
      : new AIMessage({ id: `seed-${index}`, content: "y".repeat(length) }),
  );
}

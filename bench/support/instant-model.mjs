/**
 * A model that answers at once, or at a pace, with a fixed number of tokens: what is left to measure is everything
 * else. Made from the classes of whoever uses it, since peers bring a copy of LangChain of their own.
 */
export function defineInstantModel({ BaseChatModel, AIMessageChunk, ChatGenerationChunk }) {
  return class InstantModel extends BaseChatModel {
    constructor(tokens = 1, msPerToken = 0) {
      super({});
      this.tokens = Array.from({ length: tokens }, (_, index) => `tok${index} `);
      this.msPerToken = msPerToken;
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
        if (this.msPerToken > 0) await new Promise((resolve) => setTimeout(resolve, this.msPerToken));
        const chunk = new ChatGenerationChunk({
          message: new AIMessageChunk({ content: token }),
          text: token,
        });
        yield chunk;
        await runManager?.handleLLMNewToken(token, undefined, undefined, undefined, undefined, { chunk });
      }
    }
  };
}

/**
 * What the fake models of the servers answer: so many tokens, one each so many milliseconds. The bench changes it over
 * IPC, and asks how many of its own answers the model was given at most, which shows that a server keeps its conversations.
 * There is one of it in a process even where a framework loads a module twice.
 */
const answer = (globalThis[Symbol.for("agent-sessions.bench.answer")] ??= {});

export function setAnswer({ tokens, msPerToken }) {
  answer.tokens = Array.from({ length: tokens }, (_, index) => `tok${index} `);
  answer.msPerToken = msPerToken;
  answer.heard = 0;
}
if (answer.tokens === undefined) setAnswer({ tokens: 50, msPerToken: 0 });

export const heard = () => answer.heard;

function hear(messages) {
  // Objects of LangChain tell their type, all others' their role; nobody counts the instructions.
  const answers = messages.filter((message) => ["assistant", "ai"].includes(message.role ?? message.type));
  answer.heard = Math.max(answer.heard, answers.length);
}

/** The tokens of one answer to these messages. */
export async function* tokensFor(messages) {
  hear(messages);
  for (const token of answer.tokens) {
    if (answer.msPerToken > 0) await new Promise((resolve) => setTimeout(resolve, answer.msPerToken));
    yield token;
  }
}

/** An instant model of any copy of LangChain that answers so. */
export function answering(InstantModel) {
  return class AnsweringModel extends InstantModel {
    constructor() {
      super();
      Object.defineProperties(this, {
        tokens: { get: () => answer.tokens },
        msPerToken: { get: () => answer.msPerToken },
      });
    }

    _streamResponseChunks(messages, options, runManager) {
      hear(messages);
      return super._streamResponseChunks(messages, options, runManager);
    }
  };
}

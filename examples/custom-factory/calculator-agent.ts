import type { Agent, AgentContext, AgentEvent, AgentInput, AgentRunOptions } from "agent-sessions";
import { Calculator, type Variables } from "./calculator.js";

/**
 * An agent without a language model and without LangGraph. It owns a process, started at its first message and ended
 * in `close`. What must outlive the process goes to `context.state`.
 */
export class CalculatorAgent implements Agent {
  readonly #context: AgentContext;
  readonly #onStart: (pid: number) => void;
  #calculator: Calculator | undefined;

  constructor(context: AgentContext, onStart: (pid: number) => void) {
    this.#context = context;
    this.#onStart = onStart;
  }

  async *stream(input: AgentInput, { runId, signal }: AgentRunOptions): AsyncGenerator<AgentEvent> {
    // Without a `conversation` there are no answers to give, and an unfinished message is given again.
    if (input.kind !== "message" || typeof input.message.content !== "string")
      throw new Error("A calculator takes text.");
    const calculator = (this.#calculator ??= await this.#start());
    // A statement that runs away can be stopped in one way only. The next run starts another process.
    const stop = () => {
      calculator.kill();
    };
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    try {
      const answer = await calculator.run(input.message.content);
      // Before the user is told: what has been told is kept, even if this agent goes.
      if ("variables" in answer) await this.#context.state.set(answer.variables);
      const delta = "error" in answer ? answer.error : String(answer.result);
      yield { type: "text-start", id: runId };
      yield { type: "text-delta", id: runId, delta };
      yield { type: "text-end", id: runId };
    } catch (error) {
      if (!signal.aborted) throw error;
      await calculator.gone;
      throw signal.reason;
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  async close(): Promise<void> {
    this.#calculator?.kill();
    await this.#calculator?.gone;
  }

  /** Begins with what the session's last process had, in whichever agent that was. */
  async #start(): Promise<Calculator> {
    const variables = ((await this.#context.state.get()) ?? {}) as Variables;
    const calculator = await Calculator.start(variables);
    this.#onStart(calculator.pid);
    void calculator.gone.then(() => {
      this.#calculator = undefined;
    });
    return calculator;
  }
}

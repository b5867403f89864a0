import type { Answers } from "../agent.js";
import { AgentError } from "../errors.js";
import type { Interrupt } from "../run-event.js";

/** What langchain allows where the interrupt does not say. */
const DECISIONS: readonly unknown[] = ["approve", "edit", "reject"];

/**
 * Checks answers against the interrupts that wait, before any of them is applied. LangGraph stores an answer first and
 * reads it afterwards: a malformed one would fail every later attempt too, and an unknown id would be taken as the
 * answer to any interrupt.
 *
 * @throws {AgentError} `INTERRUPT_STALE` for an interrupt that does not wait, `INVALID_INPUT` for a wrong shape.
 */
export function checkAnswers(answers: Answers, waiting: readonly Interrupt[], sessionId: string): void {
  // Who calls an agent without a service may give anything.
  const entries = Object.entries<unknown>(answers);
  if (entries.length === 0) throw invalid("Expected `answers` to answer at least one interrupt.", sessionId);
  for (const [id, answer] of entries) {
    const interrupt = waiting.find((candidate) => candidate.id === id);
    if (interrupt === undefined) {
      const message = `Session "${sessionId}" has no interrupt that waits for this answer.`;
      throw new AgentError("INTERRUPT_STALE", message, { sessionId });
    }
    if (answer === undefined) throw invalid("Expected each of `answers` to be JSON.", sessionId);
    if (interrupt.kind === "approval") checkDecisions(answer, interrupt, sessionId);
  }
}

function checkDecisions(answer: unknown, { value }: Interrupt, sessionId: string): void {
  const { actionRequests, reviewConfigs } = fieldsOf(value);
  const asked = listOf(actionRequests).map((request) => fieldsOf(request)["name"]);
  const reviews = listOf(reviewConfigs).map(fieldsOf);
  const { decisions } = fieldsOf(answer);
  if (!Array.isArray(decisions) || decisions.length !== asked.length) {
    throw invalid(
      `Expected the answer to an approval to be { decisions: [...] } with ${String(asked.length)} decisions.`,
      sessionId,
    );
  }
  for (const [index, name] of asked.entries()) {
    const { type, editedAction, message } = fieldsOf(decisions[index]);
    const refuse = (what: string): never => {
      throw invalid(`Expected decision ${String(index + 1)} to have ${what}.`, sessionId);
    };
    const review = reviews.find(({ actionName }) => actionName === name);
    const allowed = listOf(review?.["allowedDecisions"], DECISIONS);
    if (!allowed.includes(type)) refuse(`a \`type\` out of ${allowed.join(", ")}`);
    if (type === "edit" && !isAction(editedAction)) refuse("`editedAction` as { name, args }");
    if (type === "reject" && message !== undefined && typeof message !== "string")
      refuse("a `message` that is text");
  }
}

function isAction(value: unknown): boolean {
  const { name, args } = fieldsOf(value);
  return typeof name === "string" && isObject(args);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return isObject(value) ? value : {};
}

function listOf(value: unknown, fallback: readonly unknown[] = []): readonly unknown[] {
  return Array.isArray(value) ? value : fallback;
}

function invalid(message: string, sessionId: string): AgentError {
  return new AgentError("INVALID_INPUT", message, { sessionId });
}

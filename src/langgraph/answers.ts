import type { Answers } from "../agent.js";
import { AgentError } from "../errors.js";
import type { JsonValue } from "../json.js";
import type { Interrupt } from "../run-event.js";
import { isRecord } from "./to-json.js";

/**
 * Checks answers before they are applied. LangGraph stores an answer first and reads it afterwards: a malformed
 * one would fail every later attempt too, and an unknown id would be taken as the answer to any interrupt.
 *
 * @throws {AgentError} `INTERRUPT_STALE` for an interrupt that does not wait, `INVALID_INPUT` for a wrong shape.
 */
export function checkAnswers(answers: Answers, pending: readonly Interrupt[]): void {
  const ids = Object.keys(answers);
  if (ids.length === 0)
    throw new AgentError("INVALID_INPUT", "Expected `answers` to answer at least one interrupt.");
  for (const id of ids) {
    const interrupt = pending.find((candidate) => candidate.id === id);
    if (interrupt === undefined) {
      throw new AgentError(
        "INTERRUPT_STALE",
        `The interrupt ${JSON.stringify(id.slice(0, 64))} does not wait for an answer.`,
      );
    }
    const answer = answers[id];
    if (answer === undefined)
      throw new AgentError("INVALID_INPUT", `Expected the answer to the interrupt ${id} to be JSON.`);
    if (interrupt.kind === "approval") checkDecisions(interrupt, answer);
  }
}

function checkDecisions(interrupt: Interrupt, answer: JsonValue): void {
  const { actionRequests, reviewConfigs } = interrupt.value as {
    actionRequests: readonly unknown[];
    reviewConfigs: readonly unknown[];
  };
  const decisions = isRecord(answer) ? answer["decisions"] : undefined;
  if (!Array.isArray(decisions) || decisions.length !== actionRequests.length) {
    throw invalid(
      interrupt,
      `\`{ decisions }\` with one decision for each of the ${String(actionRequests.length)} actions`,
    );
  }
  actionRequests.forEach((request, index) => {
    const decision: unknown = decisions[index];
    const name = isRecord(request) ? request["name"] : undefined;
    const config = reviewConfigs.find((candidate) => isRecord(candidate) && candidate["actionName"] === name);
    const allowed =
      isRecord(config) && Array.isArray(config["allowedDecisions"])
        ? (config["allowedDecisions"] as unknown[])
        : ["approve", "edit", "reject"];
    if (!isRecord(decision) || !allowed.includes(decision["type"])) {
      throw invalid(interrupt, `decision ${String(index)} to have one of the types ${allowed.join(", ")}`);
    }
    const edited = decision["editedAction"];
    if (
      decision["type"] === "edit" &&
      !(isRecord(edited) && typeof edited["name"] === "string" && isRecord(edited["args"]))
    ) {
      throw invalid(interrupt, `decision ${String(index)} to have \`editedAction: { name, args }\``);
    }
    if (
      decision["type"] === "reject" &&
      decision["message"] !== undefined &&
      typeof decision["message"] !== "string"
    ) {
      throw invalid(interrupt, `\`message\` of decision ${String(index)} to be a string`);
    }
  });
}

function invalid(interrupt: Interrupt, expected: string): AgentError {
  return new AgentError(
    "INVALID_INPUT",
    `Expected the answer to the interrupt ${interrupt.id}: ${expected}.`,
  );
}

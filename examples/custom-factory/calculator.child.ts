// The program that each agent owns: reads one statement a line, answers each with one line of JSON. Its variables
// live in its own memory, so that one process must serve one session only.
//   x = 4 * 3     x + 1     (left to right, no precedence)     forever     (never answers)
import { createInterface } from "node:readline";

/** Given at the start: what an earlier process of the session had. */
const variables = new Map<string, number>(
  Object.entries(JSON.parse(process.argv[2] ?? "{}") as Record<string, number>),
);

const operators: Readonly<Record<string, (a: number, b: number) => number>> = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
};

function value(token: string | undefined): number {
  if (token === undefined) throw new Error("something is missing at the end");
  const number = Number(token);
  if (!Number.isNaN(number)) return number;
  const known = variables.get(token);
  if (known === undefined) throw new Error(`there is no ${token} here`);
  return known;
}

function evaluate(tokens: readonly string[]): number {
  let result = value(tokens[0]);
  for (let at = 1; at < tokens.length; at += 2) {
    const operator = operators[tokens[at] ?? ""];
    if (operator === undefined) throw new Error(`${tokens[at] ?? ""} is no operator`);
    result = operator(result, value(tokens[at + 1]));
  }
  return result;
}

function run(statement: string): number {
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition
  if (statement === "forever") while (true);
  const equals = statement.indexOf("=");
  const result = evaluate(
    statement
      .slice(equals + 1)
      .trim()
      .split(/\s+/),
  );
  if (equals > 0) variables.set(statement.slice(0, equals).trim(), result);
  return result;
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer: object;
  try {
    answer = { result: run(line), variables: Object.fromEntries(variables) };
  } catch (error) {
    answer = { error: error instanceof Error ? error.message : String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

/**
 * Writes README.md and charts/ from results.json: tables and charts hold what was measured, and nothing is typed by
 * hand. What is said about a question stands in the question's own file.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { goals } from "./goals.mjs";
import { QUESTIONS } from "./questions.mjs";
import { table } from "./support/format.mjs";

const at = (name) => new URL(name, import.meta.url);
const results = JSON.parse(readFileSync(at("results.json"), "utf8"));

/** When, with what and how the table above it was made. */
function made({ command, environment, seconds, note }) {
  const { date, node, langgraph, langchain, core, cpu } = environment;
  const took = seconds === undefined ? "" : ` in ${Math.ceil(seconds / 6) / 10} minutes`;
  const other = note === undefined ? "" : `; ${note}`;
  return `_\`${command}\`, ${date}${took}: Node ${node}, @langchain/langgraph ${langgraph}, langchain ${langchain}, @langchain/core ${core}; ${cpu}${other}_`;
}

const summaries = [];
const sections = [];
mkdirSync(at("charts/"), { recursive: true });
for (const name of QUESTIONS) {
  if (!existsSync(at(`${name}.mjs`))) continue;
  const question = await import(`./${name}.mjs`);
  const answer = results[name];
  summaries.push([question.title, `\`npm run bench -- ${name}\``, question.minutes]);
  if (answer === undefined) continue;
  const parts = [`## ${question.title}`, question.report(answer.result)];
  for (const { name: file, alt, svg } of question.charts?.(answer.result) ?? []) {
    writeFileSync(at(`charts/${file}.svg`), svg);
    parts.push(`![${alt}](charts/${file}.svg)`);
  }
  sections.push([...parts, made({ command: `npm run bench -- ${name}`, ...answer })].join("\n\n"));
}

const minutes = summaries.reduce((sum, [, , one]) => sum + one, 0);
writeFileSync(
  at("README.md"),
  `# Benchmarks

\`npm run bench\` makes all of this anew in about ${minutes} minutes; \`npm run bench -- --quick\` takes a look and writes
nothing. Each question runs in a process of its own; contestants take turns, A B A B …, so that drift of the machine's
speed hits all alike. Medians are shown, ratios with a 95 % interval, other spreads as quartiles. Absolute times depend on
the machine: compare within a table only. The model answers at once or at a stated pace, so that what is measured is
everything but the model. [results.json](results.json) holds the numbers behind tables and charts.

${table(["question", "command", "minutes"], summaries)}

${goals(results)}

${sections.join("\n\n")}
`,
);

/** How long does importing the root entry take, over its one heavy dependency alone? */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { alternate, quartiles } from "./support/measure.mjs";
import { spread, table, whole } from "./support/format.mjs";

export const title = "How long does the import take?";
export const minutes = 1;

const execute = promisify(execFile);

async function importMs(name) {
  const script = `const from = performance.now(); await import(${JSON.stringify(name)}); console.log(performance.now() - from);`;
  const { stdout } = await execute(process.execPath, ["--input-type=module", "-e", script], {
    cwd: new URL("..", import.meta.url),
  });
  return Number(stdout);
}

export async function run({ quick = false, progress = () => {} } = {}) {
  progress("import-time");
  const names = ["agent-sessions", "@langchain/langgraph-checkpoint", "@langchain/langgraph"];
  const samples = await alternate(
    quick ? 5 : 21,
    names.map((name) => () => importMs(name)),
  );
  return Object.fromEntries(names.map((name, index) => [name, quartiles(samples[index])]));
}

export function report(result) {
  return table(
    ["module", "ms, median of fresh processes (quartiles)"],
    Object.entries(result).map(([name, took]) => [`\`${name}\``, spread(took, whole)]),
  );
}

/** How long does importing the root entry take, over its one heavy dependency alone? */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { alternate, median } from "./support/measure.mjs";

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
  return Object.fromEntries(names.map((name, index) => [name, median(samples[index])]));
}

// Random faults for as long as asked: `npm run soak -- --minutes 10 --engine redis --seed 42`. By default a minute on
// each engine. Ends with 1 when anything was lost, doubled or out of order; the seed is printed.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    engine: { type: "string" },
    seed: { type: "string" },
  },
});
const minutes = Number(values.minutes);
const names = { postgres: "on Postgres", redis: "on Redis" };
if (!(minutes > 0) || (values.engine !== undefined && names[values.engine] === undefined)) {
  console.error("Usage: npm run soak -- [--minutes 1] [--engine postgres|redis] [--seed 42]");
  process.exit(2);
}

const vitest = fileURLToPath(new URL("../../node_modules/vitest/vitest.mjs", import.meta.url));
const child = spawn(
  process.execPath,
  [
    ...[vitest, "run", "--project", "faults", "test/faults/random", "--disable-console-intercept"],
    ...(values.engine === undefined ? [] : ["-t", names[values.engine]]),
  ],
  {
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
    stdio: "inherit",
    env: {
      ...process.env,
      FAULTS_SECONDS: String(minutes * 60),
      ...(values.seed === undefined ? {} : { FAULTS_SEED: values.seed }),
    },
  },
);
child.on("exit", (code) => {
  process.exitCode = code ?? 1;
});

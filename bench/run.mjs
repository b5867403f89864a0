/** Runs the benchmarks one after another, each in a process of its own; writes results.json and README.md. `--quick` for a look. */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { environment } from "./support/measure.mjs";

const QUESTIONS = ["import-time", "turn-overhead", "idle-agents", "http"];
const args = process.argv.slice(2);
const quick = args.includes("--quick");

if (args[0] === "--one") {
  const { run } = await import(`./${args[1]}.mjs`);
  const result = await run({ quick, progress: (line) => process.stderr.write(`${line}\n`) });
  process.stdout.write(JSON.stringify(result));
} else {
  const wanted = args.filter((arg) => !arg.startsWith("--"));
  const results = {};
  for (const question of wanted.length > 0 ? wanted : QUESTIONS) {
    const child = spawnSync(
      process.execPath,
      [
        "--expose-gc",
        "--max-old-space-size=8192",
        fileURLToPath(import.meta.url),
        "--one",
        question,
        ...(quick ? ["--quick"] : []),
      ],
      { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" },
    );
    if (child.status !== 0) process.exit(child.status ?? 1);
    results[question] = JSON.parse(child.stdout);
  }
  const report = { environment: environment(), quick, results };
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  if (!quick && wanted.length === 0) {
    writeFileSync(new URL("results.json", import.meta.url), `${JSON.stringify(report, null, 2)}\n`);
    await import("./report.mjs");
  }
}

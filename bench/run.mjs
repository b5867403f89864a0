/** Runs the benchmarks one after another, each in a process of its own; adds what
 * it measured to results.json and writes README.md from it. `--quick` for a look. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { environment } from "./support/measure.mjs";

const QUESTIONS = ["import-time", "turn-overhead", "idle-agents", "concurrent-users", "http"];
const args = process.argv.slice(2);
const quick = args.includes("--quick");

if (args[0] === "--one") {
  const { run } = await import(`./${args[1]}.mjs`);
  const result = await run({ quick, progress: (line) => process.stderr.write(`${line}\n`) });
  process.stdout.write(JSON.stringify(result));
} else {
  const wanted = args.filter((arg) => !arg.startsWith("--"));
  const file = new URL("results.json", import.meta.url);
  const saved = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
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
    const answer = { environment: environment(), result: JSON.parse(child.stdout) };
    process.stdout.write(`${JSON.stringify({ [question]: answer }, null, 2)}\n`);
    saved[question] = answer;
    // A look is no measurement.
    if (!quick) writeFileSync(file, `${JSON.stringify(saved, null, 2)}\n`);
  }
  if (!quick && QUESTIONS.every((question) => question in saved)) await import("./report.mjs");
}

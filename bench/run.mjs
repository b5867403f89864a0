/**
 * Asks the questions one after another, each in a process of its own, adds each answer to results.json and writes
 * README.md and charts/ from them. Names ask some questions only; `--quick` takes a look and writes nothing. BENCH_NOTE
 * says what else the machine was doing.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { QUESTIONS } from "./questions.mjs";
import { environment } from "./support/measure.mjs";

const args = process.argv.slice(2);
const quick = args.includes("--quick");

if (args[0] === "--one") {
  // With who asked gone nobody wants to know, and servers of engines end with this process.
  process.once("disconnect", () => process.exit(1));
  const { run } = await import(`./${args[1]}.mjs`);
  const result = await run({ quick, progress: (line) => process.stderr.write(`progress ${line}\n`) });
  process.send(result, () => process.exit(0));
} else {
  const named = args.filter((arg) => !arg.startsWith("--"));
  const unknown = named.filter((name) => !QUESTIONS.includes(name));
  if (unknown.length > 0) throw new Error(`Unknown: ${unknown.join(", ")}. Known: ${QUESTIONS.join(", ")}`);
  const questions = (named.length > 0 ? named : QUESTIONS).filter((name) => existsSync(at(`${name}.mjs`)));
  const failed = [];
  for (const [index, question] of questions.entries()) {
    const from = performance.now();
    try {
      const result = await ask(question, progressOf(question, `[${index + 1}/${questions.length}]`));
      save(question, result, (performance.now() - from) / 1000);
    } catch (error) {
      process.stderr.write(`${error.message}\n`);
      failed.push(question);
    }
  }
  if (!quick) await import("./report.mjs");
  if (failed.length > 0) {
    process.stderr.write(`Without an answer: ${failed.join(", ")}\n`);
    process.exitCode = 1;
  }
}

function at(name) {
  return new URL(name, import.meta.url);
}

/** The answer of a process that is asked one question. */
function ask(question, progress) {
  const child = spawn(
    process.execPath,
    [
      "--expose-gc",
      "--max-old-space-size=8192",
      fileURLToPath(import.meta.url),
      "--one",
      question,
      ...(quick ? ["--quick"] : []),
    ],
    { stdio: ["ignore", "inherit", "pipe", "ipc"] },
  );
  return new Promise((resolve, reject) => {
    child.once("message", resolve);
    child.once("exit", (code, signal) => reject(new Error(`${question} ended with ${code ?? signal}`)));
    createInterface({ input: child.stderr }).on("line", (line) => {
      if (line.startsWith("progress ")) progress(line.slice("progress ".length));
      else process.stderr.write(`${line}\n`);
    });
  });
}

/** One line that is written over in a terminal, and lines of their own elsewhere. */
function progressOf(question, count) {
  const from = performance.now();
  return (line) => {
    const text = `${count} ${question}, ${Math.round((performance.now() - from) / 1000)} s: ${line}`;
    process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
  };
}

function save(question, result, seconds) {
  const settings = Object.entries(process.env)
    .filter(([name]) => name.startsWith("BENCH_") && name !== "BENCH_NOTE")
    .map(([name, value]) => `${name}=${value} `);
  const note = process.env.BENCH_NOTE;
  const answer = {
    command: `${settings.join("")}npm run bench -- ${question}`,
    seconds: Math.round(seconds),
    environment: environment(),
    ...(note === undefined ? {} : { note }),
    result,
  };
  process.stdout.write(
    `${process.stdout.isTTY ? "\n" : ""}${JSON.stringify({ [question]: answer }, null, 2)}\n`,
  );
  // A look is no measurement.
  if (quick) return;
  const file = at("results.json");
  const saved = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
  saved[question] = answer;
  writeFileSync(file, `${JSON.stringify(saved, null, 2)}\n`);
}

import { execFile } from "node:child_process";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, inject, it } from "vitest";

/* A host's own unit test, as the guide shows it, against the packed tarball under the runners that hosts use. */

const project = inject("hostProject");
const modules = join(project, "node_modules");
const jest = join(modules, "jest", "bin", "jest.js");

const run = promisify(execFile);

/** Ten seconds are ample; a runner that takes so long is kept alive by something. */
const TIMEOUT_MS = 100_000;

interface Consumer {
  readonly runner: string;
  /** The folder under `consumers/`. */
  readonly folder: string;
  readonly args: readonly string[];
  readonly passed: RegExp;
  readonly env?: Record<string, string>;
}

const consumers: Consumer[] = [
  {
    runner: "vitest",
    folder: "vitest",
    args: [join(modules, "vitest", "vitest.mjs"), "run"],
    passed: /Tests\s+1 passed \(1\)/,
  },
  {
    runner: "node:test",
    folder: "node-test",
    args: ["--test", "--test-reporter=tap", "chat.test.mjs"],
    passed: /^# pass 1$/m,
  },
  {
    runner: "Jest with require",
    folder: "jest",
    args: [jest, "chat.test.cjs"],
    passed: /^Tests:\s+1 passed, 1 total$/m,
  },
  {
    runner: "Jest with import",
    folder: "jest",
    args: [jest, "chat.test.mjs"],
    passed: /^Tests:\s+1 passed, 1 total$/m,
    env: { NODE_OPTIONS: "--experimental-vm-modules" },
  },
];

describe("a host's unit test", () => {
  it.each(consumers)("passes under $runner and lets it exit", async ({ folder, args, passed, env }) => {
    const cwd = join(project, folder);
    cpSync(join(import.meta.dirname, "consumers", folder), cwd, { recursive: true });
    // Nothing of the outer runner may reach the inner one.
    const inherited = Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_|TEST|JEST)/.test(name));
    // It throws, with the output, when it ends badly or in no time.
    const running = run(process.execPath, args, {
      cwd,
      env: { ...Object.fromEntries(inherited), NO_COLOR: "1", ...env },
      timeout: TIMEOUT_MS,
    });
    running.child.stdin?.end();
    const { stdout, stderr } = await running;
    const output = `${stdout}\n${stderr}`;
    expect(output).toMatch(passed);
    expect(output).not.toMatch(/did not exit/);
  });
});

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { LLMock } from "@copilotkit/aimock";
import { describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));

const PROVIDER_VARIABLES = ["OPENAI", "DEEPSEEK", "ANTHROPIC"].flatMap((name) => [
  `${name}_API_KEY`,
  `${name}_BASE_URL`,
]);

/** Runs an example as its reader would, without whatever keys the tester has. */
function runExample(
  name: string,
  env: Readonly<Record<string, string>> = {},
): Promise<{ code: number | null; output: string }> {
  const clean = Object.fromEntries(
    Object.entries(process.env).filter(([variable]) => !PROVIDER_VARIABLES.includes(variable)),
  );
  const child = spawn(process.execPath, ["examples/run.mjs", name], { cwd: root, env: { ...clean, ...env } });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  return new Promise((resolve) => {
    child.once("close", (code) => {
      resolve({ code, output });
    });
  });
}

const TIMEOUT = { timeout: 180_000 };

describe.concurrent("examples", () => {
  test("the demo shows what it promises, and all of it is so", TIMEOUT, async () => {
    const { code, output } = await runExample("quickstart");
    expect(output).toMatch(/All 18 checks hold\.\n$/);
    expect(code).toBe(0);
    for (const provider of ["openai", "deepseek", "anthropic"])
      expect(output).toMatch(new RegExp(`${provider} +\\S+ +local stand-in`));
    expect(output).toContain("the human says: approve");
    expect(output).toContain("the human says: reject");
    expect(output).toContain("cancelled");
    expect(output).toContain("the second message is queued");
    expect(output).toContain("this user's agent is evicted: capacity");
    expect(output).toContain(
      '{"total_agents":3,"active_agents":0,"idle_agents":3,"max_agents":3,"agent_ttl":3600}',
    );
    // No colours into a file, no stack traces.
    expect(output).not.toContain("\u001b");
    expect(output).not.toMatch(/^ +at /m);
  });

  test("the demo fails, and says how, when a model has lost the conversation", TIMEOUT, async () => {
    const forgetful = new LLMock({ port: 0, host: "127.0.0.1", logLevel: "silent" });
    forgetful.addFixture({ match: { predicate: () => true }, response: { content: "Who are you?" } });
    await forgetful.start();
    try {
      const { code, output } = await runExample("quickstart", {
        OPENAI_API_KEY: "any",
        OPENAI_BASE_URL: `${forgetful.url}/v1`,
      });
      expect(output).toMatch(/openai +gpt-4\.1-mini +REAL provider/);
      expect(output).toContain("NOT SO: each user's tool call found that user's own order");
      expect(output).toContain("NOT SO: ada's conversation goes on with a new agent");
      expect(output).toMatch(/\d of \d+ checks failed\.\n$/);
      expect(code).toBe(1);
    } finally {
      await forgetful.stop();
    }
  });

  test("the demo fails, and says why, when a provider refuses the key", TIMEOUT, async () => {
    const refusing = new LLMock({ port: 0, host: "127.0.0.1", logLevel: "silent" });
    refusing.addFixture({
      match: { predicate: () => true },
      response: { error: { message: "bad key" }, status: 401 },
    });
    await refusing.start();
    try {
      const { code, output } = await runExample("quickstart", {
        OPENAI_API_KEY: "any",
        OPENAI_BASE_URL: `${refusing.url}/v1`,
      });
      expect(output).toContain("Stopped: the run of ada failed with MODEL_AUTH");
      expect(output).not.toMatch(/^ +at /m);
      expect(code).toBe(1);
    } finally {
      await refusing.stop();
    }
  });

  test("agents of a custom factory own processes, and leave none", TIMEOUT, async () => {
    const { code, output } = await runExample("custom-factory");
    expect(output).toMatch(/All 7 checks hold\.\n$/);
    expect(output).toContain("✓ none is left");
    expect(code).toBe(0);
  });

  test("a custom session store keeps the directory of sessions", TIMEOUT, async () => {
    const { code, output } = await runExample("custom-store");
    expect(output).toMatch(/All 8 checks hold\.\n$/);
    expect(code).toBe(0);
  });
});

/*
 * examples/cluster as its reader would run it, on both engines, and its page in a real browser. Needs the engines and
 * Chromium: in CI they must be there, elsewhere what lacks one is skipped.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { storyOf } from "../../examples/cluster/stand-in-model.js";
import { describeWithPostgres, describeWithRedis } from "../support/engines/index.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const children = new Set<ChildProcess>();

afterEach(async () => {
  await Promise.all(
    [...children].map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((resolve) => child.once("close", resolve));
      child.kill("SIGINT");
      await ended;
    }),
  );
  children.clear();
});

/** Starts the example and gives what it printed so far, and the code it ends with. */
function start(...args: string[]): { output: () => string; ended: Promise<number | null> } {
  const env = { ...process.env };
  for (const name of ["DATABASE_URL", "REDIS_URL"]) Reflect.deleteProperty(env, name);
  const child = spawn(process.execPath, ["examples/run.mjs", "cluster", ...args], { cwd: root, env });
  children.add(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  return { output: () => output, ended: new Promise((resolve) => child.once("close", resolve)) };
}

const TIMEOUT = { timeout: 240_000 };
const PATIENT = { timeout: 60_000 };
const UNTOUCHED = "completed: 0 broken streams, 0 takeovers";

const executablePath = [process.env["CHROMIUM_PATH"], "/usr/bin/chromium", "/usr/bin/chromium-browser"].find(
  (path) => path !== undefined && existsSync(path),
);
let browser: Browser | undefined;

beforeAll(async () => {
  if (executablePath === undefined) {
    if (process.env["CI"] === "true")
      throw new Error("Chromium is not installed: `apt-get install chromium`");
    return;
  }
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
  args.push("--disable-background-networking", "--disable-component-update", "--disable-sync");
  browser = await chromium.launch({ executablePath, args });
});

afterAll(async () => {
  await browser?.close();
});

async function survives(engine: string, ...args: string[]): Promise<void> {
  const { output, ended } = start(...args);
  const code = await ended;
  expect(output()).toMatch(/All 7 checks hold\.\n$/);
  expect(output()).toContain(`${engine}, 3 processes, 12 users`);
  expect(code).toBe(0);
}

/** Kills the processes under an answer, seen in a browser. */
async function goesOn(page: Page, ...args: string[]): Promise<void> {
  const { output } = start(...args, "--stay");
  await expect.poll(output, PATIENT).toContain("Open http://");
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(error.message));
  await page.goto(/http:\S+/.exec(output())?.[0] ?? "");
  const status = async (): Promise<string | null> => page.getByRole("status").textContent();
  // Where processes take long to come back, an answer may be over before its own one is killed: then another is asked for.
  for (let asked = 0; asked < 4; asked += 1) {
    await page.getByRole("button", { name: "Ask" }).click();
    // Until the answer has begun; then the processes go, one after another, each coming back before the next goes.
    await expect.poll(() => answerOn(page), PATIENT).toMatch(/watch 2/);
    for (const name of ["A", "B", "C"]) {
      // Its process id, and so that of the one that comes back.
      const button = page.locator(`#processes [data-process=${name}]`);
      const before = await button.textContent();
      await button.click();
      const back = async (): Promise<boolean> => {
        const now = await button.textContent();
        return now !== before && now?.includes(`(${name})`) === true;
      };
      await expect.poll(back, PATIENT).toBe(true);
    }
    await expect.poll(() => answerOn(page), PATIENT).toBe(storyOf("s7x"));
    await expect.poll(status, PATIENT).toMatch(/^completed: /);
    if ((await status()) !== UNTOUCHED) break;
  }
  expect(await status()).not.toBe(UNTOUCHED);
  expect(faults).toEqual([]);
}

for (const [engine, describeWithEngine, args] of [
  ["Postgres", describeWithPostgres, []],
  ["Redis", describeWithRedis, ["--redis"]],
] as const) {
  describeWithEngine(`the cluster example on ${engine}`, () => {
    test("every answer is whole after kill -9 and a rolling deploy", TIMEOUT, () =>
      survives(engine, ...args),
    );

    test("a browser sees its answer go on, whichever process is killed", TIMEOUT, async ({ skip }) => {
      if (browser === undefined) return skip("Chromium is not installed: `apt-get install chromium`");
      const page = await browser.newPage();
      await goesOn(page, ...args);
      await page.close();
    });
  });
}

/** What the page shows of the answer. */
async function answerOn(page: Page): Promise<string> {
  return (await page.locator(".assistant").last().textContent()) ?? "";
}

/*
 * The page of examples/express in a real browser, as people would use it. Needs Chromium: in CI it must be there,
 * elsewhere the tests are skipped without it.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type BrowserContextOptions, type Locator, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));

const executablePath = [process.env["CHROMIUM_PATH"], "/usr/bin/chromium", "/usr/bin/chromium-browser"].find(
  (path) => path !== undefined && existsSync(path),
);
if (executablePath === undefined) {
  const advice = "Chromium is not installed: `apt-get install chromium`, or set CHROMIUM_PATH";
  if (process.env["CI"] === "true") throw new Error(advice);
  console.warn(`The tests of the Express example's page are skipped. ${advice}`);
}

// What functions find that run in the page.
declare const sessionStorage: {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
};
interface Box {
  readonly scrollWidth: number;
  readonly clientWidth: number;
}
declare const document: { readonly documentElement: Box };

const FLAGS =
  "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking " +
  "--disable-component-update --disable-sync";

// A story alone takes ten seconds.
const TIMEOUT = { timeout: 180_000 };

interface Example {
  readonly url: string;
  readonly output: () => string;
  readonly ended: Promise<number | null>;
  readonly process: ChildProcess;
}

/** `npm start`, on a free port, without whatever keys the tester has. */
async function startExample(env: Readonly<Record<string, string>> = {}): Promise<Example> {
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/_API_KEY$|_BASE_URL$|^AGENT_/.test(name)),
  );
  const child = spawn(process.execPath, ["examples/run.mjs", "express"], {
    cwd: root,
    env: { ...inherited, PORT: "0", ...env },
  });
  let output = "";
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const url = await new Promise<string>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        const found = /Open (http:\S+)/.exec(output)?.[1];
        if (found !== undefined) resolve(found);
      });
    }
    void ended.then(() => {
      reject(new Error(`The example ended: ${output}`));
    });
  });
  return { url, output: () => output, ended, process: child };
}

interface Wire extends AsyncDisposable {
  readonly url: string;
  /** Loses every connection that is open. */
  cut(): void;
}

/** A way to a local port that connections can get lost on. */
async function openWire(port: number): Promise<Wire> {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    const onward = connect(port, "127.0.0.1");
    for (const end of [socket, onward]) {
      open.add(end);
      end.on("error", () => undefined);
      end.once("close", () => {
        open.delete(end);
        socket.destroy();
        onward.destroy();
      });
    }
    socket.pipe(onward).pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = (): void => {
    for (const socket of open) socket.destroy();
  };
  return {
    url: `http://localhost:${String((server.address() as AddressInfo).port)}`,
    cut,
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** One user's panel, as that user sees it. */
class Panel {
  readonly root: Locator;

  constructor(page: Page, id: string) {
    this.root = page.locator(`#${id}`);
  }

  button(name: string): Locator {
    return this.root.getByRole("button", { name, exact: true });
  }

  async signIn(name: string): Promise<void> {
    await this.root.getByLabel("Name").fill(name);
    await this.button("Sign in").click();
    await this.root.getByRole("heading", { name, exact: true }).waitFor();
  }

  /** There is one keyboard: two users type one after the other. */
  async type(text: string): Promise<void> {
    const message = this.root.getByRole("textbox");
    await message.fill(text);
    await message.press("Enter");
  }

  /** Types it, and waits until it is sent: while its session is being opened, a message is not. */
  async say(text: string): Promise<void> {
    const before = await this.messages().count();
    await this.type(text);
    await this.messages().nth(before).waitFor();
  }

  /** What the user has said. The suggestions to click have the same words. */
  messages(): Locator {
    return this.root.locator(".item.user");
  }

  /** When nothing is under way. */
  async rest(): Promise<void> {
    await this.button("Send").waitFor();
  }

  /** What the agent has said, whole or so far. */
  answers(): Locator {
    return this.root.locator(".item.text");
  }

  /** An answer in which this text is. */
  answer(text: string): Locator {
    return this.answers().filter({ hasText: text });
  }

  tool(): Locator {
    return this.root.locator(".item.tool");
  }
}

describe.skipIf(executablePath === undefined)("the page of the Express example", TIMEOUT, () => {
  let example: Example;
  let browser: Browser;
  let page: Page;
  /** What the browser complained about: errors of scripts, and what the page's policy kept out. */
  let complaints: string[];
  let users = 0;

  beforeAll(async () => {
    // A profile of its own, new and empty, comes with each launch.
    [example, browser] = await Promise.all([
      startExample(),
      chromium.launch({ executablePath, headless: true, args: FLAGS.split(" ") }),
    ]);
  });

  afterAll(async () => {
    await browser.close();
    example.process.kill("SIGTERM");
    expect(await example.ended).toBe(0);
  });

  beforeEach(async () => {
    complaints = [];
    page = await open();
  });

  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
    expect(complaints).toEqual([]);
  });

  async function open(options: BrowserContextOptions = {}): Promise<Page> {
    const context = await browser.newContext(options);
    const opened = await context.newPage();
    opened.setDefaultTimeout(60_000);
    opened.on("pageerror", (error) => complaints.push(String(error)));
    opened.on("console", (message) => {
      // That a status was bad is what the tests of refusals are about.
      if (message.type() === "error" && !/Failed to load resource/.test(message.text()))
        complaints.push(message.text());
    });
    await opened.goto(example.url);
    return opened;
  }

  /** A user that no other test has. */
  async function signedIn(id: "panel-a" | "panel-b" = "panel-a"): Promise<Panel & { readonly name: string }> {
    // Of one length, so that none is a part of another.
    const name = `user-${String(++users).padStart(3, "0")}`;
    const panel = new Panel(page, id);
    await panel.signIn(name);
    return Object.assign(panel, { name });
  }

  /** The conversation as the server has it: texts of the agent in their order. */
  async function storedAnswers(panelName: "a" | "b"): Promise<string[]> {
    return page.evaluate(async (name) => {
      const remembered = sessionStorage.getItem(`agent-sessions:${name}`) ?? "{}";
      const { token, sessionId } = JSON.parse(remembered) as { token: string; sessionId: string };
      const response = await fetch(`/agent_backend/chat/${sessionId}/messages`, {
        headers: { authorization: `Bearer ${token}` },
      });
      const { messages } = (await response.json()) as { messages: { role: string; content: string }[] };
      return messages
        .filter(({ role, content }) => role === "assistant" && content !== "")
        .map((m) => m.content);
    }, panelName);
  }

  test("two users talk at once, and neither hears of the other", async () => {
    const a = await signedIn("panel-a");
    const b = await signedIn("panel-b");
    await a.say("My name is Zephyr");
    await b.say("My name is Quartz");
    await a.answer("Hello Zephyr.").waitFor();
    await b.answer("Hello Quartz.").waitFor();
    await Promise.all([a.rest(), b.rest()]);
    await a.say("Tell me a story");
    await b.say("Tell me a story");
    await Promise.all([a, b].map((panel) => panel.answer("The lighthouse").waitFor()));
    expect(await Promise.all([a, b].map((panel) => panel.button("Stop").isVisible()))).toEqual([true, true]);
    await a.button("Stop").click();
    await b.button("Stop").click();
    await Promise.all([a.rest(), b.rest()]);
    await a.say("What is my name?");
    await b.say("What is my name?");
    await a.answer("Your name is Zephyr.").waitFor();
    await b.answer("Your name is Quartz.").waitFor();
    expect(await a.root.textContent()).not.toContain("Quartz");
    expect(await b.root.textContent()).not.toContain("Zephyr");
  });

  test("an answer appears piece by piece, and a tool call with what it gave", async () => {
    const a = await signedIn();
    await a.button("What is the weather in Lisbon?").click();
    await a.tool().getByText("done").waitFor();
    expect(await a.tool().textContent()).toMatch(/get_weather.*city: "Lisbon".*°C\./);
    await a.rest();
    expect(await a.answers().allTextContents()).toEqual(await storedAnswers("a"));
    await a.say("Tell me a story");
    const lengths = new Set<number>();
    const story = a.answers().nth(1);
    await story.waitFor();
    while (lengths.size < 6 && (await a.button("Stop").isVisible()))
      lengths.add((await story.textContent())?.length ?? 0);
    expect(lengths.size).toBe(6);
  });

  test("a reload in mid-answer goes on without a lost or doubled character", async () => {
    const a = await signedIn();
    const b = await signedIn("panel-b");
    await a.say("What is the weather in Oslo?");
    await a.rest();
    await a.say("Tell me a story");
    await b.say("Tell me a story");
    const posted: string[] = [];
    page.on("request", (request) => {
      if (request.method() === "POST") posted.push(request.url());
    });
    await page.reload();
    for (const paragraph of ["The lighthouse stood", "One night in November"]) {
      await a.answer(paragraph).waitFor();
      await page.reload();
      await a.button("Stop").waitFor();
      expect(await a.root.getByRole("heading", { name: a.name, exact: true }).count()).toBe(1);
    }
    // A panel that has just been loaded rests until it has found its run.
    await Promise.all(
      [a, b].map((panel) =>
        panel
          .answers()
          .filter({ hasText: /rings: .* nothing\.$/ })
          .waitFor(),
      ),
    );
    await Promise.all([a.rest(), b.rest()]);
    // It took up the answers; it did not ask for new ones.
    expect(posted).toEqual([]);
    const shown = await a.answers().allTextContents();
    expect(shown).toEqual(await storedAnswers("a"));
    expect(shown).toHaveLength(2);
    expect(await b.answers().allTextContents()).toEqual(await storedAnswers("b"));
    expect(await a.messages().allTextContents()).toEqual(["What is the weather in Oslo?", "Tell me a story"]);
    expect(await a.tool().count()).toBe(1);
  });

  test("a history that holds a part of a run, with the whole run on top, gives the run once", async () => {
    // What is at the server between two steps of a run, and then what its stream replays.
    const shown = await page.evaluate(`import("/conversation.js").then(({ Conversation }) => {
      const items = new Map();
      const conversation = new Conversation((item) => items.set(item.key, { ...item }));
      const call = { id: "c1", name: "get_weather", input: { city: "Oslo" } };
      conversation.load({
        messages: [
          { id: "m1", role: "user", content: "Weather?" },
          { id: "m2", role: "assistant", content: "Let me look.", tool_calls: [call] },
          { id: "m3", role: "tool", content: "Rain.", tool_call_id: "c1", tool_name: "get_weather" },
        ],
        interrupts: [],
      });
      for (const event of [
        { type: "run-started", runId: "r1", messageId: "m1" },
        { type: "text-start", id: "m2" },
        { type: "text-delta", id: "m2", delta: "Let me " },
        { type: "text-delta", id: "m2", delta: "look." },
        { type: "text-end", id: "m2" },
        { type: "tool-input-start", toolCallId: "c1", toolName: "get_weather" },
        { type: "tool-input-available", toolCallId: "c1", toolName: "get_weather", input: call.input },
        { type: "tool-output-available", toolCallId: "c1", toolName: "get_weather", output: "Rain." },
        { type: "text-start", id: "m4" },
        { type: "text-delta", id: "m4", delta: "It rains." },
        { type: "run-finished", outcome: "completed" },
      ])
        conversation.apply(event);
      return [...items.values()].map(({ text, output }) => text ?? output);
    })`);
    expect(shown).toEqual(["Weather?", "Let me look.", "Rain.", "It rains."]);
  });

  test("a lost connection goes on after the last event", async () => {
    // In between, so that connections can be lost.
    await using wire = await openWire(Number(new URL(example.url).port));
    await page.goto(wire.url);
    const a = await signedIn();
    const asked: (string | undefined)[] = [];
    page.on("request", (request) => {
      if (request.url().includes("/stream?")) asked.push(request.headers()["last-event-id"]);
    });
    await a.say("Tell me a story");
    await a.answer("One night in November").waitFor();
    wire.cut();
    await a.rest();
    expect(asked.length).toBeGreaterThan(0);
    for (const id of asked) expect(id).toMatch(/^run-\w+:\d+$/);
    expect(await a.answers().allTextContents()).toEqual(await storedAnswers("a"));
  });

  test("what needs a human waits for one, also over a reload: approved it happens, rejected it does not", async () => {
    const a = await signedIn();
    await a.say("Send 35 euros to Zoe");
    await a.button("Approve").waitFor();
    await a.tool().getByText("waits for you").waitFor();
    expect(await a.button("Send").isDisabled()).toBe(true);
    await page.reload();
    await a.button("Approve").click();
    await a.tool().getByText(`${a.name} sent 35 euros to Zoe.`).waitFor();
    await a.rest();
    await a.say("Pay 99 to Mallory");
    await a.button("Reject").click();
    await a.answer("All right, I have not sent anything.").waitFor();
    await a.rest();
    expect(await a.root.textContent()).not.toContain("sent 99");
    expect(await a.answers().allTextContents()).toEqual(await storedAnswers("a"));
  });

  test("an answer is stopped in its midst, and the next message is fine", async () => {
    const a = await signedIn();
    await a.say("Tell me a story");
    await a.answer("The lighthouse").waitFor();
    await a.button("Stop").click();
    await a.root.locator(".item.note").filter({ hasText: "Stopped." }).waitFor();
    await a.rest();
    expect(await a.answers().last().textContent()).not.toContain("then nothing.");
    await a.say("My name is Opal");
    await a.answer("Hello Opal.").waitFor();
  });

  test("each session has a conversation and a model of its own", async () => {
    const a = await signedIn();
    await a.root.getByLabel("Model").selectOption({ label: "anthropic · claude-haiku-4-5" });
    await a.say("My name is Iris");
    await a.answer("Hello Iris.").waitFor();
    await a.rest();
    await a.button("+ New").click();
    await a.root.locator(".sessions").getByText("new session").waitFor();
    expect(await a.root.locator(".item").count()).toBe(0);
    await a.root.getByLabel("Model").selectOption({ label: "deepseek · deepseek-chat" });
    await a.say("What is my name?");
    await a.answer("You have not told me in this session.").waitFor();
    await a.rest();
    await a.root.locator(".sessions button:not([aria-current=true])").click();
    await a.answer("Hello Iris.").waitFor();
    expect(await a.root.getByLabel("Model").locator("option:checked").textContent()).toContain("claude");
    await a.button("Delete").click();
    await a.root.locator(".sessions").getByText("new session").waitFor();
    expect(await a.root.locator(".sessions button").count()).toBe(2);
  });

  test("an admin sees agents and sessions as they are, and removes an agent without its conversation", async () => {
    const a = await signedIn();
    const admin = new Panel(page, "panel-admin");
    await admin.button("Sign in").click();
    await a.say("Tell me a story");
    const row = admin.root.getByRole("row").filter({ hasText: a.name });
    const state = row.locator(".state");
    await state.filter({ hasText: /^running$/ }).waitFor();
    const active = admin.root.locator(".active_agents dd");
    await expect.poll(() => active.textContent()).toBe("1");
    expect(await admin.root.getByRole("img").getAttribute("aria-label")).toContain("1 active");
    await a.button("Stop").click();
    await state.filter({ hasText: /^idle$/ }).waitFor();
    await expect.poll(() => active.textContent()).toBe("0");
    await admin.root.getByText("ok · store ok").waitFor();
    await row.getByRole("button", { name: /Remove the agent/ }).click();
    await state.filter({ hasText: /^stored$/ }).waitFor();
    await admin.root.getByText("its conversation is kept").waitFor();
    await a.say("My name is Jade");
    await a.answer("Hello Jade.").waitFor();
    await page.reload();
    await a.messages().filter({ hasText: "Tell me a story" }).waitFor();
    await admin.button("Clean up").click();
    await admin.root.getByText(/Cleaned up: \d+ agents/).waitFor();
  });

  test("with one agent for all, a user waits for the other, also over a reload, and is answered", async () => {
    const small = await startExample({ AGENT_MAX_INSTANCES: "1" });
    try {
      await page.goto(small.url);
      const a = await signedIn("panel-a");
      const b = await signedIn("panel-b");
      await a.say("Tell me a story");
      await a.answer("The lighthouse").waitFor();
      await b.say("My name is Quartz");
      await b.button("Stop").waitFor();
      await page.reload();
      await b.button("Stop").waitFor();
      expect(await b.root.locator(".item").allTextContents()).toEqual(["My name is Quartz"]);
      await a.button("Stop").click();
      await b.answer("Hello Quartz.").waitFor();
      expect(await b.messages().count()).toBe(1);
    } finally {
      small.process.kill("SIGTERM");
    }
    expect(await small.ended).toBe(0);
  });

  test("wrong input is refused in words, and nothing is sent", async () => {
    const a = new Panel(page, "panel-a");
    await a.root.getByLabel("Name").fill("not a name!");
    await a.button("Sign in").click();
    await a.root.getByRole("alert").getByText("A name has 1 to 20 letters").waitFor();
    await a.signIn("wrong-input");
    await a.type("   ");
    expect(await a.root.locator(".item").count()).toBe(0);
    await a.say("x".repeat(300_000));
    await a.root.getByRole("alert").getByText("The request is too large.").waitFor();
    await a.say("<img src=x onerror=alert(1)> My name is <b>Ruby</b>");
    await a.rest();
    expect(await a.root.locator(".log img, .log b").count()).toBe(0);
    const admin = new Panel(page, "panel-admin");
    await admin.root.getByLabel("Name").fill("mallory");
    await admin.button("Sign in").click();
    await admin.root.getByRole("alert").getByText("Only “admin” may see this.").waitFor();
  });

  test("a login that is no longer good leads back to the form", async () => {
    const a = await signedIn();
    await page.evaluate(() => {
      const key = "agent-sessions:a";
      const remembered = JSON.parse(sessionStorage.getItem(key) ?? "{}") as object;
      sessionStorage.setItem(key, JSON.stringify({ ...remembered, token: "forged.token" }));
    });
    await page.reload();
    await a.root.getByRole("alert").getByText("The login has ended.").waitFor();
  });

  test("on a phone all of it is one column, and nothing sticks out", async () => {
    page = await open({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
    const a = await signedIn("panel-a");
    const b = await signedIn("panel-b");
    await new Panel(page, "panel-admin").button("Sign in").click();
    await a.button("What is the weather in Lisbon?").tap();
    await a.messages().waitFor();
    await b.say(`Send 20 euros to ${"W".repeat(80)}`);
    await b.button("Approve").tap();
    await Promise.all([a.rest(), b.tool().getByText("done").waitFor()]);
    const boxes = await Promise.all(
      ["panel-a", "panel-b", "panel-admin"].map((id) => page.locator(`#${id}`).boundingBox()),
    );
    expect(new Set(boxes.map((box) => box?.x)).size).toBe(1);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
    for (const panel of [a, b]) {
      const { scrollWidth, clientWidth } = await panel.root.locator(".log").evaluate((log) => {
        // An element of the page, for which there is no type here.
        const box = log as unknown as Box;
        return { scrollWidth: box.scrollWidth, clientWidth: box.clientWidth };
      });
      expect(scrollWidth).toBe(clientWidth);
    }
  });

  test("the plain fetch of the readme works from a page of the same origin", async () => {
    await signedIn();
    const answer = await page.evaluate(async () => {
      const session_id = "plain";
      const message = "My name is Pearl";
      const response = await fetch("/agent_backend/chat", {
        method: "POST",
        body: JSON.stringify({ session_id, message }),
      });
      return { status: response.status, text: await response.text() };
    });
    expect(answer.status).toBe(200);
    const deltas = answer.text.matchAll(/"type":"text-delta".*?"delta":"(.*?)"/g);
    expect([...deltas].map((match) => match[1]).join("")).toMatch(/^Hello Pearl\./);
    expect(answer.text).toMatch(/data: \[DONE\]\n\n$/);
  });
});

describe("npm start", TIMEOUT, () => {
  test("takes a free port when its own is taken, and ends an answer under way before it stops", async () => {
    const first = await startExample();
    const second = await startExample({ PORT: new URL(first.url).port });
    try {
      expect(second.output()).toContain(`Port ${new URL(first.url).port} is taken`);
      expect(second.url).not.toBe(first.url);
      const login = await fetch(`${first.url}/demo/login`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ name: "ada" }),
      });
      const { token } = (await login.json()) as { token: string };
      const answer = await fetch(`${first.url}/agent_backend/chat?format=events`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: JSON.stringify({ session_id: "s", message: "My name is Ada" }),
      });
      first.process.kill("SIGTERM");
      const text = await answer.text();
      expect(text).toContain('"outcome":"completed"');
      expect(await first.ended).toBe(0);
    } finally {
      first.process.kill("SIGKILL");
      second.process.kill("SIGINT");
    }
    expect(await second.ended).toBe(0);
  });
});

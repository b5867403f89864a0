import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { Chat } from "ai-sdk-react3";
import { Chat as Chat7 } from "ai-sdk-react4";
import {
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  type DynamicToolUIPart,
  type UIMessage,
} from "ai6";
import {
  DefaultChatTransport as Transport7,
  lastAssistantMessageIsCompleteWithApprovalResponses as complete7,
} from "ai7";
import { chromium, type Browser, type Locator, type Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { agUiClients, interruptsOf, run, say } from "../support/ag-ui-clients.js";
import { payloads, until } from "../support/http-service.js";
import { startProviderMock, type ProviderMock } from "../support/provider-mock.js";
import { readmeFile, readmeRequest } from "../support/readme-code.js";
import { NextApp } from "./next-app.js";

const STORY = /^Once there was a lighthouse .* whether somebody was there\.$/;

const chromiumPath = [process.env["CHROMIUM_PATH"], "/usr/bin/chromium", "/usr/bin/chromium-browser"].find(
  (path) => path !== undefined && existsSync(path),
);

function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: chromiumPath!, args: ["--no-sandbox", "--disable-gpu"] });
}

let app: NextApp | undefined;
let url = "";
let ada = "";
let ben = "";

beforeAll(async () => {
  app = await NextApp.start();
  if (app === undefined) {
    console.warn("The package registry cannot be reached: the Next.js example is not tested.");
    return;
  }
  url = `${app.url}/agent_backend`;
  ada = await app.login("ada");
  ben = await app.login("ben");
}, 1_200_000);

afterAll(async () => {
  await app?.close();
});

beforeEach(({ skip }) => {
  skip(app === undefined, "the registry cannot be reached");
});

function clientOf(cookie: string, id: string, messages: UIMessage[] = []): Chat<UIMessage> {
  return new Chat({
    id,
    messages,
    transport: new DefaultChatTransport({ api: `${url}/chat`, headers: { cookie } }),
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
  });
}

type MakeClient = (cookie: string, id: string) => Chat<UIMessage>;

const versions: [version: string, makeClient: MakeClient][] = [
  ["ai 6", clientOf],
  [
    "ai 7",
    (cookie, id) =>
      new Chat7({
        id,
        transport: new Transport7({ api: `${url}/chat`, headers: { cookie } }),
        sendAutomaticallyWhen: complete7,
        // What is used here is the same in both; their types differ in details.
      }) as unknown as Chat<UIMessage>,
  ],
];

function textOf(message: UIMessage | undefined): string {
  return (message?.parts ?? []).map((part) => (part.type === "text" ? part.text : "")).join("");
}

function toolOf(message: UIMessage | undefined): DynamicToolUIPart | undefined {
  return message?.parts.find((part) => part.type === "dynamic-tool");
}

function get(path: string, cookie: string): Promise<Response> {
  return fetch(`${url}${path}`, { headers: { cookie } });
}

async function historyOf(id: string, cookie = ada): Promise<UIMessage[]> {
  const answer = await get(`/chat/${id}/messages?format=ai-sdk`, cookie);
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { messages: UIMessage[] }).messages;
}

async function send(id: string, text: string, init: RequestInit = {}): Promise<Response> {
  const headers = { cookie: ada, "content-type": "application/json", "accept-encoding": "gzip, br" };
  const body = JSON.stringify({ session_id: id, message: text });
  return fetch(`${url}/chat`, { method: "POST", headers, body, ...init });
}

test("tokens arrive one by one, to a client that takes compressed answers too", async () => {
  const answer = await send(randomUUID(), "Tell me a story");
  const begun = performance.now();
  const arrivals: number[] = [];
  const decoder = new TextDecoder();
  for await (const chunk of answer.body!) {
    // The body of a response is bytes.
    const text = decoder.decode(chunk as Uint8Array, { stream: true });
    if (text.includes("text-delta")) arrivals.push(performance.now() - begun);
  }
  expect(answer.headers.get("content-encoding")).toBeNull();
  // The story takes five seconds, in 110 words; a busy reader gets several at once.
  expect(arrivals.length).toBeGreaterThan(10);
  expect(arrivals.at(-1)! - arrivals[0]!).toBeGreaterThan(1_000);
});

test.each(versions)(
  "%s chats in turns, with a tool call, and the history shows the same",
  async (_, makeClient) => {
    const id = randomUUID();
    const client = makeClient(ada, id);
    await client.sendMessage({ text: "Where is my order?" });
    expect(client.error).toBeUndefined();
    expect(toolOf(client.messages[1])).toMatchObject({
      toolName: "find_order",
      state: "output-available",
      output: expect.stringContaining("telescope") as string,
    });
    expect(textOf(client.messages[1])).toContain("Here is what I found: order 1001, a telescope");
    await client.sendMessage({ text: "Thanks" });
    expect(textOf(client.messages[3])).toContain("You have asked me 1 other thing before.");
    const history = await historyOf(id);
    expect(history.map(({ role, id }) => ({ role, id }))).toEqual(
      client.messages.map(({ role, id }) => ({ role, id })),
    );
    expect(history.map(textOf)).toEqual(client.messages.map(textOf));
  },
);

test.each(
  versions.flatMap(([version, makeClient]) => [
    {
      version,
      makeClient,
      approved: true,
      state: "output-available",
      text: "Here is what I found: 30 euros are on their way back.",
    },
    { version, makeClient, approved: false, state: "output-denied", text: "All right, I did not do that." },
  ]),
)("$version: a refund waits for its approval: $approved", async ({ makeClient, approved, state, text }) => {
  const client = makeClient(ada, randomUUID());
  await client.sendMessage({ text: "Refund me 30 euros" });
  const asked = toolOf(client.messages[1]);
  expect(asked).toMatchObject({ state: "approval-requested", input: { euros: 30 } });
  await client.addToolApprovalResponse({ id: asked!.approval!.id, approved });
  await until(() => client.status === "ready" && textOf(client.messages[1]).endsWith(text));
  expect(toolOf(client.messages[1])).toMatchObject({ state });
  expect(client.messages).toHaveLength(2);
});

test.each(agUiClients)("%s chats, and approves what waits", async (_version, clientFor) => {
  const client = clientFor(`${url}/ag-ui`, randomUUID(), { cookie: ada });
  const told = await say(client, "Where is my order?");
  expect(told.at(-1)).toMatchObject({ type: "RUN_FINISHED" });
  expect(client.messages.at(-1)?.content).toContain("Here is what I found: order 1001, a telescope");
  const [interrupt] = interruptsOf(await say(client, "Refund me 30 euros"));
  const resume = [{ interruptId: interrupt!.id, status: "resolved", payload: { type: "approve" } }];
  expect((await run(client, { resume })).at(-1)).toMatchObject({ type: "RUN_FINISHED" });
  expect(client.messages.at(-1)?.content).toContain("30 euros are on their way back.");
});

test("stop ends the answer, which stays as far as it came", async () => {
  const id = randomUUID();
  const client = clientOf(ada, id);
  const sent = client.sendMessage({ text: "Tell me a story" });
  await until(() => textOf(client.messages[1]).includes("lighthouse"));
  const stopped = await fetch(`${url}/chat/${id}/stop`, { method: "POST", headers: { cookie: ada } });
  expect(await stopped.json()).toMatchObject({ status: "cancelled" });
  await sent;
  expect(client.error).toBeUndefined();
  expect(client.messages[1]?.metadata).toMatchObject({ outcome: "cancelled" });
  expect(textOf(client.messages[1])).not.toMatch(STORY);
});

test("an answer that was left in the middle goes on, without a lost or doubled character", async () => {
  const id = randomUUID();
  const before = clientOf(ada, id);
  const sent = before.sendMessage({ text: "Tell me a story" });
  await until(() => textOf(before.messages[1]).includes("lighthouse"));
  // Only closes the connection, as a reload does.
  await before.stop();
  await sent;
  const after = clientOf(ada, id, await historyOf(id));
  await after.resumeStream();
  expect(after.error).toBeUndefined();
  expect(after.messages.map(({ role }) => role)).toEqual(["user", "assistant"]);
  expect(textOf(after.messages[1])).toMatch(STORY);
  expect(textOf(after.messages[1]).match(/lighthouse/g)).toHaveLength(1);
});

test("an answer that nobody reads is given all the same", async () => {
  const id = randomUUID();
  const leaving = new AbortController();
  const answer = await send(id, "Tell me a story", { signal: leaving.signal });
  expect(answer.status).toBe(200);
  leaving.abort();
  await until(async () => textOf((await historyOf(id))[1]).endsWith("was there."));
});

test("an error reaches the client as a code's text, and the session goes on", async () => {
  const client = clientOf(ada, randomUUID());
  await client.sendMessage({ text: "Please fail" });
  expect(client.status).toBe("error");
  expect(client.error?.message).toMatch(/^The (agent|model) /);
  expect(client.error?.message).not.toContain("secret");
  await client.sendMessage({ text: "Where is my order?" });
  expect(client.error).toBeUndefined();
});

test("pages say that no other site may frame them, nor take them for something else", async () => {
  const { headers } = await fetch(app!.url);
  expect(headers.get("content-type")).toContain("text/html");
  expect(headers.get("x-content-type-options")).toBe("nosniff");
  expect(headers.get("x-frame-options")).toBe("DENY");
  expect(headers.get("referrer-policy")).toBe("same-origin");
  expect(headers.get("content-security-policy")).toContain("frame-ancestors 'none'");
  expect(headers.get("x-powered-by")).toBeNull();
});

test("nobody gets in without logging in, and nobody reads another's chat", async () => {
  const id = randomUUID();
  await (await send(id, "Hello")).text();
  expect((await get(`/chat/${id}/messages`, "")).status).toBe(401);
  expect((await get(`/chat/${id}/messages`, "demo_user=ada.AAAA")).status).toBe(401);
  expect((await get(`/chat/${id}/messages`, ben)).status).toBe(404);
  expect((await get(`/chat/${id}/messages`, ada)).status).toBe(200);
  const deleted = await fetch(`${url}/sessions/${id}`, { method: "DELETE", headers: { cookie: ada } });
  expect(await deleted.json()).toEqual({ deleted: true });
});

test("a page of another site cannot speak for a user, the own page can", async () => {
  const body = JSON.stringify({ session_id: randomUUID(), message: "Hello", stream: false });
  const statusOf = async (origin: string): Promise<number> => {
    const headers = { cookie: ada, origin, "content-type": "text/plain" };
    return (await fetch(`${url}/chat`, { method: "POST", headers, body })).status;
  };
  expect(await statusOf("https://evil.example")).toBe(403);
  expect(await statusOf(new URL(url).origin)).toBe(200);
});

interface Status {
  readonly module: string;
  readonly madeBy: string;
  readonly totalAgents: number;
}

async function statusOf(address: string): Promise<Status> {
  return (await (await fetch(`${address}/status`)).json()) as Status;
}

test("another route finds the same service", async () => {
  const before = await statusOf(app!.url);
  await (await send(randomUUID(), "Hello")).text();
  expect(await statusOf(app!.url)).toEqual({
    ...before,
    totalAgents: before.totalAgents + 1,
    idleAgents: before.totalAgents + 1,
  });
});

test("hot reload loads the module anew and keeps the service", async () => {
  const address = await app!.develop();
  const before = await statusOf(address);
  app!.edit("lib/chat.ts", (text) => `${text}// changed\n`);
  let after = before;
  await until(async () => {
    after = await statusOf(address);
    return after.module !== before.module;
  });
  expect(after.madeBy).toBe(before.madeBy);
});

describe("README.md's app, of three files", () => {
  let provider: ProviderMock | undefined;
  let address = "";

  beforeAll(async () => {
    if (app === undefined) return;
    provider = await startProviderMock([
      { match: { predicate: () => true }, response: { content: "Hello, you." }, chunkSize: 3, latency: 50 },
    ]);
    const { apiKey, baseURL } = provider.credentials("openai");
    const names = ["app/agent_backend/[...path]/route.ts", "app/page.tsx", "app/layout.tsx"];
    const files = Object.fromEntries(names.map((name) => [name, readmeFile(name)]));
    address = await app.developNew(files, { OPENAI_API_KEY: apiKey, OPENAI_BASE_URL: baseURL });
  });

  afterAll(async () => {
    await provider?.stop();
  });

  test("streams a provider's answer to the AI SDK", async () => {
    const { path, ...request } = readmeRequest();
    const answer = await fetch(address + path, request);
    expect(answer.status).toBe(200);
    const deltas = payloads(await answer.text()).flatMap(({ delta }) =>
      typeof delta === "string" ? [delta] : [],
    );
    expect(deltas.length).toBeGreaterThan(1);
    expect(deltas.join("")).toBe("Hello, you.");
  });

  test("shows it on its page", async ({ skip }) => {
    skip(chromiumPath === undefined, "Chromium is not installed");
    const browser = await launch();
    try {
      const page = await browser.newPage();
      page.setDefaultTimeout(90_000);
      await page.goto(address);
      const button = page.getByRole("button", { name: "Say hello" });
      // Before React has taken the page over, a click is nobody's.
      await expect
        .poll(
          async () => {
            await button.click();
            return page.getByText("Hello, you.").count();
          },
          { timeout: 90_000, interval: 1_000 },
        )
        .toBeGreaterThan(0);
      expect(await page.getByRole("alert").filter({ hasText: /\w/ }).count()).toBe(0);
    } finally {
      await browser.close();
    }
  });
});

describe("the page", () => {
  let browser: Browser | undefined;
  let page: Page;
  const problems: string[] = [];

  beforeAll(async () => {
    if (chromiumPath === undefined) {
      const advice = "Chromium is not installed: `apt-get install chromium`, or set CHROMIUM_PATH";
      if (process.env["CI"] !== undefined) throw new Error(advice);
      console.warn(`The page of the Next.js example is not tested. ${advice}`);
      return;
    }
    if (app === undefined) return;
    browser = await launch();
    page = await browser.newPage({ viewport: { width: 390, height: 780 } });
    page.setDefaultTimeout(60_000);
    page.on("pageerror", (error) => problems.push(error.message));
    await page.goto(app.url);
    await page.getByRole("button", { name: "Ada" }).click();
    await page.getByText("What can I do for you?").waitFor();
  });

  afterAll(async () => {
    await browser?.close();
  });

  beforeEach(({ skip }) => {
    skip(browser === undefined, "Chromium is not installed");
  });

  const answer = (): Locator => page.locator(".message.assistant").last();

  async function say(text: string): Promise<void> {
    await page.getByLabel("Message").fill(text);
    await page.keyboard.press("Enter");
    await page.locator(".message.user").last().getByText(text).waitFor();
  }

  /** Files for whoever wants to look: `SCREENSHOTS` names their directory. */
  async function shoot(name: string): Promise<void> {
    const directory = process.env["SCREENSHOTS"];
    if (directory !== undefined) await page.screenshot({ path: `${directory}/next-${name}.png` });
  }

  test("an answer streams, and goes on after a reload without a lost or doubled character", async () => {
    await say("Tell me a story");
    await answer().getByText("lighthouse").waitFor();
    expect(await answer().innerText()).not.toContain("was there.");
    await shoot("streaming");
    await page.reload();
    await answer().getByText("somebody was there.").waitFor();
    expect(await answer().innerText()).toMatch(STORY);
    expect(await page.locator(".message").count()).toBe(2);
    // When it has ended, a reload shows it just so.
    await page.getByRole("button", { name: "Send" }).waitFor();
    const ended = await page.locator(".messages").innerText();
    await page.reload();
    await answer().getByText("somebody was there.").waitFor();
    await page.getByRole("button", { name: "Send" }).waitFor();
    expect(await page.locator(".messages").innerText()).toBe(ended);
  });

  test("a refund is approved after a reload, another one is rejected", async () => {
    await say("Refund me 30 euros");
    await page.getByRole("button", { name: "Approve" }).waitFor();
    await shoot("approval");
    await page.reload();
    await page.getByRole("button", { name: "Approve" }).click();
    await answer().getByText("Here is what I found: 30 euros are on their way back.").waitFor();
    await say("Refund me 50 euros");
    await page.getByRole("button", { name: "Reject" }).click();
    await answer().getByText("All right, I did not do that.").waitFor();
    await answer().getByText("You said no.").waitFor();
  });

  test("two users at once are each told their own", async () => {
    const ask = async (name: string): Promise<string> => {
      const context = await browser!.newContext();
      const own = await context.newPage();
      own.setDefaultTimeout(60_000);
      await own.goto(app!.url);
      await own.getByRole("button", { name }).click();
      await own.getByText("What can I do for you?").waitFor();
      await own.getByLabel("Message").fill("Where is my order?");
      await own.keyboard.press("Enter");
      const told = own.locator(".message.assistant").last();
      await told.getByText("Here is what I found").waitFor();
      await own.getByRole("button", { name: "Send" }).waitFor();
      const text = await told.innerText();
      await context.close();
      return text;
    };
    const [toAda, toBen] = await Promise.all([ask("Ada"), ask("Ben")]);
    expect(toAda).toContain("a telescope");
    expect(toAda).not.toContain("kettle");
    expect(toBen).toContain("a kettle");
    expect(toBen).not.toContain("telescope");
  });

  test("stop stops, an error shows, and nothing failed unseen", async () => {
    await say("Another story");
    await answer().getByText("lighthouse").waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await answer().getByText("Stopped.").waitFor();
    await say("Please fail");
    await page.locator(".problem").waitFor();
    expect(await page.locator(".problem").innerText()).toMatch(/^The (agent|model) /);
    await shoot("stopped");
    const width = await page.evaluate("document.documentElement.scrollWidth");
    expect(width, "it fits a phone").toBe(390);
    expect(problems).toEqual([]);
  });
});

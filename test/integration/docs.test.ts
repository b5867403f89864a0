import { existsSync, readdirSync, readFileSync } from "node:fs";
import { Server, type AddressInfo } from "node:net";
import { basename, dirname, join } from "node:path";
import { format } from "node:util";
import { SignJWT } from "jose";
import { humanInTheLoopMiddleware, tool, type AgentMiddleware } from "langchain";
import type { ChatCompletionRequest, FixtureResponse } from "@copilotkit/aimock";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { ChatService } from "../../src/index.js";
import { createHttpHandler, openApiDocument } from "../../src/http/index.js";
import { startProviderMock, type ProviderMock } from "../support/provider-mock.js";
import {
  describeWithPostgres,
  describeWithRedis,
  startPostgres,
  startRedis,
  type PostgresServer,
  type RedisServer,
} from "../support/engines/index.js";
import {
  aliasesOf,
  brokenLinks,
  linksOf,
  readPage,
  readPages,
  snippetsOf,
  SnippetFolder,
  STATED,
  type EngineVariable,
  type Page,
  type Snippet,
} from "../support/docs-snippets.js";

const pages = readPages();
/** Its code is that of README.md, and so need not be run again. */
const chinese = readPage("README.zh-CN.md");
const snippets = pages.flatMap(snippetsOf);

/** What a run of a snippet left behind. */
interface Played {
  readonly output: string;
  /** How many values its comments stated, all of them right. */
  readonly stated: number;
  readonly answers: readonly { readonly status: number; readonly text: string }[];
}

const JWT_SECRET = "a secret of the test, of 32 bytes or more";

let folder: SnippetFolder;
let mock: ProviderMock;
const unhandled: unknown[] = [];
const onUnhandled = (reason: unknown) => void unhandled.push(reason);

/** Where the clients look for their providers by default. DeepSeek's has no variable that leads elsewhere. */
const ADDRESSES: Readonly<Record<string, string>> = {
  "https://api.openai.com/v1/": "/v1/",
  "https://api.deepseek.com/": "/v1/",
  "https://api.anthropic.com/": "/",
};

beforeAll(async () => {
  folder = new SnippetFolder();
  mock = await startProviderMock([{ match: { predicate: () => true }, response: answer, chunkSize: 6 }]);
  process.on("unhandledRejection", onUnhandled);
});

afterAll(async () => {
  process.off("unhandledRejection", onUnhandled);
  await mock.stop();
  folder.remove();
});

beforeEach(() => {
  for (const provider of ["OPENAI", "DEEPSEEK", "ANTHROPIC"]) {
    vi.stubEnv(`${provider}_API_KEY`, "a key of the test");
    vi.stubEnv(`${provider}_BASE_URL`, undefined);
  }
  vi.stubEnv("JWT_SECRET", JWT_SECRET);
  vi.stubEnv("SESSION_SECRET", "a secret of the test");
  vi.stubEnv("API_KEYS", "adas-key=ada");
  const direct = globalThis.fetch;
  vi.stubGlobal("fetch", (input: string | URL | Request, init?: RequestInit) => {
    const url = input instanceof Request ? input.url : String(input);
    for (const [address, path] of Object.entries(ADDRESSES)) {
      if (url.startsWith(address))
        return direct(`${mock.server.url}${path}${url.slice(address.length)}`, init);
    }
    if (new URL(url).hostname !== "127.0.0.1") throw new Error(`The guide's code asked ${url}`);
    return direct(input, init);
  });
});

afterEach(() => {
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** What the stand-in says: a tool call where a tool of the guide fits, else some words. */
function answer({ messages, tools = [] }: ChatCompletionRequest): FixtureResponse {
  const last = messages.at(-1);
  const said = typeof last?.content === "string" ? last.content : JSON.stringify(last?.content);
  if (last?.role === "tool") return { content: `The tool said: ${said}` };
  const called = tools.find((tool) => said.includes(tool.function.name));
  const argument = /\d+/.test(said) ? '{"amount":5}' : '{"city":"Rome"}';
  if (called !== undefined) return { toolCalls: [{ name: called.function.name, arguments: argument }] };
  return { content: `The stand-in was told this: ${said}` };
}

/** A plain answer as it is, an event stream by its deltas. */
function textOf(body: string): string {
  const deltas = [...body.matchAll(/"delta":("(?:[^"\\]|\\.)*")/g)];
  return deltas.length === 0 ? body : deltas.map(([, delta = '""']) => JSON.parse(delta) as string).join("");
}

async function play(snippet: Snippet): Promise<Played> {
  const output: string[] = [];
  const print = (...parts: unknown[]) => void output.push(`${format(...parts)}\n`);
  vi.spyOn(console, "log").mockImplementation(print);
  vi.spyOn(console, "error").mockImplementation(print);
  vi.spyOn(process.stdout, "write").mockImplementation((text) => output.push(String(text)) > 0);
  let stated = 0;
  vi.stubGlobal(STATED, (actual: unknown, expected: unknown) => {
    expect(actual, `what ${snippet.name} states`).toStrictEqual(expected);
    stated += 1;
  });
  const signals = process.listeners("SIGTERM");
  const page = snippet.onPage ? await openPage(snippet) : undefined;
  try {
    const module = (await import(folder.executable(snippet))) as Record<string, unknown>;
    const answers = await ask(module, snippet);
    return { output: output.join(""), stated, answers };
  } finally {
    await page?.close();
    const own = process.listeners("SIGTERM").filter((listener) => !signals.includes(listener));
    for (const listener of own) {
      process.off("SIGTERM", listener);
      // It may be async, which the type leaves out.
      await (listener as (signal: string) => unknown)("SIGTERM");
    }
    await closeKept();
    // Rejections are told of when the microtasks are done.
    await new Promise((resolve) => setImmediate(resolve));
    vi.restoreAllMocks();
  }
}

/** Services that a Next route keeps for as long as its process lives. */
async function closeKept(): Promise<void> {
  const holder = globalThis as unknown as Record<symbol, Map<string, Promise<ChatService>> | undefined>;
  const kept = holder[Symbol.for("agent-sessions.next")];
  for (const service of kept?.values() ?? []) await (await service).close();
  kept?.clear();
}

/** Sends a snippet what it is asked, one after the other, as a browser that keeps cookies. */
async function ask(module: Record<string, unknown>, snippet: Snippet): Promise<Played["answers"]> {
  const [name, value] = snippet.header;
  const headers = new Headers({ "content-type": "application/json", [name]: value });
  if (value.includes("{jwt}")) headers.set(name, value.replace("{jwt}", await jwt()));
  const answers = [];
  for (const { method, path, body } of snippet.asked) {
    const send = await asker(module, method);
    const response = await send(path, { method, headers, ...(body !== undefined && { body }) });
    const cookies = response.headers.getSetCookie().map((cookie) => cookie.split(";", 1)[0] ?? "");
    if (cookies.length > 0) headers.set("cookie", cookies.join("; "));
    answers.push({ status: response.status, text: await response.text() });
  }
  return answers;
}

type Send = (path: string, init: RequestInit) => Promise<Response>;

async function asker(module: Record<string, unknown>, method: string): Promise<Send> {
  type Handle = (request: Request) => Promise<Response>;
  const { fetch: own = module[method] as Handle | undefined } = (module["default"] ?? {}) as {
    fetch?: Handle;
  };
  if (own !== undefined) return (path, init) => own(new Request(`http://127.0.0.1${path}`, init));
  const origin = `http://127.0.0.1:${String(await listeningPort())}`;
  return (path, init) => fetch(origin + path, init);
}

function jwt(): Promise<string> {
  return new SignJWT()
    .setProtectedHeader({ alg: "HS256" })
    .setSubject("ada")
    .setIssuer("https://login.example.com")
    .setAudience("chat")
    .setExpirationTime("1 minute")
    .sign(new TextEncoder().encode(JWT_SECRET));
}

const refund = tool(({ amount }: { amount: number }) => `refunded ${String(amount)}`, {
  name: "refund",
  description: "pays money back",
  schema: z.object({ amount: z.number() }),
});

/** What a page finds at its own origin: a handler that knows the page's user, with a tool that asks. */
async function openPage({ streamsBreak }: Snippet): Promise<ChatService> {
  const chat = await ChatService.create({
    provider: "openai",
    model: "gpt-4.1-mini",
    tools: [refund],
    middleware: [humanInTheLoopMiddleware({ interruptOn: { refund: true } }) as AgentMiddleware],
  });
  const handler = createHttpHandler(chat, { authenticate: () => ({ userId: "ada" }) });
  const direct = globalThis.fetch;
  let streams = 0;
  vi.stubGlobal("fetch", async (input: string | URL | Request, init?: RequestInit) => {
    if (typeof input !== "string" || !input.startsWith("/")) return direct(input, init);
    const response = await handler(new Request(`http://page.test${input}`, init));
    return streamsBreak && ++streams <= 2 ? brokenOff(response) : response;
  });
  return chat;
}

/** An answer whose process goes away in the middle of it, behind a proxy that ends what it passes on. */
async function brokenOff(response: Response): Promise<Response> {
  const text = await response.text();
  const cut = text.indexOf('"text-delta"');
  expect(cut).toBeGreaterThan(0);
  return new Response(text.slice(0, cut), response);
}

/** The port of the server that a snippet started; the stand-in's own is another. */
function listeningPort(): Promise<number> {
  return vi.waitFor(() => {
    // Undocumented, but without a documented twin.
    const handles = (process as typeof process & { _getActiveHandles(): object[] })._getActiveHandles();
    const ports = handles
      .filter((handle) => handle instanceof Server)
      .map((server) => (server.address() as AddressInfo).port)
      .filter((port) => String(port) !== new URL(mock.server.url).port);
    expect(ports).toHaveLength(1);
    return ports[0]!;
  });
}

/** Runs the snippets that connect to these engines. */
function runEach(engines: readonly EngineVariable[]): void {
  const chosen = snippets.filter((snippet) => String(snippet.engines) === String(engines));
  test.each(chosen.filter(({ notRun }) => notRun === undefined))(
    "$name runs to its end",
    async (snippet) => {
      const before = mock.requests().length;
      const { stated, answers } = await play(snippet);
      expect(unhandled).toEqual([]);
      expect(stated).toBe([...snippet.code.matchAll(/; \/\/ ("|\d|true|false)/g)].length);
      if (/\bprovider:/.test(snippet.code)) expect(mock.requests().length).toBeGreaterThan(before);
      if (snippet.asked.length === 0) return;
      expect(answers.map(({ status, text }) => (status < 300 ? 200 : text))).toEqual(answers.map(() => 200));
      expect(textOf(answers.at(-1)?.text ?? "")).toContain("The stand-in was told this");
    },
    // The first start of a PGlite is slow where others are at work too.
    180_000,
  );
}

/** A Redis for the tests of a group, of which each gets a database with nothing in it. */
function useRedis(): void {
  let server: RedisServer;
  let databases = 0;
  beforeAll(async () => {
    server = await startRedis({ settings: { databases: "100" } });
  });
  afterAll(() => server.stop());
  beforeEach(() => {
    vi.stubEnv("REDIS_URL", `${server.url}/${String(databases++)}`);
  });
}

describe("the code of the guide", () => {
  test("has the types that a usual tsconfig asks for, and the check sees one that has not", () => {
    const wrong: Snippet = {
      ...snippets[0]!,
      name: "wrong.md:1",
      code: 'import { ChatService } from "agent-sessions";\nawait ChatService.create({ modle: 1 });\n',
    };
    const problems = folder.typeProblems([...snippets, wrong]);
    expect(problems.get(wrong.name)?.[0]).toMatch(/^line 2: .*'modle' does not exist/s);
    problems.delete(wrong.name);
    expect(Object.fromEntries(problems)).toEqual({});
  }, 240_000);

  test("has the types of both versions of the AI SDK", () => {
    const ofAiSdk = snippets.filter(({ code }) => code.includes('from "ai"'));
    expect(ofAiSdk.length).toBeGreaterThan(1);
    expect(Object.fromEntries(folder.typeProblems(ofAiSdk, aliasesOf(7)))).toEqual({});
  }, 240_000);

  runEach([]);

  describeWithPostgres("on Postgres", () => {
    let server: PostgresServer;
    beforeAll(async () => {
      server = await startPostgres();
    });
    afterAll(() => server.stop());
    beforeEach(async () => {
      vi.stubEnv("DATABASE_URL", await server.createDatabase());
    });

    runEach(["DATABASE_URL"]);

    describeWithRedis("and Redis", () => {
      useRedis();
      runEach(["DATABASE_URL", "REDIS_URL"]);
    });
  });

  describeWithRedis("on Redis", () => {
    useRedis();
    runEach(["REDIS_URL"]);
  });

  test("is run but for what cannot be", () => {
    expect(snippets.length).toBeGreaterThan(15);
    const notRun = new Set(snippets.map(({ notRun: why }) => why));
    expect(notRun).toEqual(new Set([undefined, "under node:test, in test/package", "a component"]));
  });

  test("shows the host's unit test that the package is tested with", () => {
    const consumer = new URL("../package/consumers/node-test/chat.test.mjs", import.meta.url);
    const testing = pages.find(({ path }) => path === "docs/testing.md");
    expect(testing?.text).toContain(`\`\`\`ts\n${readFileSync(consumer, "utf8")}\`\`\``);
  });
});

describe("a broken snippet fails", () => {
  let count = 0;
  const snippet = (code: string): Snippet => {
    return { ...snippets[0]!, name: `broken.md:${String(++count)}`, code, notRun: undefined, asked: [] };
  };

  test("when it throws", async () => {
    const broken = snippet('import { AgentManager } from "agent-sessions";\nnew AgentManager({});\n');
    await expect(play(broken)).rejects.toThrow(/Expected `factory`/);
  });

  test("when a value is not what its comment states", async () => {
    await expect(play(snippet("console.log(1 + 1); // 3: nearly\n"))).rejects.toThrow(/expected 2/);
    await expect(play(snippet('const { a } = { a: "b" }; // "c"\n'))).rejects.toThrow(/expected 'b'/);
  });

  test("when it imports what the package does not export", async () => {
    await expect(play(snippet('import "agent-sessions/store";\n'))).rejects.toThrow(/no entry/);
  });

  test("when it leaves a rejection to nobody", async () => {
    await play(snippet('void Promise.reject(new Error("nobody\'s"));\n'));
    expect(unhandled.splice(0)).toEqual([new Error("nobody's")]);
  });
});

describe("README.zh-CN.md", () => {
  const english = pages.find(({ path }) => path === "README.md")!;
  const codeOf = (page: Page): string[] => page.text.match(/(?:^<!--.*-->\n)*^```[\s\S]*?^```$/gm) ?? [];
  const levelsOf = (page: Page): number[] => {
    const prose = page.text.replace(/^```[\s\S]*?^```$/gm, "");
    return [...prose.matchAll(/^(#+|-) /gm)].map(([, mark = ""]) => (mark === "-" ? 0 : mark.length));
  };

  test("has the sections, the points and the code of README.md", () => {
    expect(levelsOf(chinese)).toEqual(levelsOf(english));
    expect(codeOf(chinese)).toEqual(codeOf(english));
    expect(codeOf(english).length).toBeGreaterThan(5);
  });

  test("links to what README.md links to, and each to the other", () => {
    const others = (page: Page): string[] => linksOf(page).filter((link) => !link.startsWith("README"));
    expect(others(chinese)).toEqual(others(english));
    expect(linksOf(english)[0]).toBe("README.zh-CN.md");
    expect(linksOf(chinese)[0]).toBe("README.md");
  });
});

describe("docs/http-reference.md", () => {
  test("is what the script makes of the OpenAPI document (npm run docs:http)", async () => {
    const script = new URL("../../scripts/http-reference.mjs", import.meta.url).href;
    // A script has no types.
    const { renderHttpReference } = (await import(script)) as {
      renderHttpReference: (document: object) => string;
    };
    const page = pages.find(({ path }) => path === "docs/http-reference.md");
    expect(page?.text).toBe(renderHttpReference(openApiDocument("/agent_backend")));
  });
});

describe("links", () => {
  test.each([...pages, chinese])("of $path lead somewhere", (page) => {
    expect(brokenLinks(page)).toEqual([]);
  });

  test("of docs/architecture.md name files that are there", () => {
    const { text = "" } = pages.find(({ path }) => path === "docs/architecture.md") ?? {};
    const named = [...text.matchAll(/`([\w/-]+(?:\.ts|\/))`/g)].map(([, path = ""]) => path);
    expect(named.length).toBeGreaterThan(5);
    expect(named.filter((path) => !existsSync(new URL(`../../src/${path}`, import.meta.url)))).toEqual([]);
  });

  test("of the readmes and the guide lead to files of the package", () => {
    const { files } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
      files: string[];
    };
    const packed = new Set(["README.md", "LICENSE", "package.json", "docs/decisions"]);
    for (const pattern of files.filter((name) => name.endsWith(".md"))) {
      const folder = dirname(pattern);
      if (!pattern.includes("*")) packed.add(pattern);
      else
        for (const name of readdirSync(new URL(`../../${folder}`, import.meta.url)))
          if (name.endsWith(".md")) packed.add(`${folder}/${name}`);
    }
    const missing = [...pages, chinese].flatMap((page) =>
      linksOf(page)
        .map((target) => join(dirname(page.path), target.split("#", 1)[0] || basename(page.path)))
        .filter((target) => !packed.has(target))
        .map((target) => `${page.path}: ${target}`),
    );
    expect(missing).toEqual([]);
  });

  test("that lead nowhere are found", () => {
    const text =
      "# A b\n[1](#a-b) [2](#c) [3](runs.md#cancel) [4](runs.md#gone) [5](none.md) [6](https://x.test)";
    expect(brokenLinks({ path: "docs/page.md", text })).toEqual(["#c", "runs.md#gone", "none.md"]);
  });
});

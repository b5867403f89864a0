import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, expect, inject, test, vi } from "vitest";
import { payloads } from "../support/http-service.js";
import { startProviderMock, type ProviderMock } from "../support/provider-mock.js";
import { readmeFile, readmeRequest, withoutKey } from "../support/readme-code.js";

/* What a newcomer does with Express: saves README.md's server beside the installed package, starts it, and asks. */

let server: ChildProcess | undefined;
let provider: ProviderMock | undefined;

afterEach(async () => {
  if (server?.exitCode === null) server.kill("SIGKILL");
  await provider?.stop();
  server = provider = undefined;
});

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

/** Runs it on a port that is free; gives the origin, and what it says. */
async function start(name: string, code: string, env: NodeJS.ProcessEnv): Promise<string> {
  const folder = join(inject("hostProject"), name);
  mkdirSync(folder, { recursive: true });
  const port = await freePort();
  expect(code).toContain(".listen(3000)");
  writeFileSync(join(folder, "server.mjs"), code.replace(".listen(3000)", `.listen(${String(port)})`));
  const child = spawn(process.execPath, ["server.mjs"], { cwd: folder, env: { ...process.env, ...env } });
  server = child;
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const origin = `http://localhost:${String(port)}`;
  await vi.waitFor(
    async () => {
      expect(child.exitCode, said).toBeNull();
      expect((await fetch(`${origin}/agent_backend/agent-health`)).status).toBe(200);
    },
    { timeout: 60_000, interval: 100 },
  );
  return origin;
}

async function deltasOf(origin: string): Promise<string[]> {
  const { path, ...request } = readmeRequest();
  const answer = await fetch(origin + path, request);
  expect(answer.status).toBe(200);
  return payloads(await answer.text()).flatMap(({ delta }) => (typeof delta === "string" ? [delta] : []));
}

test("README.md's Express server streams a provider's answer, and ends when it is told to", async () => {
  provider = await startProviderMock([
    {
      match: { predicate: () => true },
      response: { content: "Hello from the provider." },
      chunkSize: 6,
      latency: 50,
    },
  ]);
  const { apiKey, baseURL } = provider.credentials("openai");
  const env = { OPENAI_API_KEY: apiKey, OPENAI_BASE_URL: baseURL };
  const origin = await start("readme", readmeFile("server.mjs"), env);
  const deltas = await deltasOf(origin);
  expect(deltas.length).toBeGreaterThan(1);
  expect(deltas.join("")).toBe("Hello from the provider.");
  expect(provider.requests()).toMatchObject([{ model: "gpt-4.1-mini" }]);
  const ended = once(server!, "exit");
  server!.kill("SIGTERM");
  expect(await ended).toEqual([0, null]);
});

test("README.md's Express server answers without a key, with the model that it names for that", async () => {
  const origin = await start("readme-without-key", withoutKey(readmeFile("server.mjs")), {});
  expect((await deltasOf(origin)).join("")).toBe("Hello!");
});

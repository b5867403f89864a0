/*
 * One process of the cluster, for faults to happen to: a chat service over the engine, with the real LangGraph factory
 * and OpenAI's real client. It is told what to do over HTTP: `POST /call` with `{ method, args }`, `POST /follow`.
 */
import { appendFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { ToolRuntime } from "langchain";
import type { RunConfigurable } from "../../../src/store/store.js";
import type { GateName, WorkerOptions } from "./protocol.js";
import type { WorkerRecord } from "./records.js";

const options = JSON.parse(process.argv[2] ?? "{}") as WorkerOptions;

// Before anything is loaded that may keep a reference to the clock.
if (options.clockAheadMs !== 0) {
  const RealDate = Date;
  const ahead = options.clockAheadMs;
  globalThis.Date = class extends RealDate {
    constructor(...args: ConstructorParameters<typeof Date>) {
      if ((args as unknown[]).length === 0) super(RealDate.now() + ahead);
      else super(...args);
    }
    static override now = (): number => RealDate.now() + ahead;
  } as DateConstructor;
}

const { interrupt } = await import("@langchain/langgraph");
const { tool } = await import("langchain");
const { z } = await import("zod");
const { AgentManager, ChatService, isAgentError } = await import("../../../src/index.js");
const { createLangGraphFactory, idempotencyKey } = await import("../../../src/langgraph/index.js");
const { RUN_KEY } = await import("../../../src/store/store.js");
const { openEngine } = await import("./engine-store.js");
const { recordingStore } = await import("./recording-store.js");
const { now } = await import("./records.js");

function record(line: WorkerRecord): void {
  // At once: what comes after may be a SIGKILL.
  appendFileSync(options.records, `${JSON.stringify(line)}\n`);
}

async function gate(name: GateName, runId: string): Promise<void> {
  if (!options.gates) return;
  await fetch(options.gateUrl, {
    method: "POST",
    body: JSON.stringify({ name, runId, worker: options.name }),
  });
}

function effectTool(name: string): object {
  return tool(
    async (_, config: ToolRuntime) => {
      const { configurable, toolCall, signal } = config;
      if (name === "ask") interrupt("Sure?");
      const run = configurable?.[RUN_KEY] as RunConfigurable;
      const toolCallId = (toolCall as { id: string }).id;
      signal?.addEventListener("abort", () => {
        record({ kind: "note", worker: options.name, at: now(), event: "tool-aborted", runId: run.turnId });
      });
      await gate(`tool:${name}:before`, run.turnId);
      signal?.throwIfAborted();
      record({
        kind: "effect",
        worker: options.name,
        at: now(),
        runId: run.turnId,
        tool: name,
        toolCallId,
        key: idempotencyKey(config),
      });
      await gate(`tool:${name}:after`, run.turnId);
      return `${name} done`;
    },
    { name, description: "Has an effect", schema: z.object({}) },
  );
}

const engine = openEngine(options);
const store = recordingStore(engine.store, options.name, record, gate);
const factory = createLangGraphFactory({
  provider: "openai",
  model: "gpt-4.1-mini",
  tools: ["alpha", "beta", "ask"].map(effectTool),
  // A process that was stopped for seconds finds the provider's kept connections closed, and has to ask on a new one.
  modelOptions: { maxRetries: 1 },
  resolveCredentials: async ({ sessionId }) => {
    await gate("credentials", sessionId);
    return { apiKey: "test", baseURL: options.modelUrl };
  },
});
const manager = new AgentManager({ factory, store, maxAgents: 1000, cleanupIntervalMs: 0 });
const chat = new ChatService({
  manager,
  leaseMs: options.leaseMs,
  queueLimit: 10_000,
  maxAttempts: options.maxAttempts ?? 50,
  maxConcurrentRuns: options.maxConcurrentRuns,
});
chat.on("error", ({ error, runId }) => {
  const { code, message } = error;
  const cause = error.cause instanceof Error ? ` (${error.cause.message})` : "";
  record({
    kind: "note",
    worker: options.name,
    at: now(),
    event: "error",
    code,
    message: message + cause,
    runId,
  });
});
chat.on("run:started", ({ runId }) => {
  record({ kind: "note", worker: options.name, at: now(), event: "run-started", runId });
});
chat.on("run:finished", ({ runId }) => {
  record({ kind: "note", worker: options.name, at: now(), event: "run-finished", runId });
});

type Request = never;
const methods: Readonly<Record<string, (args: Request) => unknown>> = {
  chat: async (args) => chat.chat(args).accepted,
  result: async (args) => chat.chat(args).result,
  resume: async (args) => chat.resume(args).accepted,
  cancel: (args) => chat.cancel(args),
  getRun: (args) => chat.getRun(args),
  getHistory: (args) => chat.getHistory(args),
  getSession: (args) => chat.getSession(args),
  listSessions: (args) => chat.listSessions(args),
  getStats: () => chat.getStats(),
  getHealth: () => chat.getHealth(),
  deleteSession: (args) => chat.deleteSession(args),
  removeAgent: (args) => chat.removeAgent(args),
  cleanup: () => chat.cleanup(),
};

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await text(request);
  if (request.url === "/call") {
    const { method, args } = JSON.parse(body) as { method: string; args: never };
    const result = await settle(async () => methods[method]?.(args));
    response.end(JSON.stringify(result));
    return;
  }
  const events = chat.follow(JSON.parse(body) as Parameters<typeof chat.follow>[0]);
  response.on("close", () => void events.return?.());
  response.flushHeaders();
  const failure = await settle(async () => {
    for await (const event of events) response.write(`${JSON.stringify({ event })}\n`);
  });
  response.end(`${JSON.stringify(failure)}\n`);
}

async function settle(work: () => Promise<unknown>): Promise<object> {
  try {
    return { result: (await work()) ?? null };
  } catch (error) {
    const code = isAgentError(error) ? error.code : (error as Error).name;
    return { error: { code, message: error instanceof Error ? error.message : String(error) } };
  }
}

async function text(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  return body;
}

const server = createServer((request, response) => {
  answer(request, response).catch((error: unknown) => {
    response.destroy(error as Error);
  });
});

// What docs/ tells an operator to do.
process.once("SIGTERM", () => {
  void (async () => {
    await chat.close({ drainMs: options.drainMs });
    await manager.close();
    await engine.close();
    record({ kind: "note", worker: options.name, at: now(), event: "terminated" });
    process.exit(0);
  })();
});

server.listen(0, "127.0.0.1", () => {
  record({ kind: "note", worker: options.name, at: now(), event: "started" });
  console.log(`listening on ${String((server.address() as AddressInfo).port)}`);
});

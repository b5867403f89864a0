import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout } from "node:timers";
import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, onTestFinished, test, vi } from "vitest";
import { toExpress } from "../../src/express.js";
import { createHttpHandler } from "../../src/http/index.js";
import { systemClock } from "../../src/index.js";
import { RunEngine } from "../../src/runs/run-engine.js";
import { ScriptedChatModel, type ScriptedCall } from "../../src/testing/index.js";
import { createChat, random } from "../support/chat.js";
import { authenticate, BACKLOG, bearer } from "../support/http-service.js";

/*
 * A thousand readers at once, from connections to memory. Every third leaves: before it has an answer, at its first
 * byte, or after any number of events; and comes back as a client would, with the id of the last event that it has or,
 * when it has none, with the same request again.
 */

const CLIENTS = Number(process.env["HTTP_CLIENTS"] ?? 1_000);
const WORDS = Array.from({ length: 20 }, (_, index) => `w${String(index)} `);
/** What one client may leave in memory: some of it is the caches of the runtime and of the clients in this process. */
const BYTES_PER_CLIENT = 8_192;
/** What the runtime itself takes meanwhile, for compiled code and the like. */
const BYTES_IN_ALL = 4_194_304;

setFlagsFromString("--expose-gc");
// The flag gives `gc` to contexts that are made after it.
const gc = runInNewContext("gc") as () => void;

/** Serves, and remembers what it was given for as long as anything else does. */
class WatchedServer {
  readonly sockets = new Set<Socket>();
  readonly #answers = new Set<WeakRef<ServerResponse>>();
  readonly #server: Server;

  constructor(serve: ReturnType<typeof toExpress>) {
    this.#server = createServer((req, res) => {
      this.#answers.add(new WeakRef(res));
      void serve(req, res);
    });
    this.#server.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.once("close", () => this.sockets.delete(socket));
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) =>
      this.#server.listen({ port: 0, host: "127.0.0.1", backlog: BACKLOG }, resolve),
    );
    onTestFinished(async () => {
      this.#server.closeAllConnections();
      await new Promise((resolve) => this.#server.close(resolve));
    });
    return `http://127.0.0.1:${String((this.#server.address() as AddressInfo).port)}`;
  }

  /** Those that answer something stay. */
  closeIdle(): void {
    this.#server.closeIdleConnections();
  }

  /** How many answers are still in memory. */
  get kept(): number {
    for (const answer of this.#answers) if (answer.deref() === undefined) this.#answers.delete(answer);
    return this.#answers.size;
  }
}

interface Heard {
  text: string;
  lastId: string | undefined;
  ended: boolean;
}

/** Takes in a stream of events until it ends, or `events` of them have come. */
async function hear(answer: Response, heard: Heard, events = Infinity): Promise<void> {
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const frames = (buffer + part.value).split("\n\n");
    buffer = frames.pop() ?? "";
    for (const frame of frames) {
      const data = /^data: (.*)$/m.exec(frame)?.[1];
      if (data === undefined) continue;
      if (events-- <= 0) return;
      const event = JSON.parse(data) as { type: string; delta?: string };
      heard.lastId = /^id: (.*)$/m.exec(frame)?.[1];
      if (event.type === "text-delta") heard.text += event.delta ?? "";
      heard.ended ||= event.type === "run-finished";
    }
  }
}

test("a thousand clients: a third drop anywhere and come back; no run is lost and nothing left over", async () => {
  // Of timers that pass by `globalThis` the leak guard keeps notes, which are too many here: these are counted below.
  const clock = { ...systemClock, setTimeout };
  const model = new ScriptedChatModel(() => ({ text: WORDS, delayMs: 2 }), { clock });
  const chat = await createChat({ model, clock });
  const heartbeats = new Set<object>();
  const handler = createHttpHandler(chat, {
    authenticate,
    heartbeatMs: 600_000,
    clock: {
      ...clock,
      setTimeout: (...args) => {
        const timer = setTimeout(...args);
        heartbeats.add(timer);
        return timer;
      },
      clearTimeout: (timer) => {
        if (timer !== undefined) heartbeats.delete(timer);
        systemClock.clearTimeout(timer);
      },
    },
  });
  let watching = 0;
  const { events } = chat.manager.store;
  const watch = events.watch.bind(events);
  // No spy: that would keep what it has been given.
  events.watch = (...args) => {
    const stop = watch(...args);
    watching += 1;
    let watched = true;
    return () => {
      if (watched) watching -= 1;
      watched = false;
      stop();
    };
  };
  const submit = vi.spyOn(RunEngine.prototype, "submit");
  const server = new WatchedServer(toExpress(handler));
  const url = (await server.listen()) + handler.basePath;
  const next = random(20_261_130);
  const came = { back: 0, withAnEvent: 0 };

  const client = async (session: string, drops: boolean): Promise<Heard> => {
    const heard: Heard = { text: "", lastId: undefined, ended: false };
    const headers = { ...bearer("ann"), "content-type": "application/json" };
    const body = JSON.stringify({ session_id: session, message: "Hi", run_id: `run-${session}` });
    const leave = new AbortController();
    const ask = (signal: AbortSignal | null) =>
      fetch(`${url}/chat?format=events`, { method: "POST", headers, body, signal });
    if (!drops) {
      await hear(await ask(null), heard);
      return heard;
    }
    const when = Math.floor(next() * (WORDS.length + 6)) - 2;
    const first = ask(leave.signal).then((answer) => hear(answer, heard, when));
    if (when < 0) {
      const patience = Math.floor(next() * 30);
      for (let turns = 0; turns < patience; turns += 1) await turn();
    } else await first;
    leave.abort();
    await first.catch(() => undefined);
    came.back += 1;
    if (heard.lastId === undefined) {
      await hear(await ask(null), heard);
      return heard;
    }
    came.withAnEvent += 1;
    const again = await fetch(`${url}/chat/${session}/stream?format=events`, {
      headers: { ...headers, "last-event-id": heard.lastId },
    });
    // Who has heard all finds no more.
    if (again.status !== 204) await hear(again, heard);
    return heard;
  };

  /** Plays so many clients; gives the bytes in use when their sessions are deleted again. */
  const play = async (name: string, count: number): Promise<number> => {
    const clients: Promise<Heard>[] = [];
    for (let index = 0; index < count; index += 1) {
      clients.push(client(`${name}-${String(index)}`, index % 3 === 0));
      // Where the system allows a shorter backlog, so many knock at a time.
      if (index % 100 === 99) await turn();
    }
    const heard = await Promise.all(clients);
    const whole = heard.filter(({ text, ended }) => ended && text === WORDS.join(""));
    expect(whole).toHaveLength(count);
    for (let index = 0; index < count; index += 1) {
      const session = { sessionId: `${name}-${String(index)}`, userId: "ann" };
      expect((await chat.getRun(session))?.status).toBe("completed");
      await chat.deleteSession(session);
    }
    const engine = submit.mock.contexts[0] as RunEngine<object, unknown>;
    submit.mockClear();
    // The scripted model remembers what it was asked.
    (model.calls as ScriptedCall[]).length = 0;
    // The last ones may still be letting go, and an answer stays until the memory of it is wanted.
    await vi.waitFor(async () => {
      server.closeIdle();
      await turn();
      gc();
      expect({
        heartbeats: heartbeats.size,
        watching,
        watched: engine.watch.size,
        attached: engine.attachedCount,
        sockets: server.sockets.size,
        answers: server.kept,
      }).toEqual({ heartbeats: 0, watching: 0, watched: 0, attached: 0, sockets: 0, answers: 0 });
    });
    return process.memoryUsage().heapUsed;
  };

  // What is loaded and kept once, whoever comes; the client's pool keeps something of each connection that it ever had.
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => (await fetch(`${url}/agent-health`)).arrayBuffer()),
  );
  const before = await play("first", 200);
  came.back = came.withAnEvent = 0;
  const after = await play("many", CLIENTS);
  expect(came.back).toBe(Math.ceil(CLIENTS / 3));
  expect(came.withAnEvent).toBeGreaterThan(CLIENTS / 6);
  expect(after - before).toBeLessThan(BYTES_IN_ALL + CLIENTS * BYTES_PER_CLIENT);
}, 600_000);

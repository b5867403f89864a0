/* Several services on one real engine: what users of different processes see of one session. */
import { setTimeout as sleep } from "node:timers/promises";
import { Chat } from "ai-sdk-react3";
import { DefaultChatTransport } from "ai6";
import { expect, it } from "vitest";
import { createHttpHandler, type HttpHandler } from "../../src/http/index.js";
import type { ChatService, RunEvent } from "../../src/index.js";
import { deferred } from "../../src/internal/deferred.js";
import { createLangGraphFactory } from "../../src/langgraph/index.js";
import { ScriptedChatModel } from "../../src/testing/index.js";
import { agents, codeOf, eventsOf, say, textOfInput, untilAbort } from "../support/chat.js";
import { withServicesOnEachEngine } from "../support/engine-services.js";
import { gate } from "../support/fake-agent.js";
import { authenticate, bearer, serve, until, type TestUser } from "../support/http-service.js";

const session = { sessionId: "s", userId: "ann" };

/** Repeats what it is told after up to `ms`. */
function echo(ms = 0) {
  return agents(async function* (input) {
    await sleep(Math.random() * ms);
    yield* say(textOfInput(input));
  });
}

/** Says "half" and waits to be stopped; what takes its run over says it whole. */
const halting = agents(async function* (_input, { attempt, signal }) {
  yield { type: "text-start", id: `t${String(attempt)}` };
  yield { type: "text-delta", id: `t${String(attempt)}`, delta: attempt === 1 ? "half " : "half and half" };
  if (attempt === 1) await untilAbort(signal);
  yield { type: "text-end", id: `t${String(attempt)}` };
});

function handlerOf(chat: ChatService): HttpHandler {
  return createHttpHandler<object, unknown, TestUser>(chat, { authenticate, heartbeatMs: 0 });
}

function endsOf(events: readonly RunEvent[]): RunEvent[] {
  return events.filter(({ type }) => type === "run-finished");
}

withServicesOnEachEngine("services that share an engine", (engine) => {
  it("run a message once that came to two of them under one run id, in the first one's context", async () => {
    const contexts: unknown[] = [];
    const hold = gate();
    const factory = agents(async function* (input, { context }) {
      contexts.push(context);
      await hold.opened;
      yield* say(textOfInput(input));
    });
    const options = { resolveContext: () => 0 };
    const [a, b] = [await engine.start(factory, options), await engine.start(factory, options)];
    const asked = { ...session, message: "Hello", runId: "r" };
    const first = a.chat.chat({ ...asked, context: 1 });
    await first.accepted;
    await until(() => contexts.length > 0);
    const stop = new AbortController();
    const second = b.chat.chat({ ...asked, context: 2, signal: stop.signal });
    expect(await second.accepted).toEqual({ runId: "r", created: false });
    stop.abort(new Error("left"));
    await expect(second.result).rejects.toThrow("left");
    expect(await codeOf(b.chat.chat({ ...asked, message: "Bye" }).accepted)).toBe("RUN_ID_CONFLICT");
    hold.open();
    expect(await first.result).toMatchObject({ outcome: "completed", text: "Hello" });
    // Whoever was quicker to claim it: the context of a request stays in its process.
    expect([[0], [1]]).toContainEqual(contexts);
  });

  it("agree on the end of a run that one cancels while it ends at the other", async () => {
    const [a, b] = [await engine.start(echo(6)), await engine.start(echo(6))];
    for (let n = 0; n < 12; n++) {
      const run = a.chat.chat({ ...session, message: "x" });
      await run.accepted;
      await sleep(Math.random() * 8);
      const told = await b.chat.cancel({ ...session, runId: run.id });
      const { outcome } = await run.result;
      expect(told.status).toBe(outcome);
      const read = await eventsOf(b.chat.follow({ ...session, runId: run.id }));
      expect(endsOf(read)).toMatchObject([{ outcome }]);
    }
  });

  it("begin a turn again whose message comes a second time, also at another one, and after a kill", async () => {
    const asked: string[][] = [];
    const hold = gate();
    const start = (crashes = false) =>
      engine.start(
        createLangGraphFactory({
          model: new ScriptedChatModel(async (messages) => {
            asked.push(messages.map(({ text }) => text));
            if (crashes && asked.length > 3) await hold.opened;
            return `answer ${String(asked.length)}`;
          }),
        }),
        { leaseMs: 2_000 },
      );
    const [a, b] = [await start(), await start(true)];
    const texts = async () => (await a.chat.getHistory(session)).messages.map(({ content }) => content);
    for (const id of ["1", "2"]) {
      await a.chat.chat({ ...session, message: { id, content: id } }).result;
    }
    const again = b.chat.chat({ ...session, message: { id: "2", content: "2" } });
    expect((await again.result).outcome).toBe("completed");
    expect(asked[2]).toEqual(["1", "answer 1", "2"]);
    expect(await texts()).toEqual(["1", "answer 1", "2", "answer 3"]);

    const edited = b.chat.chat({ ...session, message: { id: "1", content: "one" } });
    await until(() => asked.length > 3);
    b.crash();
    const info = { ...session, runId: edited.id };
    await until(async () => (await a.chat.getRun(info))?.status === "completed");
    hold.open();
    expect(asked.slice(3).every(([first, ...more]) => first === "one" && more.length === 0)).toBe(true);
    expect((await texts())[0]).toBe("one");
    expect(await texts()).toHaveLength(2);
  });

  it("take one of two answers to a question that come at once, wherever it was asked", async () => {
    const asking = agents(
      async function* (input) {
        if (input.kind === "answers") yield* say(JSON.stringify(input.answers));
        else yield { type: "interrupt", id: "i", kind: "input", value: "Sure?" };
        await Promise.resolve();
      },
      {
        conversation: {
          head: () => Promise.resolve(undefined),
          restore: () => Promise.resolve(),
          pending: () => Promise.resolve([]),
          history: () => Promise.resolve([]),
          turns: () => Promise.resolve([]),
          repair: () => Promise.resolve(),
        },
      },
    );
    const [a, b] = [await engine.start(asking), await engine.start(asking)];
    expect((await a.chat.chat({ ...session, message: "Do it" }).result).outcome).toBe("interrupted");
    const answered = await Promise.all(
      [a, b].map(({ chat }, n) => codeOf(chat.resume({ ...session, answers: { i: n } }).result)),
    );
    expect(answered.sort()).toEqual(["INTERRUPT_STALE", "none"]);
    expect(await codeOf(b.chat.resume({ ...session, answers: { i: 2 } }).accepted)).toBe("INTERRUPT_STALE");
  });

  it("let nothing of a session come back that two of them delete while all three use it", async () => {
    const model = new ScriptedChatModel(async (messages) => {
      await sleep(Math.random() * 20);
      return `${String(messages.length)} messages`;
    });
    const start = () => engine.start(createLangGraphFactory({ model }));
    const [a, b, c] = [await start(), await start(), await start()];
    for (let n = 0; n < 5; n++) {
      const runs = [a, b, c].map(({ chat }) => chat.chat({ ...session, message: "x" }));
      const read = runs.map((run) => eventsOf(run).then(endsOf, () => ["refused"]));
      await sleep(Math.random() * 30);
      await Promise.all([b, c].map(({ chat }) => chat.deleteSession(session)));
      for (const ends of await Promise.all(read)) expect(ends).toHaveLength(1);
      // One may have come after both.
      await a.chat.deleteSession(session);
      expect(await c.chat.getSession(session)).toBeUndefined();
      expect((await b.chat.getHistory(session)).messages).toEqual([]);
      expect((await c.chat.chat({ ...session, message: "x" }).result).text).toBe("1 messages");
      await a.chat.deleteSession(session);
    }
  });

  it("take nothing of what began after a deletion that two of them make, however late one of them is", async () => {
    const model = new ScriptedChatModel((messages) => `${String(messages.length)} messages`);
    const start = () => engine.start(createLangGraphFactory({ model }));
    const [a, b] = [await start(), await start()];
    await a.chat.chat({ ...session, message: "old" }).result;
    // B stops for long once it has seen the tombstone.
    const { runs } = b.store;
    const [reached, go] = [deferred<undefined>(), deferred<undefined>()];
    const tombstones = runs!.tombstones.bind(runs);
    runs!.tombstones = async (limit) => {
      const found = await tombstones(limit);
      reached.resolve(undefined);
      await go.promise;
      return found;
    };
    const slow = b.chat.deleteSession(session);
    await reached.promise;
    expect(await a.chat.deleteSession(session)).toBe(true);
    const fresh = a.chat.chat({ ...session, message: "new" });
    expect((await fresh.result).text).toBe("1 messages");
    go.resolve(undefined);
    expect(await slow).toBe(true);
    const said = (await b.chat.getHistory(session)).messages.map(({ content }) => content);
    expect(said).toEqual(["new", "1 messages"]);
    const followed = await eventsOf(b.chat.follow({ ...session, runId: fresh.id }));
    expect([followed[0]?.seq, endsOf(followed)[0]?.seq]).toEqual([1, followed.length]);
    expect((await b.chat.listSessions({ userId: session.userId })).sessions).toHaveLength(1);
    expect((await a.chat.chat({ ...session, message: "more" }).result).text).toBe("3 messages");
  });

  it("use an agent one at a time, in whichever process", async () => {
    const processes = [await engine.start(echo()), await engine.start(echo())];
    let inside = 0;
    const used = Array.from({ length: 8 }, (_, n) =>
      processes[n % 2]!.chat.withAgent(session, async () => {
        expect(++inside).toBe(1);
        await sleep(2);
        inside -= 1;
        return n;
      }),
    );
    expect(await Promise.all(used)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  it("show an AI SDK client that its process closes, and the whole answer when it comes back to another", async () => {
    const [a, b] = [await engine.start(halting), await engine.start(halting)];
    let serving = handlerOf(a.chat);
    const front: HttpHandler = Object.assign((...args: Parameters<HttpHandler>) => serving(...args), {
      basePath: serving.basePath,
    });
    const api = `${await serve(front)}/chat`;
    const client = new Chat({
      id: session.sessionId,
      transport: new DefaultChatTransport({ api, headers: bearer(session.userId) }),
    });
    const text = () =>
      (client.messages[1]?.parts ?? []).map((part) => (part.type === "text" ? part.text : "")).join("|");
    const sent = client.sendMessage({ text: "Hello" });
    await until(() => text() === "half ");
    // Which of the two works on it is chance; the one that serves it closes, and then so does the one that works.
    const closed = a.chat.close({ drainMs: 0 });
    await closed;
    await sent;
    serving = handlerOf(b.chat);
    const run = await b.chat.getRun(session);
    if (run?.status === "running" && run.attempt === 1) {
      const c = await engine.start(halting);
      serving = handlerOf(c.chat);
      await b.chat.close({ drainMs: 0 });
    }
    expect(client.error?.message).toBe("The service is shutting down. Try again later.");
    const other = await fetch(`${api}/${session.sessionId}/stream`, { headers: bearer("bob") });
    expect([other.status, await other.text()]).toEqual([204, ""]);
    await client.resumeStream();
    expect(client.error?.message).toBeUndefined();
    expect(client.messages.map(({ role }) => role)).toEqual(["user", "assistant"]);
    expect(text().replaceAll("|", "")).toBe("half and half");
    expect(client.lastMessage?.metadata).toMatchObject({ outcome: "completed" });
  });

  it("go on with a stream from the id of its last event, from another process", async () => {
    const [a, b] = [await engine.start(echo()), await engine.start(echo())];
    const run = a.chat.chat({ ...session, message: "Hello" });
    await run.result;
    const headers = { ...bearer(session.userId), "last-event-id": `${run.id}:2` };
    const path = `/agent_backend/chat/s/stream?format=events`;
    const read = await handlerOf(b.chat)(new Request(`http://h${path}`, { headers }));
    const ids = (await read.text()).split("\n").filter((line) => line.startsWith("id: "));
    expect(ids).toEqual([3, 4, 5].map((seq) => `id: ${run.id}:${String(seq)}`));
    const bob = await handlerOf(b.chat)(
      new Request(`http://h${path}`, { headers: { ...headers, ...bearer("bob") } }),
    );
    expect(bob.status).toBe(404);
  });
});

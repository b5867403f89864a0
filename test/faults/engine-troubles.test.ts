/*
 * An engine that is not there, does not let us in, does not take writes, or has no room; and much of everything. The
 * service says so with a code, within bounded time, and works again when the engine does.
 */
import { Redis } from "ioredis";
import { afterEach, expect, test } from "vitest";
import { AgentManager, ChatService, type Run, type Store } from "../../src/index.js";
import { createLangGraphFactory } from "../../src/langgraph/index.js";
import { ScriptedChatModel } from "../../src/testing/index.js";
import { codeOf } from "../support/chat.js";
import {
  describeWithPostgres,
  describeWithRedis,
  startPostgres,
  startRedis,
} from "../support/engines/index.js";
import { SLACK_MS } from "./cluster/cluster.js";
import { openEngine } from "./cluster/engine-store.js";
import { onEachEngine } from "./cluster/on-each-engine.js";
import { until } from "./cluster/until.js";

/** How long a service may take to say that the engine cannot be had: the store tries for 5 s. */
const PATIENCE_MS = 12_000 + SLACK_MS;

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

function closed<T>(thing: T, close: (thing: T) => Promise<unknown>): T {
  closing.push(() => close(thing));
  return thing;
}

function serviceOver(store: Store): ChatService {
  const model = new ScriptedChatModel(() => "All is well.");
  const manager = closed(
    new AgentManager({ factory: createLangGraphFactory({ model }), store, cleanupIntervalMs: 0 }),
    (it) => it.close(),
  );
  return closed(new ChatService({ manager, totalQueueLimit: 100_000 }), (it) => it.close({ drainMs: 0 }));
}

function open(
  engine: "postgres" | "redis",
  url: string,
  more: Partial<Parameters<typeof openEngine>[0]> = {},
): Store {
  return closed(openEngine({ engine, url, space: "troubles", ...more }), (it) => it.close()).store;
}

function say(chat: ChatService, sessionId = "s"): Run {
  return chat.chat({ sessionId, userId: "u", message: "Hello" });
}

/** The code and text of what a first message is refused with, soon enough. */
async function refusalOf(chat: ChatService): Promise<{ code: string; text: string }> {
  const started = performance.now();
  const error: unknown = await say(chat).accepted.then(
    () => new Error("It was accepted"),
    (refusal: unknown) => refusal,
  );
  expect(performance.now() - started).toBeLessThan(PATIENCE_MS);
  const { code = "none", message } = error as { code?: string; message: string };
  return { code, text: `${message} ${String((error as Error).cause)} ${JSON.stringify(error)}` };
}

async function works(chat: ChatService): Promise<void> {
  expect(await say(chat).result).toMatchObject({ outcome: "completed", text: "All is well." });
}

onEachEngine("an engine in trouble", (engine) => {
  test("down at the start: the first message is refused as STORE_UNAVAILABLE, and works once it is up", async () => {
    await engine.server.kill();
    const chat = serviceOver(open(engine.name, engine.server.url));
    expect((await refusalOf(chat)).code).toBe("STORE_UNAVAILABLE");
    expect(await chat.getHealth()).toMatchObject({ status: "unavailable", ready: false });
    await engine.server.restart();
    await until(async () => (await codeOf(say(chat).accepted)) === "none");
    await works(chat);
    expect(await chat.getHealth()).toMatchObject({ status: "ok" });
  });
});

describeWithPostgres("Postgres", () => {
  test("with a wrong password refuses as STORE_UNAVAILABLE, and nobody gets to read the password", async () => {
    const server = closed(await startPostgres(), (it) => it.stop());
    await server.query("CREATE ROLE app LOGIN PASSWORD 'right'");
    const chat = serviceOver(open("postgres", server.url.replace("postgres@", "app:sesame-wrong@")));
    const { code, text } = await refusalOf(chat);
    expect(code).toBe("STORE_UNAVAILABLE");
    expect(text).not.toContain("sesame-wrong");
  });

  test("as a read-only standby refuses writes as STORE_UNAVAILABLE and answers reads", async () => {
    const server = closed(await startPostgres(), (it) => it.stop());
    const before = serviceOver(open("postgres", server.url));
    await works(before);
    await server.restartAsStandby();
    const chat = serviceOver(open("postgres", server.url));
    expect((await refusalOf(chat)).code).toBe("STORE_UNAVAILABLE");
    expect((await chat.getHistory({ sessionId: "s", userId: "u" })).messages).toHaveLength(2);
  });

  test("without room on its disk refuses as STORE_UNAVAILABLE, and works when there is some", async () => {
    const server = closed(await startPostgres(), (it) => it.stop());
    const chat = serviceOver(open("postgres", server.url));
    await works(chat);
    // As a full disk says it, wherever something is written.
    await server.query(`
      CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$`);
    const tables = await server.query(
      "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'troubles'",
    );
    for (const { name } of tables)
      await server.query(
        `CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON troubles.${String(name)} EXECUTE FUNCTION full_disk()`,
      );
    expect((await refusalOf(chat)).code).toBe("STORE_UNAVAILABLE");
    for (const { name } of tables) await server.query(`DROP TRIGGER full_disk ON troubles.${String(name)}`);
    await works(chat);
  });

  test("with data of a newer version goes on when they are compatible, and is refused as UNSUPPORTED when not", async () => {
    const server = closed(await startPostgres(), (it) => it.stop());
    const old = serviceOver(open("postgres", server.url));
    await works(old);
    // A later version has migrated beside it: both work on the one conversation.
    await server.query("UPDATE troubles.schema_version SET version = version + 1");
    const next = serviceOver(open("postgres", server.url));
    await Promise.all([works(old), works(next), works(old), works(next)]);
    expect((await old.getHistory({ sessionId: "s", userId: "u" })).messages).toHaveLength(10);
    await server.query("UPDATE troubles.schema_version SET compatible = version");
    expect((await refusalOf(serviceOver(open("postgres", server.url)))).code).toBe("UNSUPPORTED");
  });

  test("with a pool of one connection serves many sessions at once", async () => {
    const server = closed(await startPostgres(), (it) => it.stop());
    const chat = serviceOver(open("postgres", server.url, { poolSize: 1 }));
    const ends = await Promise.all(
      Array.from({ length: 30 }, (_, index) => say(chat, `s${String(index)}`).result),
    );
    expect(ends.every(({ outcome }) => outcome === "completed")).toBe(true);
  });

  test("keeps the promises with 10,000 sessions, listed while chats go on", async () => {
    const server = closed(await startPostgres(), (it) => it.stop());
    await manySessions(open("postgres", server.url));
  }, 300_000);
});

describeWithRedis("Redis", () => {
  test("with a wrong password refuses as STORE_UNAVAILABLE, and nobody gets to read the password", async () => {
    const server = closed(await startRedis({ password: "right" }), (it) => it.stop());
    const chat = serviceOver(open("redis", server.url.replace(":right@", ":sesame-wrong@")));
    const { code, text } = await refusalOf(chat);
    expect(code).toBe("STORE_UNAVAILABLE");
    expect(text).not.toContain("sesame-wrong");
  });

  test("as a read-only replica refuses writes as STORE_UNAVAILABLE and answers reads", async () => {
    const server = closed(await startRedis(), (it) => it.stop());
    const before = serviceOver(open("redis", server.url));
    await works(before);
    const admin = new Redis(server.url);
    // A primary that is not there: it keeps what it has.
    await admin.replicaof("127.0.0.1", 1);
    admin.disconnect();
    const chat = serviceOver(open("redis", server.url));
    expect((await refusalOf(chat)).code).toBe("STORE_UNAVAILABLE");
    expect((await chat.getHistory({ sessionId: "s", userId: "u" })).messages).toHaveLength(2);
  });

  test("with data of a newer version goes on when they are compatible, and is refused as UNSUPPORTED when not", async () => {
    const server = closed(await startRedis(), (it) => it.stop());
    const old = serviceOver(open("redis", server.url));
    await works(old);
    const admin = closed(new Redis(server.url), async (it) => {
      it.disconnect();
    });
    await admin.hincrby("{troubles}:format", "version", 1);
    const next = serviceOver(open("redis", server.url));
    await Promise.all([works(old), works(next), works(old), works(next)]);
    expect((await old.getHistory({ sessionId: "s", userId: "u" })).messages).toHaveLength(10);
    await admin.hincrby("{troubles}:format", "readable", 1);
    expect((await refusalOf(serviceOver(open("redis", server.url)))).code).toBe("UNSUPPORTED");
  });

  test("without memory refuses as STORE_UNAVAILABLE, and works when there is some", async () => {
    const server = closed(await startRedis(), (it) => it.stop());
    const chat = serviceOver(open("redis", server.url));
    await works(chat);
    const admin = closed(new Redis(server.url), async (it) => {
      it.disconnect();
    });
    await admin.config("SET", "maxmemory", "1mb");
    expect((await refusalOf(chat)).code).toBe("STORE_UNAVAILABLE");
    await admin.config("SET", "maxmemory", "0");
    await works(chat);
  });

  test("keeps the promises with 10,000 sessions, listed while chats go on", async () => {
    const server = closed(await startRedis(), (it) => it.stop());
    await manySessions(open("redis", server.url));
  }, 300_000);
});

/** Sessions with a message that nobody has begun yet are the cheapest ones; then others are served among them. */
async function manySessions(store: Store): Promise<void> {
  await store.init?.();
  const count = 10_000;
  let next = 0;
  const submit = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) {
      const sessionId = `many-${String(index)}`;
      await store.runs!.submit({
        ...{ threadId: `t-${sessionId}`, sessionId, userId: `u${String(index % 100)}` },
        runId: "r",
        input: { kind: "message", message: { id: "r", content: "Hello" } },
        ...{ fingerprint: "f", onBusy: "enqueue", defaults: {}, configPatch: {}, affinity: "nobody" },
        ...{ queueLimit: 10, totalQueueLimit: 100_000 },
      });
    }
  };
  await Promise.all(Array.from({ length: 16 }, submit));
  const chat = serviceOver(store);
  const listed = new Set<string>();
  let after: string | undefined;
  do {
    const running = say(chat, `live-${String(listed.size)}`).result;
    const page = await chat.listSessions({ limit: 500, after });
    for (const { userId, sessionId } of page.sessions) listed.add(`${userId ?? ""}/${sessionId}`);
    after = page.next;
    expect(await running).toMatchObject({ outcome: "completed" });
  } while (after !== undefined);
  for (let index = 0; index < count; index++)
    expect(listed).toContain(`u${String(index % 100)}/many-${String(index)}`);
  const mine = await chat.listSessions({ userId: "u7", limit: 1_000 });
  expect(mine.sessions).toHaveLength(100);
}

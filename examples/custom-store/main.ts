import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemorySaver } from "@langchain/langgraph-checkpoint";
import { ChatService } from "agent-sessions";
import { ScriptedChatModel } from "agent-sessions/testing";
import { Checks, runExample } from "../support/checks.js";
import { ChatTable } from "./chat-table.js";
import { TableSessions } from "./table-sessions.js";

const checks = new Checks();

/** Needs no provider: says how many messages of the user it was given. */
const model = new ScriptedChatModel((messages) => {
  const said = messages.filter((message) => message.type === "human").length;
  return `That was message ${String(said)}.`;
});

/** Conversations are in any LangGraph saver, sessions in the host's table; what is left out is kept in the process. */
function open(table: ChatTable, checkpointer: MemorySaver) {
  return ChatService.create({ model, store: { sessions: new TableSessions(table), checkpointer } });
}

const folder = mkdtempSync(join(tmpdir(), "agent-sessions-custom-store-"));
process.on("exit", () => {
  rmSync(folder, { recursive: true, force: true });
});

await runExample(checks, async () => {
  const file = join(folder, "chats.json");
  // In a real host this outlives the process as well, e.g. as PostgresSaver.
  const saver = new MemorySaver();

  let table = new ChatTable(file);
  let chat = await open(table, saver);
  const say = async (userId: string, sessionId: string): Promise<string> =>
    (await chat.chat({ userId, sessionId, message: "Hello" }).result).text;
  const print = () => {
    for (const { id, owner, name, title } of table.rows)
      console.log(`  ${String(id)}  ${owner.padEnd(4)} ${name.padEnd(7)} ${title}`);
  };

  console.log("Two users open chats. The host's own table:");
  for (const [owner, name] of [
    ["ada", "work"],
    ["ada", "travel"],
    ["ben", "work"],
    ["ben", "garden"],
  ] as const)
    await say(owner, name);
  const thread = table.rows.find(({ owner, name }) => owner === "ben" && name === "work")?.thread ?? "";
  table.update(thread, { title: "Plans for May" });
  print();
  checks.that("each (user, session) has a row of its own", table.rows.length === 4);

  const second = await say("ben", "work");
  checks.that("a column of the host's is left alone", table.find(thread)?.title === "Plans for May");
  checks.that("equal names of two users are two chats", second === "That was message 2.", second);

  const newest = await chat.listSessions({ limit: 3 });
  const rest = await chat.listSessions({ limit: 3, after: newest.next });
  const names = [...newest.sessions, ...rest.sessions].map(
    ({ userId = "", sessionId }) => `${userId}/${sessionId}`,
  );
  checks.that(
    "the service lists them newest first, page by page",
    names.join() === "ben/garden,ben/work,ada/travel,ada/work" && rest.next === undefined,
    names.join(),
  );

  await chat.deleteSession({ userId: "ben", sessionId: "garden" });
  checks.that("a deleted session has no row", table.rows.length === 3, String(table.rows.length));
  await chat.close();

  console.log("");
  console.log("The host is started again, on the same file:");
  table = new ChatTable(file);
  chat = await open(table, saver);
  const before = await chat.getSession({ userId: "ben", sessionId: "work" });
  const third = await say("ben", "work");
  const after = await chat.getSession({ userId: "ben", sessionId: "work" });
  print();
  checks.that(
    "it still knows its sessions and since when",
    before?.state === "stored" && before.createdAt === after?.createdAt,
    JSON.stringify([before, after]),
  );
  checks.that("the conversation goes on", third === "That was message 3.", third);
  const { sessions } = await chat.listSessions({ userId: "ada" });
  checks.that("a user's own sessions are found", sessions.length === 2, JSON.stringify(sessions));
  await chat.close();
});

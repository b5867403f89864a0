import type { ChatService, HistoryMessage, Interrupt, Run } from "agent-sessions";
import { Checks, runExample } from "../support/checks.js";
import { Providers, type ProviderName } from "./providers.js";
import { createService, Shop, type Caller } from "./service.js";
import { paint, Speaker, type Paint } from "./terminal.js";

interface User {
  readonly id: string;
  readonly provider: ProviderName;
  readonly model: string;
  /** Told to the agent in the first message; nobody else's agent may ever hear of it. */
  readonly word: string;
  readonly out: Speaker;
}

function user(id: string, provider: ProviderName, model: string, word: string, colour: Paint): User {
  return { id, provider, model, word, out: new Speaker(id, colour) };
}

const ada = user("ada", "openai", "gpt-4.1-mini", "zephyr-41", "cyan");
const ben = user("ben", "deepseek", "deepseek-chat", "quartz-72", "yellow");
const chloe = user("chloe", "anthropic", "claude-haiku-4-5", "saffron-19", "magenta");
const dora = user("dora", "openai", "gpt-4.1", "walrus-88", "blue");
const users = [ada, ben, chloe, dora];

/** All of them use the same session id: a session is the pair of user and id. */
const sessionId = "main";

const checks = new Checks({ paint });
const shop = new Shop();

// Real providers have slow hours.
await runExample(checks, demo, Providers.anyReal ? 180_000 : 55_000);

async function demo(): Promise<void> {
  const providers = await Providers.open(["openai", "deepseek", "anthropic"]);
  const chat = await createService(shop, providers);
  try {
    introduce(providers);
    await parallelStreams(chat);
    await toolCalls(chat);
    await approvals(chat);
    await cancelMidAnswer(chat);
    await queuedMessage(chat);
    await eviction(chat);
    await isolation(chat, providers);
    await figures(chat);
  } finally {
    await chat.close({ drainMs: 0 });
    await providers.close();
  }
}

function introduce(providers: Providers): void {
  console.log(paint("agent-sessions: many users, one service, nothing mixed", "bold"));
  console.log("");
  for (const { id, provider, model } of users)
    console.log(
      `  ${id.padEnd(6)} ${provider.padEnd(10)} ${model.padEnd(17)} ${providers.describe(provider)}`,
    );
}

function scene(title: string): void {
  console.log("");
  console.log(paint(title, "bold"));
}

/** Sends a message of a user. Provider and model stick to the session: naming them once is enough. */
function say(chat: ChatService<object, Caller>, from: User, message: string): Run {
  from.out.says(message);
  const { id: userId, provider, model } = from;
  return chat.chat({ sessionId, userId, message, provider, model, context: { userId } });
}

async function parallelStreams(chat: ChatService<object, Caller>): Promise<void> {
  scene("1. Three users talk at once, each to a provider and model of their own");
  const watched = await Promise.all(
    [
      { from: ada, question: "why is the sky blue?" },
      { from: ben, question: "why is the sea blue?" },
      { from: chloe, question: "why are leaves green?" },
    ].map(({ from, question }) =>
      from.out.watch(
        say(
          chat,
          from,
          `Hi, I am ${from.id} and my secret word is ${from.word}. In two sentences: ${question}`,
        ),
      ),
    ),
  );
  const lastStart = Math.max(...watched.map(({ firstTextAt }) => firstTextAt));
  const firstEnd = Math.min(...watched.map(({ lastTextAt }) => lastTextAt));
  checks.that(
    "every answer began to stream before any other had ended",
    watched.every(({ text }) => text !== "") && lastStart < firstEnd,
    watched.map(({ text }) => `${String(text.length)} characters`).join(", "),
  );
}

async function toolCalls(chat: ChatService<object, Caller>): Promise<void> {
  scene("2. A tool that acts for whoever is asking");
  const asking = [ada, ben, chloe];
  const watched = await Promise.all(
    asking.map((from) => from.out.watch(say(chat, from, "What did I order? Look it up."))),
  );
  const given = watched.map(({ events }) =>
    events.flatMap((event) => (event.type === "tool-output-available" ? [event.output] : [])),
  );
  checks.that(
    "each user's tool call found that user's own order",
    asking.every(({ id }, index) => given[index]?.every((output) => output === shop.orders[id])) &&
      given.every((outputs) => outputs.length > 0),
    JSON.stringify(given),
  );
}

async function approvals(chat: ChatService<object, Caller>): Promise<void> {
  scene("3. A tool that needs a human: one call is approved, one is rejected");
  const decide = async (from: User, decision: "approve" | "reject"): Promise<boolean> => {
    const { id: userId } = from;
    const asked = say(chat, from, "Please refund me 30 euros.");
    await from.out.watch(asked);
    const { outcome, interrupts } = await asked.result;
    const interrupt: Interrupt | undefined = interrupts[0];
    if (outcome !== "interrupted" || interrupt === undefined) return false;
    from.out.notes(`the human says: ${decision}`);
    const reason = decision === "reject" ? { message: "Not approved." } : undefined;
    const answers = { [interrupt.id]: { decisions: [{ type: decision, ...reason }] } };
    const resumed = chat.resume({ sessionId, userId, answers, context: { userId } });
    await from.out.watch(resumed);
    return (await resumed.result).outcome === "completed";
  };
  const approved = await decide(ben, "approve");
  const rejected = await decide(chloe, "reject");
  checks.that("both runs stopped for the human and went on with the answer", approved && rejected);
  checks.that(
    "only the approved refund was made",
    shop.refunds.join() === "ben 30",
    JSON.stringify(shop.refunds),
  );
}

async function cancelMidAnswer(chat: ChatService<object, Caller>): Promise<void> {
  scene("4. A run is cancelled in mid-answer, and the next message is fine");
  const long = say(chat, chloe, "Tell me a story about a lighthouse, of at least 300 words.");
  const cancelling: Promise<void>[] = [];
  const watched = await chloe.out.watch(long, (pieces) => {
    if (pieces === 25) cancelling.push(long.cancel());
  });
  await Promise.all(cancelling);
  const { outcome } = await long.result;
  checks.that(
    "the run ended as cancelled, with part of the answer out",
    outcome === "cancelled" && watched.text !== "",
    `${outcome}, ${String(watched.text.length)} characters`,
  );
  const { text } = await chloe.out.watch(say(chat, chloe, "Never mind. What is my secret word?"));
  checks.that("the next message was answered from the whole conversation", text.includes(chloe.word), text);
}

async function queuedMessage(chat: ChatService<object, Caller>): Promise<void> {
  scene("5. A second message is sent while the first one runs: it is queued");
  const first = say(chat, ben, "In one sentence: what is a rainbow?");
  const second = say(chat, ben, "And in one sentence: what is a halo?");
  await second.accepted;
  const waiting = await chat.getRun({ sessionId, userId: ben.id, runId: second.id });
  ben.out.notes(`the second message is ${waiting?.status ?? "lost"}`);
  const [, answer] = await Promise.all([ben.out.watch(first), ben.out.watch(second)]);
  const { messages } = await chat.getHistory({ sessionId, userId: ben.id, limit: 4 });
  checks.that("it waited while the first one ran", waiting?.status === "queued", waiting?.status);
  checks.that(
    "history has both in the order of sending, each with its answer",
    messages.map(({ role }) => role).join() === "user,assistant,user,assistant" &&
      textOf(messages[0]).includes("rainbow") &&
      textOf(messages[3]) === answer.text,
    messages.map((message) => `${message.role}: ${textOf(message)}`).join(" | "),
  );
}

async function eviction(chat: ChatService<object, Caller>): Promise<void> {
  scene("6. A fourth user comes where three agents fit: an idle agent goes, its conversation stays");
  const evicted: string[] = [];
  const stop = chat.manager.on("agent:evicted", ({ session, reason }) => {
    evicted.push(session.userId ?? "");
    users.find(({ id }) => id === session.userId)?.out.notes(`this user's agent is evicted: ${reason}`);
  });
  await dora.out.watch(
    say(chat, dora, `Hi, I am dora and my secret word is ${dora.word}. In one sentence: why is snow white?`),
  );
  checks.that(
    "the agent that had been idle longest was evicted, and no other",
    evicted.join() === "ada",
    evicted.join(),
  );
  const { text } = await ada.out.watch(say(chat, ada, "What is my secret word?"));
  stop();
  checks.that("ada's conversation goes on with a new agent", text.includes(ada.word), text);
}

/** Looks at what really went out, and at what is stored. */
async function isolation(chat: ChatService<object, Caller>, providers: Providers): Promise<void> {
  scene("7. Was anything mixed?");
  const seen = providers.seen();
  const real = users.filter(({ provider }) => providers.isReal(provider));
  for (const { id, provider, model, word } of users) {
    if (providers.isReal(provider)) continue;
    const own = seen.filter(({ text }) => text.includes(word));
    const strays = own.filter((request) => request.provider !== provider || request.model !== model);
    checks.that(
      `every request with ${id}'s word (${String(own.length)}) went to ${provider}, ${model}`,
      own.length > 0 && strays.length === 0,
      [...new Set(own.map((request) => `${request.provider}, ${request.model}`))].join("; "),
    );
  }
  if (seen.length > 0) {
    const odd = seen.filter(({ text }) => users.filter(({ word }) => text.includes(word)).length !== 1);
    checks.that(
      `each of all ${String(seen.length)} requests held the word of one user`,
      odd.length === 0,
      `${String(odd.length)} did not`,
    );
  }
  const histories = await Promise.all(
    users.map(async ({ id }) => JSON.stringify(await chat.getHistory({ sessionId, userId: id }))),
  );
  const mixed = users.filter(
    ({ word }, index) => histories.findIndex((history) => history.includes(word)) !== index,
  );
  checks.that(
    "each history holds its own user's word, and no other",
    mixed.length === 0 &&
      histories.every((history) => users.filter(({ word }) => history.includes(word)).length === 1),
    `mixed for ${mixed.map(({ id }) => id).join(", ")}`,
  );
  if (real.length > 0)
    console.log(
      `    (What the real providers got can't be seen from here: ${real.map(({ id }) => id).join(", ")}.)`,
    );
}

async function figures(chat: ChatService<object, Caller>): Promise<void> {
  scene("8. Stats and sessions");
  const stats = await chat.getStats();
  const json = {
    total_agents: stats.totalAgents,
    active_agents: stats.activeAgents,
    idle_agents: stats.idleAgents,
    max_agents: stats.maxAgents,
    agent_ttl: stats.agentTtlMs / 1000,
  };
  console.log(`  ${JSON.stringify(json)}`);
  const { sessions } = await chat.listSessions();
  for (const { userId = "", sessionId: id, provider = "", model = "", state, createdAt } of sessions)
    console.log(
      `  ${userId.padEnd(6)} ${id}  ${provider.padEnd(10)} ${model.padEnd(17)} ${state.padEnd(7)} since ${new Date(createdAt).toISOString()}`,
    );
  checks.that(
    "three agents live, none at work",
    json.total_agents === 3 && json.idle_agents === 3 && json.active_agents === 0,
    JSON.stringify(json),
  );
  checks.that(
    "all four sessions are listed, each with its own provider and model",
    sessions.length === users.length &&
      users.every(({ id, provider, model }) =>
        sessions.some((row) => row.userId === id && row.provider === provider && row.model === model),
      ),
    JSON.stringify(sessions),
  );
}

function textOf(message: HistoryMessage | undefined): string {
  const content = message?.content ?? "";
  if (typeof content === "string") return content;
  return content.map((block) => (typeof block["text"] === "string" ? block["text"] : "")).join("");
}

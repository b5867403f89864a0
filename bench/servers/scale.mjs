/**
 * One process of a service on an engine, with clients that ask one turn after another in sessions of their own. Once it
 * is warm, and told `go`, it counts for so long; its answer has turns, CPU and what it sent to the engine. With `labels`
 * it tells which of the store's methods sent that, which costs CPU. Without a `url` it keeps all in memory.
 */
import { ChatService, memoryStore } from "agent-sessions";
import { InstantModel } from "../support/model.mjs";
import { sleep } from "../support/stamping-model.mjs";
import { countRoundTrips, labelRoundTrips, openStore } from "../support/stores.mjs";
import { drain } from "../support/turns.mjs";

const { url, name, clients, tokens, warmUpTurns, windowMs, labels } = JSON.parse(process.argv[2]);
process.once("disconnect", () => process.exit());
const { store, client } = url === undefined ? { store: memoryStore() } : await openStore(url);
let commands = 0;
let byLabel = {};
if (labels) labelRoundTrips(store);
if (client !== undefined) {
  countRoundTrips(client, (label) => {
    commands += 1;
    if (labels) byLabel[label] = (byLabel[label] ?? 0) + 1;
  });
}
const chat = await ChatService.create({
  model: new InstantModel(tokens),
  tools: [],
  store,
  maxAgents: 1_000,
});
chat.on("error", ({ error }) => process.stderr.write(`${error.code} ${error.message}\n`));

let turns = 0;
const took = [];
async function ask(session) {
  for (;;) {
    const from = performance.now();
    await drain(chat.chat({ ...session, message: "hello" }));
    took.push(performance.now() - from);
    turns += 1;
    if (turns === warmUpTurns) process.send({ warm: true });
  }
}

for (let index = 0; index < clients; index += 1) {
  void ask({ sessionId: `${name}-${index}`, userId: `${name}-user-${index}` });
}

process.on("message", async () => {
  const before = { turns, commands };
  took.length = 0;
  byLabel = {};
  process.send({ from: true });
  const cpu = process.cpuUsage();
  const at = performance.now();
  await sleep(windowMs);
  const { user, system } = process.cpuUsage(cpu);
  process.send({
    counted: true,
    seconds: (performance.now() - at) / 1000,
    turns: turns - before.turns,
    commands: commands - before.commands,
    cpuMs: (user + system) / 1000,
    took,
    ...(labels ? { byLabel } : {}),
  });
});
process.send({ ready: true });

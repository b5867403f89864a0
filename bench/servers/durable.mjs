/**
 * A process of a cluster, told over IPC what to do:
 *
 *   run     begins one run in each session; a model that is `asked` says so, and once `write` has come it writes a token
 *           each `msPerToken`, each of which tells when it was written; with `read` it reads them too
 *   follow  reads the runs of all sessions, from their first event
 *
 * Readers tell, at the end of all runs, how late each token was and when each `run-resumed` came.
 */
import { ChatService } from "agent-sessions";
import { now, StampingModel, stampsOf } from "../support/stamping-model.mjs";
import { openStore } from "../support/stores.mjs";

const { url, sessions, tokens, msPerToken, leaseMs, maxAgents } = JSON.parse(process.argv[2]);
process.once("disconnect", () => process.exit());

let write;
const begin = new Promise((resolve) => (write = resolve));
const asked = () => process.send({ asked: true });
const model = new StampingModel({ tokens, msPerToken, asked, begin });

const { store } = await openStore(url);
const chat = await ChatService.create({ model, tools: [], store, leaseMs, maxAgents });
chat.on("error", ({ error }) => process.stderr.write(`${error.code} ${error.message}\n`));

const named = Array.from({ length: sessions }, (_, index) => ({
  sessionId: `session-${index}`,
  userId: `user-${index}`,
}));

async function read(events) {
  const late = [];
  let resumed;
  for await (const event of events) {
    const at = now();
    if (event.type === "run-started") process.send({ reading: true });
    else if (event.type === "text-delta") late.push(at - stampsOf(event.delta).written);
    else if (event.type === "run-resumed") resumed ??= at;
  }
  return { late, resumed };
}

async function readAll(all) {
  const results = await Promise.all(all.map(read));
  process.send({
    late: results.flatMap(({ late }) => late),
    resumed: results.map(({ resumed }) => resumed).filter((at) => at !== undefined),
  });
}

process.on("message", ({ type, ...rest }) => {
  if (type === "write") write();
  else if (type === "follow") void readAll(named.map((session) => chat.follow(session)));
  else {
    const runs = named.map((session) => chat.chat({ ...session, message: "hello" }));
    if (rest.read) void readAll(runs);
    // Refused or failed ones are not asked for.
    for (const run of runs) run.accepted.catch(() => {});
  }
});
process.send({ ready: true });

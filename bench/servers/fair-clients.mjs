/**
 * Clients of ./fair-server.mjs, in a process of their own; each keeps its connection, as browsers do. Told `ask`, so many users ask now and then until `stop`,
 * and the answer has when each turn began and what it took. Told `flood`, one user sends so many messages at once.
 */
import http from "node:http";
import { now, sleep } from "../support/stamping-model.mjs";

const { port, tokens } = JSON.parse(process.argv[2]);
process.once("disconnect", () => process.exit());

function turn(user, session, agent) {
  return new Promise((resolve, reject) => {
    const at = now();
    const headers = { "content-type": "application/json", accept: "text/event-stream", "x-user": user };
    const options = { host: "127.0.0.1", port, path: "/chat", method: "POST", agent, headers };
    const request = http.request(options, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (data) => (text += data));
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode === 200 && text.includes(`tok${tokens - 1} `)) {
          resolve({ at, took: now() - at });
        } else reject(new Error(`${response.statusCode} ${text.slice(0, 300)}`));
      });
    });
    request.on("error", reject);
    request.end(JSON.stringify({ session_id: session, message: "hello" }));
  });
}

let stopped = false;
async function asking(user, everyMs, samples) {
  const agent = new http.Agent({ keepAlive: true });
  await sleep(Math.random() * everyMs);
  while (!stopped) {
    const next = now() + everyMs * (0.5 + Math.random());
    samples.push(await turn(user, `${user}-session`, agent));
    await sleep(Math.max(0, next - now()));
  }
}

process.on("message", async ({ type, users, everyMs, messages, sessions }) => {
  if (type === "stop") stopped = true;
  else if (type === "ask") {
    const samples = [];
    await Promise.all(Array.from({ length: users }, (_, index) => asking(`user-${index}`, everyMs, samples)));
    process.send({ samples });
  } else {
    const from = now();
    await Promise.all(
      Array.from({ length: messages }, (_, index) => turn("flooder", `flood-${index % sessions}`, false)),
    );
    process.send({ flooded: true, from, to: now() });
  }
});
process.send({ ready: true });

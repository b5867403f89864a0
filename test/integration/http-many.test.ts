import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { bearer, handlerFor, payloads, serve, until } from "../support/http-service.js";

const CLIENTS = Number(process.env["HTTP_CLIENTS"] ?? 150);
const WORDS = Array.from({ length: 20 }, (_, index) => `w${String(index)} `);

test("many clients, a third drop, a third of these come back: no run lost, nothing left over", async () => {
  const { chat, handler } = await handlerFor(() => ({ text: WORDS, delayMs: 2 }), { heartbeatMs: 1_000 });
  let watching = 0;
  const { events } = chat.manager.store;
  const watch = events.watch.bind(events);
  vi.spyOn(events, "watch").mockImplementation((...args) => {
    const stop = watch(...args);
    watching += 1;
    return () => {
      watching -= 1;
      stop();
    };
  });
  const url = await serve(handler);
  const client = async (index: number): Promise<string | undefined> => {
    const session = `s${String(index)}`;
    const headers = { ...bearer("ann"), "content-type": "application/json" };
    const leave = new AbortController();
    const answer = await fetch(`${url}/chat?format=events`, {
      method: "POST",
      headers,
      body: JSON.stringify({ session_id: session, message: "Hi" }),
      signal: leave.signal,
    });
    expect(answer.status).toBe(200);
    if (index % 3 !== 0) return answer.text();
    await sleep(index % 40);
    leave.abort();
    await answer.body?.cancel().catch(() => undefined);
    if (index % 2 !== 0) return undefined;
    return (await fetch(`${url}/chat/${session}/stream?format=events`, { headers })).text();
  };
  const texts = await Promise.all(Array.from({ length: CLIENTS }, (_, index) => client(index)));
  for (const text of texts) {
    if (text === undefined) continue;
    const deltas = payloads(text).map(({ delta }) => (typeof delta === "string" ? delta : ""));
    expect(deltas.join("")).toBe(WORDS.join(""));
  }
  await until(async () => {
    const runs = await Promise.all(
      texts.map((_, index) => chat.getRun({ sessionId: `s${String(index)}`, userId: "ann" })),
    );
    return runs.every((run) => run?.status === "completed");
  });
  await until(() => watching <= 0);
  expect(watching).toBe(0);
}, 60_000);

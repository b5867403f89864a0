import { describe, expect, test } from "vitest";
import { memoryStore } from "../../src/index.js";
import { createHttpHandler } from "../../src/http/index.js";
import { ManualClock } from "../../src/testing/index.js";
import { agents, customChat, say as text } from "../support/chat.js";
import { authenticate, bearer, gate, until } from "../support/http-service.js";

describe("events that are no longer kept", () => {
  /** A running run of which the last few events are left, and its handler. */
  async function trimmed() {
    const hold = gate();
    const clock = new ManualClock();
    const { chat } = customChat(
      agents(async function* () {
        for (let index = 0; index < 20; index += 1) yield { type: "data", name: "n", data: index };
        await hold.opened;
        yield* text("done");
      }),
      { store: memoryStore({ maxEventsPerRun: 5 }) },
    );
    const session = { sessionId: "s1", userId: "ann" };
    await chat.chat({ ...session, message: "Hi", runId: "r" }).accepted;
    // After the run's beginning.
    const seq = 21;
    await chat.follow({ ...session, after: seq - 1 }).next();
    const handler = createHttpHandler(chat, { authenticate, clock, heartbeatMs: 0 });
    const follow = (after: number): Promise<Response> =>
      handler(
        new Request("http://host.test/agent_backend/chat/s1/stream?format=events", {
          headers: { ...bearer("ann"), "last-event-id": `r:${String(after)}` },
        }),
      );
    return { hold, clock, follow, seq };
  }

  test("are a status and no stream, also while their run goes on", async () => {
    const { hold, follow, seq } = await trimmed();
    const gone = await follow(5);
    expect(gone.status).toBe(410);
    expect(await gone.json()).toMatchObject({ error: { code: "EVENTS_TRIMMED" } });
    const kept = await follow(seq);
    expect(kept.status).toBe(200);
    // Of the event that was had last nothing is needed but what follows it.
    const oldest = await follow(seq - 5);
    expect(oldest.status).toBe(200);
    hold.open();
    expect(await kept.text()).toMatch(new RegExp(`^: open\\n\\nid: r:${String(seq + 1)}\\n`));
    expect(await oldest.text()).toMatch(new RegExp(`^: open\\n\\nid: r:${String(seq - 4)}\\n`));
  });

  test("an event that has not come yet is waited for in the stream", async () => {
    const { hold, clock, follow, seq } = await trimmed();
    const asked = follow(seq + 3);
    await until(() => clock.pending === 1);
    await clock.advance(1_000);
    const answer = await asked;
    expect(answer.status).toBe(200);
    hold.open();
    expect(await answer.text()).toMatch(new RegExp(`^: open\\n\\nid: r:${String(seq + 4)}\\n`));
  });
});

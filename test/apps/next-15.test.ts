import { randomUUID } from "node:crypto";
import { Chat } from "ai-sdk-react3";
import {
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  type UIMessage,
} from "ai6";
import { afterAll, beforeAll, expect, test } from "vitest";
import { until } from "../support/http-service.js";
import { NextApp } from "./next-app.js";

let app: NextApp | undefined;

beforeAll(async () => {
  app = await NextApp.start("15.5.29");
}, 1_200_000);

afterAll(async () => {
  await app?.close();
});

function textOf(message: UIMessage | undefined): string {
  return (message?.parts ?? []).map((part) => (part.type === "text" ? part.text : "")).join("");
}

test("the example serves on Next.js 15 what it serves on 16", async ({ skip }) => {
  skip(app === undefined, "the registry cannot be reached");
  const { url } = app!;
  const cookie = await app!.login("ada");
  const api = `${url}/agent_backend/chat`;
  const clientOf = (id: string, messages: UIMessage[] = []): Chat<UIMessage> =>
    new Chat({
      id,
      messages,
      transport: new DefaultChatTransport({ api, headers: { cookie } }),
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
    });

  // A page that is loaded anew in the middle of an answer has all of it.
  const story = randomUUID();
  const sent = clientOf(story).sendMessage({ text: "Tell me a story" });
  await until(async () => (await fetch(`${api}/${story}/stream`, { headers: { cookie } })).status === 200);
  const loaded = await fetch(`${api}/${story}/messages?format=ai-sdk`, { headers: { cookie } });
  const { messages } = (await loaded.json()) as { messages: UIMessage[] };
  const after = clientOf(story, messages);
  await after.resumeStream();
  expect(after.error).toBeUndefined();
  expect(textOf(after.messages.at(-1))).toMatch(
    /^Once there was a lighthouse .* whether somebody was there\.$/,
  );
  await sent;

  const refund = clientOf(randomUUID());
  await refund.sendMessage({ text: "Refund me 30 euros" });
  const asked = refund.messages[1]?.parts.find((part) => part.type === "dynamic-tool");
  expect(asked).toMatchObject({ state: "approval-requested" });
  await refund.addToolApprovalResponse({
    id: (asked as { approval: { id: string } }).approval.id,
    approved: true,
  });
  await until(() => refund.status === "ready" && textOf(refund.messages[1]) !== "");
  expect(refund.messages[1]?.parts.find((part) => part.type === "dynamic-tool")).toMatchObject({
    state: "output-available",
  });

  // Nobody else sees it.
  const other = await app!.login("ben");
  expect((await fetch(`${api}/${story}/messages`, { headers: { cookie: other } })).status).toBe(404);
  expect((await fetch(`${api}/${story}/messages`)).status).toBe(401);
}, 240_000);

import assert from "node:assert/strict";
import { test } from "node:test";
import { ChatService } from "agent-sessions";
import { ScriptedChatModel } from "agent-sessions/testing";

test("the agent greets", async () => {
  const model = new ScriptedChatModel([{ text: ["Hello, ", "Ada!"], delayMs: 5 }]);
  const chat = await ChatService.create({ model });
  const { text } = await chat.chat({ sessionId: "s1", message: "I am Ada." }).result;
  assert.equal(text, "Hello, Ada!");
  model.assertComplete();
  await chat.close();
});

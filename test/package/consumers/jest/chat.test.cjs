const { ChatService } = require("agent-sessions");
const { ScriptedChatModel } = require("agent-sessions/testing");

test("the agent greets", async () => {
  const model = new ScriptedChatModel(["Hello, Ada!"]);
  const chat = await ChatService.create({ model });
  const { text } = await chat.chat({ sessionId: "s1", message: "I am Ada." }).result;
  expect(text).toBe("Hello, Ada!");
  model.assertComplete();
  await chat.close();
});

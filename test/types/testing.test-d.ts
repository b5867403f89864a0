import type { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { expectTypeOf, it } from "vitest";
import type { Clock } from "../../src/internal/clock.js";
import {
  assertIsolation,
  ManualClock,
  ScriptedChatModel,
  type ScriptedCall,
} from "../../src/testing/index.js";

it("ScriptedChatModel is a chat model whose script may be replies or a function", () => {
  expectTypeOf<ScriptedChatModel>().toExtend<BaseChatModel>();
  expectTypeOf(new ScriptedChatModel(["a", { toolCalls: [{ name: "t", args: {} }] }])).toHaveProperty(
    "calls",
  );
  new ScriptedChatModel((messages, call) => {
    expectTypeOf(call).toEqualTypeOf<ScriptedCall>();
    return { text: messages.map((message) => message.text), usage: { inputTokens: 1, outputTokens: 1 } };
  });
  // @ts-expect-error misspelt keys are refused
  new ScriptedChatModel([{ txt: "a" }]);
});

it("ManualClock is a Clock", () => {
  expectTypeOf<ManualClock>().toExtend<Clock>();
  expectTypeOf(new ManualClock().advance(1)).toEqualTypeOf<Promise<void>>();
});

it("assertIsolation refuses what is no service", () => {
  // @ts-expect-error it has no chat
  void assertIsolation({ getHistory: async () => [] });
});

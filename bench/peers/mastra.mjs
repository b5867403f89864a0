/** Mastra's Express adapter, with the memory and the storage of its quick start. */
import { Agent } from "@mastra/core/agent";
import { Mastra } from "@mastra/core";
import { MastraServer } from "@mastra/express";
import { LibSQLStore } from "@mastra/libsql";
import { Memory } from "@mastra/memory";
import express from "express";
import { listen } from "../support/serve.mjs";
import { languageModel } from "./ai-sdk-model.mjs";

const assistant = new Agent({
  id: "assistant",
  name: "Assistant",
  instructions: "You are a helpful assistant.",
  model: languageModel("v3"),
  memory: new Memory({ options: { lastMessages: 20 } }),
});
const mastra = new Mastra({
  agents: { assistant },
  storage: new LibSQLStore({ id: "mastra-storage", url: ":memory:" }),
  logger: false,
});
const app = express();
app.use(express.json());
await new MastraServer({ app, mastra }).init();
listen(app);

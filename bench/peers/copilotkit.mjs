/** CopilotKit's runtime in Express, with its in-memory runner and its built-in agent. */
import { BuiltInAgent, CopilotRuntime, InMemoryAgentRunner } from "@copilotkit/runtime/v2";
import { createCopilotExpressHandler } from "@copilotkit/runtime/v2/express";
import express from "express";
import { listen } from "../support/serve.mjs";
import { languageModel } from "./ai-sdk-model.mjs";

const runtime = new CopilotRuntime({
  agents: { default: new BuiltInAgent({ model: languageModel("v3") }) },
  runner: new InMemoryAgentRunner(),
});
const app = express();
app.use(createCopilotExpressHandler({ runtime, basePath: "/api/copilotkit" }));
listen(app);

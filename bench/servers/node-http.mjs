/** The floor below every agent: the same frames, written by node:http. */
import { createServer } from "node:http";
import { tokensFor } from "../support/answer.mjs";
import { readJson } from "../support/read-json.mjs";
import { listen } from "../support/serve.mjs";

listen(
  createServer(async (request, response) => {
    const { message } = await readJson(request);
    response.writeHead(200, { "content-type": "text/event-stream" });
    for await (const token of tokensFor([message])) {
      response.write(`data: ${JSON.stringify({ delta: token })}\n\n`);
    }
    response.end("data: [DONE]\n\n");
  }),
);

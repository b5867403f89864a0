import express from "express";
import { expect, test } from "vitest";
import { toExpress, type FetchHandler } from "../../src/express.js";
import { authenticate, handlerFor, listen } from "../support/http-service.js";

const json = JSON.stringify({ session_id: "s1", message: "x", stream: false });

/** What a browser sends of itself with what a page of another site makes it post. */
const crossSite = {
  "sec-fetch-site": "cross-site",
  origin: "https://evil.test",
  authorization: "Basic YW5uOng=",
};

/** By the route that writes to Node's response, and by the one through `Request` and `Response`. */
const ways: [string, (handler: FetchHandler) => FetchHandler][] = [
  ["the handler itself", (handler) => handler],
  [
    "one that wraps it",
    (handler) => Object.assign((request: Request) => handler(request), { basePath: handler.basePath }),
  ],
];

test.each(ways)("what a body parser made of a form or a text is still one, for %s", async (_way, wrap) => {
  let runs = 0;
  const { handler } = await handlerFor(
    () => {
      runs += 1;
      return "Hello";
    },
    {
      authenticate: (request) =>
        request.headers.get("authorization")?.startsWith("Basic ") === true
          ? { userId: "ann", admin: false }
          : authenticate(request),
    },
  );
  const app = express();
  app.use(
    express.urlencoded({ extended: false }),
    express.json({ type: ["application/json", "text/plain", "application/x-none"] }),
    toExpress(wrap(handler)),
  );
  const origin = await listen(app);
  const statusOf = async (headers: Record<string, string>, body: string): Promise<number> =>
    (await fetch(`${origin}/agent_backend/chat`, { method: "POST", headers, body })).status;

  const form = { "content-type": "application/x-www-form-urlencoded" };
  expect(await statusOf({ ...crossSite, ...form }, "session_id=s1&message=x")).toBe(403);
  expect(await statusOf({ ...crossSite, "content-type": "text/plain" }, json)).toBe(403);
  const own = { authorization: "Bearer ann" };
  expect(await statusOf({ ...own, ...form }, "session_id=s1&message=x")).toBe(415);
  expect(await statusOf({ ...own, "content-type": "application/x-none" }, json)).toBe(415);
  expect(runs).toBe(0);
  expect(await statusOf({ ...own, "content-type": "text/plain" }, json)).toBe(200);
  expect(await statusOf({ ...own, "content-type": "application/json" }, json)).toBe(200);
  expect(runs).toBe(2);
});

import { fileURLToPath } from "node:url";
import { createHttpHandler } from "agent-sessions/http";
import { toExpress } from "agent-sessions/express";
import type { ChatService } from "agent-sessions";
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from "express";
import type { Caller } from "./assistant.js";
import { DemoLogin, type DemoUser } from "./demo-login.js";
import type { OfferedModel } from "./models.js";

/** The web server: the agents' routes under /agent_backend, a demo login, and the page. */
export function createApp(chat: ChatService<object, Caller>, offered: readonly OfferedModel[]): Express {
  const login = new DemoLogin();
  const agents = createHttpHandler<object, Caller, DemoUser>(chat, {
    authenticate: (request) => login.userOf(request),
    isAdmin: (user) => user.isAdmin,
    context: (_request, user) => ({ userId: user?.userId ?? "" }),
    allowModels: offered,
    // What our tools say when they fail, or when a human said no, is fit for users.
    showToolErrors: true,
    onError: (error) => {
      console.error(error);
    },
  });

  const app = express();
  app.disable("x-powered-by");
  app.use(securityHeaders);
  app.use(toExpress(agents));
  app.post("/demo/login", express.json({ limit: "2kb" }), (req, res) => {
    // Without a body that is JSON there is none.
    const { name } = (req.body ?? {}) as { name?: unknown };
    const signedIn = login.signIn(name);
    if (signedIn === undefined) {
      res.status(400).json({
        error: { message: "A name has 1 to 20 letters, digits or dashes, and begins with a letter." },
      });
      return;
    }
    res.set("cache-control", "no-store").set("set-cookie", login.cookieOf(signedIn.token)).json(signedIn);
  });
  app.get("/demo/models", (_req, res) => {
    res.json({ models: offered });
  });
  app.use(express.static(fileURLToPath(new URL("./public", import.meta.url))));
  app.use(answerErrors);
  return app;
}

/** The page needs nothing from elsewhere, so nothing from elsewhere is let in. */
const securityHeaders: RequestHandler = (_req, res, next) => {
  res.set({
    "content-security-policy":
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
  });
  next();
};

/** Express's own answer to an error shows its stack. It knows this one by its four parameters. */
const answerErrors: ErrorRequestHandler = (error: { status?: unknown }, _req, res, next) => {
  if (res.headersSent) {
    next(error);
    return;
  }
  const status = typeof error.status === "number" ? error.status : 500;
  if (status >= 500) console.error(error);
  res
    .status(status)
    .json({ error: { message: status >= 500 ? "The request failed." : "The request is not valid." } });
};

import type { RequestHandler } from "express";
import session from "express-session";
import express5 from "express";
import passport from "passport";
import { Strategy as LocalStrategy } from "passport-local";
import { describe, expect, test } from "vitest";
import { nodeRequestOf, toExpress, type NodeRequest } from "../../src/express.js";
import type { Script } from "../../src/testing/index.js";
import { express4 } from "../support/http-hosts.js";
import { handlerFor, listen, payloads, type TestUser } from "../support/http-service.js";

/** Who passport says somebody is: its own type for it is empty, and for hosts to fill. */
type Known = Express.User & { readonly id: string };

/** The host of docs/auth.md, with a way to take a user's account away. */
async function host(
  express: typeof express5,
  script: Script,
): Promise<{ origin: string; gone: Set<string> }> {
  const gone = new Set<string>();
  const auth = new passport.Passport();
  auth.use(
    new LocalStrategy((username, password, done) => {
      done(null, password === `${username}s-password` && { id: username });
    }),
  );
  auth.serializeUser((user, done) => {
    done(null, (user as Known).id);
  });
  auth.deserializeUser((id: string, done) => {
    done(null, !gone.has(id) && { id });
  });
  const { handler } = await handlerFor(script, {
    authenticate: (request): TestUser | null => {
      const user = nodeRequestOf<NodeRequest & { user?: Known }>(request)?.user;
      return user === undefined ? null : { userId: user.id, admin: user.id === "root" };
    },
  });
  const app = express();
  app.use(session({ secret: "of the test", resave: false, saveUninitialized: false, rolling: true }));
  // Their types are those of Express 5; what is used is the same in both.
  app.use(auth.session() as RequestHandler);
  app.post("/login", express.json(), auth.authenticate("local") as RequestHandler, (_request, response) => {
    response.sendStatus(204);
  });
  app.post("/logout", (request, response, next) => {
    request.logout((error) => {
      if (error === undefined || error === null) response.sendStatus(204);
      else next(error);
    });
  });
  app.use(toExpress(handler));
  return { origin: await listen(app), gone };
}

/** A browser, as far as cookies go. */
class Browser {
  readonly #origin: string;
  cookie = "";

  constructor(origin: string) {
    this.#origin = origin;
  }

  async send(
    method: string,
    path: string,
    body?: object,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const answer = await fetch(this.#origin + path, {
      method,
      headers: {
        "content-type": "application/json",
        "sec-fetch-site": "same-origin",
        ...(this.cookie !== "" && { cookie: this.cookie }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    this.cookie = answer.headers.getSetCookie()[0]?.split(";", 1)[0] ?? this.cookie;
    return answer;
  }

  async login(username: string, password = `${username}s-password`): Promise<number> {
    return (await this.send("POST", "/login", { username, password })).status;
  }

  say(message: string, headers?: Record<string, string>): Promise<Response> {
    return this.send("POST", "/agent_backend/chat", { session_id: "main", message }, headers);
  }

  async statusOf(method: string, path: string): Promise<number> {
    return (await this.send(method, `/agent_backend${path}`)).status;
  }

  /** What the user's session holds, or the status of a refusal. */
  async history(): Promise<unknown[] | number> {
    const answer = await this.send("GET", "/agent_backend/chat/main/messages");
    if (!answer.ok) return answer.status;
    const { messages } = (await answer.json()) as { messages: { content: unknown }[] };
    return messages.map(({ content }) => content);
  }
}

function deltasOf(text: string): string {
  return payloads(text)
    .map(({ delta }) => (typeof delta === "string" ? delta : ""))
    .join("");
}

const echo: Script = (messages) => `You said: ${messages.at(-1)?.text ?? ""}`;

describe.each([
  ["Express 4", express4],
  ["Express 5", express5],
])("passport and express-session on %s", (_name, express) => {
  test("whoever logs in has their own conversation by the cookie alone", async () => {
    const { origin } = await host(express, echo);
    const [ada, ben] = [new Browser(origin), new Browser(origin)];
    expect((await ada.say("Hi")).status).toBe(401);
    expect(await ada.login("ada", "wrong")).toBe(401);
    expect((await ada.say("Hi")).status).toBe(401);
    expect([await ada.login("ada"), await ben.login("ben")]).toEqual([204, 204]);

    const answer = await ada.say("I am ada");
    expect(answer.headers.get("content-type")).toContain("text/event-stream");
    // A session that rolls has its cookie renewed by a stream as by any other answer.
    expect(answer.headers.getSetCookie()).toHaveLength(1);
    expect(deltasOf(await answer.text())).toBe("You said: I am ada");

    // To another user it is what does not exist.
    expect(await ben.history()).toBe(404);
    expect(await ben.statusOf("GET", "/chat/main/stream")).toBe(204);
    expect(await ben.statusOf("POST", "/chat/main/stop")).toBe(404);
    expect(await ben.statusOf("DELETE", "/sessions/main")).toBe(404);
    // And under the same id they have one of their own.
    await Promise.all([ada.say("Again"), ben.say("I am ben")].map(async (said) => (await said).text()));
    expect(await ada.history()).toEqual(["I am ada", "You said: I am ada", "Again", "You said: Again"]);
    expect(await ben.history()).toEqual(["I am ben", "You said: I am ben"]);
    const listed = await ben.send("GET", "/agent_backend/sessions");
    expect(await listed.json()).toMatchObject({ sessions: [{ user_id: "ben", session_id: "main" }] });
  });

  test("what passport knows of a user decides who is an admin", async () => {
    const { origin } = await host(express, echo);
    const [ada, root] = [new Browser(origin), new Browser(origin)];
    await Promise.all([ada.login("ada"), root.login("root")]);
    expect(await ada.statusOf("GET", "/agent-stats")).toBe(403);
    expect(await root.statusOf("GET", "/agent-stats")).toBe(200);
  });

  test("after a logout, or when the account is gone, the cookie opens nothing", async () => {
    const { origin, gone } = await host(express, echo);
    const [ada, ben] = [new Browser(origin), new Browser(origin)];
    await Promise.all([ada.login("ada"), ben.login("ben")]);
    await Promise.all([ada, ben].map(async (browser) => (await browser.say("Hi")).text()));
    const before = ada.cookie;
    expect((await ada.send("POST", "/logout")).status).toBe(204);
    expect(await ada.history()).toBe(401);
    ada.cookie = before;
    expect(await ada.history()).toBe(401);
    expect((await ada.say("Hi again")).status).toBe(401);
    expect(await ada.login("ada")).toBe(204);
    expect(await ada.history()).toEqual(["Hi", "You said: Hi"]);

    gone.add("ben");
    expect(await ben.history()).toBe(401);
  });

  test("a page of another site cannot use the cookie", async () => {
    const { origin } = await host(express, echo);
    const ada = new Browser(origin);
    await ada.login("ada");
    await (await ada.say("Hi")).text();
    const elsewhere: Record<string, string>[] = [
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "cross-site", "content-type": "text/plain" },
      { "sec-fetch-site": "cross-site", "content-type": "application/x-www-form-urlencoded" },
    ];
    for (const headers of elsewhere) {
      const answer = await ada.say("Sent by another site", headers);
      expect(answer.status).toBe(403);
      expect(await answer.json()).toMatchObject({ error: { code: "CROSS_SITE" } });
    }
    const deleted = await ada.send("DELETE", "/agent_backend/sessions/main", undefined, elsewhere[0]);
    expect(deleted.status).toBe(403);
    expect(await ada.history()).toEqual(["Hi", "You said: Hi"]);
  });
});

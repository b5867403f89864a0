import { Api, ApiError, readEvents } from "./api.js";
import { Conversation } from "./conversation.js";
import { el, randomId } from "./dom.js";
import { MessageList } from "./message-list.js";
import { PanelMemory } from "./panel-memory.js";
import { signInForm } from "./sign-in.js";

const SUGGESTIONS = ["What is the weather in Lisbon?", "Send 20 euros to Ben", "Tell me a story"];
const RECONNECT_MS = [300, 1_000, 2_000, 4_000, 8_000];

/*
 * One user's chat. It is always in one of these:
 *
 *   signed out    the form of the login is shown.
 *   ready         a session is shown; the user may write, or has a question of the agent to answer.
 *   reading       a run is under way and #run names it. Only its stream leaves this: at its end, or when it is lost.
 *
 * Showing another session, signing out and a reload abandon the stream; the run goes on at the server, and whoever
 * shows its session again reads on.
 */
export class ChatPanel {
  #root;
  #options;
  #memory;
  #models;
  #api;
  #sessionId;
  /** { id, stopping } of the run that is read. */
  #run;
  #reading = new AbortController();
  /** Settles when the session is shown; what the user does meanwhile waits for it. */
  #opened;
  #listings = 0;
  #conversation;
  #ui;

  constructor(root, { name, suggestedUser, models }) {
    this.#root = root;
    this.#options = { name, suggestedUser };
    this.#models = models;
    this.#memory = new PanelMemory(name);
    const token = this.#memory.get("token");
    if (token === undefined) this.#showSignIn();
    else void this.#enter();
  }

  // Signing in and out

  #showSignIn(message) {
    this.#abandon();
    this.#memory.clear();
    const { name, suggestedUser } = this.#options;
    this.#root.replaceChildren(
      signInForm({
        id: `name-${name}`,
        title: "Sign in",
        hint: "A demo: any name will do, there is no password.",
        suggestedUser,
        message,
        onSignedIn: ({ userId, token }) => {
          this.#memory.set({ user: userId, token });
          void this.#enter();
        },
      }),
    );
  }

  async #enter() {
    this.#api = new Api(this.#memory.get("token"));
    this.#build();
    await this.#open(this.#memory.get("sessionId") ?? newSessionId());
  }

  // Sessions

  #open(sessionId) {
    return (this.#opened = this.#show(sessionId));
  }

  /** Shows a session, and goes on with its answer if one is under way: that is not waited for. */
  async #show(sessionId) {
    const { signal } = this.#abandon();
    this.#sessionId = sessionId;
    this.#memory.set({ sessionId });
    const { log } = this.#ui;
    log.clear();
    this.#conversation = new Conversation((item) => log.show(item));
    this.#update();
    try {
      const sessions = await this.#listSessions();
      // A session is listed when its first run begins; a message that waits for its turn was sent all the same.
      const isKnown =
        sessions.some(({ session_id: id }) => id === sessionId) ||
        this.#memory.get("sent")?.sessionId === sessionId;
      const history = isKnown ? await this.#api.history(sessionId, signal) : undefined;
      if (signal.aborted) return;
      if (history !== undefined) {
        this.#conversation.load(history);
        const { run } = history;
        if (run?.status === "running" || run?.status === "queued") {
          // A message that was sent a moment ago may not be in the history yet.
          const sent = this.#memory.get("sent");
          if (sent?.runId === run.run_id && !this.#conversation.has(sent.id))
            this.#conversation.addUser(sent.id, sent.text);
          void this.#read(run.run_id, () => this.#api.follow(sessionId, run.run_id, undefined, signal));
        }
      }
      log.scrollToEnd();
      this.#update();
    } catch (error) {
      this.#fail(error, signal);
    }
  }

  /** Leaves the stream that is read, if any. The next one may use what this returns. */
  #abandon() {
    this.#reading.abort();
    this.#listings += 1;
    this.#run = undefined;
    return (this.#reading = new AbortController());
  }

  async #listSessions() {
    const listing = ++this.#listings;
    const sessions = await this.#api.sessions();
    // A later list has been asked for, or the user has left.
    if (listing !== this.#listings) return sessions;
    const current = sessions.find(({ session_id: id }) => id === this.#sessionId);
    if (current !== undefined) this.#chooseModel(current);
    const chips = sessions.map(({ session_id: id, state }) =>
      el(
        "li",
        {},
        el(
          "button",
          {
            type: "button",
            class: "chip",
            "data-state": state,
            "aria-current": id === this.#sessionId ? "true" : "false",
            title: `${id}: ${state}`,
            onclick: () => void this.#open(id),
          },
          id,
        ),
      ),
    );
    if (current === undefined)
      chips.unshift(
        el("li", {}, el("button", { type: "button", class: "chip", "aria-current": "true" }, "new session")),
      );
    this.#ui.sessions.replaceChildren(...chips);
    return sessions;
  }

  async #deleteSession() {
    const { signal } = this.#reading;
    try {
      await this.#api.deleteSession(this.#sessionId);
    } catch (error) {
      // One that has not begun is not there.
      if (error.code !== "SESSION_NOT_FOUND") return this.#fail(error, signal);
    }
    await this.#open(newSessionId());
  }

  // Runs

  async #send() {
    await this.#opened;
    const { message } = this.#ui;
    const text = message.value.trim();
    if (text === "" || this.#run !== undefined || this.#conversation.pending.length > 0) return;
    // A message that may have got through is sent again under the same ids, so that it is answered once.
    const unsent = this.#memory.get("unsent");
    const again = unsent?.text === text && unsent.sessionId === this.#sessionId;
    const sent = again
      ? unsent
      : { id: randomId("msg-"), runId: randomId("run-"), text, sessionId: this.#sessionId };
    this.#memory.set({ sent, unsent: sent });
    const { provider, model } = this.#models[this.#ui.model.value];
    const { signal } = this.#reading;
    message.value = "";
    this.#conversation.addUser(sent.id, text);
    this.#ui.log.scrollToEnd();
    await this.#read(sent.runId, async () => {
      const answer = await this.#api
        .chat(
          {
            session_id: sent.sessionId,
            run_id: sent.runId,
            message: { id: sent.id, content: text },
            provider,
            model_name: model,
          },
          signal,
        )
        .catch((error) => {
          if (!signal.aborted) message.value = text;
          throw error;
        });
      this.#memory.set({ unsent: undefined });
      void this.#listSessions().catch(() => undefined);
      return answer;
    });
  }

  async #decide(key, decision) {
    if (this.#run !== undefined) return;
    const { actions } = this.#conversation.pending.find((item) => item.key === key);
    this.#conversation.decide(key, decision);
    const answer =
      decision === "approve" ? { type: "approve" } : { type: "reject", message: "The user rejected it." };
    const runId = randomId("run-");
    const body = { answers: { [key]: { decisions: actions.map(() => answer) } }, run_id: runId };
    const { signal } = this.#reading;
    await this.#read(runId, () =>
      this.#api.resume(this.#sessionId, body, signal).catch((error) => {
        if (!signal.aborted) this.#conversation.decide(key, undefined);
        throw error;
      }),
    );
  }

  /** Reads a run to its end. When the connection is lost, it goes on after the last event that was seen. */
  async #read(runId, start) {
    const { signal } = this.#reading;
    const sessionId = this.#sessionId;
    this.#run = { id: runId, stopping: false };
    this.#fail(undefined, signal);
    this.#update();
    try {
      let lastEventId;
      let response = await start();
      // A stream that has nothing left to tell is a 204.
      for (let attempt = 0; response.status !== 204;) {
        try {
          for await (const { id, event } of readEvents(response)) {
            if (signal.aborted) return;
            if (event.type === "stream-error") throw new ApiError(0, event.error.code, event.error.message);
            this.#conversation.apply(event);
            lastEventId = id;
            attempt = 0;
            if (event.type === "run-finished") return;
          }
        } catch (error) {
          if (signal.aborted || error instanceof ApiError) throw error;
        }
        this.#ui.status.textContent = "Reconnecting…";
        response = await reconnect(() => this.#api.follow(sessionId, runId, lastEventId, signal), attempt++);
        this.#update();
      }
    } catch (error) {
      this.#fail(error, signal);
    } finally {
      if (!signal.aborted) {
        this.#run = undefined;
        this.#update();
        void this.#listSessions().catch(() => undefined);
      }
    }
  }

  async #stop() {
    const { signal } = this.#reading;
    this.#run.stopping = true;
    this.#update();
    try {
      // Its stream ends by itself then.
      await this.#api.stop(this.#sessionId, this.#run.id);
    } catch (error) {
      // It had ended before.
      if (error.code !== "RUN_NOT_FOUND") this.#fail(error, signal);
    }
  }

  // What is shown

  /** Tells the user what went wrong; `undefined` takes it away. */
  #fail(error, signal) {
    if (signal.aborted) return;
    if (error?.status === 401) this.#showSignIn("The login has ended. Sign in again.");
    else this.#ui.alert.textContent = error?.message ?? "";
  }

  #update() {
    const { log, status, send, stop, message, suggestions, remove } = this.#ui;
    const isReading = this.#run !== undefined;
    const isAsked = !isReading && this.#conversation.pending.length > 0;
    log.busy = isReading;
    status.textContent = isReading ? (this.#run.stopping ? "Stopping…" : "Answering…") : "";
    this.#root.dataset.state = isReading ? "reading" : isAsked ? "asked" : "ready";
    const hadFocus = [send, stop].includes(document.activeElement);
    send.hidden = isReading;
    stop.hidden = !isReading;
    stop.disabled = this.#run?.stopping ?? false;
    send.disabled = isAsked;
    if (hadFocus) (isReading ? stop : message).focus();
    message.placeholder = isAsked ? "Approve or reject first" : "Write a message";
    suggestions.hidden = isReading || isAsked || !this.#conversation.isEmpty;
    remove.disabled = isReading;
  }

  #chooseModel({ provider, model }) {
    const index = this.#models.findIndex((choice) => choice.provider === provider && choice.model === model);
    if (index >= 0) this.#ui.model.value = String(index);
  }

  #build() {
    const user = this.#memory.get("user");
    const { name } = this.#options;
    const log = new MessageList((key, decision) => void this.#decide(key, decision));
    const sessions = el("ul", { class: "sessions", "aria-label": "Sessions" });
    const model = el(
      "select",
      { id: `model-${name}` },
      ...this.#models.map((choice, index) =>
        el("option", { value: String(index) }, `${choice.provider} · ${choice.model}`),
      ),
    );
    const remove = el(
      "button",
      {
        type: "button",
        class: "quiet",
        title: "Delete this session",
        onclick: () => void this.#deleteSession(),
      },
      "Delete",
    );
    const message = el("textarea", {
      id: `message-${name}`,
      rows: "2",
      onkeydown: (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        void this.#send();
      },
    });
    const send = el("button", { type: "submit", class: "primary" }, "Send");
    const stop = el("button", { type: "button", class: "stop", onclick: () => void this.#stop() }, "Stop");
    const status = el("p", { class: "status", role: "status" });
    const alert = el("p", { class: "alert", role: "alert" });
    const suggestions = el(
      "div",
      { class: "suggestions" },
      ...SUGGESTIONS.map((text) =>
        el(
          "button",
          {
            type: "button",
            class: "chip",
            onclick: () => {
              message.value = text;
              void this.#send();
            },
          },
          text,
        ),
      ),
    );
    this.#ui = { log, sessions, model, remove, message, send, stop, status, alert, suggestions };
    this.#root.replaceChildren(
      el(
        "header",
        { class: "panel-head" },
        el("span", { class: "avatar", "aria-hidden": "true" }, user.slice(0, 1).toUpperCase()),
        el("h2", {}, user),
        status,
        el("button", { type: "button", class: "quiet", onclick: () => this.#showSignIn() }, "Sign out"),
      ),
      el(
        "div",
        { class: "session-bar" },
        el(
          "button",
          { type: "button", class: "chip new", onclick: () => void this.#open(newSessionId()) },
          "+ New",
        ),
        sessions,
      ),
      log.element,
      suggestions,
      alert,
      el(
        "form",
        {
          class: "composer",
          onsubmit: (event) => {
            event.preventDefault();
            void this.#send();
          },
        },
        el("label", { for: message.id, class: "visually-hidden" }, `Message of ${user}`),
        el("div", { class: "row" }, message, send, stop),
        el("div", { class: "row options" }, el("label", { for: model.id }, "Model"), model, remove),
      ),
    );
  }
}

/** Asks for a stream again while the server cannot be reached, for a while. */
async function reconnect(follow, attempt) {
  for (const delay of RECONNECT_MS.slice(attempt)) {
    await new Promise((resolve) => setTimeout(resolve, delay));
    try {
      return await follow();
    } catch (error) {
      if (error.status !== 0) throw error;
    }
  }
  throw new ApiError(0, "UNREACHABLE", "The connection was lost. Reload this page to see the answer.");
}

function newSessionId() {
  return randomId("chat-", 3);
}

import { Api } from "./api.js";
import { AgentsChart } from "./chart.js";
import { el } from "./dom.js";
import { PanelMemory } from "./panel-memory.js";
import { signInForm } from "./sign-in.js";

const POLL_MS = 1_000;

/** What an operator sees: the agents of this process, everybody's sessions, and how the service is. */
export class AdminPanel {
  #root;
  #memory = new PanelMemory("admin");
  #api;
  #ui;
  #rows = new Map();

  constructor(root) {
    this.#root = root;
    if (this.#memory.get("token") === undefined) this.#showSignIn();
    else this.#enter();
  }

  #showSignIn(message) {
    this.#api = undefined;
    this.#memory.clear();
    this.#root.replaceChildren(
      signInForm({
        id: "name-admin",
        title: "Admin",
        hint: "A demo: whoever signs in as “admin” is the admin.",
        suggestedUser: "admin",
        message,
        onSignedIn: ({ token }) => {
          this.#memory.set({ token });
          this.#enter();
        },
      }),
    );
  }

  #enter() {
    this.#api = new Api(this.#memory.get("token"));
    this.#build();
    void this.#poll(this.#api);
  }

  async #poll(api) {
    while (api === this.#api) {
      if (document.visibilityState === "visible") await this.#refresh();
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async #refresh() {
    const api = this.#api;
    try {
      const [stats, sessions, health] = await Promise.all([api.stats(), api.allSessions(), api.health()]);
      if (api !== this.#api) return;
      this.#ui.alert.textContent = "";
      this.#showStats(stats);
      this.#showSessions(sessions);
      this.#showHealth(health);
    } catch (error) {
      if (api !== this.#api) return;
      if (error.status === 401) this.#showSignIn("The login has ended. Sign in again.");
      else if (error.status === 403) this.#showSignIn("Only “admin” may see this.");
      else this.#ui.alert.textContent = error.message ?? String(error);
    }
  }

  #showStats(stats) {
    const { figures, chart } = this.#ui;
    for (const [name, element] of Object.entries(figures)) {
      const text = name === "agent_ttl" ? duration(stats[name]) : String(stats[name]);
      if (element.textContent !== text) element.textContent = text;
    }
    chart.add(stats.active_agents, stats.idle_agents);
  }

  #showHealth({ status, store }) {
    const { health } = this.#ui;
    health.dataset.status = status;
    health.textContent = store === undefined ? status : `${status} · store ${store}`;
  }

  /** Rows are kept while their session is there, so that a button does not vanish under the pointer or the focus. */
  #showSessions(sessions) {
    const { body, none } = this.#ui;
    const rows = new Map();
    for (const session of sessions) {
      const { user_id: userId, session_id: sessionId, state, provider, model } = session;
      const key = JSON.stringify([userId, sessionId]);
      const row = this.#rows.get(key) ?? this.#row(userId, sessionId);
      rows.set(key, row);
      row.state.textContent = state;
      row.state.dataset.state = state;
      row.model.textContent = model ?? provider ?? "default";
      // The agent is gone already; the conversation is stored.
      row.remove.disabled = state === "stored";
    }
    for (const [key, { element }] of this.#rows) if (!rows.has(key)) element.remove();
    [...rows.values()].forEach(({ element }, index) => {
      if (body.children[index] !== element) body.insertBefore(element, body.children[index] ?? null);
    });
    this.#rows = rows;
    none.hidden = rows.size > 0;
  }

  #row(userId, sessionId) {
    const state = el("span", { class: "state" });
    const model = el("span", { class: "model" });
    const label = `Remove the agent of ${userId ?? "nobody"}, ${sessionId}`;
    const act = () => void this.#act(() => this.#remove(sessionId, userId));
    const remove = el(
      "button",
      { type: "button", class: "quiet", "aria-label": label, onclick: act },
      "Remove",
    );
    const element = el(
      "tr",
      {},
      el("td", {}, el("strong", {}, userId ?? "–"), el("span", { class: "id" }, sessionId)),
      el("td", {}, state, model),
      el("td", {}, remove),
    );
    return { element, state, model, remove };
  }

  async #remove(sessionId, userId) {
    const { removed } = await this.#api.removeAgent(sessionId, userId);
    return removed ? `The agent of ${sessionId} is gone; its conversation is kept.` : "It had no agent.";
  }

  async #cleanup() {
    const {
      expired_agents: agents,
      expired_runs: runs,
      deleted_sessions: sessions,
    } = await this.#api.cleanup();
    return `Cleaned up: ${agents} agents, ${runs} runs, ${sessions} sessions.`;
  }

  async #act(action) {
    const { said } = this.#ui;
    try {
      said.textContent = await action();
    } catch (error) {
      said.textContent = error.message;
    }
    await this.#refresh();
  }

  #build() {
    this.#rows = new Map();
    const figure = () => el("dd");
    const figures = {
      total_agents: figure(),
      active_agents: figure(),
      idle_agents: figure(),
      max_agents: figure(),
      agent_ttl: figure(),
    };
    const named = (text, name) => el("div", { class: name }, el("dt", {}, text), figures[name]);
    const chart = new AgentsChart();
    const health = el("span", { class: "health" });
    const body = el("tbody");
    const none = el("p", { class: "hint" }, "No sessions yet.");
    const said = el("p", { class: "hint", role: "status" });
    const alert = el("p", { class: "alert", role: "alert" });
    this.#ui = { figures, chart, health, body, none, said, alert };
    this.#root.replaceChildren(
      el(
        "header",
        { class: "panel-head" },
        el("h2", {}, "Admin"),
        health,
        el("button", { type: "button", class: "quiet", onclick: () => this.#showSignIn() }, "Sign out"),
      ),
      el(
        "div",
        { class: "admin-body" },
        el(
          "dl",
          { class: "figures" },
          named("Agents", "total_agents"),
          named("Active", "active_agents"),
          named("Idle", "idle_agents"),
          named("Max", "max_agents"),
          named("TTL", "agent_ttl"),
        ),
        chart.element,
        el("h3", {}, "Sessions"),
        el(
          "table",
          {},
          el("caption", { class: "visually-hidden" }, "Sessions of all users"),
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              ...["Session", "State and model", ""].map((text) => el("th", { scope: "col" }, text)),
            ),
          ),
          body,
        ),
        none,
        el(
          "div",
          { class: "row" },
          el("button", { type: "button", onclick: () => void this.#act(() => this.#cleanup()) }, "Clean up"),
          said,
        ),
        alert,
      ),
    );
  }
}

function duration(seconds) {
  if (seconds >= 3_600) return `${+(seconds / 3_600).toFixed(1)} h`;
  return seconds >= 60 ? `${+(seconds / 60).toFixed(1)} min` : `${seconds} s`;
}

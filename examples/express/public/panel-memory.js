/** What one panel remembers over a reload, in this tab alone: { user, token, sessionId, sent }. */
export class PanelMemory {
  #key;
  #values;

  constructor(name) {
    this.#key = `agent-sessions:${name}`;
    this.#values = JSON.parse(sessionStorage.getItem(this.#key) ?? "{}");
  }

  get(name) {
    return this.#values[name];
  }

  set(values) {
    Object.assign(this.#values, values);
    sessionStorage.setItem(this.#key, JSON.stringify(this.#values));
  }

  clear() {
    this.#values = {};
    sessionStorage.removeItem(this.#key);
  }
}

/**
 * What a panel shows of a session, as a list of items: { key, kind, … } with the kinds user, text, tool, approval and
 * note. Every item has the key that history and events share (the id of a message or a tool call), and whatever comes
 * again takes the place of what was there. So a history that already holds a part of a run, followed by all events of
 * that run, gives the same as the run alone: this is what makes a reload in mid-answer safe.
 */
export class Conversation {
  #items = new Map();
  #onChange;

  /** `onChange(item)` is called for each item that is new or other than before. */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  get isEmpty() {
    return this.#items.size === 0;
  }

  has(key) {
    return this.#items.has(key);
  }

  /** The questions that nobody has answered. */
  get pending() {
    return [...this.#items.values()].filter(({ kind, decision }) => kind === "approval" && !decision);
  }

  #put(key, change) {
    const item = this.#items.get(key) ?? { key };
    Object.assign(item, change);
    this.#items.set(key, item);
    this.#onChange(item);
    return item;
  }

  addUser(key, text) {
    this.#put(key, { kind: "user", text });
  }

  addNote(text, tone = "info") {
    this.#put(`note-${this.#items.size}`, { kind: "note", text, tone });
  }

  decide(key, decision) {
    this.#put(key, { decision });
    this.#markTools(
      decision === undefined ? "waiting" : "asked",
      decision === undefined ? "asked" : "waiting",
    );
  }

  /** Takes what `GET /chat/{id}/messages` gave. */
  load({ messages, interrupts }) {
    for (const {
      id,
      role,
      content,
      tool_calls: calls = [],
      tool_call_id: callId,
      is_error: failed,
    } of messages) {
      if (role === "user") this.addUser(id, textOf(content));
      if (role === "assistant" && textOf(content) !== "")
        this.#put(id, { kind: "text", text: textOf(content) });
      for (const { id: key, name, input } of calls)
        this.#put(key, { kind: "tool", name, input, state: "waiting" });
      if (role === "tool")
        this.#put(callId, { kind: "tool", output: textOf(content), state: failed ? "failed" : "done" });
    }
    for (const interrupt of interrupts) this.#ask(interrupt);
  }

  /** Takes one event of a run. */
  apply(event) {
    switch (event.type) {
      case "text-start":
        this.#put(event.id, { kind: "text", text: "" });
        break;
      case "text-delta":
        this.#put(event.id, { text: this.#items.get(event.id).text + event.delta });
        break;
      case "tool-input-start":
        this.#put(event.toolCallId, {
          kind: "tool",
          name: event.toolName,
          input: undefined,
          state: "waiting",
        });
        break;
      case "tool-input-available":
        this.#put(event.toolCallId, {
          kind: "tool",
          name: event.toolName,
          input: event.input,
          state: "waiting",
        });
        break;
      case "tool-output-available":
        this.#put(event.toolCallId, { kind: "tool", output: textOf(event.output), state: "done" });
        break;
      case "tool-output-error":
        this.#put(event.toolCallId, { kind: "tool", output: event.message, state: "failed" });
        break;
      case "interrupt":
        this.#ask(event);
        break;
      case "run-finished":
        if (event.outcome === "cancelled") this.addNote("Stopped.");
        if (event.outcome === "failed") this.addNote(event.error?.message ?? "The answer failed.", "error");
        break;
      // Others, such as steps, reasoning and usage, are not shown here.
    }
  }

  #ask({ id, kind, value }) {
    if (kind !== "approval") return;
    this.#put(id, { kind: "approval", actions: value.actionRequests, decision: undefined });
    this.#markTools("waiting", "asked");
  }

  /** Calls that stand still until the user has decided are not shown as at work. */
  #markTools(from, to) {
    for (const { key, kind, state } of this.#items.values())
      if (kind === "tool" && state === from) this.#put(key, { state: to });
  }
}

function textOf(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return JSON.stringify(content);
  return content.map((block) => block.text ?? "").join("");
}

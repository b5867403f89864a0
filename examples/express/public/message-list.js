import { el } from "./dom.js";

/** Shows the items of a conversation in a log, and keeps to its end unless the reader has scrolled up. */
export class MessageList {
  /** Read out by screen readers, when an answer is whole. */
  element = el("div", {
    class: "log",
    role: "log",
    "aria-live": "polite",
    "aria-label": "Conversation",
    tabindex: "0",
  });
  #shown = new Map();
  #onDecide;

  /** `onDecide(key, "approve" | "reject")` is called when the user has decided. */
  constructor(onDecide) {
    this.#onDecide = onDecide;
  }

  clear() {
    this.#shown.clear();
    this.element.replaceChildren();
  }

  set busy(busy) {
    this.element.setAttribute("aria-busy", String(busy));
  }

  scrollToEnd() {
    this.element.scrollTop = this.element.scrollHeight;
  }

  show(item) {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    const wasAtEnd = scrollHeight - scrollTop - clientHeight < 40;
    let shown = this.#shown.get(item.key);
    if (shown === undefined || shown.kind !== item.kind) {
      shown = { kind: item.kind, ...this.#build(item) };
      this.#shown.set(item.key, shown);
      this.element.append(shown.element);
    }
    shown.update(item);
    if (wasAtEnd) this.scrollToEnd();
  }

  #build(item) {
    switch (item.kind) {
      case "tool":
        return toolCard();
      case "approval":
        return approvalCard((decision) => this.#onDecide(item.key, decision));
      default:
        return textOf(item);
    }
  }
}

function textOf({ kind, tone }) {
  const element = el("div", { class: `item ${kind} ${tone ?? ""}` });
  // One text node, so that a piece that is added leaves the reader's selection alone.
  const node = document.createTextNode("");
  element.append(node);
  return {
    element,
    update({ text }) {
      if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
      else node.data = text;
    },
  };
}

const TOOL_STATES = { waiting: "running", asked: "waits for you", done: "done", failed: "no result" };

function toolCard() {
  const name = el("code", { class: "name" });
  const state = el("span", { class: "state" });
  const input = el("code", { class: "input" });
  const output = el("p", { class: "output" });
  const element = el(
    "div",
    { class: "item card tool" },
    el("p", { class: "head" }, name, state),
    input,
    output,
  );
  return {
    element,
    update(item) {
      name.textContent = item.name;
      state.textContent = TOOL_STATES[item.state];
      element.dataset.state = item.state;
      input.textContent = item.input === undefined ? "…" : argumentsOf(item.input);
      output.textContent = item.output ?? "";
      output.hidden = item.output === undefined;
    },
  };
}

const DECISIONS = { approve: "Approved.", reject: "Rejected." };

function approvalCard(onDecide) {
  const actions = el("div", { class: "actions" });
  const decided = el("p", { class: "decided" });
  const buttons = el(
    "div",
    { class: "buttons" },
    el("button", { type: "button", class: "primary", onclick: () => onDecide("approve") }, "Approve"),
    el("button", { type: "button", onclick: () => onDecide("reject") }, "Reject"),
  );
  const element = el(
    "div",
    { class: "item card approval", role: "group", "aria-label": "Approval" },
    el("p", { class: "head" }, "May the agent do this?"),
    actions,
    buttons,
    decided,
  );
  return {
    element,
    update({ actions: asked, decision }) {
      actions.replaceChildren(
        ...asked.map(({ name, args }) =>
          el(
            "p",
            {},
            el("code", { class: "name" }, name),
            " ",
            el("code", { class: "input" }, argumentsOf(args)),
          ),
        ),
      );
      buttons.hidden = decision !== undefined;
      decided.textContent = DECISIONS[decision] ?? "";
      element.dataset.decision = decision ?? "";
    },
  };
}

/** `{ city: "Lisbon" }` as `city: "Lisbon"`. */
function argumentsOf(input) {
  if (typeof input !== "object" || input === null) return JSON.stringify(input);
  return Object.entries(input)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
    .join(", ");
}

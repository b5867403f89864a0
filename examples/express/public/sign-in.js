import { signIn } from "./api.js";
import { el } from "./dom.js";

/** The form of the demo login. `onSignedIn({ userId, token })` is called with whom the server let in. */
export function signInForm({ id, title, hint, suggestedUser, message, onSignedIn }) {
  const alert = el("p", { class: "alert", role: "alert" }, message ?? "");
  const input = el("input", {
    id,
    name: "name",
    value: suggestedUser,
    required: true,
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
  });
  const submit = async (event) => {
    event.preventDefault();
    alert.textContent = "";
    try {
      onSignedIn(await signIn(input.value));
    } catch (error) {
      alert.textContent = error.message;
    }
  };
  return el(
    "form",
    { class: "sign-in", onsubmit: (event) => void submit(event) },
    el("h2", {}, title),
    el("label", { for: id }, "Name"),
    el("div", { class: "row" }, input, el("button", { type: "submit", class: "primary" }, "Sign in")),
    el("p", { class: "hint" }, hint),
    alert,
  );
}

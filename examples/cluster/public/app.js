// A chat over the neutral event stream. The browser's own EventSource reconnects by itself, to whichever process the
// proxy picks, and says how far it has read: that is all it takes to survive the loss of a process.
const api = "/agent_backend/chat";
const sessionId = (sessionStorage.session ??= crypto.randomUUID());
document.cookie = "demo-user=visitor; samesite=strict; path=/";

const messages = document.querySelector("#messages");
const status = document.querySelector("#status");
const form = document.querySelector("#ask");

/** Shows a message and gives the element that holds its text. */
function show(role, text = "") {
  const element = document.createElement("p");
  element.className = role;
  element.textContent = text;
  messages.append(element);
  element.scrollIntoView({ block: "nearest" });
  return element;
}

/** Follows the run to its end. `text` goes back to the last step's beginning when another process takes over. */
function follow(runId) {
  const element = show("assistant");
  let text = "";
  let stepStart = 0;
  let takeovers = 0;
  let breaks = 0;
  const source = new EventSource(
    `${api}/${sessionId}/stream?format=events&run_id=${encodeURIComponent(runId)}`,
  );
  source.onerror = () => {
    breaks += 1;
    status.textContent = "The process that served this is gone. Looking for another …";
    // A refusal ends an EventSource for good; a broken connection does not.
    if (source.readyState === EventSource.CLOSED) form.dataset.busy = "";
  };
  source.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    // The process is being stopped. The browser comes back by itself, to another one.
    if (event.type === "stream-error") return;
    if (event.type === "step-started") stepStart = text.length;
    else if (event.type === "text-delta") text += event.delta;
    else if (event.type === "run-resumed") {
      text = text.slice(0, stepStart);
      takeovers += 1;
    }
    element.textContent = text;
    status.textContent =
      event.type === "run-finished" ? summary(event.outcome, breaks, takeovers) : "Answering …";
    if (event.type !== "run-finished") return;
    source.close();
    form.dataset.busy = "";
  };
}

function summary(outcome, breaks, takeovers) {
  const times = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
  return `${outcome}: ${times(breaks, "broken stream")}, ${times(takeovers, "takeover")}`;
}

form.addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  if (form.dataset.busy === "yes") return;
  form.dataset.busy = "yes";
  const message = form.elements.message.value;
  const runId = crypto.randomUUID();
  show("user", message);
  const body = JSON.stringify({ session_id: sessionId, message, run_id: runId });
  // The headers come when the message is durable; the events are followed apart from this request.
  for (;;) {
    try {
      const response = await fetch(`${api}?format=events`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
      });
      await response.body.cancel();
      if (response.ok) break;
      if (response.status < 500) {
        form.dataset.busy = "";
        status.textContent = `Refused: ${response.status}`;
        return;
      }
    } catch {
      // The process died first. The same run id asks for the same run again.
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  follow(runId);
});

async function showProcesses() {
  try {
    const { processes } = await (await fetch("/demo/processes")).json();
    const cards = ["A", "B", "C"].map((name) => {
      const running = processes.find((one) => one.name === name);
      const button = document.createElement("button");
      button.type = "button";
      button.disabled = running === undefined;
      button.dataset.process = name;
      button.textContent = running === undefined ? `${name} is dead` : `kill -9 ${running.pid} (${name})`;
      button.onclick = () => {
        button.disabled = true;
        void fetch(`/demo/kill?name=${name}`, { method: "POST", headers: { "x-demo": "1" } });
      };
      return button;
    });
    const shown = cards.map((card) => card.textContent).join();
    const section = document.querySelector("#processes");
    if (section.dataset.shown !== shown) {
      section.dataset.shown = shown;
      section.replaceChildren(...cards);
    }
  } catch {
    status.textContent = "The demo has been stopped.";
  }
}

setInterval(showProcesses, 500);
void showProcesses();

import { AdminPanel } from "./admin-panel.js";
import { loadModels } from "./api.js";
import { ChatPanel } from "./chat-panel.js";

const panel = (id) => document.getElementById(id);

try {
  const models = await loadModels();
  const badge = panel("models-badge");
  badge.textContent = models.some(({ mock }) => mock) ? "mock models" : "real models";
  badge.hidden = false;

  new ChatPanel(panel("panel-a"), { name: "a", suggestedUser: "ada", models });
  new ChatPanel(panel("panel-b"), { name: "b", suggestedUser: "ben", models });
  new AdminPanel(panel("panel-admin"));
} catch {
  panel("panel-a").textContent = "The server does not answer. Is it running? Then reload this page.";
}

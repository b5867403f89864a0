import { queryLimit } from "./body.js";
import { HttpError } from "./errors.js";
import { historyOf } from "./history.js";
import { toAgUiMessages, waitingInterrupts } from "./protocols/ag-ui-history.js";
import { toUiMessages } from "./protocols/ai-sdk-history.js";
import { jsonReply } from "./reply.js";
import { checkSession, sessionOf, type Route } from "./route.js";
import { toInterruptRow } from "./runs.js";
import { historyRow } from "./rows.js";

const FORMATS: ReadonlySet<string> = new Set(["neutral", "ai-sdk", "ag-ui"]);

export const messages: Route = {
  method: "GET",
  path: "/chat/:id/messages",
  access: "user",
  async handle(context) {
    const { chat: service, query, settings } = context;
    const format = query.get("format") ?? "neutral";
    if (!FORMATS.has(format)) {
      throw new HttpError("INVALID_INPUT", "Expected `format` to be neutral, ai-sdk or ag-ui.");
    }
    const limit = queryLimit(query, 100, 1_000);
    const before = query.get("before") ?? undefined;
    const session = sessionOf(context);
    const run = await checkSession(service, session);
    // A message of the AI SDK is a whole turn, and clients look for the call of each result.
    const page = await historyOf(service, session, { limit, before, wholeTurns: format !== "neutral" });
    const visible = page.messages.filter(({ role }) => role !== "system");
    const interrupts = run !== undefined && before === undefined ? run.interrupts : [];
    const { showToolErrors } = settings;
    const shown =
      format === "ai-sdk"
        ? toUiMessages(visible, { interrupts, showToolErrors })
        : format === "ag-ui"
          ? toAgUiMessages(visible, { showToolErrors })
          : visible.map((message) => historyRow(message, showToolErrors));
    return jsonReply({
      messages: shown,
      before: page.before ?? null,
      interrupts:
        format === "ag-ui" ? waitingInterrupts(visible, interrupts) : interrupts.map(toInterruptRow),
      run: run === undefined ? null : { run_id: run.runId, status: run.status },
    });
  },
};

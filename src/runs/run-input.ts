import type { AgentInput, Conversation, HistoryMessage, Turn, UserMessage } from "../agent.js";
import { AgentError, isAgentError } from "../errors.js";
import type { Claim, Lease, RunRecord } from "../store/store.js";
import type { Rewind, RunJournal } from "./run-journal.js";

/*
 * Where a run begins, and where it goes on when its owner has died. A later attempt knows of the ones before it:
 * the conversation (fenced with the lease, so that nothing of a dead owner comes late), the run's journal (its events)
 * and what the ledger still names to be undone. Each step below may be the last that an owner takes:
 *
 *   1. undo of rollbacks     repeated: a turn that is gone is skipped. The ledger drops it at the run's end.
 *   2. message               nothing of the turn is there → given again, under the id that it was accepted with;
 *                            the turn has its first checkpoint, which holds the message → continued.
 *   3. regenerate, edit, and a message under an id that the history has: an edit of the turn that holds it
 *                            a. looked up which turn goes and what is said instead: nothing done yet → looked up again
 *                            b. noted in the journal (`run-rewound`) → the note is followed, not looked up again: once
 *                               the turn is gone, "the last turn" would be another one, and its message nowhere
 *                            c. restored → the turn of the note is gone, its message is given
 *                            d. as 2, when the new turn has begun → continued
 *   4. answers               their interrupts wait → given again. Those that wait no more (their tasks have ended, or
 *                            ask something else now, which has another id) are left out; when none is left,
 *                            continued: what waits is then asked again.
 *   5. the agent at work     finished steps are in the conversation → continued from there
 *   6. the agent has ended   continued: there is nothing left to do. The summary comes from the journal.
 *
 * An agent without a conversation is given its input again in any case.
 */

/** What a claimed run asks of its conversation before its agent starts. */
export interface PreparedInput {
  readonly input: AgentInput;
  /** Whether the turns named in the claim have been undone, or had left nothing to undo. */
  readonly undone: boolean;
}

function unsupported(what: string, run: RunRecord): AgentError {
  return new AgentError(
    "UNSUPPORTED",
    `The agent of session "${run.sessionId}" keeps no conversation, so it has no ${what}.`,
    {
      sessionId: run.sessionId,
    },
  );
}

/** Goes back to before the earliest of the turns that left anything. */
async function undo(conversation: Conversation, turnIds: readonly string[], lease: Lease): Promise<void> {
  const turns = await conversation.turns();
  const turn = turns.find(({ turnId }) => turnIds.includes(turnId));
  if (turn !== undefined) await conversation.restore(turn.before, lease);
  else if (turns.length === 0) await requireTurns(conversation, turnIds, lease);
}

/**
 * A conversation without any turn to go back to may be one that never keeps them: only its `restore` can tell. A
 * turn left nothing to undo if that knows no such state.
 *
 * @throws {AgentError} `UNSUPPORTED`
 */
async function requireTurns(
  conversation: Conversation,
  [turnId = ""]: readonly string[],
  lease: Lease,
): Promise<void> {
  if ((await conversation.history()).length === 0) return;
  try {
    await conversation.restore(turnId, lease);
  } catch (error) {
    if (!isAgentError(error) || error.code !== "FORK_POINT_GONE") throw error;
  }
}

/** The message that a turn began with: under the run's id unless the caller named it, else its first user message. */
function messageOf(turn: Turn, history: readonly HistoryMessage[]): UserMessage | undefined {
  const own = history.filter(({ id, role }) => role === "user" && turn.messageIds.includes(id));
  const message = own.find(({ id }) => id === turn.turnId) ?? own[0];
  return message === undefined ? undefined : { id: message.id, content: message.content };
}

/**
 * Which turn goes, that of a message (the last one without it), and what is to be said instead: the replacement, else
 * the turn's own message.
 */
async function planRewind(
  conversation: Conversation,
  run: RunRecord,
  messageId: string | undefined,
  replacement: UserMessage | undefined,
  lease: Lease,
): Promise<Rewind> {
  const { sessionId } = run;
  const turns = await conversation.turns();
  const history = await conversation.history();
  const turn =
    messageId === undefined ? turns.at(-1) : turns.find(({ messageIds }) => messageIds.includes(messageId));
  if (turn === undefined) {
    if (messageId === undefined ? history.length === 0 : history.every(({ id }) => id !== messageId)) {
      throw new AgentError("MESSAGE_NOT_FOUND", `Session "${sessionId}" has no such message.`, { sessionId });
    }
    if (turns.length === 0) await requireTurns(conversation, [run.turnId], lease);
    throw new AgentError("FORK_POINT_GONE", `Session "${sessionId}" can no longer go back to that message.`, {
      sessionId,
    });
  }
  const message = replacement ?? messageOf(turn, history);
  if (message === undefined) {
    throw new AgentError(
      "FORK_POINT_GONE",
      `The message of that turn of session "${sessionId}" is no longer kept.`,
      {
        sessionId,
      },
    );
  }
  return { turnId: turn.turnId, message };
}

/**
 * Whether a message comes under an id that the history has: its caller has named it so. Both can't be there, and
 * LangGraph would change the words of the old one where it stands, with the old answer behind it. The id of the run
 * itself is no such name. On a later attempt that finds the turn gone, the message is simply given.
 */
async function isReplacement(
  conversation: Conversation | undefined,
  { turnId }: RunRecord,
  { id }: UserMessage,
  lease: Lease,
): Promise<boolean> {
  if (conversation === undefined || id === turnId) return false;
  if (conversation.has !== undefined) return conversation.has(id, lease);
  return (await conversation.turns()).some(({ messageIds }) => messageIds.includes(id));
}

/** Goes back to before a turn and gives the message to go on with: see 3 above. */
async function rewind(
  conversation: Conversation,
  run: RunRecord,
  lease: Lease,
  journal: RunJournal,
): Promise<UserMessage> {
  const { input } = run;
  let plan = journal.rewind;
  if (plan === undefined) {
    const replacement = "message" in input ? input.message : undefined;
    const messageId = "messageId" in input ? input.messageId : replacement?.id;
    plan = await planRewind(conversation, run, messageId, replacement, lease);
    await journal.noteRewind(plan);
  }
  const { turnId, message } = plan;
  const turn = (await conversation.turns()).find((known) => known.turnId === turnId);
  if (turn !== undefined) await conversation.restore(turn.before, lease);
  return message;
}

/**
 * Undoes what has to be undone and works out what the agent is to be given. On a later attempt (the owner before
 * died) a turn that had left traces is continued instead of begun again.
 *
 * @throws {AgentError} `UNSUPPORTED`, `MESSAGE_NOT_FOUND`, `FORK_POINT_GONE`, `LEASE_LOST`.
 */
export async function prepareInput(
  conversation: Conversation | undefined,
  claim: Claim,
  journal: RunJournal,
): Promise<PreparedInput> {
  const { run, lease } = claim;
  const { input } = run;
  if (claim.undo.length > 0) {
    if (conversation === undefined) throw unsupported("rollback", run);
    await undo(conversation, claim.undo, lease);
  }
  const prepared = (agentInput: AgentInput): PreparedInput => ({ input: agentInput, undone: true });

  if (input.kind === "direct") return prepared({ kind: "continue" });
  if (input.kind === "answers") {
    if (conversation === undefined) throw unsupported("answers", run);
    if (run.attempt > 1) {
      const waiting = new Set((await conversation.pending()).map(({ id }) => id));
      const left = Object.entries(input.answers).filter(([id]) => waiting.has(id));
      if (left.length === 0) return prepared({ kind: "continue" });
      return prepared({ kind: "answers", answers: Object.fromEntries(left) });
    }
    return prepared({ kind: "answers", answers: input.answers });
  }
  if (run.attempt > 1 && conversation !== undefined) {
    const turns = await conversation.turns();
    if (turns.some(({ turnId }) => turnId === run.turnId)) return prepared({ kind: "continue" });
  }
  if (input.kind === "message" && !(await isReplacement(conversation, run, input.message, lease))) {
    return prepared({ kind: "message", message: input.message });
  }
  if (conversation === undefined) throw unsupported(input.kind, run);
  return prepared({ kind: "message", message: await rewind(conversation, run, lease, journal) });
}

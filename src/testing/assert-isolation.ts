import { inspect } from "node:util";
import type { RunEvent, RunOutcome } from "../run-event.js";
import type { SessionRef } from "../session.js";

/** What a service must have to be tested; a `ChatService` does. */
export interface IsolationTarget {
  chat(input: {
    sessionId: string;
    userId?: string | undefined;
    message: string;
  }): AsyncIterable<RunEvent> & {
    readonly result: Promise<{ readonly outcome: RunOutcome; readonly text: string }>;
  };
  getHistory(session: { sessionId: string; userId?: string | undefined }): Promise<unknown>;
}

export interface IsolationOptions {
  /** How many sessions talk at once. @defaultValue 20 */
  readonly sessions?: number | undefined;
  /** How many messages each sends, one after another. @defaultValue 3 */
  readonly turns?: number | undefined;
  /**
   * Who the n-th session is, from 0. By default four users each use the same session ids, so that a service
   * that keys by the session id alone is found out.
   */
  readonly session?: ((index: number) => SessionRef) | undefined;
  /** What is said in a turn, from 0; it must hold `word`. @defaultValue "Remember the word <word>." */
  readonly message?: ((word: string, turn: number) => string) | undefined;
  /**
   * What the model was given, one item per call, read at the end: for a `ScriptedChatModel`
   * `() => model.calls.map((call) => call.messages)`. Without it model input is not checked.
   */
  readonly modelInputs?: (() => Iterable<unknown>) | undefined;
}

interface Speaker {
  readonly name: string;
  readonly ref: SessionRef;
  readonly words: string[];
}

/** Words that no model writes by chance, and that no encoding on the way changes. */
const WORD = /zq[0-9a-f]{32}/g;

/**
 * Lets many sessions talk at once, each with secret words of its own, and checks that no word of one reached
 * another: not its events, result or history, nor a model call that holds words of its own. It also checks that
 * every run completes and that each history holds all words of its own session.
 *
 * What an agent only keeps to itself it cannot see: let tools and agents under test say what they hold.
 *
 * @throws {Error} that names the sessions and the place of the first leaks.
 * @throws {TypeError | RangeError} when an option is not as it should be.
 *
 * @example
 * await assertIsolation(chat, { sessions: 50, modelInputs: () => model.calls.map((call) => call.messages) });
 */
export async function assertIsolation(chat: IsolationTarget, options: IsolationOptions = {}): Promise<void> {
  const { sessions = 20, turns = 3, session = sharedSessionIds, message = remember, modelInputs } = options;
  checkCount("sessions", sessions, 2);
  checkCount("turns", turns, 1);
  for (let turn = 0; turn < turns; turn++) {
    if (!message("word", turn).includes("word")) {
      throw new TypeError("Expected `message` to return a text that holds the word");
    }
  }

  const speakers = Array.from({ length: sessions }, (_, index) => speaker(session(index), index));
  const owners = new Map<string, Speaker>();
  const problems: string[] = [];
  const check = (place: string, got: unknown, reader: Speaker | undefined) => {
    const found = new Set([...textOf(got).matchAll(WORD)].flatMap(([word]) => owners.get(word) ?? []));
    const reached = reader ?? found.values().next().value;
    for (const owner of found) {
      if (reached !== undefined && owner !== reached) {
        problems.push(`${place} of ${reached.name} held a word of ${owner.name}`);
      }
    }
  };

  const talk = async (self: Speaker) => {
    for (let turn = 0; turn < turns; turn++) {
      const word = `zq${crypto.randomUUID().replaceAll("-", "")}`;
      owners.set(word, self);
      self.words.push(word);
      const text = message(word, turn);
      if (!text.includes(word))
        throw new TypeError("Expected `message` to return a text that holds the word");
      const run = chat.chat({ ...self.ref, message: text });
      const events: RunEvent[] = [];
      for await (const event of run) events.push(event);
      const result = await run.result;
      if (result.outcome !== "completed")
        problems.push(`turn ${String(turn)} of ${self.name} ended ${result.outcome}`);
      check("The events", [events, joinedDeltas(events)], self);
      check("The result", result, self);
    }
    const history = await chat.getHistory(self.ref);
    check("The history", history, self);
    const kept = textOf(history);
    const lost = self.words.filter((word) => !kept.includes(word)).length;
    if (lost > 0)
      problems.push(`The history of ${self.name} lacked ${String(lost)} of its ${String(turns)} own words`);
  };

  const ends = await Promise.allSettled(speakers.map(talk));
  for (const [index, end] of ends.entries()) {
    if (end.status === "fulfilled") continue;
    problems.push(`${speakers[index]?.name ?? "?"} failed: ${String(end.reason)}`);
  }
  const inputs = modelInputs === undefined ? undefined : [...modelInputs()];
  if (inputs?.length === 0) problems.push("`modelInputs` gave nothing: no call of the model was seen");
  for (const input of inputs ?? []) check("The model input", input, undefined);

  if (problems.length === 0) return;
  const shown = problems.slice(0, 10).map((problem) => `\n- ${problem}`);
  const rest = problems.length > shown.length ? `\n- and ${String(problems.length - shown.length)} more` : "";
  throw new Error(`Sessions are not isolated:${shown.join("")}${rest}`);
}

function speaker(ref: SessionRef, index: number): Speaker {
  const user = ref.userId === undefined ? "" : ` of user \`${ref.userId}\``;
  return { name: `session ${String(index)} (\`${ref.sessionId}\`${user})`, ref, words: [] };
}

function sharedSessionIds(index: number): SessionRef {
  return { userId: `user-${String(index % 4)}`, sessionId: `session-${String(Math.floor(index / 4))}` };
}

function remember(word: string): string {
  return `Remember the word ${word}.`;
}

function checkCount(name: string, value: number, from: number): void {
  if (!Number.isInteger(value) || value < from) {
    throw new RangeError(
      `Expected \`${name}\` to be an integer from ${String(from)} up, got \`${String(value)}\` (${typeof value})`,
    );
  }
}

/** What the deltas of each block make together, for a word may be cut in two. */
function joinedDeltas(events: readonly RunEvent[]): readonly string[] {
  const blocks = new Map<string, string>();
  for (const event of events) {
    if (!("delta" in event)) continue;
    const key = `${event.type} ${event.type === "tool-input-delta" ? event.toolCallId : event.id}`;
    blocks.set(key, (blocks.get(key) ?? "") + event.delta);
  }
  return [...blocks.values()];
}

function textOf(value: unknown): string {
  try {
    // In an array, for `undefined` has no JSON of its own.
    return JSON.stringify([value]);
  } catch {
    // Circular, or a bigint in it.
    return inspect(value, {
      depth: Infinity,
      maxArrayLength: Infinity,
      maxStringLength: Infinity,
      breakLength: Infinity,
    });
  }
}

/** What do conversations take in memory, and what do users who are answered at once? */
import { barChart } from "./support/chart.mjs";
import { Member } from "./support/cluster.mjs";
import { figure, table, whole } from "./support/format.mjs";

export const title = "What do conversations and users at once take in memory?";
export const minutes = 9;

const CHARACTERS = 400;
const TURNS = 20;
const EVERY = 5;
/** By then a session has all the fork points that it keeps, so that what comes is turns alone. */
const [SETTLED, LONG] = [20, 40];
/** Nothing beside what is stored: no live objects, no finished runs but the last, hardly any events. */
const STORED_ONLY = { liveBytes: 1, maxRetainedRuns: 1, maxEventBytes: 1_000_000 };
const KINDS = { ours: "agent-sessions", bare: "LangGraph `stream`, MemorySaver" };

const fill = (sessions, options, turns = TURNS) =>
  Member.ask("memory", {
    sessions,
    turns,
    characters: CHARACTERS,
    every: EVERY,
    options: { maxSessions: sessions, ...options },
  });

export async function run({ quick = false, progress = () => {} } = {}) {
  const few = quick ? 100 : 500;
  progress(`stored turns: ${few} sessions`);
  const stored = await fill(few, STORED_ONLY, LONG);
  const many = quick ? 1_000 : 10_000;
  progress(`${many} sessions x ${TURNS} turns`);
  // Not a conversation is dropped for its bytes; all other limits are the defaults.
  const conversations = await fill(many, { maxBytes: 4_000_000_000 });
  const users = [];
  for (const count of quick ? [100] : [100, 1_000]) {
    for (const kind of Object.keys(KINDS)) {
      progress(`${count} users at once, ${kind}`);
      const options = { kind, streams: count, msPerToken: 100, settleMs: 3_000, windowMs: 3_000 };
      users.push({ kind, ...(await Member.ask("paced", options)) });
    }
  }
  return {
    characters: CHARACTERS,
    stored: {
      ...stored,
      bytesPerTurn: (stored.heap[LONG] - stored.heap[SETTLED]) / (stored.sessions * (LONG - SETTLED)),
      bytesPerSession: stored.heap[SETTLED] / stored.sessions,
    },
    conversations,
    users,
  };
}

const mb = (bytes) => (bytes / 1e6).toFixed(0);

export function report({ characters, stored, conversations, users }) {
  const { sessions, turns, heap, usage, rss, rested } = conversations;
  const allowed = 1.5 * characters + 1024;
  return `A stored turn of ${characters} characters (half the user's, half the model's, each text of its own) takes ${whole(stored.bytesPerTurn)} bytes of heap: the
growth from turn ${SETTLED} to turn ${LONG} of ${whole(stored.sessions)} sessions, with no live objects, events and older runs kept beside it. One and
a half times the text and 1 KB would be ${whole(allowed)}. A whole session of ${SETTLED} turns, its fork points included, has ${figure(stored.bytesPerSession / 1024)} KB then.

${whole(sessions)} sessions with agents, live objects, events and run records and all, the store's limits at their defaults but for
\`maxSessions\` and \`maxBytes\`:

${table(
  ["turns each", "heap, MB", "KB a session"],
  Object.entries(heap).map(([turn, bytes]) => [turn, mb(bytes), figure(bytes / sessions / 1024)]),
)}

By its own count the store has ${mb(usage.bytes)} MB of conversations and runs then, and ${mb(usage.eventBytes)} MB of events; the whole process ${mb(rss)} MB
resident, after ${whole(sessions * turns)} turns as fast as they went. ${
    rested === undefined
      ? ""
      : `Ten minutes later, when finished runs and their events are forgotten, the conversations
with their agents and live objects take ${mb(rested)} MB, ${figure(rested / sessions / 1024)} KB each.`
  }

So many users answered at once, each a token every 100 ms; heap and resident memory beside those of the process before the
first of them came.

${table(
  ["", "users at once", "heap, MB", "KB a user", "resident, MB", "share of a core"],
  users.map(({ kind, streams, heapBytes, rssBytes, cpuShare }) => [
    KINDS[kind],
    whole(streams),
    mb(heapBytes),
    figure(heapBytes / streams / 1024),
    mb(rssBytes),
    cpuShare.toFixed(2),
  ]),
)}`;
}

export function charts({ conversations: { sessions, heap } }) {
  return [
    barChart({
      name: "memory",
      title: `Heap of ${whole(sessions)} sessions with turns of ${CHARACTERS} characters`,
      unit: "MB, default limits",
      groups: Object.entries(heap).map(([turn, bytes]) => ({
        label: `${turn} turn${turn === "1" ? "" : "s"} each`,
        values: [bytes / 1e6],
      })),
    }),
  ];
}

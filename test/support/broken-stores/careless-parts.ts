import type { JsonObject } from "../../../src/json.js";
import type { EventLog, ForkingSaver, SessionRecord, SessionStore } from "../../../src/store/store.js";
import { breaking, mangled, type Break } from "./break.js";

/* Directories, logs and checkpointers that change what they are given, or give what is not theirs. */

function directory(change: (inner: SessionStore) => Partial<SessionStore>): Break {
  return breaking("sessions", change);
}

function log(change: (inner: EventLog) => Partial<EventLog>): Break {
  return breaking("events", change);
}

function saver(change: (inner: ForkingSaver) => Partial<ForkingSaver>): Break {
  return breaking("checkpointer", (inner) => change(inner as ForkingSaver));
}

/** What is read of a value that went through a column that is too narrow, in length and in characters. */
function damaged<T>(value: T): T {
  return JSON.parse(mangled(JSON.stringify(value))) as T;
}

function cut<T>(value: T): T {
  const short = (_: string, part: unknown): unknown =>
    typeof part === "string" && part.length > 100_000 ? part.slice(0, 100_000) : part;
  return JSON.parse(JSON.stringify(value, short)) as T;
}

const row = (sessionId: string): SessionRecord => ({
  ...{ threadId: sessionId, sessionId, config: {} },
  ...{ createdAt: 2e12, lastUsedAt: 2e12 },
});
/** The first word counts. */
const savesOnce = directory((inner) => ({
  save: async (session, lease) => {
    if ((await inner.get(session.threadId)) === undefined) await inner.save(session, lease);
  },
}));
/** Keeps the very object that it was given. */
const keepsTheObject = directory((inner) => {
  const configs = new Map<string, JsonObject>();
  return {
    save: async (session, lease) => {
      configs.set(session.threadId, session.config);
      await inner.save(session, lease);
    },
    get: async (threadId) => {
      const found = await inner.get(threadId);
      return found && { ...found, config: configs.get(threadId) ?? found.config };
    },
  };
});
const countsSaves = directory((inner) => {
  let saves = 0;
  return {
    save: async (session, lease) => {
      saves += 1;
      await inner.save(session, lease);
    },
    count: async () => saves,
  };
});
/** Says that rows come from the ledger, and makes them when a run begins. */
const claimsToKeep = directory((inner) => ({
  keptByLedger: true,
  get: (threadId) => inner.get(`${threadId}?`),
}));
/** Remembers when a session first came, whatever was deleted since. */
const remembersCreation = directory((inner) => {
  const created = new Map<string, number>();
  return {
    get: async (threadId) => {
      const found = await inner.get(threadId);
      if (found === undefined) return undefined;
      const createdAt = created.get(threadId) ?? found.createdAt;
      created.set(threadId, createdAt);
      return { ...found, createdAt };
    },
  };
});

/** Asked for what it does not have, gives what it had last. */
const readsTheLastWritten = log((inner) => {
  let last: { readonly threadId: string; readonly runId: string } | undefined;
  return {
    append: async (lease, runId, events) => {
      await inner.append(lease, runId, events);
      last = { threadId: lease.threadId, runId };
    },
    read: async (threadId, runId, range) => {
      const page = await inner.read(threadId, runId, range);
      return page.last > 0 || last === undefined ? page : inner.read(last.threadId, last.runId, range);
    },
  };
});
const outlivesItsRuns = log((inner) => {
  const pages = new Map<string, Awaited<ReturnType<EventLog["read"]>>>();
  return {
    append: async (lease, runId, events) => {
      await inner.append(lease, runId, events);
      pages.set(
        `${lease.threadId} ${runId}`,
        await inner.read(lease.threadId, runId, { after: 0, limit: 99 }),
      );
    },
    read: async (threadId, runId, range) => {
      const page = await inner.read(threadId, runId, range);
      return page.last > 0 ? page : (pages.get(`${threadId} ${runId}`) ?? page);
    },
  };
});
function readingEvents(change: typeof damaged): Break {
  return log((inner) => ({
    read: async (...given) => {
      const page = await inner.read(...given);
      return { ...page, events: change(page.events) };
    },
  }));
}
const keepsWatchers = log((inner) => ({
  watch: (threadId, runId, listener) => {
    inner.watch(threadId, runId, listener);
    return () => undefined;
  },
}));
/** Calls them one after another, and stops at the first that throws. */
const callsUntilOneThrows = log((inner) => {
  const watchers = new Set<() => void>();
  let stop: (() => void) | undefined;
  return {
    watch: (threadId, runId, listener) => {
      watchers.add(listener);
      stop ??= inner.watch(threadId, runId, () => {
        for (const watcher of watchers) watcher();
      });
      return () => watchers.delete(listener);
    },
  };
});

/** What is read of channels is changed on its way. */
function readingChannels(change: (value: unknown) => unknown): Break {
  return saver((inner) => ({
    getTuple: async (config) => {
      const tuple = await inner.getTuple(config);
      if (tuple === undefined) return undefined;
      const { messages, ...others } = tuple.checkpoint.channel_values;
      const channels = Object.entries(others).map(([name, value]) => [name, change(value)] as const);
      const read = Array.isArray(messages)
        ? messages.map((message: { content: unknown }) => {
            const copy = Object.create(Object.getPrototypeOf(message) as object) as object;
            return Object.assign(copy, message, { content: change(message.content) });
          })
        : messages;
      return {
        ...tuple,
        checkpoint: {
          ...tuple.checkpoint,
          channel_values: { ...Object.fromEntries(channels), messages: read },
        },
      };
    },
  }));
}

/** By rule, a store whose directory, log or checkpointer breaks it. */
export const carelessParts: Readonly<Record<string, Break>> = {
  "sessions: an unknown session has no row": directory((inner) => ({
    get: async (threadId) => (await inner.get(threadId)) ?? row(threadId),
  })),
  "sessions: save renews config and last use, and keeps the time of creation": savesOnce,
  "sessions: what is done to a config after save changes no row": keepsTheObject,
  "sessions: racing saves make one row": countsSaves,
  "sessions: text of every kind comes back unchanged": directory((inner) => ({
    get: async (threadId) => damaged((await inner.get(threadId)) ?? row(threadId)),
  })),
  "sessions: rows that the ledger keeps are there from acceptance on": claimsToKeep,
  "sessions: a session that comes again after its deletion is a new one": remembersCreation,
  "events: events go with their run": outlivesItsRuns,
  "events: a run without events has an empty log": readsTheLastWritten,
  "events: text and JSON of every kind come back unchanged": readingEvents(damaged),
  "events: an event of 200 KB comes back unchanged": readingEvents(cut),
  "events: a watcher that was taken off is told no more": keepsWatchers,
  "events: a watcher that throws harms neither the writer nor the others": callsUntilOneThrows,
  "checkpointer: what was put is read back, by other processes too": saver(() => ({
    getTuple: async () => undefined,
  })),
  "checkpointer: texts and values of every kind come back unchanged": readingChannels(damaged),
  "checkpointer: a message of 200 KB comes back unchanged": readingChannels(cut),
};

import { AgentError } from "../../../src/errors.js";
import {
  RUN_KEY,
  type EventLog,
  type ForkingSaver,
  type RunConfigurable,
  type SessionStore,
} from "../../../src/store/store.js";
import { breaking, swallowing, type Break } from "./break.js";

function directory(change: (inner: SessionStore) => Partial<SessionStore>): Break {
  return breaking("sessions", change);
}

function log(change: (inner: EventLog) => Partial<EventLog>): Break {
  return breaking("events", change);
}

function saver(change: (inner: ForkingSaver) => Partial<ForkingSaver>): Break {
  return breaking("checkpointer", (inner) => change(inner as ForkingSaver));
}

const swallowsSave = directory((inner) => ({
  save: swallowing(inner.save.bind(inner), ["LEASE_LOST"], () => undefined),
}));
const neverDeletes = directory(() => ({ delete: async () => undefined }));
const swallowsAppend = log((inner) => ({
  append: swallowing(
    async (...given: Parameters<EventLog["append"]>) => inner.append(...given),
    ["LEASE_LOST"],
    () => undefined,
  ),
}));
const swallowsPut = saver((inner) => ({
  put: swallowing(inner.put.bind(inner), ["LEASE_LOST"], (config) => config),
}));
const swallowsWrites = saver((inner) => ({
  putWrites: swallowing(inner.putWrites.bind(inner), ["LEASE_LOST"], () => undefined),
}));
/** Cursors are counted from the newest row, which moves. */
const countsPages = directory((inner) => ({
  list: async ({ userId, limit, after = "0" }) => {
    const { sessions: all } = await inner.list({ userId, limit: 10_000 });
    const end = Number(after) + limit;
    const sessions = all.slice(Number(after), end);
    return end < all.length ? { sessions, next: String(end) } : { sessions };
  },
}));
/** Cursors name a row, and lead nowhere without it. */
const needsItsRow = directory((inner) => ({
  list: async ({ userId, limit, after }) => {
    const { sessions: all } = await inner.list({ userId, limit: 10_000 });
    const at = all.findIndex(({ threadId }) => threadId === after) + 1;
    if (after !== undefined && at === 0) return { sessions: [] };
    const sessions = all.slice(at, at + limit);
    const last = sessions.at(-1);
    return at + limit < all.length && last !== undefined ? { sessions, next: last.threadId } : { sessions };
  },
}));
/** Takes a batch whose answer was lost for one more. */
const appendsAgain = log((inner) => {
  let last = 0;
  return {
    append: async (lease, runId, events) => {
      await inner.append(
        lease,
        runId,
        events.map((event, i) => ({ ...event, seq: last + i + 1 })),
      );
      last += events.length;
    },
  };
});
/** Leaves a run's log to whoever began it. */
const onlyTheFirst = log((inner) => {
  const owners = new Map<string, string>();
  return {
    append: async (lease, runId, events) => {
      const owner = owners.get(runId) ?? lease.owner;
      owners.set(runId, owner);
      if (owner !== lease.owner) throw new AgentError("LEASE_LOST", "not yours");
      await inner.append(lease, runId, events);
    },
  };
});
/** Puts what comes late in the name of the newest owner that it has seen. */
const lendsLeases = saver((inner) => {
  let newest: RunConfigurable | undefined;
  return {
    put: async (config, ...rest) => {
      const run = config.configurable?.[RUN_KEY] as RunConfigurable;
      if (newest === undefined || run.lease.epoch > newest.lease.epoch) newest = run;
      return inner.put({ configurable: { ...config.configurable, [RUN_KEY]: newest } }, ...rest);
    },
  };
});
const deaf = log(() => ({ watch: () => () => undefined }));

/** By rule, a store whose directory, log or checkpointer breaks it. */
export const brokenParts: Readonly<Record<string, Break>> = {
  "sessions: a saved session has a row": directory(() => ({ get: async () => undefined })),
  "sessions: save refuses the lease of another thread": swallowsSave,
  "sessions: a stale owner cannot save": swallowsSave,
  "sessions: a session that is being deleted is not saved": swallowsSave,
  "sessions: list is newest first, by creation": directory((inner) => ({
    list: async (options) => {
      const page = await inner.list(options);
      return { ...page, sessions: [...page.sessions].reverse() };
    },
  })),
  "sessions: a user's list has that user's sessions alone": directory((inner) => ({
    list: (options) => inner.list({ ...options, userId: undefined }),
  })),
  "sessions: pages join up to the whole list": directory((inner) => ({
    list: async (options) => ({ sessions: (await inner.list(options)).sessions }),
  })),
  "sessions: the last page has no cursor, full or not": directory((inner) => ({
    list: async (options) => ({ next: "0", ...(await inner.list(options)) }),
  })),
  "sessions: a cursor that no page gave is refused": directory((inner) => ({
    list: swallowing(inner.list.bind(inner), ["INVALID_INPUT"], () => ({ sessions: [] })),
  })),
  "sessions: a deleted row is gone from everywhere, and its neighbours stay": neverDeletes,
  "sessions: hundreds of rows come in pages": directory((inner) => ({
    list: (options) => inner.list({ ...options, limit: Math.min(100, options.limit) }),
  })),
  "sessions: pages go on although the cursor's row has gone": needsItsRow,
  "sessions: pages that are read while rows come and go show each that stays once": countsPages,
  "sessions: count is the number of rows": directory(() => ({ count: async () => 1 })),
  "events: a batch that is sent again is in the log once": appendsAgain,
  "events: a new owner goes on where the last one stopped": onlyTheFirst,
  "events: two owners that race leave no gap and do not mix": swallowsAppend,
  "events: a reader at the end or ahead of the log gets nothing": log((inner) => ({
    read: (threadId, runId, { limit }) => inner.read(threadId, runId, { after: 0, limit }),
  })),
  "checkpointer: a deletion wins every race with its owner's writes": saver(() => ({
    deleteThread: async () => undefined,
  })),
  "checkpointer: of a stale and a fresh owner that race, the fresh one's state stays": lendsLeases,
  "events: what was appended is read in order": log((inner) => ({
    read: async (...given) => {
      const page = await inner.read(...given);
      return { ...page, events: [...page.events].reverse() };
    },
  })),
  "events: pages join up without gap or duplicate while the log grows": log((inner) => ({
    read: (threadId, runId, { after, limit }) =>
      inner.read(threadId, runId, { after: Math.max(0, after - 1), limit }),
  })),
  "events: a batch whose numbers do not follow is refused whole": swallowsAppend,
  "events: the first event of a run is 1": swallowsAppend,
  "events: a stale owner cannot append": swallowsAppend,
  "events: an owner writes for its run alone": swallowsAppend,
  "events: nothing is appended after the end": swallowsAppend,
  "events: a session that is being deleted takes no events": swallowsAppend,
  "events: a watcher is told of more events, in other processes too": deaf,
  "events: delete forgets the events of its thread alone": log(() => ({ delete: async () => undefined })),
  "events: a reader behind what is kept is told so": log((inner) => ({
    read: async (...given) => ({ ...(await inner.read(...given)), trimmed: false }),
  })),
  "checkpointer: it is of the ledger's engine": saver(() => ({ engine: {} })),
  "checkpointer: a checkpoint without a lease is refused": swallowsPut,
  "checkpointer: writes without a lease are refused": swallowsWrites,
  "checkpointer: the lease of another thread is refused": swallowsPut,
  "checkpointer: a stale owner cannot put checkpoints": swallowsPut,
  "checkpointer: a stale owner cannot put writes": swallowsWrites,
  "checkpointer: nothing is put outside of a run": swallowsPut,
  "checkpointer: a session that is being deleted takes no checkpoints": swallowsPut,
  "checkpointer: pending writes come with their checkpoint": saver(() => ({
    putWrites: async () => undefined,
  })),
  "checkpointer: threads are kept apart, and deleted alone": saver(() => ({
    deleteThread: async () => undefined,
  })),
  "checkpointer: a turn's first checkpoint makes a fork point": saver(() => ({ forkPoints: async () => [] })),
  "checkpointer: it knows the ids of the messages that are there, and of no others": saver(() => ({
    hasMessage: async () => true,
  })),
  "checkpointer: restore puts the thread back to before a turn": saver(() => ({ restore: async () => true })),
  "checkpointer: restoring the first turn leaves an empty thread": saver(() => ({
    restore: async () => true,
  })),
  "checkpointer: an unknown fork point restores nothing": saver(() => ({ restore: async () => true })),
  "checkpointer: a stale owner cannot restore": saver((inner) => ({
    restore: swallowing(inner.restore.bind(inner), ["LEASE_LOST"], () => false),
  })),
};

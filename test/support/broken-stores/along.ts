import {
  RUN_KEY,
  type EventLog,
  type Lease,
  type RunCompletion,
  type RunConfigurable,
  type RunLedger,
  type Store,
} from "../../../src/store/store.js";
import { breaking, type Break } from "./break.js";

/** A memory store whose events go along with a run's end. */
export const goingAlong: Break = (store) => {
  const log = store.events as EventLog;
  const listeners = new Set<() => void>();
  const withEvents = breaking("runs", (inner) => ({
    finish: async (lease, runId, { events, ...how }: RunCompletion) => {
      const known = await inner.get(lease.threadId, runId);
      if (events === undefined || known?.status !== "running") return inner.finish(lease, runId, how);
      const { last } = await log.read(lease.threadId, runId, { after: 0, limit: 1 });
      if (known.cancelRequested === "deleted") return inner.finish(lease, runId, { ...how, lastSeq: last });
      await log.append(lease, runId, events);
      return inner.finish(lease, runId, how);
    },
  }))(store);
  return breaking("events", (inner) => ({
    engine: (store.runs as RunLedger).engine,
    stored: () => {
      for (const listener of listeners) listener();
    },
    // What was there before is known again.
    append: async (lease, runId, events) => {
      const { last } = await inner.read(lease.threadId, runId, { after: 0, limit: 1 });
      if (events.at(-1)?.seq !== last) await inner.append(lease, runId, events);
    },
    watch: (threadId, runId, listener) => {
      const stop = inner.watch(threadId, runId, listener);
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
        stop();
      };
    },
  }))(withEvents);
};

function finishing(change: (how: RunCompletion) => RunCompletion): Break {
  return (store) =>
    breaking("runs", (inner) => ({
      finish: (lease, runId, how) => inner.finish(lease, runId, change(how)),
    }))(goingAlong(store));
}

/** Takes a run's end, and its events one step later. */
const endsFirst: Break = (store) =>
  breaking("runs", (inner, { events: log }) => ({
    finish: async (lease, runId, { events, ...how }) => {
      const run = await inner.finish(lease, runId, how);
      await log?.append(lease, runId, events ?? []);
      return run;
    },
  }))(goingAlong(store));

const untold: Break = (store) =>
  breaking("checkpointer", (inner) => ({
    put: (config, ...rest) => {
      const {
        flush: _flush,
        ride: _ride,
        ...run
      } = config.configurable?.[RUN_KEY] as Record<string, unknown>;
      return inner.put({ configurable: { ...config.configurable, [RUN_KEY]: run } }, ...rest);
    },
  }))(goingAlong(store));

/** Events are taken from anybody, under whichever lease holds. */
function forAnybody(
  change: (
    store: Store,
    inner: { readonly runs: RunLedger; readonly events: EventLog },
    newest: () => Lease | undefined,
  ) => Store,
): Break {
  return (store) => {
    let newest: Lease | undefined;
    const remembering = breaking("runs", (inner) => ({
      claim: async (request) => {
        const claim = await inner.claim(request);
        newest = claim?.lease ?? newest;
        return claim;
      },
    }))(goingAlong(store));
    const { runs, events } = remembering;
    return change(remembering, { runs: runs as RunLedger, events: events as EventLog }, () => newest);
  };
}

/** By rule, a store that breaks it. */
export const brokenAlong: Readonly<Record<string, Break>> = {
  "events: those that go along with a run's end are there with it": finishing(({ events: _, ...how }) => how),
  "events: readers are told of those that went along, in other processes too": (store) =>
    breaking("events", () => ({ watch: () => () => undefined }))(goingAlong(store)),
  "events: a run does not end with events that do not follow": endsFirst,
  "events: a stale owner's do not go along": forAnybody((store, { runs, events }, newest) =>
    breaking("runs", () => ({
      finish: async (lease, runId, { events: told, ...how }) => {
        if (told !== undefined) await events.append(newest() ?? lease, runId, told);
        return runs.finish(lease, runId, how);
      },
    }))(store),
  ),
  "checkpointer: what a stale owner puts takes no events along": forAnybody((store, { events }, newest) =>
    breaking("checkpointer", (inner) => ({
      // Before it has looked at the lease.
      put: async (config, ...rest) => {
        await (config.configurable?.[RUN_KEY] as RunConfigurable).flush?.();
        return inner.put(config, ...rest);
      },
    }))(
      breaking("events", () => ({
        append: (lease, runId, told) => events.append(newest() ?? lease, runId, told),
      }))(store),
    ),
  ),
  "events: those of a session that is being deleted do not keep its run from ending": (store) => {
    const log = store.events as EventLog;
    return breaking("runs", (inner) => ({
      finish: async (lease, runId, { events, ...how }) => {
        if (events !== undefined) await log.append(lease, runId, events);
        return inner.finish(lease, runId, how);
      },
    }))(goingAlong(store));
  },
  "checkpointer: what a run has told is in the log no later than what it put": untold,
};

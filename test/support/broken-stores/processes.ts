import type { JsonObject } from "../../../src/json.js";
import type { ProcessRegistry } from "../../../src/store/store.js";
import { breaking, type Break } from "./break.js";

function registry(change: (inner: ProcessRegistry) => Partial<ProcessRegistry>): Break {
  return breaking("processes", change);
}

/** Entries last for ever, whatever they were told. */
const neverForgets = registry((inner) => ({
  beat: (processId, info) => inner.beat(processId, info, Number.MAX_SAFE_INTEGER),
}));
/** Each beat is a new entry. */
const addsEntries = registry((inner) => {
  let beats = 0;
  return { beat: (processId, info, ttlMs) => inner.beat(`${processId}#${String(beats++)}`, info, ttlMs) };
});
const startsAnew = registry((inner) => ({
  beat: async (processId, info, ttlMs) => {
    await inner.leave(processId);
    await inner.beat(processId, info, ttlMs);
  },
}));
/** Listeners are told what was sent before they came, too. */
const tellsThePast = registry((inner) => {
  const past: JsonObject[] = [];
  return {
    send: async (message) => {
      past.push(message);
      await inner.send(message);
    },
    watch: (listener) => {
      for (const message of past) listener(message);
      return inner.watch(listener);
    },
  };
});

/** By rule, a store whose registry of processes breaks it. */
export const brokenProcesses: Readonly<Record<string, Break>> = {
  "processes: one that beats is listed with what it says of itself": registry((inner) => ({
    beat: (processId, _, ttlMs) => inner.beat(processId, {}, ttlMs),
  })),
  "processes: a beat renews the entry and keeps its start": startsAnew,
  "processes: an entry goes ttlMs after its last beat": neverForgets,
  "processes: one that leaves is gone at once": registry(() => ({ leave: async () => undefined })),
  "processes: the oldest is listed first": registry((inner) => ({
    list: async () => [...(await inner.list())].reverse(),
  })),
  "processes: racing beats of one process make one entry": addsEntries,
  "processes: a message reaches all that watch, its sender too": registry(() => ({
    send: async () => undefined,
  })),
  "processes: a listener hears what is sent from now on, until it is taken off": tellsThePast,
};

import { claim } from "./claim.js";
import { conversation } from "./conversation.js";
import { events } from "./events.js";
import { finish } from "./finish.js";
import { lease } from "./lease.js";
import { processes } from "./processes.js";
import { directory, reads } from "./reads.js";
import { deletion, retention } from "./retention.js";
import { rotation, runs } from "./runs.js";
import { sessions } from "./sessions.js";
import { submit } from "./submit.js";

/*
 * The SQL of the store, by part, in the order in which it is run. PostgreSQL 13 or newer.
 *
 * Names are not qualified: a migration runs with the store's schema as its search_path, and every function that
 * clients call ends with `SET search_path FROM CURRENT`, which fixes that path for it and for the functions that it
 * calls. Those that only functions call do without.
 *
 * What parts ask of each other, beside that:
 *
 *   assert_lease(thread, epoch, owner, run = NULL)   lease.ts: the fence of all writes
 *   now_ms() → double precision                      sessions.ts: the engine's time, in milliseconds since 1970
 *   last_event(thread, run) → bigint                 events.ts: the number of a run's last event, 0 if it has none
 *   add_batch(thread, epoch, run, …)                 events.ts: adds events, for a step that has checked the lease
 *   forget_events(thread, runs text[] = NULL)        events.ts: forgets the events of these runs, of all without
 *   forget_conversation(thread)                      conversation.ts: takes away all records of a thread
 */

/** One step of the schema from a version to the next. Never changed once released. */
export interface Migration {
  readonly version: number;
  /** The lowest version that code must know to work on the schema after this step. */
  readonly compatible: number;
  readonly sql: readonly string[];
}

/** In order, the first one first. */
export const migrations: readonly Migration[] = [
  {
    version: 1,
    compatible: 1,
    sql: [
      sessions,
      lease,
      runs,
      rotation,
      retention,
      submit,
      claim,
      finish,
      deletion,
      reads,
      directory,
      conversation,
      events,
      processes,
    ],
  },
];

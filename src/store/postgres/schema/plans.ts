/**
 * What goes with every function that clients call to make a step. Its names are those of the store's schema; and its
 * statements are planned once per connection, for indexes: plans must not depend on how full a table was when the
 * connection was young, nor on when it was analyzed last. Functions that only functions call are planned when they are
 * first called, so that all callers must have it.
 *
 * To a planner who knows of a few rows one index is as good as another, so for each statement there should be only one.
 */
export const PREDICTABLE =
  "SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan " +
  "SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off " +
  "SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off";

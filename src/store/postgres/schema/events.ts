import { PREDICTABLE } from "./plans.js";

/** The events of runs, a row per batch. What they say is the clients' matter: SQL knows their numbers alone. */
export const events = /* sql */ `
CREATE TABLE events (
  thread_id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  -- The numbers of the batch's first and last event.
  first_seq bigint NOT NULL,
  last_seq bigint NOT NULL,
  -- Of the lease under which it was written.
  epoch bigint NOT NULL,
  -- A JSON array.
  body text NOT NULL,
  PRIMARY KEY (thread_id, run_id, first_seq)
);

CREATE FUNCTION last_event(p_thread text, p_run text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN coalesce((
    SELECT last_seq FROM events WHERE thread_id = p_thread AND run_id = p_run ORDER BY first_seq DESC LIMIT 1
  ), 0);
END $$;

-- Without runs, those of all runs of the thread.
CREATE FUNCTION forget_events(p_thread text, p_runs text[] DEFAULT NULL) RETURNS void LANGUAGE plpgsql
${PREDICTABLE} AS $$
BEGIN
  IF p_runs IS NULL THEN DELETE FROM events WHERE thread_id = p_thread;
  ELSE DELETE FROM events WHERE thread_id = p_thread AND run_id = ANY (p_runs);
  END IF;
END $$;

-- Adds a batch behind the last one, and takes the oldest ones away when more than about p_keep events are there. The
-- same batch again changes nothing: its answer was lost. Of two writers who both follow the same last event, the
-- primary key lets one through. The caller has seen to the lease: appending events alone, or with a step that they
-- belong to (commit_conversation, finish_run).
CREATE FUNCTION add_batch(
  p_thread text, p_epoch bigint, p_run text, p_first bigint, p_last bigint, p_body text, p_keep bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_last bigint;
  v_step bigint := greatest(1, p_keep / 16);
BEGIN
  v_last := last_event(p_thread, p_run);
  IF v_last + 1 = p_first THEN
    INSERT INTO events VALUES (p_thread, p_run, p_first, p_last, p_epoch, p_body)
      ON CONFLICT (thread_id, run_id, first_seq) DO NOTHING;
    IF FOUND THEN
      -- Not at each batch, so that a long run does not pay for each one with a delete.
      IF p_last > p_keep AND p_last / v_step > v_last / v_step THEN
        DELETE FROM events
          WHERE thread_id = p_thread AND run_id = p_run AND first_seq <= p_last - p_keep AND last_seq <= p_last - p_keep;
      END IF;
      RETURN;
    END IF;
  END IF;
  IF NOT EXISTS (
    SELECT FROM events WHERE thread_id = p_thread AND run_id = p_run
      AND first_seq = p_first AND last_seq = p_last AND epoch = p_epoch AND body = p_body
  ) THEN
    RAISE EXCEPTION USING ERRCODE = 'AS001', MESSAGE = format(
      'Run \`%s\` goes on with event %s, got event %s: another writer was here.', p_run, v_last + 1, p_first);
  END IF;
END $$;

CREATE FUNCTION append_batch(
  p_thread text, p_epoch bigint, p_owner text, p_run text, p_first bigint, p_last bigint, p_body text, p_keep bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM assert_lease(p_thread, p_epoch, p_owner, p_run);
  PERFORM add_batch(p_thread, p_epoch, p_run, p_first, p_last, p_body, p_keep);
END $$;

-- Adds batches of several runs, each of which is refused or not by itself: gives what was refused, by place in the
-- arrays, and why; without a message those whose session somebody has locked, so that the others need not wait for it.
-- Sessions are locked in the order of their ids, as by all who lock several. One batch alone waits, and is refused by
-- raising AS001.
CREATE FUNCTION append_events(
  p_threads text[], p_epochs bigint[], p_owners text[], p_runs text[],
  p_firsts bigint[], p_lasts bigint[], p_bodies text[], p_keep bigint
) RETURNS TABLE (place bigint, message text) LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  i bigint;
BEGIN
  IF cardinality(p_threads) = 1 THEN
    PERFORM append_batch(
      p_threads[1], p_epochs[1], p_owners[1], p_runs[1], p_firsts[1], p_lasts[1], p_bodies[1], p_keep);
    RETURN;
  END IF;
  FOR i IN SELECT t.place FROM unnest(p_threads) WITH ORDINALITY AS t (thread, place) ORDER BY t.thread COLLATE "C", t.place
  LOOP
    BEGIN
      PERFORM FROM sessions WHERE thread_id = p_threads[i] FOR SHARE NOWAIT;
      PERFORM append_batch(
        p_threads[i], p_epochs[i], p_owners[i], p_runs[i], p_firsts[i], p_lasts[i], p_bodies[i], p_keep);
    EXCEPTION WHEN SQLSTATE 'AS001' THEN
      place := i;
      message := SQLERRM;
      RETURN NEXT;
    WHEN lock_not_available THEN
      place := i;
      message := NULL;
      RETURN NEXT;
    END;
  END LOOP;
END $$;

-- For each of these runs the batches with events from p_after + 1 to p_after + p_limit, and in every row the numbers of
-- the oldest and of the newest event that are there; place says which run, from 1. One row without a batch if there is
-- nothing to read; none if there are no events.
CREATE FUNCTION read_events(p_threads text[], p_runs text[], p_afters bigint[], p_limits bigint[])
RETURNS TABLE (place bigint, oldest bigint, newest bigint, first bigint, body text) LANGUAGE plpgsql STABLE
${PREDICTABLE} AS $$
DECLARE
  i bigint;
  v_thread text;
  v_run text;
  v_after bigint;
  v_limit bigint;
  v_oldest bigint;
  v_newest bigint;
BEGIN
  FOR i, v_thread, v_run, v_after, v_limit IN
    SELECT t.place, t.thread, t.run, t.after, t.lim
    FROM unnest(p_threads, p_runs, p_afters, p_limits) WITH ORDINALITY AS t (thread, run, after, lim, place)
  LOOP
    v_newest := last_event(v_thread, v_run);
    CONTINUE WHEN v_newest = 0;
    SELECT e.first_seq INTO v_oldest FROM events e
      WHERE e.thread_id = v_thread AND e.run_id = v_run ORDER BY e.first_seq LIMIT 1;
    IF v_newest > v_after THEN
      RETURN QUERY
        SELECT i, v_oldest, v_newest, e.first_seq, e.body FROM events e
        WHERE e.thread_id = v_thread AND e.run_id = v_run AND e.first_seq <= greatest(v_after, v_oldest - 1) + v_limit
          AND e.first_seq >= coalesce((
            SELECT f.first_seq FROM events f
            WHERE f.thread_id = v_thread AND f.run_id = v_run AND f.first_seq <= v_after + 1
            ORDER BY f.first_seq DESC LIMIT 1
          ), 0)
        ORDER BY e.first_seq;
    ELSE
      RETURN QUERY SELECT i, v_oldest, v_newest, NULL::bigint, NULL::text;
    END IF;
  END LOOP;
END $$;

-- Which of these runs have events after the given ones: their places in the arrays, from 1, and their newest events.
CREATE FUNCTION events_after(p_threads text[], p_runs text[], p_after bigint[])
RETURNS TABLE (place bigint, newest bigint) LANGUAGE plpgsql STABLE ${PREDICTABLE} AS $$
BEGIN
  RETURN QUERY
    SELECT t.place, l.newest FROM unnest(p_threads, p_runs, p_after) WITH ORDINALITY AS t (thread, run, after, place),
      LATERAL (SELECT last_event(t.thread, t.run) AS newest) l
    WHERE l.newest > t.after;
END $$;
`;

import { PREDICTABLE } from "./plans.js";

/** What becomes of runs that were handed out, and cancelling. */
export const finish = /* sql */ `
-- With p_first a last batch of the run's events is added in the same step, unless the session is being deleted: its
-- events go anyway.
CREATE FUNCTION finish_run(
  p_thread text, p_epoch bigint, p_owner text, p_run text, p_outcome text, p_summary text, p_interrupts text[],
  p_error text, p_last_seq bigint, p_undone boolean, p_max_retained double precision,
  p_first bigint, p_last bigint, p_events text, p_keep bigint
) RETURNS text LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  s sessions;
  r runs;
  v_parks boolean;
  v_drops boolean;
  v_now double precision;
BEGIN
  s := lock_session(p_thread);
  SELECT * INTO r FROM runs WHERE thread_id = p_thread AND run_id = p_run;
  IF r.finished_by = p_owner THEN
    RETURN step_result(run_record(r, s.session_id, s.user_id), '{}', false);
  END IF;
  IF (s.owner = p_owner AND s.lease_epoch = p_epoch AND s.running = p_run) IS NOT TRUE THEN
    PERFORM lease_lost(p_thread, p_epoch);
  END IF;
  PERFORM trim_runs(p_thread, p_max_retained);
  v_parks := cardinality(p_interrupts) > 0 AND r.cancel_reason IS NULL;
  v_drops := p_first IS NOT NULL AND s.deleted_at IS NOT NULL;
  v_now := now_ms();
  UPDATE runs SET
      status = CASE WHEN cancel_reason = 'deleted' OR cancel_reason IS NOT NULL AND p_outcome = 'interrupted'
        THEN 'cancelled' ELSE p_outcome END, finished_at = v_now,
      last_seq = CASE WHEN v_drops THEN last_event(p_thread, p_run) ELSE p_last_seq END, summary = p_summary, interrupts = p_interrupts, error = p_error, finished_by = p_owner,
      retained_order = CASE WHEN NOT v_parks THEN nextval('ticks') END, retained_at = CASE WHEN NOT v_parks THEN v_now END
    WHERE thread_id = p_thread AND run_id = p_run RETURNING * INTO r;
  IF p_undone THEN s.undo := s.undo[r.undo_count + 1:]; END IF;
  s := free(s);
  s.last_used_at := v_now;
  IF v_parks THEN
    s.parked := p_run;
    s.parked_at := v_now;
  END IF;
  PERFORM settle(s);
  IF p_first IS NOT NULL AND NOT v_drops THEN
    PERFORM add_batch(p_thread, p_epoch, p_run, p_first, p_last, p_events, p_keep);
  END IF;
  -- Where nobody waits, asking for a run would be in vain.
  RETURN step_result(run_record(r, s.session_id, s.user_id), ARRAY[p_run], EXISTS (SELECT FROM lanes));
END $$;

CREATE FUNCTION release_run(p_thread text, p_epoch bigint, p_owner text, p_run text) RETURNS text
LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  s sessions;
  v_told boolean;
BEGIN
  s := lock_session(p_thread);
  IF EXISTS (SELECT FROM runs WHERE thread_id = p_thread AND run_id = p_run AND released_by = p_owner) THEN
    RETURN step_result(NULL, '{}', false);
  END IF;
  IF (s.owner = p_owner AND s.lease_epoch = p_epoch AND s.running = p_run) IS NOT TRUE THEN
    PERFORM lease_lost(p_thread, p_epoch);
  END IF;
  UPDATE runs SET released_by = p_owner, releases = releases + 1 WHERE thread_id = p_thread AND run_id = p_run
    RETURNING cancel_reason IS NOT NULL INTO v_told;
  s := free(s);
  IF v_told THEN PERFORM end_run(p_thread, p_run, 'cancelled', NULL, NULL);
  ELSE
    UPDATE runs SET status = 'queued', place = coalesce(
        (SELECT min(place) - 1 FROM runs WHERE thread_id = p_thread AND status = 'queued'), place)
      WHERE thread_id = p_thread AND run_id = p_run;
    s.queued := s.queued + 1;
  END IF;
  PERFORM settle(s);
  IF NOT v_told THEN PERFORM count_change(1, 0); END IF;
  RETURN step_result(NULL, ARRAY[p_run], true);
END $$;

-- Without a run id: the running run, else the parked one, else the oldest queued one.
CREATE FUNCTION cancel_run(p_thread text, p_run text, p_max_retained double precision) RETURNS text
LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  s sessions;
  r runs;
  v_run text;
  v_claimable boolean := false;
  v_freed integer := 0;
BEGIN
  s := lock_session(p_thread);
  v_run := coalesce(p_run, s.running, s.parked, (
    SELECT run_id FROM runs WHERE thread_id = p_thread AND status = 'queued' ORDER BY place LIMIT 1
  ));
  SELECT * INTO r FROM runs WHERE thread_id = p_thread AND run_id = v_run;
  IF NOT FOUND OR s.thread_id IS NULL THEN RETURN step_result(NULL, '{}', false); END IF;
  IF v_run = s.running THEN PERFORM mark_run(p_thread, v_run, 'cancel');
  ELSIF v_run = s.parked THEN s := unpark(s, 'cancel');
  ELSIF r.status = 'queued' THEN
    PERFORM trim_runs(p_thread, p_max_retained);
    PERFORM end_run(p_thread, v_run, 'cancelled', 'cancel', NULL);
    s.queued := s.queued - 1;
    v_freed := 1;
  ELSE RETURN step_result(run_record(r, s.session_id, s.user_id), '{}', false);
  END IF;
  v_claimable := settle(s);
  PERFORM count_change(-v_freed, 0);
  SELECT * INTO r FROM runs WHERE thread_id = p_thread AND run_id = v_run;
  RETURN step_result(run_record(r, s.session_id, s.user_id), ARRAY[v_run], v_claimable);
END $$;

-- Prolongs the leases that hold: their places in the arrays, from 1, and what their runs were told. Sessions that somebody
-- has locked are left as they are and given as busy: one that is locked for long must not cost the others their leases.
-- p_wait: whether to wait for them first, a moment in all.
CREATE FUNCTION renew_leases(
  p_threads text[], p_epochs bigint[], p_owners text[], p_lease_ms double precision, p_wait boolean
) RETURNS TABLE (place bigint, reason text, busy boolean) LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  v_free text[];
  v_thread text;
  v_now double precision := now_ms();
  v_until constant double precision := v_now + 200;
BEGIN
  IF p_wait THEN
    FOR v_thread IN SELECT t.thread FROM unnest(p_threads) AS t (thread) ORDER BY t.thread COLLATE "C" LOOP
      EXIT WHEN now_ms() > v_until;
      PERFORM await_session(v_thread);
    END LOOP;
  END IF;
  WITH free AS (
    SELECT thread_id FROM sessions WHERE thread_id = ANY (p_threads) ORDER BY thread_id FOR UPDATE SKIP LOCKED
  ) SELECT coalesce(array_agg(thread_id), '{}') INTO v_free FROM free;
  v_now := now_ms();
  RETURN QUERY
    UPDATE sessions s SET expires_at = v_now + p_lease_ms
      FROM unnest(p_threads, p_epochs, p_owners) WITH ORDINALITY AS l (thread_id, epoch, owner, place)
      WHERE s.thread_id = ANY (v_free) AND s.thread_id = l.thread_id
        AND s.lease_epoch = l.epoch AND s.owner = l.owner AND s.expires_at - v_now > 0
      RETURNING l.place, (
        SELECT cancel_reason FROM runs r WHERE r.thread_id = s.thread_id AND r.run_id = s.running
      ), false;
  RETURN QUERY
    SELECT l.place, NULL::text, true FROM unnest(p_threads) WITH ORDINALITY AS l (thread_id, place)
      WHERE l.thread_id <> ALL (v_free) AND EXISTS (SELECT FROM sessions s WHERE s.thread_id = l.thread_id);
END $$;
`;

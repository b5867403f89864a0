import { PREDICTABLE } from "./plans.js";

/** Letting go: of finished runs with their events, of questions that nobody answers, of whole sessions. */
export const retention = /* sql */ `
-- Forgets what a session has over its limit, oldest first.
CREATE FUNCTION trim_runs(p_thread text, p_max double precision) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_last bigint;
  v_gone text[];
BEGIN
  SELECT retained_order INTO v_last FROM runs WHERE thread_id = p_thread AND retained_order IS NOT NULL
    ORDER BY retained_order DESC OFFSET least(p_max, 1e9)::bigint LIMIT 1;
  IF v_last IS NULL THEN RETURN; END IF;
  WITH gone AS (
    DELETE FROM runs WHERE thread_id = p_thread AND retained_order <= v_last RETURNING run_id
  ) SELECT array_agg(run_id) INTO v_gone FROM gone;
  PERFORM forget_events(p_thread, v_gone);
END $$;

-- Forgets up to p_limit runs that are past retention, oldest first; how many.
CREATE FUNCTION forget_expired_runs(p_retention_ms double precision, p_limit integer) RETURNS integer
LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  v_before constant double precision := now_ms() - p_retention_ms;
  v_gone record;
  v_count integer := 0;
BEGIN
  FOR v_gone IN
    SELECT thread_id, run_id FROM runs WHERE retained_at <= v_before
      ORDER BY retained_at LIMIT p_limit FOR UPDATE SKIP LOCKED
  LOOP
    DELETE FROM runs WHERE thread_id = v_gone.thread_id AND run_id = v_gone.run_id;
    PERFORM forget_events(v_gone.thread_id, ARRAY[v_gone.run_id]);
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

-- Closes one parked run whose interrupts have waited for p_ttl_ms; NULL when there is none.
CREATE FUNCTION close_expired_interrupt(p_ttl_ms double precision) RETURNS text LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  s sessions;
  v_run text;
  v_before constant double precision := now_ms() - p_ttl_ms;
BEGIN
  SELECT * INTO s FROM sessions WHERE parked IS NOT NULL AND parked_at <= v_before
    ORDER BY parked_at LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN NULL; END IF;
  v_run := s.parked;
  s := unpark(s, 'cancel');
  PERFORM settle(s);
  RETURN concat('{"thread":', to_json(s.thread_id), ',"changed":', to_json(ARRAY[v_run]), '}');
END $$;

-- Everything that is kept of a session, but for its row.
CREATE FUNCTION forget_session(p_thread text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM runs WHERE thread_id = p_thread;
  DELETE FROM states WHERE thread_id = p_thread;
  PERFORM forget_events(p_thread);
  PERFORM forget_conversation(p_thread);
END $$;

-- Forgets up to p_limit sessions in which nothing waits, runs or is parked and that were not used for p_ttl_ms.
CREATE FUNCTION drop_idle_sessions(p_ttl_ms double precision, p_limit integer)
RETURNS TABLE (thread text, session text, usr text) LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  s sessions;
  v_listed integer := 0;
  v_before constant double precision := now_ms() - p_ttl_ms;
BEGIN
  FOR s IN
    SELECT * FROM sessions
      WHERE running IS NULL AND parked IS NULL AND queued = 0 AND deleted_at IS NULL AND last_used_at <= v_before
      ORDER BY last_used_at LIMIT p_limit FOR UPDATE SKIP LOCKED
  LOOP
    PERFORM forget_session(s.thread_id);
    DELETE FROM sessions WHERE thread_id = s.thread_id;
    IF s.created_order IS NOT NULL THEN v_listed := v_listed + 1; END IF;
    thread := s.thread_id;
    session := s.session_id;
    usr := s.user_id;
    RETURN NEXT;
  END LOOP;
  PERFORM count_change(0, -v_listed);
END $$;
`;

/** How long it stays known that a session was deleted. */
const PURGED_MS = "600000";

/** Deleting a session that was asked for: first its tombstone, last its row. */
export const deletion = /* sql */ `
-- The threads of sessions that were deleted a short while ago.
CREATE TABLE purges (
  thread_id text COLLATE "C" PRIMARY KEY,
  purged_at double precision NOT NULL
);
CREATE INDEX purges_by_age ON purges (purged_at);

-- Whether the session is known: and then, the ids of the runs that changed, as JSON.
CREATE FUNCTION tombstone_session(p_thread text, p_max_retained double precision) RETURNS text
LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  s sessions;
  v record;
  v_queued integer;
BEGIN
  s := lock_session(p_thread);
  IF s.thread_id IS NULL THEN RETURN NULL; END IF;
  IF s.deleted_at IS NOT NULL THEN RETURN '[]'; END IF;
  PERFORM trim_runs(p_thread, p_max_retained);
  v_queued := s.queued;
  s.deleted_at := now_ms();
  s.epoch := next_epoch(s.epoch);
  SELECT * INTO v FROM clear_session(s, 'deleted');
  PERFORM settle(v.s);
  PERFORM count_change(-v_queued, 0);
  RETURN to_json(v.changed);
END $$;

-- Does nothing without a tombstone; else the id of the run that was still running, '' without.
CREATE FUNCTION purge_session(p_thread text) RETURNS text LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  s sessions;
BEGIN
  s := lock_session(p_thread);
  IF s.deleted_at IS NULL THEN RETURN NULL; END IF;
  PERFORM forget_session(p_thread);
  DELETE FROM sessions WHERE thread_id = p_thread;
  INSERT INTO purges VALUES (p_thread, now_ms()) ON CONFLICT (thread_id) DO UPDATE SET purged_at = excluded.purged_at;
  DELETE FROM purges WHERE thread_id IN (
    SELECT thread_id FROM purges WHERE purged_at <= now_ms() - ${PURGED_MS} ORDER BY purged_at LIMIT 8
      FOR UPDATE SKIP LOCKED
  );
  IF s.created_order IS NOT NULL THEN PERFORM count_change(0, -1); END IF;
  RETURN coalesce(s.running, '');
END $$;

CREATE FUNCTION is_purged(p_thread text) RETURNS boolean LANGUAGE plpgsql STABLE ${PREDICTABLE} AS $$
BEGIN
  RETURN EXISTS (SELECT FROM purges WHERE thread_id = p_thread AND purged_at > now_ms() - ${PURGED_MS});
END $$;

CREATE FUNCTION list_tombstones(p_limit double precision) RETURNS SETOF text LANGUAGE plpgsql STABLE ${PREDICTABLE} AS $$
BEGIN
  RETURN QUERY SELECT thread_id FROM sessions WHERE deleted_at IS NOT NULL
    ORDER BY deleted_at LIMIT least(p_limit, 1000000)::bigint;
END $$;
`;

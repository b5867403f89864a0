import { PREDICTABLE } from "./plans.js";

/** What can be asked of the ledger. */
export const reads = /* sql */ `
CREATE FUNCTION get_run(p_thread text, p_run text) RETURNS text LANGUAGE plpgsql STABLE ${PREDICTABLE} AS $$
DECLARE
  s sessions;
  r runs;
BEGIN
  SELECT * INTO r FROM runs WHERE thread_id = p_thread AND run_id = p_run;
  IF NOT FOUND THEN RETURN NULL; END IF;
  SELECT * INTO s FROM sessions WHERE thread_id = p_thread;
  RETURN run_record(r, s.session_id, s.user_id);
END $$;

-- Those of the runs that neither wait nor run, or are not known: their places in the arrays, from 1.
CREATE FUNCTION ended_runs(p_threads text[], p_runs text[]) RETURNS TABLE (place bigint)
LANGUAGE plpgsql STABLE ${PREDICTABLE} AS $$
BEGIN
  RETURN QUERY
    SELECT t.place FROM unnest(p_threads, p_runs) WITH ORDINALITY AS t (thread, run, place)
      WHERE coalesce((SELECT r.status FROM runs r WHERE r.thread_id = t.thread AND r.run_id = t.run), '')
        NOT IN ('queued', 'running');
END $$;

-- The running run, else the parked one, else the oldest queued one, else the last that is retained.
CREATE FUNCTION current_run(p_thread text) RETURNS text LANGUAGE plpgsql STABLE ${PREDICTABLE} AS $$
DECLARE
  s sessions;
  r runs;
BEGIN
  SELECT * INTO s FROM sessions WHERE thread_id = p_thread;
  SELECT * INTO r FROM runs WHERE thread_id = p_thread AND run_id = coalesce(
    s.running, s.parked,
    (SELECT run_id FROM runs WHERE thread_id = p_thread AND status = 'queued' ORDER BY place LIMIT 1),
    (SELECT run_id FROM runs WHERE thread_id = p_thread AND retained_order IS NOT NULL ORDER BY retained_order DESC LIMIT 1)
  );
  IF NOT FOUND THEN RETURN NULL; END IF;
  RETURN run_record(r, s.session_id, s.user_id);
END $$;

CREATE FUNCTION ledger_sessions(p_threads text[]) RETURNS TABLE (
  thread text, config text, version text, lease_owner text, queued integer, running text, parked text
) LANGUAGE plpgsql STABLE ${PREDICTABLE} AS $$
BEGIN
  RETURN QUERY
    SELECT s.thread_id, s.sticky, s.sticky_version, s.owner, s.queued,
      (SELECT run_record(r, s.session_id, s.user_id) FROM runs r WHERE r.thread_id = s.thread_id AND r.run_id = s.running),
      (SELECT run_record(r, s.session_id, s.user_id) FROM runs r WHERE r.thread_id = s.thread_id AND r.run_id = s.parked)
    FROM sessions s WHERE s.thread_id = ANY (p_threads);
END $$;

CREATE FUNCTION read_state(p_thread text) RETURNS text LANGUAGE plpgsql STABLE ${PREDICTABLE} AS $$
BEGIN
  RETURN (SELECT value FROM states WHERE thread_id = p_thread
    AND NOT EXISTS (SELECT FROM sessions WHERE thread_id = p_thread AND deleted_at IS NOT NULL));
END $$;

CREATE FUNCTION write_state(p_thread text, p_epoch bigint, p_owner text, p_value text) RETURNS void
LANGUAGE plpgsql ${PREDICTABLE} AS $$
BEGIN
  PERFORM assert_lease(p_thread, p_epoch, p_owner);
  INSERT INTO states VALUES (p_thread, p_value) ON CONFLICT (thread_id) DO UPDATE SET value = excluded.value;
END $$;

CREATE FUNCTION session_of_lease(p_thread text, p_epoch bigint, p_owner text) RETURNS text
LANGUAGE plpgsql ${PREDICTABLE} AS $$
BEGIN
  PERFORM assert_lease(p_thread, p_epoch, p_owner);
  RETURN (SELECT session_id FROM sessions WHERE thread_id = p_thread);
END $$;
`;

/** The directory: the part of the sessions that is listed. */
export const directory = /* sql */ `
CREATE FUNCTION save_session(p_thread text, p_epoch bigint, p_owner text, p_config text) RETURNS void
LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  s sessions;
BEGIN
  s := lock_session(p_thread);
  IF (s.epoch = p_epoch AND s.owner = p_owner) IS NOT TRUE THEN PERFORM lease_lost(p_thread, p_epoch); END IF;
  UPDATE sessions SET
      config = p_config, last_used_at = now_ms(), created_order = coalesce(created_order, nextval('ticks')),
      created_at = coalesce(created_at, now_ms())
    WHERE thread_id = p_thread;
  IF s.created_order IS NULL THEN PERFORM count_change(0, 1); END IF;
END $$;

CREATE FUNCTION list_sessions(p_user text, p_limit bigint, p_before bigint)
RETURNS TABLE (
  thread text, session text, usr text, place bigint, created double precision, used double precision, body text
) LANGUAGE plpgsql STABLE ${PREDICTABLE} AS $$
BEGIN
  IF p_user IS NULL THEN
    RETURN QUERY
      SELECT s.thread_id, s.session_id, s.user_id, s.created_order, s.created_at, s.last_used_at, s.config
      FROM sessions s WHERE s.created_order < p_before ORDER BY s.created_order DESC LIMIT p_limit;
  ELSE
    RETURN QUERY
      SELECT s.thread_id, s.session_id, s.user_id, s.created_order, s.created_at, s.last_used_at, s.config
      FROM sessions s WHERE s.user_id = p_user AND s.created_order < p_before ORDER BY s.created_order DESC LIMIT p_limit;
  END IF;
END $$;

CREATE FUNCTION get_session(p_thread text) RETURNS TABLE (
  thread text, session text, usr text, created double precision, used double precision, body text
) LANGUAGE plpgsql STABLE ${PREDICTABLE} AS $$
BEGIN
  RETURN QUERY
    SELECT s.thread_id, s.session_id, s.user_id, s.created_at, s.last_used_at, s.config
    FROM sessions s WHERE s.thread_id = p_thread AND s.created_at IS NOT NULL;
END $$;

CREATE FUNCTION unlist_session(p_thread text) RETURNS void LANGUAGE plpgsql ${PREDICTABLE} AS $$
BEGIN
  UPDATE sessions SET created_order = NULL, created_at = NULL WHERE thread_id = p_thread AND created_order IS NOT NULL;
  IF FOUND THEN PERFORM count_change(0, -1); END IF;
END $$;

CREATE FUNCTION count_sessions() RETURNS bigint LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN (SELECT sum(listed) FROM counters);
END $$;
`;

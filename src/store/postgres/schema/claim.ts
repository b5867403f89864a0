import { PREDICTABLE } from "./plans.js";

/** Handing runs out. */
export const claim = /* sql */ `
-- A run and the lease that it was handed out under, as its owner is told.
CREATE FUNCTION granted(s sessions, r runs) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN concat('{"epoch":', s.lease_epoch, ',"undo":', to_json(s.undo[1:r.undo_count]),
    ',"run":', run_record(r, s.session_id, s.user_id), '}');
END $$;

-- Hands the session's running or next run out under a fresh lease.
-- p_counts: whether this is an attempt. p_waited: whether the run was among those that wait.
CREATE FUNCTION begin_run(
  s sessions, p_run text, p_owner text, p_lease_ms double precision, p_counts boolean, p_waited boolean
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  r runs;
  v_takeover constant boolean := s.running IS NOT NULL;
  v_now constant double precision := now_ms();
BEGIN
  UPDATE runs SET status = 'running', attempt = attempt + p_counts::integer, started_at = coalesce(started_at, v_now),
      undo_count = CASE WHEN v_takeover THEN undo_count ELSE cardinality(s.undo) END
    WHERE thread_id = s.thread_id AND run_id = p_run RETURNING * INTO r;
  s.running := p_run;
  s.epoch := next_epoch(s.epoch);
  s.lease_epoch := s.epoch;
  s.owner := p_owner;
  s.expires_at := v_now + p_lease_ms;
  s.last_used_at := v_now;
  IF p_waited THEN s.queued := s.queued - 1; END IF;
  PERFORM settle(s);
  IF p_waited THEN
    -- Behind all others who wait.
    UPDATE lanes SET turn = nextval('ticks') WHERE user_key = s.user_key;
    PERFORM count_change(-1, 0);
  END IF;
  RETURN granted(s, r);
END $$;

-- As begin_run, for a claim. Nobody waits for the disk to have it: what is written under the lease is on the disk after
-- it, so that a crash of the server that takes back a claim takes back nothing that was acknowledged. The run then waits
-- as before, and its owner is refused.
CREATE FUNCTION grant_run(s sessions, p_run text, p_owner text, p_lease_ms double precision, p_counts boolean) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  RETURN begin_run(s, p_run, p_owner, p_lease_ms, p_counts, s.running IS NULL);
END $$;

-- Ends a run that nobody is to try again: as failed, or as cancelled if that is what it had been told. p_orphaned: because
-- it was for a process that is gone.
CREATE FUNCTION abandon_run(s sessions, p_run text, p_orphaned boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  v_told boolean;
  v_attempts integer;
  v_waited constant boolean := s.running IS NULL;
BEGIN
  SELECT cancel_reason IS NOT NULL, attempt - releases INTO v_told, v_attempts FROM runs
    WHERE thread_id = s.thread_id AND run_id = p_run;
  IF v_told THEN PERFORM end_run(s.thread_id, p_run, 'cancelled', NULL, NULL);
  ELSE
    PERFORM end_run(s.thread_id, p_run, 'failed', NULL, concat(
      '{"code":"RUN_ABANDONED","message":',
      to_json(format('Run \`%s\` of session \`%s\` was given up: %s.', p_run, s.session_id,
        CASE WHEN p_orphaned THEN 'the process that it was for is gone' ELSE format('%s attempts did not end it', v_attempts) END)),
      ',"retryable":true}'));
  END IF;
  IF v_waited THEN s.queued := s.queued - 1; ELSE s := free(s); END IF;
  PERFORM settle(s);
  IF v_waited THEN PERFORM count_change(-1, 0); END IF;
  RETURN concat('{"again":true,"thread":', to_json(s.thread_id), ',"changed":', to_json(ARRAY[p_run]), '}');
END $$;

-- The session of the lane that is next, locked; NULL if none was found that others have not locked.
CREATE FUNCTION next_session(p_user_key text, p_affinity text) RETURNS sessions LANGUAGE plpgsql AS $$
DECLARE
  s sessions;
BEGIN
  SELECT * INTO s FROM sessions
    WHERE user_key = p_user_key AND head_affinity = p_affinity AND head_order IS NOT NULL
    ORDER BY head_order LIMIT 1 FOR UPDATE SKIP LOCKED;
  RETURN s;
END $$;

-- Waits until a session is not locked, but not for long: what holds it may hang, and other sessions have work too.
CREATE FUNCTION await_session(p_thread text) RETURNS void LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$
BEGIN
  PERFORM FROM sessions WHERE thread_id = p_thread FOR UPDATE;
EXCEPTION WHEN lock_not_available THEN
  NULL;
END $$;

-- Whether the user has p_limit running runs or more.
CREATE FUNCTION at_limit(p_user_key text, p_limit double precision) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  RETURN p_limit IS NOT NULL AND p_limit <= (
    SELECT count(*) FROM (
      SELECT FROM sessions WHERE user_key = p_user_key AND running IS NOT NULL LIMIT ceil(p_limit)::bigint
    ) AS busy
  );
END $$;

-- Hands out the next run: {"epoch", "undo", "run"}, with "last" when nothing else waits. NULL when there is none;
-- {"again"} when this step has ended a run instead, or has met only sessions that others are working on: so that it
-- never takes the locks of two sessions. p_wait: whether to wait then, a moment, for one of them. p_lost: owners of leases
-- whose claims have had no answer.
CREATE FUNCTION claim_run(
  p_process text, p_owner text, p_lease_ms double precision, p_max_attempts double precision,
  p_user_limit double precision, p_wait boolean, p_lost text[]
) RETURNS text LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  s sessions;
  v_run text;
  v_affinity text;
  v_attempt integer;
  v_user text;
  v_lane text;
  v_orphaned boolean;
  v_locked text;
  v_granted text;
  v_now constant double precision := now_ms();
BEGIN
  -- Those that this process has claimed without knowing: nobody has begun them.
  IF p_lost > '{}' THEN
    SELECT * INTO s FROM sessions WHERE expires_at IS NOT NULL AND owner = ANY (p_lost) AND deleted_at IS NULL
      LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF s.thread_id IS NOT NULL THEN RETURN grant_run(s, s.running, p_owner, p_lease_ms, false); END IF;
  END IF;

  -- Those whose process has gone silent. It may still be writing, behind a fence that a takeover waits for.
  SELECT * INTO s FROM sessions WHERE expires_at <= v_now ORDER BY expires_at LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF s.thread_id IS NOT NULL THEN
    SELECT affinity, attempt - releases INTO v_affinity, v_attempt FROM runs
      WHERE thread_id = s.thread_id AND run_id = s.running;
    v_orphaned := coalesce(v_affinity, p_process) <> p_process;
    IF s.deleted_at IS NULL AND NOT v_orphaned AND v_attempt < p_max_attempts THEN
      RETURN grant_run(s, s.running, p_owner, p_lease_ms, true);
    END IF;
    RETURN abandon_run(s, s.running, v_orphaned);
  END IF;
  SELECT thread_id INTO v_locked FROM sessions WHERE expires_at <= v_now ORDER BY expires_at LIMIT 1;

  -- Those that wait, by the turns of their users.
  FOR v_user IN
    (SELECT user_key, turn FROM lanes WHERE affinity = '' ORDER BY turn)
    UNION ALL
    (SELECT user_key, turn FROM lanes WHERE affinity = p_process AND affinity > '' ORDER BY turn)
    ORDER BY turn
  LOOP
    CONTINUE WHEN at_limit(v_user, p_user_limit);
    FOR v_lane IN
      SELECT lane FROM unnest(ARRAY['', p_process]) AS lane ORDER BY (
        SELECT min(head_order) FROM sessions
        WHERE user_key = v_user AND head_affinity = lane COLLATE "C" AND head_order IS NOT NULL
      )
    LOOP
      s := next_session(v_user, v_lane);
      EXIT WHEN s.thread_id IS NOT NULL;
      v_locked := coalesce(v_locked, (
        SELECT thread_id FROM sessions WHERE user_key = v_user AND head_affinity = v_lane AND head_order IS NOT NULL
          ORDER BY head_order LIMIT 1
      ));
    END LOOP;
    EXIT WHEN s.thread_id IS NOT NULL;
  END LOOP;
  IF s.thread_id IS NULL THEN
    IF v_locked IS NULL THEN RETURN NULL; END IF;
    IF p_wait THEN PERFORM await_session(v_locked); END IF;
    RETURN '{"again":true}';
  END IF;
  IF p_user_limit IS NOT NULL THEN
    PERFORM lock_user(s.user_key);
    IF at_limit(s.user_key, p_user_limit) THEN RETURN '{"again":true}'; END IF;
  END IF;
  SELECT run_id, attempt - releases INTO v_run, v_attempt FROM runs
    WHERE thread_id = s.thread_id AND status = 'queued' ORDER BY place LIMIT 1;
  IF v_attempt >= p_max_attempts THEN RETURN abandon_run(s, v_run, false); END IF;
  v_granted := grant_run(s, v_run, p_owner, p_lease_ms, true);
  IF v_locked IS NOT NULL OR EXISTS (SELECT FROM lanes) THEN RETURN v_granted; END IF;
  RETURN left(v_granted, -1) || ',"last":true}';
END $$;

-- Ends one run that is next in its session, was accepted p_age_ms ago, and is for a process that is none of these; NULL
-- when none was found. It looks at lanes of single processes alone, in which hardly anybody waits.
CREATE FUNCTION abandon_orphan(p_processes text[], p_age_ms double precision) RETURNS text
LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  s sessions;
  v_found record;
BEGIN
  FOR v_found IN
    SELECT c.thread_id, r.run_id, r.accepted_order FROM lanes l
      JOIN sessions c ON c.user_key = l.user_key AND c.head_affinity = l.affinity AND c.head_order IS NOT NULL
      JOIN runs r ON r.thread_id = c.thread_id AND r.status = 'queued' AND r.accepted_order = c.head_order
      WHERE l.affinity > '' AND l.affinity <> ALL (p_processes) AND r.created_at <= now_ms() - p_age_ms
  LOOP
    -- Others may have been at work on the session since: the run must still be next once that is locked.
    SELECT * INTO s FROM sessions WHERE thread_id = v_found.thread_id AND head_order = v_found.accepted_order
      FOR UPDATE SKIP LOCKED;
    IF FOUND THEN RETURN abandon_run(s, v_found.run_id, true); END IF;
  END LOOP;
  RETURN NULL;
END $$;
`;

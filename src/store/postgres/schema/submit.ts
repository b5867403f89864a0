import { PREDICTABLE } from "./plans.js";

/** Accepting runs. */
export const submit = /* sql */ `
-- Raises AS004 when no more runs may wait in the whole ledger. The last places are given out one at a time: what other
-- submissions under way take is not in the sum yet.
CREATE FUNCTION check_total(p_session text, p_freed integer, p_limit double precision) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_queued bigint;
BEGIN
  SELECT sum(queued) INTO v_queued FROM counters WHERE shard >= 0;
  IF v_queued - p_freed + 100 >= p_limit THEN
    PERFORM pg_advisory_xact_lock(hashtext('agent_sessions.total'), hashtext(current_schema()));
    SELECT sum(queued) INTO v_queued FROM counters WHERE shard >= 0;
  END IF;
  IF v_queued - p_freed >= p_limit THEN
    PERFORM refuse('AS004', format(
      'Session \`%s\` cannot queue a run: all sessions together have %s waiting.', p_session, v_queued));
  END IF;
END $$;

-- Raises unless the session takes a new run that is not answers.
CREATE FUNCTION check_room(
  s sessions, p_on_busy text, p_queue_limit double precision, p_total_limit double precision
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_takes_over constant boolean := p_on_busy IN ('interrupt', 'rollback');
BEGIN
  IF NOT v_takes_over AND s.parked IS NOT NULL THEN
    PERFORM refuse('AS006', format(
      'Session \`%s\` waits for the answer to an interrupt. Resume it first.', s.session_id));
  END IF;
  IF p_on_busy = 'reject' AND (s.queued > 0 OR s.running IS NOT NULL) THEN
    PERFORM refuse('AS003', format('Session \`%s\` has a run under way.', s.session_id));
  END IF;
  IF NOT v_takes_over AND s.queued + (s.running IS NOT NULL)::integer > p_queue_limit THEN
    PERFORM refuse('AS004', format('The queue of session \`%s\` is full with %s waiting.', s.session_id, p_queue_limit));
  END IF;
  PERFORM check_total(s.session_id, CASE WHEN v_takes_over THEN s.queued ELSE 0 END, p_total_limit);
END $$;

-- Raises unless the answers name interrupts that wait, and at least one.
CREATE FUNCTION check_answers(s sessions, p_answers text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_waiting text[];
BEGIN
  IF s.parked IS NULL THEN
    PERFORM refuse('AS007', format('No interrupt of session \`%s\` waits for an answer.', s.session_id));
  END IF;
  SELECT interrupts INTO v_waiting FROM runs WHERE thread_id = s.thread_id AND run_id = s.parked;
  IF cardinality(p_answers) = 0 OR NOT p_answers <@ v_waiting THEN
    PERFORM refuse('AS007', format(
      'The answers for session \`%s\` do not name interrupts that wait in it.', s.session_id));
  END IF;
END $$;

-- Whether a run could begin in the session now without going before anybody who waits.
CREATE FUNCTION is_free(s sessions, p_user_limit double precision) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF s.queued > 0 OR s.running IS NOT NULL OR s.parked IS NOT NULL OR EXISTS (SELECT FROM lanes) THEN RETURN false; END IF;
  IF p_user_limit IS NOT NULL THEN PERFORM lock_user(s.user_key); END IF;
  RETURN NOT at_limit(s.user_key, p_user_limit);
END $$;

-- Accepts a run or raises. p_answers: the interrupts that are answered, each as JSON; NULL for a run that is not answers,
-- whose p_config was merged from a sticky config of version p_sticky_version. If that is another by now, nothing is
-- done, and the answer is what sticks: {"sticky", "version"}. p_sticky: what sticks from now on, NULL to leave it.
-- p_owner: of a lease under which the run is handed out in the same step, if it can begin at once and nobody waits; the
-- answer then has what claim_run gives as "claim".
CREATE FUNCTION submit_run(
  p_thread text, p_session text, p_user text, p_run text, p_nonce text, p_kind text, p_input text, p_fingerprint text,
  p_config text, p_affinity text, p_on_busy text, p_queue_limit double precision, p_total_limit double precision,
  p_answers text[], p_sticky_version text, p_sticky text, p_retention_ms double precision, p_max_retained double precision,
  p_owner text, p_lease_ms double precision, p_user_limit double precision
) RETURNS text LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  s sessions;
  r runs;
  v record;
  v_order bigint;
  v_queued integer := 0;
  v_listed integer := 0;
  v_changed text[] := '{}';
  v_claimable boolean;
  v_granted text;
BEGIN
  LOOP
    SELECT * INTO s FROM sessions WHERE thread_id = p_thread FOR UPDATE;
    EXIT WHEN FOUND;
    IF p_answers IS NULL AND p_sticky_version <> '' THEN RETURN '{"sticky":{},"version":""}'; END IF;
    INSERT INTO sessions (thread_id, session_id, user_id, last_used_at, config)
      VALUES (p_thread, p_session, p_user, now_ms(), '{}') ON CONFLICT DO NOTHING RETURNING * INTO s;
    EXIT WHEN FOUND;
    -- Another submission has just made it.
  END LOOP;
  IF s.deleted_at IS NOT NULL THEN
    PERFORM refuse('AS002', format('Session \`%s\` is being deleted.', p_session));
  END IF;
  SELECT * INTO r FROM runs WHERE thread_id = p_thread AND run_id = p_run;
  IF FOUND THEN
    IF r.fingerprint <> p_fingerprint THEN
      PERFORM refuse('AS005', format(
        'Run \`%s\` of session \`%s\` has another input. Use a fresh run id.', p_run, p_session));
    END IF;
    RETURN concat('{"created":', to_json(r.nonce = p_nonce), ',"run":', run_record(r, s.session_id, s.user_id),
      ',"claim":' || CASE WHEN s.running = p_run AND s.owner = p_owner THEN granted(s, r) END, '}');
  END IF;
  IF p_answers IS NOT NULL THEN PERFORM check_answers(s, p_answers);
  ELSE
    PERFORM check_room(s, p_on_busy, p_queue_limit, p_total_limit);
    IF s.sticky_version <> p_sticky_version THEN
      RETURN concat('{"sticky":', s.sticky, ',"version":', to_json(s.sticky_version), '}');
    END IF;
  END IF;

  -- Nothing is refused from here on.
  -- In this order: the first may wait for whom the second passes over.
  PERFORM trim_runs(p_thread, p_max_retained);
  PERFORM forget_expired_runs(p_retention_ms, 8);
  v_order := nextval('ticks');
  r.turn_id := p_run;
  r.config := p_config;
  r.place := v_order;
  IF p_answers IS NOT NULL THEN
    SELECT turn_id, config INTO r.turn_id, r.config FROM runs WHERE thread_id = p_thread AND run_id = s.parked;
    s := unpark(s, NULL);
    -- To the head of the queue.
    r.place := coalesce((SELECT min(place) - 1 FROM runs WHERE thread_id = p_thread AND status = 'queued'), v_order);
  ELSE
    IF p_on_busy IN ('interrupt', 'rollback') THEN
      v_queued := -s.queued;
      SELECT * INTO v FROM clear_session(s, p_on_busy);
      s := v.s;
      v_changed := v.changed;
    END IF;
    s.config := p_config;
    IF p_sticky IS NOT NULL THEN
      s.sticky := p_sticky;
      s.sticky_version := p_nonce;
    END IF;
  END IF;
  s.last_used_at := now_ms();
  IF s.created_order IS NULL THEN
    s.created_order := nextval('ticks');
    s.created_at := s.last_used_at;
    v_listed := 1;
    IF p_answers IS NOT NULL THEN s.config := r.config; END IF;
  END IF;
  INSERT INTO runs (thread_id, run_id, turn_id, accepted_order, place, kind, input, fingerprint, config, affinity, nonce, created_at)
    VALUES (p_thread, p_run, r.turn_id, v_order, r.place, p_kind, p_input, p_fingerprint, r.config, p_affinity, p_nonce, s.last_used_at)
    RETURNING * INTO r;
  IF p_owner IS NOT NULL AND is_free(s, p_user_limit) THEN
    v_granted := begin_run(s, p_run, p_owner, p_lease_ms, true, false);
    v_claimable := false;
  ELSE
    s.queued := s.queued + 1;
    v_queued := v_queued + 1;
    v_claimable := settle(s);
  END IF;
  PERFORM count_change(v_queued, v_listed);
  RETURN concat('{"created":true', ',"run":' || CASE WHEN v_granted IS NULL THEN run_record(r, s.session_id, s.user_id) END,
    ',"claim":' || v_granted, ',"changed":', to_json(v_changed || p_run), ',"claimable":', to_json(v_claimable), '}');
END $$;
`;

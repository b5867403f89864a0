/*
 * Runs, and the moves of sessions and runs between their states. What the moves mean is told in the header of the
 * memory ledger (../../memory/run-ledger.ts); here is how they stay whole when many clients make them at once.
 *
 * A step works on one session, whose row it locks first. It reads the row into a variable `s`; moves change `s` and
 * the runs; `settle(s)` writes it back and brings the session's place among those who wait up to date.
 *
 * Locks are taken in one order, which is why steps never wait for each other in a circle:
 *
 *   1. the row of the session,
 *   2. the lock of the total queue limit, while few places are left,
 *   3. the lock of the user,
 *   4. rows of records, events and counters, whose holders wait for nothing before they commit.
 *
 * Who takes more than one session locks them in the order of their ids (`renew`), or passes over those that are locked
 * (`claim` until it has found one, sweeps), and then takes no user's lock but that of one session. Runs that are
 * past retention are deleted without their session's lock, by whoever comes first, passing over those that are locked.
 *
 * JSON is never looked into: records are put together as text.
 */
export const runs = /* sql */ `
CREATE TABLE runs (
  thread_id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  turn_id text NOT NULL,
  -- Place in the order of acceptance over all sessions.
  accepted_order bigint NOT NULL,
  -- Place in the session's queue.
  place bigint NOT NULL,
  kind text NOT NULL,
  input text NOT NULL,
  fingerprint text NOT NULL,
  config text NOT NULL,
  affinity text COLLATE "C",
  -- Of the submission: one that is sent again finds its own.
  nonce text NOT NULL,
  status text NOT NULL DEFAULT 'queued',
  attempt integer NOT NULL DEFAULT 0,
  -- How many of its claims ended with a release: those are not counted against it.
  releases integer NOT NULL DEFAULT 0,
  cancel_reason text,
  created_at double precision NOT NULL,
  started_at double precision,
  finished_at double precision,
  last_seq bigint,
  summary text,
  error text,
  -- The ids of the interrupts that it left, each as JSON.
  interrupts text[],
  -- The owner of the lease that finished it: that one may finish it again, to the same result.
  finished_by text,
  -- The owner of the lease that put it back last: told again, since its answer may have been lost, that is no news.
  released_by text,
  -- How many of the session's turns to undo it was given when it was claimed.
  undo_count integer NOT NULL DEFAULT 0,
  -- Set once it has ended and waits for no answers: since when, and in which order, it is retained.
  retained_order bigint,
  retained_at double precision,
  PRIMARY KEY (thread_id, run_id)
) WITH (fillfactor = 85);

CREATE INDEX runs_queued ON runs (thread_id, place) WHERE status = 'queued';
CREATE INDEX runs_retained ON runs (thread_id, retained_order) WHERE retained_order IS NOT NULL;
CREATE INDEX runs_expiring ON runs (retained_at) WHERE retained_at IS NOT NULL;

-- A run record as JSON.
CREATE FUNCTION run_record(r runs, p_session text, p_user text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN concat(
    '{"threadId":', to_json(r.thread_id), ',"sessionId":', to_json(p_session), ',"userId":' || to_json(p_user)::text,
    ',"runId":', to_json(r.run_id), ',"turnId":', to_json(r.turn_id), ',"input":', r.input,
    ',"fingerprint":', to_json(r.fingerprint), ',"config":', r.config, ',"affinity":' || to_json(r.affinity)::text,
    ',"status":', to_json(r.status), ',"attempt":', r.attempt, ',"cancelRequested":' || to_json(r.cancel_reason)::text,
    ',"createdAt":', floor(r.created_at)::bigint, ',"startedAt":' || floor(r.started_at)::bigint,
    ',"finishedAt":' || floor(r.finished_at)::bigint, ',"lastSeq":' || r.last_seq, ',"summary":' || r.summary,
    ',"error":' || r.error, '}');
END $$;

-- The answer of a step that changes runs: the run that it is about, the ids of all that changed, and whether a run of
-- the session can be claimed now or a place under its user's limit has come free.
CREATE FUNCTION step_result(p_run text, p_changed text[], p_claimable boolean) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN concat('{"run":', coalesce(p_run, 'null'), ',"changed":', to_json(p_changed), ',"claimable":', to_json(p_claimable), '}');
END $$;

CREATE FUNCTION lock_session(p_thread text) RETURNS sessions LANGUAGE plpgsql AS $$
DECLARE
  s sessions;
BEGIN
  SELECT * INTO s FROM sessions WHERE thread_id = p_thread FOR UPDATE;
  RETURN s;
END $$;

-- Waits until nobody else changes the places or the running runs of this user.
CREATE FUNCTION lock_user(p_key text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('agent_sessions.user'), hashtext(p_key));
END $$;

-- Of two reasons to stop, the one that says more.
CREATE FUNCTION stronger(a text, b text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  v_strength constant text[] := '{cancel,interrupt,rollback,deleted}';
BEGIN
  RETURN CASE WHEN array_position(v_strength, a) >= array_position(v_strength, b) THEN a ELSE b END;
END $$;

CREATE FUNCTION mark_run(p_thread text, p_run text, p_reason text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE runs SET cancel_reason = stronger(cancel_reason, p_reason) WHERE thread_id = p_thread AND run_id = p_run;
END $$;

-- Ends a queued or running run that nobody will finish. Only one that had begun can have events.
CREATE FUNCTION end_run(p_thread text, p_run text, p_status text, p_reason text, p_error text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  v_now constant double precision := now_ms();
BEGIN
  UPDATE runs SET
      status = p_status, cancel_reason = CASE WHEN p_reason IS NULL THEN cancel_reason ELSE stronger(cancel_reason, p_reason) END,
      error = p_error, finished_at = v_now, last_seq = CASE WHEN attempt = 0 THEN 0 ELSE last_event(p_thread, p_run) END,
      retained_order = nextval('ticks'), retained_at = v_now
    WHERE thread_id = p_thread AND run_id = p_run;
END $$;

-- Ends the parking; the run stays known as any finished one. With a reason, it was closed without answers.
CREATE FUNCTION unpark(INOUT s sessions, p_reason text) LANGUAGE plpgsql AS $$
BEGIN
  IF p_reason IS NOT NULL THEN PERFORM mark_run(s.thread_id, s.parked, p_reason); END IF;
  UPDATE runs SET retained_order = nextval('ticks'), retained_at = now_ms()
    WHERE thread_id = s.thread_id AND run_id = s.parked;
  s.parked := NULL;
  s.parked_at := NULL;
END $$;

-- Takes the running run and its lease off the session.
CREATE FUNCTION free(INOUT s sessions) LANGUAGE plpgsql AS $$
BEGIN
  s.running := NULL;
  s.owner := NULL;
  s.expires_at := NULL;
END $$;

-- Cancels what is queued, closes what is parked, marks what runs; for rollback notes the turn that had begun.
CREATE FUNCTION clear_session(INOUT s sessions, p_reason text, OUT changed text[]) LANGUAGE plpgsql AS $$
DECLARE
  v_turn text;
  v_run text;
BEGIN
  changed := '{}';
  IF p_reason = 'rollback' THEN
    IF s.running IS NOT NULL OR s.parked IS NOT NULL THEN
      SELECT turn_id INTO v_turn FROM runs WHERE thread_id = s.thread_id AND run_id = coalesce(s.running, s.parked);
    ELSIF s.queued > 0 THEN
      SELECT CASE WHEN attempt > 0 OR kind = 'answers' THEN turn_id END INTO v_turn FROM runs
        WHERE thread_id = s.thread_id AND status = 'queued' ORDER BY place LIMIT 1;
    END IF;
    -- Undoing the oldest turn undoes all later ones, so the newest may be left out.
    IF v_turn IS NOT NULL AND v_turn <> ALL (s.undo) AND cardinality(s.undo) < 100 THEN s.undo := s.undo || v_turn; END IF;
  END IF;
  IF s.queued > 0 THEN
    FOR v_run IN
      SELECT run_id FROM runs WHERE thread_id = s.thread_id AND status = 'queued' ORDER BY place
    LOOP
      PERFORM end_run(s.thread_id, v_run, 'cancelled', p_reason, NULL);
      changed := changed || v_run;
    END LOOP;
    s.queued := 0;
  END IF;
  IF s.parked IS NOT NULL THEN
    changed := changed || s.parked;
    s := unpark(s, p_reason);
  END IF;
  IF s.running IS NOT NULL THEN
    PERFORM mark_run(s.thread_id, s.running, p_reason);
    changed := changed || s.running;
  END IF;
END $$;
`;

/*
 * Whose turn it is: as in ../../memory/user-rotation.ts. A lane is where a user waits: one for the runs that any
 * process may take, and one for each process that alone may take some. All lanes of a user have the same turn.
 */
export const rotation = /* sql */ `
CREATE TABLE lanes (
  user_key text COLLATE "C" NOT NULL,
  -- '' for the common lane.
  affinity text COLLATE "C" NOT NULL,
  turn bigint NOT NULL,
  PRIMARY KEY (user_key, affinity)
);
-- Two, so that each serves one purpose only and a planner has no choice.
CREATE INDEX lanes_turn ON lanes (turn) WHERE affinity = '';
CREATE INDEX lanes_turn_of ON lanes (affinity, turn) WHERE affinity > '';

-- Writes the session back and puts it where it belongs: among the runnable or not. Whether it is runnable.
CREATE FUNCTION settle(s sessions) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_order bigint;
  v_affinity text;
BEGIN
  IF s.queued > 0 AND s.running IS NULL AND s.parked IS NULL AND s.deleted_at IS NULL THEN
    SELECT accepted_order, coalesce(affinity, '') INTO v_order, v_affinity FROM runs
      WHERE thread_id = s.thread_id AND status = 'queued' ORDER BY place LIMIT 1;
  END IF;
  -- Idle from now on, however long it has waited before.
  IF s.running IS NULL AND s.parked IS NULL AND s.queued = 0 THEN s.last_used_at := now_ms(); END IF;
  IF v_affinity IS DISTINCT FROM s.head_affinity THEN PERFORM lock_user(s.user_key); END IF;
  UPDATE sessions SET
      created_order = s.created_order, created_at = s.created_at, last_used_at = s.last_used_at, config = s.config,
      sticky = s.sticky, sticky_version = s.sticky_version, epoch = s.epoch, lease_epoch = s.lease_epoch, owner = s.owner,
      expires_at = s.expires_at, running = s.running, parked = s.parked, parked_at = s.parked_at, queued = s.queued,
      head_order = v_order, head_affinity = v_affinity, undo = s.undo, deleted_at = s.deleted_at
    WHERE thread_id = s.thread_id;
  IF v_affinity IS DISTINCT FROM s.head_affinity THEN
    -- First in, then out: who stays in a lane keeps the turn.
    IF v_affinity IS NOT NULL THEN
      INSERT INTO lanes (user_key, affinity, turn)
        VALUES (s.user_key, v_affinity, coalesce((SELECT turn FROM lanes WHERE user_key = s.user_key LIMIT 1), nextval('ticks')))
        ON CONFLICT DO NOTHING;
    END IF;
    IF s.head_affinity IS NOT NULL AND NOT EXISTS (
      SELECT FROM sessions WHERE user_key = s.user_key AND head_order IS NOT NULL AND head_affinity = s.head_affinity
    ) THEN
      DELETE FROM lanes WHERE user_key = s.user_key AND affinity = s.head_affinity;
    END IF;
  END IF;
  RETURN v_order IS NOT NULL;
END $$;
`;

/** Sessions, and what all steps on them share. */
export const sessions = /* sql */ `
-- One counter for all that only ever grows: places in queues and listings, turns, versions.
CREATE SEQUENCE ticks;

CREATE FUNCTION now_ms() RETURNS double precision LANGUAGE sql VOLATILE AS
$$ SELECT extract(epoch FROM clock_timestamp())::double precision * 1000 $$;

-- Raises what clients turn into an error of the code that the SQLSTATE stands for.
CREATE FUNCTION refuse(p_state text, p_message text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = p_state, MESSAGE = p_message;
END $$;

CREATE TABLE sessions (
  thread_id text COLLATE "C" PRIMARY KEY,
  session_id text NOT NULL,
  user_id text COLLATE "C",
  -- Who waits for a turn: a session without user is a user of its own.
  user_key text COLLATE "C" NOT NULL GENERATED ALWAYS AS (coalesce('u' || user_id, 't' || thread_id)) STORED,

  -- The directory: NULL while the session is not listed in it.
  created_order bigint,
  created_at double precision,
  last_used_at double precision NOT NULL,
  -- The whole config of the run that was accepted last, as JSON.
  config text NOT NULL,

  -- What sticks of the config given with runs, as JSON, and the nonce of the submission that made it so.
  sticky text NOT NULL DEFAULT '{}',
  sticky_version text NOT NULL DEFAULT '',

  -- What writes are fenced with. Deleting raises epoch and leaves the lease, so that its run can still be finished.
  epoch bigint NOT NULL DEFAULT 0,
  lease_epoch bigint NOT NULL DEFAULT 0,
  owner text,
  expires_at double precision,

  running text,
  parked text,
  parked_at double precision,
  queued integer NOT NULL DEFAULT 0,
  -- The place in the order of acceptance and the affinity ('' without) of the run that is next; NULL unless runnable.
  head_order bigint,
  head_affinity text COLLATE "C",
  -- Turns that rollbacks have cancelled and that are to be undone, oldest first.
  undo text[] NOT NULL DEFAULT '{}',
  -- The tombstone.
  deleted_at double precision
) WITH (fillfactor = 85);

CREATE UNIQUE INDEX sessions_listed ON sessions (created_order) WHERE created_order IS NOT NULL;
CREATE UNIQUE INDEX sessions_listed_of ON sessions (user_id, created_order)
  WHERE created_order IS NOT NULL AND user_id IS NOT NULL;
CREATE INDEX sessions_runnable ON sessions (user_key, head_affinity, head_order) WHERE head_order IS NOT NULL;
CREATE INDEX sessions_running ON sessions (user_key) WHERE running IS NOT NULL;
CREATE INDEX sessions_leases ON sessions (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX sessions_parked ON sessions (parked_at) WHERE parked IS NOT NULL;
CREATE INDEX sessions_deleted ON sessions (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX sessions_idle ON sessions (last_used_at)
  WHERE running IS NULL AND parked IS NULL AND queued = 0 AND deleted_at IS NULL;

-- The slots behind context.state, as JSON: beside the sessions, since they may be large.
CREATE TABLE states (
  thread_id text COLLATE "C" PRIMARY KEY,
  value text NOT NULL
);

-- How many runs wait and sessions are listed: the sums over all rows. Each connection counts in the row that its
-- process number picks, so that hardly anybody waits for anybody.
CREATE TABLE counters (
  shard integer PRIMARY KEY,
  queued bigint NOT NULL DEFAULT 0,
  listed bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
INSERT INTO counters (shard) SELECT generate_series(0, 63);

CREATE FUNCTION count_change(p_queued integer, p_listed integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_queued = 0 AND p_listed = 0 THEN RETURN; END IF;
  UPDATE counters SET queued = queued + p_queued, listed = listed + p_listed
    WHERE shard = pg_backend_pid() % 64;
END $$;
`;

/** The fence that all writes of a run go through. */
export const lease = /* sql */ `
-- By the clock, in microseconds: a crash of the server may take back an epoch that was given, but not the time. So it is
-- not given again, which another engine that has seen it would not forgive.
CREATE FUNCTION next_epoch(p_epoch bigint) RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT greatest(p_epoch + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) $$;

-- Whether the lease may write to its thread now, on behalf of p_run if that is given. Raises AS001 otherwise.
--
-- The session's row stays locked in share mode until the caller's transaction ends: a claim that takes the run over, a
-- finish and a tombstone wait for it, so a write that got through the fence is done before they are.
CREATE FUNCTION assert_lease(p_thread text, p_epoch bigint, p_owner text, p_run text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM sessions
    WHERE thread_id = p_thread AND epoch = p_epoch AND owner = p_owner AND (p_run IS NULL OR running = p_run)
    FOR SHARE;
  IF NOT FOUND THEN PERFORM lease_lost(p_thread, p_epoch); END IF;
END $$;

CREATE FUNCTION lease_lost(p_thread text, p_epoch bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'AS001',
    MESSAGE = format('The lease on thread \`%s\` with epoch %s no longer holds.', p_thread, p_epoch);
END $$;
`;

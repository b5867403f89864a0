import { PREDICTABLE } from "./plans.js";

/** The texts of conversations. What they mean is the saver's matter. */
export const conversation = /* sql */ `
CREATE TABLE conversations (
  thread_id text COLLATE "C" PRIMARY KEY,
  -- Stands for the thread in its records: thread ids are long, and each record would repeat them.
  id bigint GENERATED ALWAYS AS IDENTITY,
  version text NOT NULL
);

CREATE TABLE records (
  conversation bigint NOT NULL,
  key text COLLATE "C" NOT NULL,
  body text NOT NULL,
  PRIMARY KEY (conversation, key)
);

-- All records of a thread, as of one moment, each with the thread's version; one row without a record when there are
-- none, or when the version is p_known. STABLE makes both statements see that moment.
CREATE FUNCTION load_conversation(p_thread text, p_known text)
RETURNS TABLE (version text, key text, body text) LANGUAGE plpgsql STABLE ${PREDICTABLE} AS $$
DECLARE
  v_id bigint;
BEGIN
  SELECT c.id, c.version INTO v_id, version FROM conversations c WHERE c.thread_id = p_thread;
  IF NOT FOUND THEN RETURN; END IF;
  IF version IS DISTINCT FROM p_known THEN
    RETURN QUERY SELECT load_conversation.version, r.key, r.body FROM records r WHERE r.conversation = v_id;
    IF FOUND THEN RETURN; END IF;
  END IF;
  RETURN NEXT;
END $$;

-- Applies a change if the thread's version is p_base (NULL: if there is no such thread), or says whether it has been
-- applied before. The row of the thread stays locked until the end: changes of one thread come one after another. With
-- p_run a batch of that run's events is added in the same step (see add_batch).
CREATE FUNCTION commit_conversation(
  p_thread text, p_base text, p_token text, p_epoch bigint, p_owner text, p_keys text[], p_bodies text[], p_deletes text[],
  p_run text, p_first bigint, p_last bigint, p_events text, p_keep bigint
) RETURNS boolean LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  v_id bigint;
BEGIN
  IF p_owner IS NOT NULL THEN PERFORM assert_lease(p_thread, p_epoch, p_owner, p_run); END IF;
  IF p_base IS NULL THEN
    INSERT INTO conversations (thread_id, version) VALUES (p_thread, p_token)
      ON CONFLICT (thread_id) DO NOTHING RETURNING id INTO v_id;
  ELSE
    UPDATE conversations SET version = p_token WHERE thread_id = p_thread AND version = p_base RETURNING id INTO v_id;
  END IF;
  IF v_id IS NULL THEN
    RETURN EXISTS (SELECT FROM conversations WHERE thread_id = p_thread AND version = p_token);
  END IF;
  IF cardinality(p_deletes) > 0 THEN
    DELETE FROM records WHERE conversation = v_id AND key = ANY (p_deletes);
  END IF;
  INSERT INTO records (conversation, key, body) SELECT v_id, t.key, t.body FROM unnest(p_keys, p_bodies) AS t (key, body)
    ON CONFLICT (conversation, key) DO UPDATE SET body = excluded.body;
  IF p_run IS NOT NULL THEN PERFORM add_batch(p_thread, p_epoch, p_run, p_first, p_last, p_events, p_keep); END IF;
  RETURN true;
END $$;

CREATE FUNCTION forget_conversation(p_thread text) RETURNS void LANGUAGE plpgsql ${PREDICTABLE} AS $$
DECLARE
  v_id bigint;
BEGIN
  DELETE FROM conversations WHERE thread_id = p_thread RETURNING id INTO v_id;
  IF v_id IS NOT NULL THEN DELETE FROM records WHERE conversation = v_id; END IF;
END $$;

CREATE FUNCTION list_conversations(p_after text, p_limit bigint) RETURNS SETOF text
LANGUAGE plpgsql STABLE ${PREDICTABLE} AS $$
BEGIN
  RETURN QUERY
    SELECT c.thread_id FROM conversations c
    WHERE c.thread_id > coalesce(p_after, '') COLLATE "C" AND EXISTS (SELECT FROM records r WHERE r.conversation = c.id)
    ORDER BY c.thread_id LIMIT p_limit;
END $$;
`;

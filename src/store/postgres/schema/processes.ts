/** Which processes use the store, and what they tell each other. */
export const processes = /* sql */ `
CREATE TABLE processes (
  process_id text COLLATE "C" PRIMARY KEY,
  started_at double precision NOT NULL,
  seen_at double precision NOT NULL,
  expires_at double precision NOT NULL,
  info text NOT NULL
);

CREATE TABLE messages (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  sent_at double precision NOT NULL,
  -- Tells a message that is sent again from another one.
  token text NOT NULL,
  body text NOT NULL
);

CREATE FUNCTION beat_process(p_process text, p_info text, p_ttl_ms double precision) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  v_now double precision := now_ms();
BEGIN
  INSERT INTO processes AS p VALUES (p_process, v_now, v_now, v_now + p_ttl_ms, p_info)
    ON CONFLICT (process_id) DO UPDATE SET
      started_at = CASE WHEN p.expires_at <= v_now THEN v_now ELSE p.started_at END,
      seen_at = v_now, expires_at = v_now + p_ttl_ms, info = excluded.info;
  DELETE FROM processes WHERE process_id IN (
    SELECT process_id FROM processes WHERE expires_at <= v_now FOR UPDATE SKIP LOCKED
  );
END $$;

CREATE FUNCTION leave_process(p_process text) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  DELETE FROM processes WHERE process_id = p_process;
END $$;

CREATE FUNCTION list_processes()
RETURNS TABLE (process_id text, started_at double precision, seen_at double precision, info text)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
  v_now double precision := now_ms();
BEGIN
  RETURN QUERY
    SELECT p.process_id, p.started_at, p.seen_at, p.info FROM processes p
    WHERE p.expires_at > v_now ORDER BY p.started_at, p.process_id;
END $$;

-- The lock makes ids visible in their order: without it, who has read up to an id might miss a smaller one that is
-- committed later.
-- Gives the id of the message.
CREATE FUNCTION send_message(p_token text, p_body text) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  v_id bigint;
BEGIN
  LOCK TABLE messages IN SHARE ROW EXCLUSIVE MODE;
  SELECT id INTO v_id FROM messages WHERE token = p_token;
  IF FOUND THEN RETURN v_id; END IF;
  INSERT INTO messages (sent_at, token, body) VALUES (now_ms(), p_token, p_body) RETURNING id INTO v_id;
  DELETE FROM messages WHERE sent_at < now_ms() - 60000 OR id <= v_id - 1000;
  RETURN v_id;
END $$;

-- How long ago each message was sent, in milliseconds.
CREATE FUNCTION message_times() RETURNS TABLE (id bigint, ago double precision)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
  v_now double precision := now_ms();
BEGIN
  RETURN QUERY SELECT m.id, v_now - m.sent_at FROM messages m ORDER BY m.id;
END $$;

CREATE FUNCTION messages_after(p_id bigint) RETURNS TABLE (id bigint, body text)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN QUERY SELECT m.id, m.body FROM messages m WHERE m.id > p_id ORDER BY m.id;
END $$;
`;

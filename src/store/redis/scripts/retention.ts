/*
 * Finished runs are kept for a while, in the order in which they ended, and the oldest are forgotten first. A session's
 * surplus goes at the beginning of its next step and not at once, so that whoever waits for one of many runs that a
 * single step cancelled still finds it. A run takes its events along.
 */

/** `retain`, `trim`, `expire` and `forget`. */
export const retention = `
local function ended_key(thread) return P .. ':ended:' .. thread end

local function retain(s, run)
  redis.call('HSET', run_key(s.thread, run), 'since', now())
  if redis.call('RPUSH', ended_key(s.thread), run) == 1 then
    redis.call('ZADD', P .. ':retained', now(), s.thread)
  end
end

local function forget_oldest(thread)
  local run = redis.call('LPOP', ended_key(thread))
  if run then redis.call('UNLINK', run_key(thread, run), events_key(thread, run)) end
  local oldest = redis.call('LINDEX', ended_key(thread), 0)
  local since = oldest and redis.call('HGET', run_key(thread, oldest), 'since')
  if since then redis.call('ZADD', P .. ':retained', since, thread)
  else redis.call('ZREM', P .. ':retained', thread) end
end

-- Forgets what a session has over 'max' ('inf' for no limit).
local function trim(s, max)
  for _ = tonumber(max) + 1, redis.call('LLEN', ended_key(s.thread)) do forget_oldest(s.thread) end
end

-- Forgets up to 'limit' runs that ended 'age' ms ago; how many.
local function expire(limit, age)
  for forgotten = 0, limit - 1 do
    local oldest = redis.call('ZRANGEBYSCORE', P .. ':retained', '-inf', now() - age, 'LIMIT', 0, 1)
    if not oldest[1] then return forgotten end
    forget_oldest(oldest[1])
  end
  return limit
end

-- Forgets all of a session in which nothing runs, waits or is parked, with conversation and events.
local function forget(s)
  while redis.call('EXISTS', ended_key(s.thread)) == 1 do forget_oldest(s.thread) end
  redis.call('UNLINK', conversation_key(s.thread))
  redis.call('ZREM', P .. ':conversations', s.thread)
  redis.call('UNLINK', s.key, P .. ':undo:' .. s.thread, P .. ':state:' .. s.thread)
  redis.call('ZREM', P .. ':idle', s.thread)
  redis.call('ZREM', P .. ':tombstones', s.thread)
  redis.call('ZREM', P .. ':sessions', s.thread)
  if s.userId then redis.call('ZREM', P .. ':sessions:' .. s.userId, s.thread) end
end
`;

/*
 * Whose turn it is: the rules of memory/user-rotation.ts over sorted sets.
 *
 * A session is runnable while it has a queued run and nothing runs or waits for answers in it. A user waits while
 * one of its sessions is runnable; a session without user is a user of its own (`s:<thread>`, the others are
 * `u:<user>`). Each waiting user has a turn number: a new one, behind all others, when it begins to wait and each
 * time it is given a run. The user with the lowest number is next, and of its runnable sessions the one whose next
 * run was accepted first.
 *
 * Lanes keep runs that only one process may claim out of the way of the others: `common`, and one per process.
 *
 *   {p}:waiting:<lane>           zset: users with runnable sessions in that lane, by turn
 *   {p}:runnable:<lane>:<user>   zset: the user's runnable sessions in that lane, by the order of their next run
 *   {p}:user:<user>              hash, while it waits or runs: turn, running, waiting, aside, lane:<lane> for each
 *   {p}:aside                    zset: users that were found at their limit, by how many runs they have
 *   {p}:pinned                   set: processes that alone may claim a run that is next in a runnable session
 *   {p}:pinned:<process>         zset: those sessions, by when that run was accepted
 *
 * A user at the caller's limit is set aside, out of the waiting ones, and keeps its number. It is brought back when
 * one of its runs ends or a caller with a higher limit comes: so nobody is looked at in vain twice under one limit,
 * and every step costs O(log n).
 */

/** `place`, `started`, `stopped` and `next_session`; needs `set` and a session's `user` and `lane` (see moves.ts). */
export const rotation = `
local function user_key(user) return P .. ':user:' .. user end
local function waiting_key(lane) return P .. ':waiting:' .. lane end
local function runnable_key(lane, user) return P .. ':runnable:' .. #lane .. ':' .. lane .. ':' .. user end

local function lanes_of(user)
  local lanes = {}
  for _, field in ipairs(redis.call('HKEYS', user_key(user))) do
    local lane = string.match(field, '^lane:(.*)$')
    if lane then lanes[#lanes + 1] = lane end
  end
  return lanes
end

-- A user that neither waits nor runs is not kept.
local function let_go(user)
  local counts = redis.call('HMGET', user_key(user), 'waiting', 'running')
  if tonumber(counts[1] or 0) > 0 or tonumber(counts[2] or 0) > 0 then return end
  redis.call('DEL', user_key(user))
  redis.call('ZREM', P .. ':aside', user)
end

local function runs_of_user(user) return tonumber(redis.call('HGET', user_key(user), 'running') or 0) end

local function new_turn() return redis.call('HINCRBY', P .. ':counters', 'turn', 1) end

local function set_aside(user, running)
  redis.call('ZADD', P .. ':aside', running, user)
  redis.call('HSET', user_key(user), 'aside', 1)
  for _, lane in ipairs(lanes_of(user)) do redis.call('ZREM', waiting_key(lane), user) end
end

local function bring_back(user)
  redis.call('ZREM', P .. ':aside', user)
  redis.call('HDEL', user_key(user), 'aside')
  local turn = redis.call('HGET', user_key(user), 'turn')
  for _, lane in ipairs(lanes_of(user)) do redis.call('ZADD', waiting_key(lane), turn, user) end
end

-- The process that a lane is for; nil for the common one.
local function process_of(lane) return string.match(lane, '^process:(.*)$') end

local function unpin(thread, lane)
  local process = process_of(lane)
  if not process then return end
  local key = P .. ':pinned:' .. process
  redis.call('ZREM', key, thread)
  if redis.call('EXISTS', key) == 0 then redis.call('SREM', P .. ':pinned', process) end
end

local function leave_lane(s)
  local lane = s.lane
  unpin(s.thread, lane)
  redis.call('ZREM', runnable_key(lane, s.user), s.thread)
  set(s, 'lane', false)
  redis.call('HINCRBY', user_key(s.user), 'waiting', -1)
  if redis.call('EXISTS', runnable_key(lane, s.user)) == 1 then return end
  redis.call('HDEL', user_key(s.user), 'lane:' .. lane)
  redis.call('ZREM', waiting_key(lane), s.user)
end

local function enter_lane(s, lane)
  set(s, 'lane', lane)
  redis.call('HINCRBY', user_key(s.user), 'waiting', 1)
  redis.call('HSET', user_key(s.user), 'lane:' .. lane, 1)
  local user = redis.call('HMGET', user_key(s.user), 'turn', 'aside')
  if not user[2] then redis.call('ZADD', waiting_key(lane), user[1], s.user) end
end

-- Brings the session's place up to date; 'run' is the next one, if nothing stands in its way.
local function place(s, run)
  if not run then
    if not s.lane then return end
    leave_lane(s)
    return let_go(s.user)
  end
  local facts = redis.call('HMGET', run_key(s.thread, run), 'order', 'affinity', 'createdAt')
  local lane = facts[2] and 'process:' .. facts[2] or 'common'
  if tonumber(redis.call('HGET', user_key(s.user), 'waiting') or 0) == 0 then
    redis.call('HSET', user_key(s.user), 'turn', new_turn())
  end
  if s.lane and s.lane ~= lane then leave_lane(s) end
  redis.call('ZADD', runnable_key(lane, s.user), facts[1], s.thread)
  if not s.lane then enter_lane(s, lane) end
  if facts[2] then
    redis.call('SADD', P .. ':pinned', facts[2])
    redis.call('ZADD', P .. ':pinned:' .. facts[2], facts[3], s.thread)
  end
end

-- Counts a run of the session and ends its user's turn.
local function started(s)
  local turn = new_turn()
  redis.call('HINCRBY', user_key(s.user), 'running', 1)
  redis.call('HSET', user_key(s.user), 'turn', turn)
  for _, lane in ipairs(lanes_of(s.user)) do redis.call('ZADD', waiting_key(lane), 'XX', turn, s.user) end
end

-- Takes back 'started'.
local function stopped(s)
  redis.call('HINCRBY', user_key(s.user), 'running', -1)
  if redis.call('HGET', user_key(s.user), 'aside') then bring_back(s.user) end
  let_go(s.user)
end

-- The thread whose turn it is for this process, left in its place, with its user and lane. 'limit' is a number of runs
-- per user, or 'inf'.
local function next_session(process, limit)
  for _, user in ipairs(redis.call('ZRANGEBYSCORE', P .. ':aside', '-inf', '(' .. limit)) do bring_back(user) end
  local own = 'process:' .. process
  while true do
    local first = redis.call('ZRANGE', waiting_key('common'), 0, 0, 'WITHSCORES')
    local mine = redis.call('ZRANGE', waiting_key(own), 0, 0, 'WITHSCORES')
    if not first[1] or (mine[1] and tonumber(mine[2]) < tonumber(first[2])) then first = mine end
    local user = first[1]
    if not user then return nil end
    local running = runs_of_user(user)
    if running < tonumber(limit) then
      local thread, order, found
      for _, lane in ipairs({ 'common', own }) do
        local head = redis.call('ZRANGE', runnable_key(lane, user), 0, 0, 'WITHSCORES')
        if head[1] and (not order or tonumber(head[2]) < order) then
          thread, order, found = head[1], tonumber(head[2]), lane
        end
      end
      if thread then return thread, user, found end
    else set_aside(user, running) end
    -- Whatever was wrong with it, it is not found here again: this ends.
    redis.call('ZREM', waiting_key('common'), user)
    redis.call('ZREM', waiting_key(own), user)
  end
end

-- Whether nobody waits whom the process could serve.
local function is_idle(process)
  return redis.call('EXISTS', waiting_key('common'), waiting_key('process:' .. process)) == 0
end

-- Takes a session that is not there out of its lane.
local function lost_session(thread, user, lane)
  unpin(thread, lane)
  redis.call('ZREM', runnable_key(lane, user), thread)
  redis.call('HINCRBY', user_key(user), 'waiting', -1)
  let_go(user)
end
`;

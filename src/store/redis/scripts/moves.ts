/*
 * Sessions, runs and the moves between their states, as memory/ledger-state.ts has them. Each move keeps queue, lease,
 * sets and counters in step with each other; `settle` then brings the session's place among the others up to date.
 *
 * Fields of a session: sessionId, userId; epoch and owner (fence.ts), leaseEpoch: the lease that renew and finish go by;
 * running, parked: run ids; deleted; lane (rotation.ts); sticky and stickyVersion: what sticks of the config, and the
 * submission that made it so; of the directory's row: created, createdAt, lastUsedAt, config.
 *
 * Fields of a run beside those of `runFields`: order of acceptance; kind of the input; nonce of its submission;
 * interrupt:<id> for each that waits; undoCount: how many turns to undo it was given; finishedBy, releasedBy: the owner
 * who did; releases: how many claims ended so; since: when it was parked or retained. Of those: abandoned, after how many
 * attempts or because it was 'orphaned'.
 *
 * JSON is text here and never looked into.
 */

/** What of a run is told, in the order in which `record` gives it. */
export const runFields = [
  "sessionId",
  "userId",
  "turnId",
  "input",
  "fingerprint",
  "config",
  "affinity",
  "status",
  "attempt",
  "cancelRequested",
  "createdAt",
  "startedAt",
  "finishedAt",
  "lastSeq",
  "summary",
  "error",
  "abandoned",
] as const;

/** `load`, `set` and `record`: what reading scripts need. */
export const sessions = `
local SESSION_FIELDS = { 'sessionId', 'userId', 'owner', 'leaseEpoch', 'running', 'parked', 'deleted', 'lane' }
local function queue_key(thread) return P .. ':queue:' .. thread end

-- A field that is not there is false.
local function load(thread)
  local s = { thread = thread, key = session_key(thread) }
  local values = redis.call('HMGET', s.key, unpack(SESSION_FIELDS))
  if not values[1] then return nil end
  for i, field in ipairs(SESSION_FIELDS) do s[field] = values[i] end
  s.user = s.userId and 'u:' .. s.userId or 's:' .. thread
  return s
end

local function set(s, field, value)
  s[field] = value
  if value then redis.call('HSET', s.key, field, value) else redis.call('HDEL', s.key, field) end
end

local function head_of(s) return redis.call('ZRANGE', queue_key(s.thread), 0, 0)[1] end

local function record(thread, run)
  return redis.call('HMGET', run_key(thread, run), ${runFields.map((field) => `'${field}'`).join(", ")})
end
`;

/** The moves. Needs `sessions`, `time`, `hint`, `rotation`, `retention` and `lastEvent` before it. */
export const moves = `
-- Threads and runs that this step changed, by turns; and whether a run may have become claimable.
local changed, claimable = {}, 0

local function note(s, run)
  changed[#changed + 1] = s.thread
  changed[#changed + 1] = run
end

-- Notes a change that other processes wait for.
local function tell(s, run)
  note(s, run)
  redis.call('XADD', P .. ':hints', 'MAXLEN', '~', 8192, '*', 'h', 'run\\n' .. s.thread .. '\\n' .. run)
end

-- The session of a lease while that lease is its newest, however old.
local function holder(thread, epoch, owner)
  local s = load(thread)
  if s and s.owner == owner and s.leaseEpoch == epoch then return s end
end

-- Places only have to be in order: a run that goes ahead takes one before the first.
local function enqueue(s, run, order, ahead)
  local at = tonumber(order)
  if ahead then
    local head = redis.call('ZRANGE', queue_key(s.thread), 0, 0, 'WITHSCORES')
    if head[1] and tonumber(head[2]) <= at then at = tonumber(head[2]) - 1 end
  end
  redis.call('ZADD', queue_key(s.thread), at, run)
  redis.call('HINCRBY', P .. ':counters', 'queued', 1)
  note(s, run)
end

local function dequeue(s, run)
  if redis.call('ZREM', queue_key(s.thread), run) == 1 then
    redis.call('HINCRBY', P .. ':counters', 'queued', -1)
  end
end

-- Takes the running run and its lease off the session. Its user may have been at the limit: another's turn may have come.
local function free(s)
  redis.call('ZREM', P .. ':leases', s.thread)
  redis.call('HDEL', s.key, 'running', 'owner', 'leaseEpoch')
  s.running, s.owner, s.leaseEpoch = false, false, false
  stopped(s)
  claimable = 1
end

local function unpark(s)
  local run = s.parked
  if not run then return end
  set(s, 'parked', false)
  redis.call('ZREM', P .. ':parked', s.thread)
  retain(s, run)
end

-- The stronger of two reasons to stop stays.
local STRENGTH = { cancel = 1, interrupt = 2, rollback = 3, deleted = 4 }
local function mark(s, run, reason)
  local before = redis.call('HGET', run_key(s.thread, run), 'cancelRequested')
  if before and STRENGTH[before] >= STRENGTH[reason] then return end
  redis.call('HSET', run_key(s.thread, run), 'cancelRequested', reason)
  tell(s, run)
end

-- Ends the parking without answers.
local function close_parked(s, reason)
  if not s.parked then return end
  mark(s, s.parked, reason)
  unpark(s)
end

-- Ends a run that nobody will finish. Only one that had begun can have events.
local function end_run(s, run, status)
  local key = run_key(s.thread, run)
  local seq = redis.call('HGET', key, 'attempt') == '0' and 0 or (last_event(s.thread, run))
  redis.call('HSET', key, 'status', status, 'finishedAt', now(), 'lastSeq', seq)
  retain(s, run)
  tell(s, run)
end

local function cancel_queued(s, run, reason)
  redis.call('HSET', run_key(s.thread, run), 'cancelRequested', reason)
  dequeue(s, run)
  end_run(s, run, 'cancelled')
end

local function end_running(s, status)
  local run = s.running
  free(s)
  end_run(s, run, status)
end

-- Undoing the oldest turn undoes all later ones, so the newest may be left out.
local MAX_UNDO = 100

-- Cancels what is queued, closes what is parked, marks what runs; for 'rollback' notes the turn that had begun.
local function clear(s, reason)
  if reason == 'rollback' then
    local begun = s.running or s.parked
    if not begun then
      local head = head_of(s)
      local facts = head and redis.call('HMGET', run_key(s.thread, head), 'attempt', 'kind')
      if facts and (facts[1] ~= '0' or facts[2] == 'answers') then begun = head end
    end
    local undo = P .. ':undo:' .. s.thread
    local turn = begun and redis.call('HGET', run_key(s.thread, begun), 'turnId')
    if turn and redis.call('LLEN', undo) < MAX_UNDO and not redis.call('LPOS', undo, turn) then
      redis.call('RPUSH', undo, turn)
    end
  end
  for _, run in ipairs(redis.call('ZRANGE', queue_key(s.thread), 0, -1)) do cancel_queued(s, run, reason) end
  close_parked(s, reason)
  if s.running then mark(s, s.running, reason) end
end

-- Makes the session's row in the directory, if it has none.
local function open_row(s)
  if redis.call('HEXISTS', s.key, 'created') == 1 then return end
  local created = redis.call('HINCRBY', P .. ':counters', 'created', 1)
  redis.call('HSET', s.key, 'created', created, 'createdAt', now(), 'lastUsedAt', now())
  redis.call('ZADD', P .. ':sessions', created, s.thread)
  if s.userId then redis.call('ZADD', P .. ':sessions:' .. s.userId, created, s.thread) end
end

-- Puts the session where it belongs: among the runnable, the idle, or neither.
local function settle(s)
  local head = head_of(s)
  local blocked = s.running or s.parked or s.deleted
  place(s, not blocked and head)
  if s.lane then claimable = 1 end
  if head or blocked then redis.call('ZREM', P .. ':idle', s.thread)
  else redis.call('ZADD', P .. ':idle', 'NX', now(), s.thread) end
end

-- The turns that the run was given to undo.
local function undo_of(s, run)
  -- Up to -1 would be all of them.
  local count = tonumber(redis.call('HGET', run_key(s.thread, run), 'undoCount'))
  if count == 0 then return {} end
  return redis.call('LRANGE', P .. ':undo:' .. s.thread, 0, count - 1)
end

-- Hands out the running or the next run under a fresh lease; its epoch, and the turns to undo. Unless it is known that
-- nobody has begun the run, this is an attempt.
local function begin(s, run, owner, lease_ms, unbegun)
  local key = run_key(s.thread, run)
  if s.running ~= run then
    dequeue(s, run)
    redis.call('HSET', key, 'undoCount', redis.call('LLEN', P .. ':undo:' .. s.thread))
    set(s, 'running', run)
    started(s)
  end
  local epoch = redis.call('HINCRBY', P .. ':counters', 'epoch', 1)
  redis.call('HSET', s.key, 'epoch', epoch, 'leaseEpoch', epoch, 'owner', owner, 'lastUsedAt', now())
  settle(s)
  redis.call('ZADD', P .. ':leases', now() + lease_ms, s.thread)
  redis.call('HSET', key, 'status', 'running')
  if not unbegun then redis.call('HINCRBY', key, 'attempt', 1) end
  redis.call('HSETNX', key, 'startedAt', now())
  note(s, run)
  return epoch, undo_of(s, run)
end

-- How often a run was begun, but for what was handed over.
local function attempts_of(s, run)
  local counts = redis.call('HMGET', run_key(s.thread, run), 'attempt', 'releases')
  return tonumber(counts[1]) - tonumber(counts[2] or 0)
end

-- Ends the running or next run, which nobody is to try again: as failed, or as cancelled if that is what it had been
-- told. 'why' is after how many attempts, or 'orphaned'.
local function abandon(s, run, why)
  local key = run_key(s.thread, run)
  local status = 'cancelled'
  if not redis.call('HGET', key, 'cancelRequested') then
    status = 'failed'
    redis.call('HSET', key, 'abandoned', why)
  end
  if s.running == run then end_running(s, status)
  else
    dequeue(s, run)
    end_run(s, run, status)
  end
  settle(s)
end
`;

import { step } from "./ledger.js";

/** Sessions that one step looks at before others get the engine. */
const LOOKS = 64;

/**
 * ARGV: process, owner of the new lease, lease in ms, most attempts, limit of runs per user or 'inf', retention: most;
 * owners of leases whose claims have had no answer.
 *
 * First come the runs that this process has claimed without knowing, which nobody has begun; then those whose process has
 * gone silent, then those that wait. Runs that nobody is to try again are ended on the way. A server that evicts keys may
 * have lost a session: what still points to it is taken away, so that the others go on.
 *
 * Replies 'run', thread, run, epoch, turns to undo, record, changed, claimable, whether nothing else waits; or 'none' or 'more' (ask again: there
 * were many to end), changed, claimable.
 */
export const claim = step(`
local process, owner, lease_ms, max_attempts, limit, max = unpack(ARGV)

local function grant(s, run, unbegun)
  local epoch, undo = begin(s, run, owner, lease_ms, unbegun)
  return { 'run', s.thread, run, epoch, undo, record(s.thread, run), changed, claimable }
end

if #ARGV > 6 then
  local lost = {}
  for i = 7, #ARGV do lost[ARGV[i]] = true end
  for _, thread in ipairs(redis.call('ZRANGE', P .. ':leases', 0, -1)) do
    if lost[redis.call('HGET', session_key(thread), 'owner')] then
      local s = load(thread)
      if not s.deleted then return grant(s, s.running, true) end
    end
  end
end

for _ = 1, ${String(LOOKS)} do
  local thread = redis.call('ZRANGEBYSCORE', P .. ':leases', '-inf', now(), 'LIMIT', 0, 1)[1]
  if not thread then break end
  local s = load(thread)
  local run = s and s.running
  if run then
    local affinity, attempts = redis.call('HGET', run_key(thread, run), 'affinity'), attempts_of(s, run)
    -- With an affinity, the only process that could go on with it may have gone silent.
    local mine = not affinity or affinity == process
    if not s.deleted and mine and attempts < tonumber(max_attempts) then return grant(s, run) end
    trim(s, max)
    abandon(s, run, mine and attempts or 'orphaned')
  else redis.call('ZREM', P .. ':leases', thread) end
end

for _ = 1, ${String(LOOKS)} do
  local thread, user, lane = next_session(process, limit)
  if not thread then return { 'none', changed, claimable } end
  local s = load(thread)
  local run = s and head_of(s)
  if run then
    local attempts = attempts_of(s, run)
    if attempts < tonumber(max_attempts) then
      local granted = grant(s, run)
      granted[9] = is_idle(process) and 1 or 0
      return granted
    end
    trim(s, max)
    abandon(s, run, attempts)
  else lost_session(thread, user, lane) end
end
return { 'more', changed, claimable }
`);

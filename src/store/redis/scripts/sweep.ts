import { step } from "./ledger.js";

/**
 * ARGV: age of parked runs in ms or 'inf', age of finished ones, most of each in this step.
 * Replies how many were closed, how many were forgotten, changed, claimable.
 */
export const sweep = step(`
local ttl, age, limit = unpack(ARGV)
local parked = redis.call('ZRANGEBYSCORE', P .. ':parked', '-inf', now() - ttl, 'LIMIT', 0, limit)
for _, thread in ipairs(parked) do
  local s = load(thread)
  if s then
    close_parked(s, 'cancel')
    settle(s)
  else redis.call('ZREM', P .. ':parked', thread) end
end
return { #parked, expire(tonumber(limit), age), changed, claimable }
`);

/**
 * ARGV: age of the runs in ms, most in this step, then the processes that live. Ends runs that are next in their session
 * and for none of these. Replies how many, changed, claimable.
 */
export const abandonOrphans = step(`
local limit, live, ended = tonumber(ARGV[2]), {}, 0
for i = 3, #ARGV do live[ARGV[i]] = true end
for _, process in ipairs(redis.call('SMEMBERS', P .. ':pinned')) do
  local lane, key = 'process:' .. process, P .. ':pinned:' .. process
  while not live[process] and ended < limit do
    local thread = redis.call('ZRANGEBYSCORE', key, '-inf', now() - ARGV[1], 'LIMIT', 0, 1)[1]
    if not thread then break end
    local s = load(thread)
    if s and s.lane == lane then abandon(s, head_of(s), 'orphaned') else unpin(thread, lane) end
    ended = ended + 1
  end
end
return { ended, changed, claimable }
`);

/**
 * ARGV: how long a session must have been idle, in ms; most in this step. Forgets them whole, with conversation and
 * events, and replies thread, session and user or '' of each.
 */
export const dropIdle = step(`
local dropped = {}
for _, thread in ipairs(redis.call('ZRANGEBYSCORE', P .. ':idle', '-inf', now() - ARGV[1], 'LIMIT', 0, ARGV[2])) do
  local s = load(thread)
  forget(s or { thread = thread, key = session_key(thread) })
  if s then dropped[#dropped + 1] = { thread, s.sessionId, s.userId or '' } end
end
return dropped
`);

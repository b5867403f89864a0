import { keepFormat } from "./format.js";
import { FORGET_PER_STEP, step } from "./ledger.js";

/**
 * ARGV: thread, session, user or '', run, input, kind of the input, fingerprint, policy, queue limit, total queue
 * limit, affinity or '', nonce; version of the sticky config that was assumed or '', the new sticky config or '' to
 * leave it, the run's config; retention: most, age; owner of a lease under which the run is handed out in the same step
 * if it can begin at once and nobody waits, or '', its process, the lease in ms, limit of runs per user or 'inf'; then the
 * interrupts that are answered.
 *
 * Replies with one of
 *   'run', 1 if created, record, changed, claimable; epoch, turns to undo if it was handed out
 *   'config', version, sticky config: it is another than was assumed; nothing was done
 *   'total', queued in all
 *   'deleted', 'conflict', 'not-parked', 'stale', 'pending', 'busy', 'full'
 */
export const submit = step(`
local thread, session, user, run, input, kind, fingerprint, policy = unpack(ARGV, 1, 8)
local queue_limit, total_limit, affinity, nonce, assumed, sticky, config, max, age = unpack(ARGV, 9, 17)
local owner, process, lease_ms, user_limit = unpack(ARGV, 18, 21)
expire(${String(FORGET_PER_STEP)}, age)
local s = load(thread)
if s and s.deleted then return { 'deleted' } end
local key = run_key(thread, run)
local same = redis.call('HMGET', key, 'fingerprint', 'nonce')
if same[1] then
  if same[1] ~= fingerprint then return { 'conflict' } end
  local reply = { 'run', same[2] == nonce and 1 or 0, record(thread, run), {}, 0 }
  if owner ~= '' and s and s.running == run and s.owner == owner then
    reply[6], reply[7] = s.leaseEpoch, undo_of(s, run)
  end
  return reply
end

local answers = kind == 'answers'
local takes_over = policy == 'interrupt' or policy == 'rollback'
local turn = run
if answers then
  if not (s and s.parked) then return { 'not-parked' } end
  local parked = run_key(thread, s.parked)
  if #ARGV < 22 then return { 'stale' } end
  for i = 22, #ARGV do
    if redis.call('HEXISTS', parked, 'interrupt:' .. ARGV[i]) == 0 then return { 'stale' } end
  end
  turn, config = unpack(redis.call('HMGET', parked, 'turnId', 'config'))
else
  local waiting = redis.call('ZCARD', queue_key(thread))
  local ahead = waiting + (s and s.running and 1 or 0)
  if not takes_over and s and s.parked then return { 'pending' } end
  if policy == 'reject' and ahead > 0 then return { 'busy' } end
  if not takes_over and ahead > tonumber(queue_limit) then return { 'full' } end
  local queued = tonumber(redis.call('HGET', P .. ':counters', 'queued') or 0)
  if queued - (takes_over and waiting or 0) >= tonumber(total_limit) then return { 'total', queued } end
  local known = redis.call('HMGET', session_key(thread), 'stickyVersion', 'sticky')
  if (known[1] or '') ~= assumed then return { 'config', known[1], known[2] } end
end

-- Nothing is refused from here on.
if not s then
  ${keepFormat}
  redis.call('HSET', session_key(thread), 'sessionId', session)
  if user ~= '' then redis.call('HSET', session_key(thread), 'userId', user) end
  s = load(thread)
end
trim(s, max)
if not answers then
  redis.call('HSET', s.key, 'config', config)
  if sticky ~= '' then redis.call('HSET', s.key, 'sticky', sticky, 'stickyVersion', nonce) end
end
open_row(s)
if answers then unpark(s) elseif takes_over then clear(s, policy) end
local order = redis.call('HINCRBY', P .. ':counters', 'order', 1)
redis.call('HSET', key, 'sessionId', session, 'turnId', turn, 'input', input, 'kind', kind, 'fingerprint', fingerprint,
  'config', config, 'status', 'queued', 'attempt', 0, 'createdAt', now(), 'order', order, 'nonce', nonce)
if user ~= '' then redis.call('HSET', key, 'userId', user) end
if affinity ~= '' then redis.call('HSET', key, 'affinity', affinity) end
local is_free = owner ~= '' and not (s.running or s.parked or head_of(s)) and is_idle(process)
enqueue(s, run, order, answers)
if is_free and runs_of_user(s.user) < tonumber(user_limit) then
  local epoch, undo = begin(s, run, owner, lease_ms)
  return { 'run', 1, record(thread, run), changed, claimable, epoch, undo }
end
settle(s)
return { 'run', 1, record(thread, run), changed, claimable }
`);

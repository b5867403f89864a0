import { FORGET_PER_STEP, step } from "./ledger.js";

/**
 * ARGV: thread, epoch, owner, run, outcome, summary, error or '', last event, 1 if the turns have been undone,
 * retention: most, age; the number of interrupts that now wait, they, and the batch of events that goes along (see
 * events.ts), if there is one: not if the session is being deleted. Replies record, changed, claimable, or LEASE_LOST.
 */
export const finish = step(`
local thread, epoch, owner, run, outcome, summary, failure, seq, undone, max, age, waiting = unpack(ARGV, 1, 12)
local behind = 12 + tonumber(waiting)
expire(${String(FORGET_PER_STEP)}, age)
local key = run_key(thread, run)
local stop, undo_count, finished_by = unpack(redis.call('HMGET', key, 'cancelRequested', 'undoCount', 'finishedBy'))
if finished_by == owner then return { record(thread, run), {}, 0 } end
local s = holder(thread, epoch, owner)
if not s or s.running ~= run then return LEASE_LOST end
if #ARGV > behind and s.deleted then seq = (last_event(thread, run))
elseif #ARGV > behind then
  local batch = batch_of(thread, run, epoch, behind + 1, #ARGV)
  if not fits(batch) then return LEASE_LOST end
  add_batch(batch)
end
trim(s, max)
local stopped = stop == 'deleted' or (stop and outcome == 'interrupted')
local status = stopped and 'cancelled' or outcome
redis.call('HSET', key, 'status', status, 'finishedAt', now(), 'lastSeq', seq, 'summary', summary, 'finishedBy', owner)
if failure ~= '' then redis.call('HSET', key, 'error', failure) end
if undone == '1' then redis.call('LTRIM', P .. ':undo:' .. thread, undo_count, -1) end
redis.call('HSET', s.key, 'lastUsedAt', now())
free(s)
if behind > 12 and not stop then
  for i = 13, behind do redis.call('HSET', key, 'interrupt:' .. ARGV[i], 1) end
  redis.call('HSET', key, 'since', now())
  set(s, 'parked', run)
  redis.call('ZADD', P .. ':parked', now(), thread)
else retain(s, run) end
settle(s)
tell(s, run)
-- Where nobody waits, asking for a run would be in vain.
if redis.call('HGET', P .. ':counters', 'queued') == '0' then claimable = 0 end
return { record(thread, run), changed, claimable }
`);

/** ARGV: thread, epoch, owner, run, who tells the others. Replies changed, claimable, or LEASE_LOST; the same when the owner says it again. */
export const release = step(`
local thread, epoch, owner, run, origin = unpack(ARGV)
local key = run_key(thread, run)
local stop, order, released_by = unpack(redis.call('HMGET', key, 'cancelRequested', 'order', 'releasedBy'))
if released_by == owner then return { {}, 0 } end
local s = holder(thread, epoch, owner)
if not s or s.running ~= run then return LEASE_LOST end
redis.call('HSET', key, 'releasedBy', owner)
redis.call('HINCRBY', key, 'releases', 1)
if stop then end_running(s, 'cancelled')
else
  free(s)
  redis.call('HSET', key, 'status', 'queued')
  enqueue(s, run, order, true)
end
settle(s)
if s.lane then hint('queue\\n' .. origin) end
return { changed, claimable }
`);

/** ARGV: lease in ms; then thread, epoch and owner of each. Replies for each 0 if lost, else 1 or why to stop. */
export const renew = step(`
local replies, at = {}, now()
for i = 2, #ARGV, 3 do
  local s = holder(ARGV[i], ARGV[i + 1], ARGV[i + 2])
  local expires_at = s and redis.call('ZSCORE', P .. ':leases', s.thread)
  if expires_at and tonumber(expires_at) > at then
    redis.call('ZADD', P .. ':leases', at + ARGV[1], s.thread)
    replies[#replies + 1] = redis.call('HGET', run_key(s.thread, s.running), 'cancelRequested') or 1
  else replies[#replies + 1] = 0 end
end
return replies
`);

import { look, step } from "./ledger.js";

/** How long it stays known that a session was deleted. */
const PURGED_MS = 600_000;

/** ARGV: thread, run or '', retention: most. Replies run or nil, record, changed, claimable. */
export const cancel = step(`
local thread, run, max = unpack(ARGV)
local s = load(thread)
if not s then return { false } end
if run == '' then run = s.running or s.parked or head_of(s) end
local status = run and redis.call('HGET', run_key(thread, run), 'status')
if not status then return { false } end
if run == s.running then mark(s, run, 'cancel')
elseif run == s.parked then close_parked(s, 'cancel')
elseif status == 'queued' then
  trim(s, max)
  cancel_queued(s, run, 'cancel')
end
settle(s)
return { run, record(thread, run), changed, claimable }
`);

/** ARGV: thread, retention: most. Replies 1 unless the session is unknown, changed, claimable. */
export const tombstone = step(`
local thread, max = unpack(ARGV)
local s = load(thread)
if not s then return { 0, {}, 0 } end
if s.deleted then return { 1, {}, 0 } end
trim(s, max)
set(s, 'deleted', 1)
redis.call('HSET', s.key, 'epoch', redis.call('HINCRBY', P .. ':counters', 'epoch', 1))
redis.call('ZADD', P .. ':tombstones', now(), thread)
clear(s, 'deleted')
settle(s)
return { 1, changed, claimable }
`);

/** ARGV: thread. Replies changed, claimable. */
export const purge = step(`
local s = load(ARGV[1])
if not s or not s.deleted then return { {}, 0 } end
if s.running then end_running(s, 'cancelled') end
settle(s)
forget(s)
redis.call('SET', P .. ':purged:' .. s.thread, 1, 'PX', ${String(PURGED_MS)})
return { changed, claimable }
`);

/** ARGV: thread. Replies 1 when it was purged in the last minutes. */
export const purged = look(`return redis.call('EXISTS', P .. ':purged:' .. ARGV[1])`);

import { look, step } from "./ledger.js";

/** ARGV: thread, run. Replies record, with a nil for the session where there is no such run. */
export const getRun = look(`return record(ARGV[1], ARGV[2])`);

/** ARGV: threads and runs by turns. Replies the places, from 1, of those that neither wait nor run. */
export const endedRuns = look(`
local places = {}
for i = 1, #ARGV, 2 do
  local status = redis.call('HGET', run_key(ARGV[i], ARGV[i + 1]), 'status')
  if status ~= 'queued' and status ~= 'running' then places[#places + 1] = (i + 1) / 2 end
end
return places
`);

/** ARGV: thread. Replies run and record, or nothing. */
export const currentRun = look(`
local s = load(ARGV[1])
if not s then return {} end
local run = s.running or s.parked or head_of(s) or redis.call('LINDEX', P .. ':ended:' .. s.thread, -1)
if not run then return {} end
return { run, record(s.thread, run) }
`);

/** ARGV: threads. Replies for each that is known: thread, sticky config, owner, queued, running run and record, parked run and record. */
export const lookAtSessions = look(`
local replies = {}
for _, thread in ipairs(ARGV) do
  local s = load(thread)
  if s then
    replies[#replies + 1] = { thread, redis.call('HGET', s.key, 'sticky'), s.owner,
      redis.call('ZCARD', queue_key(thread)),
      s.running, s.running and record(thread, s.running), s.parked, s.parked and record(thread, s.parked) }
  end
end
return replies
`);

/** ARGV: most. Replies threads. */
export const tombstones = look(
  `return redis.call('ZRANGEBYSCORE', P .. ':tombstones', '-inf', 'inf', 'LIMIT', 0, ARGV[1])`,
);

/** ARGV: thread. Replies the text or nil. */
export const readState = look(`
if redis.call('HEXISTS', session_key(ARGV[1]), 'deleted') == 1 then return false end
return redis.call('GET', P .. ':state:' .. ARGV[1])
`);

/** ARGV: thread, epoch, owner. Replies the session id, or LEASE_LOST. */
export const fencedSession = step(`
return fence(ARGV[1], ARGV[2], ARGV[3]) or redis.call('HGET', session_key(ARGV[1]), 'sessionId')
`);

/** ARGV: thread, epoch, owner, text. */
export const writeState = step(`
local lost = fence(ARGV[1], ARGV[2], ARGV[3])
if lost then return lost end
redis.call('SET', P .. ':state:' .. ARGV[1], ARGV[4])
return 1
`);

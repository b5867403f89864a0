import { look, step } from "./ledger.js";

const row = `
local function row(thread)
  return redis.call('HMGET', session_key(thread), 'created', 'sessionId', 'userId', 'createdAt', 'lastUsedAt', 'config')
end
`;

/** ARGV: thread, epoch, owner, config. */
export const saveSession = step(`
local lost = fence(ARGV[1], ARGV[2], ARGV[3])
if lost then return lost end
local s = load(ARGV[1])
redis.call('HSET', s.key, 'config', ARGV[4])
open_row(s)
redis.call('HSET', s.key, 'lastUsedAt', now())
return 1
`);

/** ARGV: thread. Replies thread and row; `created` is nil where there is none. */
export const getSession = look(`${row}return row(ARGV[1])`);

/** ARGV: user or '', upper bound of the place, most. Replies thread and row of each, newest first. */
export const listSessions = look(`${row}
local key = P .. ':sessions'
if ARGV[1] ~= '' then key = key .. ':' .. ARGV[1] end
local rows = {}
for _, thread in ipairs(redis.call('ZREVRANGEBYSCORE', key, ARGV[2], '-inf', 'LIMIT', 0, ARGV[3])) do
  rows[#rows + 1] = { thread, row(thread) }
end
return rows
`);

/** ARGV: thread. The ledger keeps what it knows of the session. */
export const deleteSession = look(`
local user = redis.call('HGET', session_key(ARGV[1]), 'userId')
redis.call('ZREM', P .. ':sessions', ARGV[1])
if user then redis.call('ZREM', P .. ':sessions:' .. user, ARGV[1]) end
redis.call('HDEL', session_key(ARGV[1]), 'created', 'createdAt', 'lastUsedAt', 'config')
return 1
`);

export const countSessions = look(`return redis.call('ZCARD', P .. ':sessions')`);

import { RedisScript } from "../client.js";
import { prelude } from "./fence.js";

/*
 * A process is a hash that expires, `{p}:process:<id>`: when it started, when it was seen, what it says of itself.
 * `{p}:processes` has their ids by when they started. `{p}:messages` is a stream of what they tell each other.
 */

/** About the most messages that are kept for a process that was cut off for a moment. */
const KEPT_MESSAGES = 1024;

/** Arguments: process, info, ms to live. */
export const beat = new RedisScript(
  prelude,
  `
local key = P .. ':process:' .. ARGV[1]
local t = redis.call('TIME')
local at = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
-- To the microsecond, so that those that start together are in order too.
if redis.call('HSETNX', key, 'started', at) == 1 then
  redis.call('ZADD', P .. ':processes', string.format('%.0f', t[1] * 1000000 + t[2]), ARGV[1])
end
redis.call('HSET', key, 'seen', at, 'info', ARGV[2])
return redis.call('PEXPIRE', key, ARGV[3])
`,
);

/** Argument: process. */
export const leave = new RedisScript(
  prelude,
  `
redis.call('UNLINK', P .. ':process:' .. ARGV[1])
return redis.call('ZREM', P .. ':processes', ARGV[1])
`,
);

/** Gives id, start, last sight and info of each live one by turns, oldest first; takes the others out. */
export const listProcesses = new RedisScript(
  prelude,
  `
local live = {}
for _, id in ipairs(redis.call('ZRANGE', P .. ':processes', 0, -1)) do
  local process = redis.call('HMGET', P .. ':process:' .. id, 'started', 'seen', 'info')
  if process[1] then
    live[#live + 1] = id
    for _, value in ipairs(process) do live[#live + 1] = value end
  else
    redis.call('ZREM', P .. ':processes', id)
  end
end
return live
`,
);

/** Argument: message. Gives its id. */
export const sendMessage = new RedisScript(
  prelude,
  `
return redis.call('XADD', P .. ':messages', 'MAXLEN', '~', ${String(KEPT_MESSAGES)}, '*', 'm', ARGV[1])
`,
);
